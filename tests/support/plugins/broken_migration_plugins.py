"""Deliberately broken importers and exporters, each with the test of the contract that must catch it."""

import logging
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import ClassVar
from urllib.parse import quote

import pytest

from strongroom.errors import InvalidDataError, SecretTooLargeError, StoreUnavailableError
from strongroom.migrate.spi import Failure, MigrationOutcome
from strongroom.secret import Secret
from strongroom.store import Traits
from strongroom.testing import CANARY, ExporterContract, ImporterContract
from support.plugins.broken_plugins import PrintsAtImport, StartsAThread
from support.plugins.folder_plugins import FolderExporter, FolderImporter


class WrongImporter(ImporterContract):
    """A broken `Importer`. The test `caught_by` must fail with the message `caught_with`."""

    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Importer: ClassVar[type[FolderImporter]]

    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "secrets"
        root.mkdir()
        return root

    @pytest.fixture
    def importing(self, root):
        def fill(contents):
            list(FolderExporter(root).write(Secret(path, data) for path, data in contents.items()))
            return type(self).Importer(root)

        return fill

    @pytest.fixture
    def unreadable(self, tmp_path):
        return type(self).Importer(tmp_path / "none")

    @pytest.fixture
    def misnamed(self, root):
        (root / quote("../app", safe="")).write_text('{"k": "v"}')
        (root / "good").write_text('{"k": "v"}')
        return type(self).Importer(root)

    @pytest.fixture
    def partly_unreadable(self, root):
        (root / "a").write_text(f"{CANARY}, and not JSON")
        (root / "b").write_text('{"k": "v"}')
        return type(self).Importer(root)


class GivesAList(WrongImporter):
    caught_by = "test_it_is_an_importer"
    caught_with = "items() must return an iterator"

    class Importer(FolderImporter):
        def items(self):
            return list(super().items())


class GivesTwice(WrongImporter):
    caught_by = "test_every_secret_comes_once"
    caught_with = "a path was yielded twice"

    class Importer(FolderImporter):
        def items(self):
            yield from super().items()
            yield from islice(super().items(), 1)


class LeavesTheLastOneOut(WrongImporter):
    caught_by = "test_every_secret_comes_once"
    caught_with = "the paths differ from those of the source"

    class Importer(FolderImporter):
        def items(self):
            return iter(list(super().items())[:-1])


class StripsBlanks(WrongImporter):
    caught_by = "test_hard_input_survives[blank]"
    caught_with = " changed"

    class Importer(FolderImporter):
        def item(self, file):
            secret = super().item(file)
            return Secret(secret.path, {key: value.strip() for key, value in secret.data.items()})


class GivesTextForNumbers(WrongImporter):
    caught_by = "test_hard_input_survives[numbers]"
    caught_with = " changed"

    class Importer(FolderImporter):
        def item(self, file):
            secret = super().item(file)
            return Secret(secret.path, {key: str(value) for key, value in secret.data.items()})


class RunsDry(WrongImporter):
    caught_by = "test_it_gives_the_same_again"
    caught_with = "the second call yielded other secrets"

    class Importer(FolderImporter):
        def __init__(self, root):
            super().__init__(root)
            self.given = None

        def items(self):
            self.given = self.given or iter(list(super().items()))
            return self.given


class GoesOnInTheMiddle(WrongImporter):
    caught_by = "test_it_can_be_left_in_the_middle"
    caught_with = "assert"
    Importer = RunsDry.Importer


class CanBeClosedOnce(WrongImporter):
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "closed already"

    class Importer(FolderImporter):
        closed = False

        def close(self):
            if self.closed:
                raise ValueError("closed already")
            self.closed = True


class NothingForUnreadable(WrongImporter):
    caught_by = "test_a_source_that_cannot_be_read_is_an_error"
    caught_with = "DID NOT RAISE"

    class Importer(FolderImporter):
        def items(self):
            return super().items() if self.root.is_dir() else iter(())


class SomebodyElsesError(WrongImporter):
    caught_by = "test_a_source_that_cannot_be_read_is_an_error"
    caught_with = "FileNotFoundError"

    class Importer(FolderImporter):
        def items(self):
            yield from map(self.item, sorted(self.root.iterdir()))


class EndsAtTheFirstFailure(WrongImporter):
    caught_by = "test_an_item_that_cannot_be_given_ends_nothing"
    caught_with = "the secret that can be read was not yielded"

    class Importer(FolderImporter):
        def items(self):
            for item in super().items():
                yield item
                if isinstance(item, Failure):
                    return


class PassesOverWhatFails(WrongImporter):
    caught_by = "test_an_item_that_cannot_be_given_ends_nothing"
    caught_with = "no failure was yielded for the secret that cannot be read"

    class Importer(FolderImporter):
        def items(self):
            return (item for item in super().items() if isinstance(item, Secret))


class ShowsAValue(WrongImporter):
    caught_by = "test_an_item_that_cannot_be_given_ends_nothing"
    caught_with = CANARY

    class Importer(FolderImporter):
        def item(self, file):
            item = super().item(file)
            if isinstance(item, Failure):
                return Failure(item.name, InvalidDataError(item.name, f"it holds {file.read_text()}"))
            return item


class ShowsAValueInAFrame(WrongImporter):
    caught_by = "test_a_source_that_cannot_be_read_is_an_error"
    caught_with = "the traceback of StoreUnavailableError shows a value"

    class Importer(FolderImporter):
        def items(self):
            content = CANARY  # noqa: F841  # its fault
            return super().items() if self.root.is_dir() else self.fail()

        def fail(self):
            raise StoreUnavailableError(None, "the folder does not exist")


class LogsAValue(WrongImporter):
    caught_by = "test_every_secret_comes_once"
    caught_with = "a value is in the log"

    class Importer(FolderImporter):
        def item(self, file):
            logging.getLogger("stranger").debug("read %s", file.read_text())
            return super().item(file)


class HangsInItems(WrongImporter):
    longest_test = 0.2
    caught_by = "test_every_secret_comes_once"
    caught_with = "test_every_secret_comes_once hung: it was not over after 0.2 seconds"

    class Importer(FolderImporter):
        def item(self, file):
            threading.Event().wait()


class PrintsWhatItReads(WrongImporter):
    caught_by = "test_every_secret_comes_once"
    caught_with = "something was printed to stdout"

    class Importer(FolderImporter):
        def item(self, file):
            print("reading", file.name)  # noqa: T201  # its fault
            return super().item(file)


class OfAnotherType(WrongImporter):
    caught_by = "test_items_have_the_declared_types"
    caught_with = "items() returned an item of type tuple, expected Secret or Failure"

    class Importer(FolderImporter):
        def item(self, file):
            secret = super().item(file)
            return secret.path, secret.data


class LabelsThatAreNoText(WrongImporter):
    caught_by = "test_items_have_the_declared_types"
    caught_with = "label"

    class Importer(FolderImporter):
        def item(self, file):
            return replace(super().item(file), metadata={"size": file.stat().st_size})


class TimesWithoutAZone(WrongImporter):
    caught_by = "test_items_have_the_declared_types"
    caught_with = "items() returned a creation time without a time zone"

    class Importer(FolderImporter):
        def item(self, file):
            return replace(super().item(file), created=datetime(2026, 1, 1))  # noqa: DTZ001  # its fault


class VersionsThatAreFloats(WrongImporter):
    caught_by = "test_items_have_the_declared_types"
    caught_with = "items() returned a version of type float"

    class Importer(FolderImporter):
        def item(self, file):
            return replace(super().item(file), version=1.5)


class CutsLargeValues(WrongImporter):
    caught_by = "test_large_secret_survives_or_is_an_error"
    caught_with = "a large value changed"

    class Importer(FolderImporter):
        def item(self, file):
            secret = super().item(file)
            return Secret(secret.path, {key: str(value)[:65_536] for key, value in secret.data.items()})


class LeavesBadNamesOut(WrongImporter):
    caught_by = "test_name_that_is_no_path_is_a_failure"
    caught_with = "no failure was yielded for the invalid name"

    class Importer(FolderImporter):
        def item(self, file):
            return super().item(file)

        def items(self):
            return (item for item in super().items() if isinstance(item, Secret))


class YieldsBadNames(WrongImporter):
    caught_by = "test_name_that_is_no_path_is_a_failure"
    caught_with = "InvalidPathError"

    class Importer(FolderImporter):
        def item(self, file):
            item = super().item(file)
            return Secret(item.name, {"k": "v"}) if isinstance(item, Failure) else item


class StopsAtABadName(WrongImporter):
    caught_by = "test_name_that_is_no_path_is_a_failure"
    caught_with = "InvalidPathError"

    class Importer(FolderImporter):
        def items(self):
            for item in super().items():
                if isinstance(item, Failure):
                    raise item.error
                yield item


class LeavesItsThread(WrongImporter):
    time_to_end = 0.0
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "close() left the thread"

    class Importer(FolderImporter):
        def items(self):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            return super().items()


class LeavesItsConnection(WrongImporter):
    time_to_end = 0.0
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "close() left the socket"

    class Importer(FolderImporter):
        def items(self):
            self.sockets = socket.socketpair()
            return super().items()


class ImportsForTheFuture(WrongImporter):
    caught_by = "test_import_and_protocol"
    caught_with = "needs store protocol 99"

    class Importer(FolderImporter):
        traits = Traits(protocol=99)


class HasTraitsOfItsOwn(WrongImporter):
    caught_by = "test_import_and_protocol"
    caught_with = "must be a strongroom.store.Traits"

    class Importer(FolderImporter):
        traits = frozenset({"local"})


class _OtherModule(WrongImporter):
    """An importer whose module has this source."""

    caught_by = "test_import_and_protocol"
    source: ClassVar[str]

    @pytest.fixture
    def importing(self, root, tmp_path, monkeypatch):
        base = "from support.plugins.folder_plugins import FolderImporter\nclass Corp(FolderImporter): ...\n"
        (tmp_path / "corp_importer.py").write_text(f"{base}{self.source}\n")
        monkeypatch.syspath_prepend(tmp_path)
        kind = type("Corp", (FolderImporter,), {"__module__": "corp_importer"})
        return lambda _: kind(root)


class GreetsAtImport(_OtherModule):
    source = PrintsAtImport.source
    caught_with = PrintsAtImport.caught_with


class WorksAtImport(_OtherModule):
    source = StartsAThread.source
    caught_with = StartsAThread.caught_with


class ExitsWhenImported(_OtherModule):
    source = "raise SystemExit(0)"
    caught_with = "the import ended the process"


class WrongExporter(ExporterContract):
    """A broken `Exporter`. The test `caught_by` must fail with the message `caught_with`."""

    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Exporter: ClassVar[type[FolderExporter]]

    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "secrets"
        root.mkdir()
        return root

    @pytest.fixture
    def exporter(self, root):
        return type(self).Exporter(root)

    @pytest.fixture
    def held(self, root):
        return lambda: {secret.path: secret.data for secret in FolderImporter(root).items()}

    @pytest.fixture
    def unreachable(self, tmp_path):
        return type(self).Exporter(tmp_path / "none")


class ShowsAValueInAFrameOfWrite(WrongExporter):
    caught_by = "test_a_target_that_cannot_be_written_is_an_error"
    caught_with = "the traceback of StoreUnavailableError shows a value"

    class Exporter(FolderExporter):
        def failure(self, secret):
            content = secret.data["password"].reveal()  # noqa: F841  # its fault
            raise StoreUnavailableError(secret.path, "the folder does not exist")


class SaysItTooEarly(WrongExporter):
    caught_by = "test_written_secret_is_held"
    caught_with = "is not there yet"

    class Exporter(FolderExporter):
        def write(self, secrets):
            kept = list(secrets)
            yield from (MigrationOutcome(secret.path) for secret in kept)
            list(map(self.failure, kept))


class SaysNothing(WrongExporter):
    caught_by = "test_each_secret_has_one_outcome"
    caught_with = "not one outcome for each secret"

    class Exporter(FolderExporter):
        def write(self, secrets):
            list(super().write(secrets))
            return iter(())


class SaysItTwice(WrongExporter):
    caught_by = "test_each_secret_has_one_outcome"
    caught_with = "not one outcome for each secret"

    class Exporter(FolderExporter):
        def write(self, secrets):
            for outcome in super().write(secrets):
                yield from (outcome, outcome)


class GivesAListOfOutcomes(WrongExporter):
    caught_by = "test_it_is_an_exporter"
    caught_with = "write() must return an iterator"

    class Exporter(FolderExporter):
        def write(self, secrets):
            return list(super().write(secrets))


class Merges(WrongExporter):
    caught_by = "test_a_secret_is_written_whole"
    caught_with = "assert False"

    class Exporter(FolderExporter):
        def failure(self, secret):
            held = {before.path: before.data for before in FolderImporter(self.root).items()}
            return super().failure(Secret(secret.path, {**held.get(secret.path, {}), **secret.data}))


class EmptiesFirst(WrongExporter):
    caught_by = "test_a_secret_is_written_whole"
    caught_with = "assert False"

    class Exporter(FolderExporter):
        def write(self, secrets):
            for file in self.root.iterdir():
                file.unlink()
            yield from super().write(secrets)


class MakesTextOfEverything(WrongExporter):
    caught_by = "test_hard_input_survives_or_is_refused[numbers]"
    caught_with = "changed"

    class Exporter(FolderExporter):
        def failure(self, secret):
            return super().failure(Secret(secret.path, {key: str(value) for key, value in secret.data.items()}))


class StopsAtARefusal(WrongExporter):
    caught_by = "test_what_is_refused_ends_nothing"
    caught_with = "assert"
    cannot_hold = frozenset({"null"})

    class Exporter(FolderExporter):
        def write(self, secrets):
            for secret in secrets:
                if None in secret.data.values():
                    yield MigrationOutcome(secret.path, error=InvalidDataError(secret.path, "null"))
                    return
                yield MigrationOutcome(secret.path, error=self.failure(secret))


class WritesWhatItCannotHold(WrongExporter):
    caught_by = "test_hard_input_survives_or_is_refused[null]"
    caught_with = "null was reported as written"
    cannot_hold = frozenset({"null"})
    Exporter = FolderExporter


class FailsWithSomebodyElsesError(WrongExporter):
    caught_by = "test_a_target_that_cannot_be_written_is_an_error"
    caught_with = "OSError is not of strongroom.errors"

    class Exporter(FolderExporter):
        def write(self, secrets):
            if not self.root.is_dir():
                raise OSError("no such folder")
            return super().write(secrets)


class SaysNothingOfAnOutage(WrongExporter):
    caught_by = "test_a_target_that_cannot_be_written_is_an_error"
    caught_with = "NoneType is not of strongroom.errors"

    class Exporter(FolderExporter):
        def write(self, secrets):
            return (MigrationOutcome(outcome.path) for outcome in super().write(secrets))


class ShowsWhatItCouldNotWrite(WrongExporter):
    caught_by = "test_a_target_that_cannot_be_written_is_an_error"
    caught_with = "shows a value"

    class Exporter(FolderExporter):
        def failure(self, secret):
            return super().failure(secret) and StoreUnavailableError(secret.path, " ".join(secret.data.values()))


class HangsInWrite(WrongExporter):
    longest_test = 0.2
    caught_by = "test_written_secret_is_held"
    caught_with = "test_written_secret_is_held hung: it was not over after 0.2 seconds"

    class Exporter(FolderExporter):
        def failure(self, secret):
            threading.Event().wait()


class PrintsWhatItWrites(WrongExporter):
    caught_by = "test_written_secret_is_held"
    caught_with = "something was printed to stdout"

    class Exporter(FolderExporter):
        def failure(self, secret):
            print("writing", secret.path)  # noqa: T201  # its fault
            return super().failure(secret)


class LogsWhatItWrites(WrongExporter):
    caught_by = "test_written_secret_is_held"
    caught_with = "a value is in the log"

    class Exporter(FolderExporter):
        def failure(self, secret):
            logging.getLogger("stranger").debug("write %s", " ".join(map(str, secret.data.values())))
            return super().failure(secret)


class GivesPathsInstead(WrongExporter):
    caught_by = "test_outcomes_have_the_declared_types"
    caught_with = "write() returned an item of type str, expected MigrationOutcome"

    class Exporter(FolderExporter):
        def write(self, secrets):
            return (outcome.path for outcome in super().write(secrets))


class GivesErrorsAsText(WrongExporter):
    caught_by = "test_outcomes_have_the_declared_types"
    caught_with = "a MigrationOutcome with error of type str"

    class Exporter(FolderExporter):
        def write(self, secrets):
            return (MigrationOutcome(outcome.path, error="") for outcome in super().write(secrets))


class GivesTimesAsVersions(WrongExporter):
    caught_by = "test_outcomes_have_the_declared_types"
    caught_with = "a MigrationOutcome with version of type float"

    class Exporter(FolderExporter):
        def write(self, secrets):
            return (MigrationOutcome(outcome.path, 1.5, outcome.error) for outcome in super().write(secrets))


class MakesOneOfTwo(WrongExporter):
    caught_by = "test_paths_that_look_alike_are_different_secrets"
    caught_with = "a secret was written under another path"

    class Exporter(FolderExporter):
        def failure(self, secret):
            return super().failure(Secret(secret.path.replace("/", "-"), secret.data))


class ForgetsTheCase(WrongExporter):
    caught_by = "test_paths_that_look_alike_are_different_secrets"
    caught_with = "was overwritten by another"

    class Exporter(FolderExporter):
        def failure(self, secret):
            return super().failure(Secret(secret.path.replace("App", "app"), secret.data))


class CutsWhatIsLarge(WrongExporter):
    caught_by = "test_large_secret_survives_or_is_refused"
    caught_with = "a large value changed"

    class Exporter(FolderExporter):
        def failure(self, secret):
            return super().failure(
                Secret(secret.path, {key: str(value)[:65_536] for key, value in secret.data.items()})
            )


class WritesHalfOfWhatIsLarge(WrongExporter):
    caught_by = "test_large_secret_survives_or_is_refused"
    caught_with = "contract/large"

    class Exporter(FolderExporter):
        def failure(self, secret):
            small = {key: value for key, value in secret.data.items() if len(value) < 65_536}
            error = super().failure(Secret(secret.path, small))
            return error or (SecretTooLargeError(secret.path, "over 64 KiB") if len(small) < len(secret.data) else None)


class CollectsEverythingFirst(WrongExporter):
    caught_by = "test_secrets_are_written_one_after_another"
    caught_with = "1000 secrets were taken before the first outcome"

    class Exporter(FolderExporter):
        def write(self, secrets):
            yield from super().write(list(secrets))


class TakesAnErrorForTheEnd(WrongExporter):
    caught_by = "test_error_of_the_source_is_passed_on"
    caught_with = "DID NOT RAISE"

    class Exporter(FolderExporter):
        def write(self, secrets):
            with suppress(Exception):
                yield from super().write(secrets)


class LeavesAThreadBehind(WrongExporter):
    time_to_end = 0.0
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "close() left the thread"

    class Exporter(FolderExporter):
        def failure(self, secret):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            return super().failure(secret)


class ExportsForTheFuture(WrongExporter):
    caught_by = "test_import_and_protocol"
    caught_with = "needs store protocol 99"

    class Exporter(FolderExporter):
        traits = Traits(protocol=99)


WRONG = [
    wrong
    for base in (WrongImporter, _OtherModule, WrongExporter)
    for wrong in base.__subclasses__()
    if not wrong.__name__.startswith("_")
]
