"""Deliberately broken importers and exporters, each with the test of the contract that must catch it."""

import logging
from itertools import islice
from typing import ClassVar

import pytest

from folder_plugins import FolderExporter, FolderImporter
from strongroom.errors import InvalidDataError, StoreUnavailableError
from strongroom.migrate.spi import Failure, Outcome
from strongroom.secret import Secret
from strongroom.testing import ExporterContract, ImporterContract


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
    def partly_unreadable(self, root):
        (root / "a").write_text("canary-6f1d, and not JSON")
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
    caught_by = "test_closing_twice_is_harmless"
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
    caught_with = "canary-6f1d"

    class Importer(FolderImporter):
        def item(self, file):
            item = super().item(file)
            if isinstance(item, Failure):
                return Failure(item.name, InvalidDataError(item.name, f"it holds {file.read_text()}"))
            return item


class LogsAValue(WrongImporter):
    caught_by = "test_every_secret_comes_once"
    caught_with = "a value is in the log"

    class Importer(FolderImporter):
        def item(self, file):
            logging.getLogger("stranger").debug("read %s", file.read_text())
            return super().item(file)


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


class SaysItTooEarly(WrongExporter):
    caught_by = "test_written_secret_is_held"
    caught_with = "is not there yet"

    class Exporter(FolderExporter):
        def write(self, secrets):
            kept = list(secrets)
            yield from (Outcome(secret.path) for secret in kept)
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
                    yield Outcome(secret.path, error=InvalidDataError(secret.path, "null"))
                    return
                yield Outcome(secret.path, error=self.failure(secret))


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
            return (Outcome(outcome.path) for outcome in super().write(secrets))


class ShowsWhatItCouldNotWrite(WrongExporter):
    caught_by = "test_a_target_that_cannot_be_written_is_an_error"
    caught_with = "shows a value"

    class Exporter(FolderExporter):
        def failure(self, secret):
            return super().failure(secret) and StoreUnavailableError(secret.path, " ".join(secret.data.values()))


WRONG = [
    wrong for base in (WrongImporter, WrongExporter) for wrong in base.__subclasses__() if "caught_by" in vars(wrong)
]
