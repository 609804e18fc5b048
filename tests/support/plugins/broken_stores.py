"""Deliberately broken stores, each with the test of the contract that must catch it."""

import base64
import logging
import os
import socket
import sys
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import ClassVar

import pytest

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
)
from strongroom.secret import Secret, SensitiveDict
from strongroom.store import Health, Traits, remaining
from strongroom.store.memory import MemoryStore
from strongroom.testing import CANARY, StoreContract, dripping_server

MEMORY = frozenset({"listable", "writable", "checked", "versioned", "bulk", "probed", "local"})


class Wrong(StoreContract):
    """A broken `Store`. The test `caught_by` must fail with the message `caught_with`."""

    capabilities = MEMORY
    impossible = frozenset({"denied", "unreachable"})
    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Store: ClassVar[Callable[[], MemoryStore]]

    @pytest.fixture
    def store(self):
        return type(self).Store()


# --- absence ----------------------------------------------------------------------------------------------------------


class EmptyForAbsent(Wrong):
    caught_by = "test_absent_path_is_not_found"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def read(self, path):
            try:
                return super().read(path)
            except SecretNotFoundError:
                return Secret(path, {})


class KeyErrorForAbsent(Wrong):
    caught_by = "test_absent_path_is_not_found"
    caught_with = "it raised KeyError"

    class Store(MemoryStore):
        def read(self, path):
            try:
                return super().read(path)
            except SecretNotFoundError:
                raise KeyError(path) from None


class IgnoresCase(Wrong):
    caught_by = "test_absent_path_is_not_found"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def read(self, path):
            held = next((held for held in self._histories if held.lower() == path.lower()), path)
            return replace(super().read(held), path=path)


class ReturnsNoVersion(Wrong):
    """As a store that leaves the version to the next read."""

    caught_by = "test_write_returns_the_version_that_a_read_shows"
    caught_with = "leaves it as a conflict"

    class Store(MemoryStore):
        def write(self, path, data):
            super().write(path, data)


class FolderForSecret(Wrong):
    caught_by = "test_absent_path_is_not_found"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def read(self, path):
            below = dict.fromkeys(self.list_entries(path), "")
            return Secret(path, below) if below else super().read(path)


class OldVersionForDeleted(Wrong):
    caught_by = "test_deleted_version_can_be_undeleted"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def read(self, path):
            kept = self._history(path).kept
            newest = [number for number, one in enumerate(kept, start=1) if one.readable]
            return self._secret(path, newest[-1] if newest else len(kept))


class DeletesTwice(Wrong):
    caught_by = "test_deleting_what_is_absent_is_not_found"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def delete(self, path):
            if path in self._histories:
                self._histories[path].kept[-1].deleted = True


# --- values -----------------------------------------------------------------------------------------------------------


class _Changes(MemoryStore):
    """A store that changes the data of a write."""

    def changed(self, value):
        raise NotImplementedError

    def write(self, path, data):
        return super().write(path, {key: self.changed(value) for key, value in data.items()})


class TextForNumbers(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[numbers]"
    caught_with = "came back changed"

    class Store(_Changes):
        def changed(self, value):
            return str(value) if isinstance(value, int | float) else value


class NumbersForBooleans(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[booleans]"
    caught_with = "came back changed"

    class Store(_Changes):
        def changed(self, value):
            return int(value) if isinstance(value, bool) else value


class StripsText(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[blank]"
    caught_with = "came back changed"

    class Store(_Changes):
        def changed(self, value):
            return value.strip() if isinstance(value, str) else value


class NormalisesUnicode(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[unicode]"
    caught_with = "'key4' came back changed"

    class Store(_Changes):
        def changed(self, value):
            return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


class EndsAtNul(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[nul]"
    caught_with = "came back changed"

    class Store(_Changes):
        def changed(self, value):
            return value.partition("\x00")[0] if isinstance(value, str) else value


class FloatsForLargeIntegers(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[large integers]"
    caught_with = "came back changed"

    class Store(_Changes):
        def changed(self, value):
            return int(float(value)) if type(value) is int else value


class DropsEmptyValues(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[empty]"
    caught_with = "Extra items in the right set"

    class Store(MemoryStore):
        def write(self, path, data):
            return super().write(path, {key: value for key, value in data.items() if value != ""})


class RefusesAndWritesAnyway(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[nul]"
    caught_with = "DID NOT RAISE"
    cannot_hold = frozenset({"nul"})

    class Store(MemoryStore):
        def write(self, path, data):
            version = super().write(path, data)
            if any(isinstance(value, str) and "\x00" in value for value in data.values()):
                raise InvalidDataError(path, "there is a NUL in it")
            return version


class SharesItsData(Wrong):
    caught_by = "test_reads_are_independent"
    caught_with = "assert set() =="

    class Store(MemoryStore):
        def __init__(self):
            super().__init__()
            self.secrets = {}

        def read(self, path):
            return self.secrets.setdefault(path, super().read(path))


# --- writes -----------------------------------------------------------------------------------------------------------


class DropsSiblingKeys(Wrong):
    caught_by = "test_write_replaces_the_whole_secret"
    caught_with = "False = same("

    class Store(MemoryStore):
        def write(self, path, data):
            try:
                before = self.read(path).data
            except SecretNotFoundError:
                before = {}
            return super().write(path, {key: value for key, value in data.items() if before.get(key) != value})


class KeepsOldKeys(Wrong):
    caught_by = "test_write_replaces_the_whole_secret"
    caught_with = "False = same("

    class Store(MemoryStore):
        def write(self, path, data):
            try:
                return super().write(path, {**self.read(path).data, **data})
            except SecretNotFoundError:
                return super().write(path, data)


class WritesLater(Wrong):
    caught_by = "test_write_is_seen_at_once"
    caught_with = "== '1'"

    class Store(MemoryStore):
        def __init__(self):
            super().__init__()
            self.pending = None

        def write(self, path, data):
            pending, self.pending = self.pending, (path, SensitiveDict(data))
            return super().write(*pending) + 1 if pending else super().write(path, data)


class WritesTheNeighbour(Wrong):
    caught_by = "test_write_leaves_siblings_alone"
    caught_with = "At index 0 diff"

    class Store(MemoryStore):
        def write(self, path, data):
            for held in self._histories:
                if held.startswith(path) and held != path:
                    super().write(held, data)
            return super().write(path, data)


class DeletesWhatIsBelow(Wrong):
    caught_by = "test_secret_above_others_is_a_secret_of_its_own"
    caught_with = "Secret not found: contract/app/below"

    class Store(MemoryStore):
        def delete(self, path):
            super().delete(path)
            for held in self._histories:
                if held.startswith(f"{path}/"):
                    super().delete(held)


class IgnoresWhatIsExpected(Wrong):
    caught_by = "test_checked_write_replaces_the_expected_version"
    caught_with = "DID NOT RAISE ConflictError"

    class Store(MemoryStore):
        def write_if(self, path, data, expected):
            return self.write(path, data)


class ComparesThenWrites(Wrong):
    """All eight writers compare before any of them writes."""

    caught_by = "test_one_of_many_checked_writes_wins"
    caught_with = "assert 8 == 1"

    class Store(MemoryStore):
        def __init__(self):
            super().__init__()
            self.compared = threading.Barrier(8)

        def write_if(self, path, data, expected):
            if self.read(path).version != expected:
                raise ConflictError(path)
            self.compared.wait(10)
            return self.write(path, data)


class WritesBeforeTheConflict(Wrong):
    caught_by = "test_checked_write_expecting_a_version_of_nothing_is_a_conflict"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def write_if(self, path, data, expected):
            if path not in self._histories and expected is not None:
                self.write(path, data)
                raise ConflictError(path)
            return super().write_if(path, data, expected)


# --- supervision ----------------------------------------------------------------------------------------------------


class Prints(Wrong):
    caught_by = "test_secret_has_its_path"
    caught_with = "something was printed to stdout"

    class Store(MemoryStore):
        def read(self, path):
            print("reading")  # noqa: T201  # its fault
            return super().read(path)


class PrintsBytes(Wrong):
    caught_by = "test_secret_has_its_path"
    caught_with = "something was printed to stdout"

    class Store(MemoryStore):
        def read(self, path):
            sys.stdout.buffer.write(b"reading")
            return super().read(path)


class Hangs(Wrong):
    """Waits for ever, in a store that declares to be local."""

    longest_test = 0.2
    caught_by = "test_secret_has_its_path"
    caught_with = "test_secret_has_its_path hung: it was not over after 0.2 seconds"

    class Store(MemoryStore):
        def read(self, path):
            threading.Event().wait()


class LeavesAThread(Wrong):
    time_to_end = 0.0
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "close() left the thread of-the-store"

    class Store(MemoryStore):
        def read(self, path):
            threading.Thread(target=threading.Event().wait, name="of-the-store", daemon=True).start()
            return super().read(path)


class LeavesAThreadOfItsOpening(Wrong):
    time_to_end = 0.0
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "close() left the thread of-the-opening"

    class Store(MemoryStore):
        def __init__(self):
            super().__init__()
            threading.Thread(target=threading.Event().wait, name="of-the-opening", daemon=True).start()


class LeavesAConnection(Wrong):
    time_to_end = 0.0
    caught_by = "test_close_ends_connections_and_threads"
    caught_with = "close() left the socket"

    class Store(MemoryStore):
        def __init__(self):
            super().__init__()
            self.connections = []

        def read(self, path):
            self.connections += socket.socketpair()
            return super().read(path)


class IgnoresADrip(Wrong):
    """Waits for each byte, and not for the whole answer."""

    caught_by = "test_dripping_service_is_unavailable_in_time"
    caught_with = "and had 0.2 s"

    @pytest.fixture
    def dripping(self):
        with dripping_server() as address, socket.create_connection(address) as connection:

            class Store(MemoryStore):
                def read(self, path):
                    for _ in range(35):  # a drip of 50 ms
                        connection.settimeout(max(remaining(), 1.0))
                        connection.recv(1)
                        threading.Event().wait(0.05)
                    raise StoreUnavailableError(path)

            yield Store()


class KeepsADeadConnection(Wrong):
    """Reports an outage when the server has closed the connection in the meantime."""

    caught_by = "test_connection_that_was_closed_while_idle_is_replaced"
    caught_with = "Store unavailable: contract/app"

    @pytest.fixture
    def restarted(self):
        def fill(contents):
            store, state = MemoryStore(), {"connected": True}

            class Connected(MemoryStore):
                def read(self, path):
                    if not state["connected"]:
                        state["connected"] = True
                        raise StoreUnavailableError(path)
                    return store.read(path)

            for path, data in contents.items():
                store.write(path, data)
            return Connected(), lambda: state.update(connected=False)

        return fill


class AbsentForForeign(Wrong):
    caught_by = "test_entry_of_another_program_is_an_error_of_its_own"
    caught_with = "an entry of another program is not an absence"

    @pytest.fixture
    def foreign(self):
        store = MemoryStore()
        store.write("contract/app", {"key": "value"})
        return store


class ForeignEndsTheBatch(Wrong):
    caught_by = "test_entry_of_another_program_is_an_error_of_its_own"
    caught_with = "it is no JSON"

    @pytest.fixture
    def foreign(self):
        class Store(MemoryStore):
            def read_many(self, paths):
                for path in paths:
                    if path.endswith("foreign"):
                        raise InvalidDataError(path, "it is no JSON")
                    yield path, self.read(path)

        store = Store()
        store.write("contract/app", {"key": "value"})
        return store


class FoldsCase(Wrong):
    """Takes folders that differ in case for one."""

    caught_by = "test_folders_that_differ_in_case_are_two"
    caught_with = "At index 0 diff"

    class Store(MemoryStore):
        def list_entries(self, prefix):
            return iter({name.lower() for name in super().list_entries(prefix)})


class ListsAThousand(Wrong):
    """Its service returns pages of a thousand names, and it reads one."""

    caught_by = "test_large_folder_is_listed_whole"
    caught_with = "assert 1000 == 1101"

    class Store(MemoryStore):
        def list_entries(self, prefix):
            return islice(super().list_entries(prefix), 1_000)


class SortsVersionsAsText(Wrong):
    caught_by = "test_twelve_versions_are_in_order"
    caught_with = "At index 1 diff: 9 != 1"

    class Store(MemoryStore):
        def versions(self, path):
            return sorted(super().versions(path), key=lambda info: str(info.version))


# --- lists, bulk, versions --------------------------------------------------------------------------------------------


class ListsOnePage(Wrong):
    caught_by = "test_list_is_complete_at_a_page_boundary[1]"
    caught_with = "assert 100 == 101"

    class Store(MemoryStore):
        def list_entries(self, prefix):
            return islice(super().list_entries(prefix), 100)


class ListsByTheStartOfTheName(Wrong):
    caught_by = "test_nothing_below_lists_nothing"
    caught_with = "assert [''] == []"

    class Store(MemoryStore):
        def list_entries(self, prefix):
            names = [path.removeprefix(prefix) for path in self._histories if path.startswith(prefix)]
            return iter({name.partition("/")[0] for name in names})


class WalksByTheStartOfTheName(Wrong):
    caught_by = "test_walk_stays_below_its_folder"
    caught_with = "contract/subway (store under-contract: it lists this name, and it is not in the listed folder"

    class Store(MemoryStore):
        def walk(self, prefix):
            return (path for path in self._histories if path.startswith(prefix))


class WalksToTheFolderItself(Wrong):
    caught_by = "test_nothing_below_lists_nothing"
    caught_with = "contract/app (store under-contract: it lists this name, and it is not in the listed folder"

    class Store(MemoryStore):
        def walk(self, prefix):
            return (path for path in self._histories if f"{path}/".startswith(f"{prefix}/"))


class WalksLabelsByTheStartOfTheName(Wrong):
    caught_by = "test_walk_stays_below_its_folder"
    caught_with = "contract/subway (store under-contract: it lists this name, and it is not in the listed folder"

    class Store(MemoryStore):
        def walk_labels(self, prefix):
            return ((path, {}) for path in self._histories if path.startswith(prefix))


class ListsTwice(Wrong):
    caught_by = "test_list_names_what_is_directly_below"
    caught_with = "'contract/' != 'contractor'"

    class Store(MemoryStore):
        def list_entries(self, prefix):
            entries = list(super().list_entries(prefix))
            return iter([*entries, *(entry for entry in entries if entry.endswith("/"))])


class LeavesAbsentOut(Wrong):
    caught_by = "test_many_reads_have_their_own_outcomes"
    caught_with = "{'contract/absent': <class 'strongroom.errors.StoreError'>}"

    class Store(MemoryStore):
        def read_many(self, paths):
            return (outcome for outcome in super().read_many(paths) if isinstance(outcome[1], Secret))


class ReadsEverythingFirst(Wrong):
    caught_by = "test_many_reads_take_bounded_memory"
    caught_with = "assert 2000 < 2000"

    class Store(MemoryStore):
        def read_many(self, paths):
            return iter(list(super().read_many(paths)))


class LosesTheLastOfTheBatch(Wrong):
    caught_by = "test_many_writes_have_their_own_outcomes"
    caught_with = "Secret not found: contract/00100"

    class Store(MemoryStore):
        def write_many(self, items):
            for number, (path, data) in enumerate(items):
                yield path, self.write(path, data) if number < 100 else 1


class DeletesAllButTheLastOfTheBatch(Wrong):
    caught_by = "test_many_deletes_have_their_own_outcomes"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def delete_many(self, paths):
            for number, path in enumerate(paths):
                error = None
                try:
                    if number != 100:
                        self.delete(path)
                except SecretNotFoundError as absence:
                    error = absence
                yield path, error


class ComparesOneOfMany(Wrong):
    caught_by = "test_many_checked_writes_have_their_own_outcomes"
    caught_with = "At index 0 diff: <class 'int'>"

    class Store(MemoryStore):
        def write_many_if(self, items):
            for number, (path, data, expected) in enumerate(items):
                yield path, self.write_if(path, data, expected) if number == 0 else self.write(path, data)


class RefusesBeforehandOnly(Wrong):
    caught_by = "test_vetting_writes_nothing_and_refuses_what_a_write_refuses"
    caught_with = "DID NOT RAISE InvalidDataError"

    class Store(MemoryStore):
        def vet(self, path, data):
            if "" in data.values():
                raise InvalidDataError(path, "an empty value")


class VetsByWriting(Wrong):
    caught_by = "test_vetting_writes_nothing_and_refuses_what_a_write_refuses"
    caught_with = "DID NOT RAISE any of (SecretNotFoundError, InvalidPathError)"

    class Store(MemoryStore):
        def vet(self, path, data):
            self.write(path, data)


class RefusesLabelsBeforehandOnly(Wrong):
    caught_by = "test_vetting_labels_writes_none_and_refuses_what_a_write_refuses"
    caught_with = "DID NOT RAISE InvalidDataError"

    class Store(MemoryStore):
        def vet_labels(self, path, labels):
            if "" in labels.values():
                raise InvalidDataError(path, "an empty label")


class KeepsTheForm(Wrong):
    caught_by = "test_secret_written_in_a_form_is_the_same_secret"
    caught_with = "strongroom:form"

    class Store(MemoryStore):
        def write_formed(self, path, data, form):
            version = self.write(path, data)
            self.write_metadata(path, form)
            return version


class WritesAnotherForm(Wrong):
    caught_by = "test_secret_written_in_a_form_is_the_same_secret"
    caught_with = "assert {}"

    class Store(MemoryStore):
        def write(self, path, data):
            version = super().write(path, data)
            self.forms = {path: {"strongroom:form": "text"} if len(data) == 1 else {}}
            return version

        def write_formed(self, path, data, form):
            version = self.write(path, data)
            self.forms = {}
            return version

        def read(self, path):
            secret = super().read(path)
            return replace(secret, metadata={**secret.metadata, **self.forms.get(path, {})})


class NewestForEveryVersion(Wrong):
    caught_by = "test_versions_are_kept_oldest_first"
    caught_with = "returned another version"

    class Store(MemoryStore):
        def read_version(self, path, version):
            return self.read(path)


class NewestUnderAnotherName(Wrong):
    caught_by = "test_versions_are_kept_oldest_first"
    caught_with = "At index 0 diff"

    class Store(MemoryStore):
        def read_version(self, path, version):
            return replace(self.read(path), version=version)


class KeepsFewerThanItSays(Wrong):
    caught_by = "test_kept_versions_stay"
    caught_with = "version 1 is destroyed"

    class Store(MemoryStore):
        def write(self, path, data):
            version = super().write(path, data)
            if version > 10:
                self.destroy(path, version - 10)
            return version


class DestroysNothing(Wrong):
    caught_by = "test_destroyed_version_is_gone"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def destroy(self, path, version):
            pass


class AddsLabels(Wrong):
    caught_by = "test_labels_are_replaced_and_nothing_else"
    caught_with = "== {'owner': 'payments'}"

    class Store(MemoryStore):
        def write_metadata(self, path, metadata):
            super().write_metadata(path, {**self.read_metadata(path), **metadata})


class NewestFirst(Wrong):
    caught_by = "test_versions_are_kept_oldest_first"
    caught_with = "At index 0 diff"

    class Store(MemoryStore):
        def versions(self, path):
            return super().versions(path)[::-1]


class UndeletesWhatIsAbsent(Wrong):
    """Vault's KV version 2 does this."""

    caught_by = "test_unknown_versions_are_not_found"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def undelete(self, path, version):
            with suppress(SecretNotFoundError):
                super().undelete(path, version)


class DestroysWhatIsAbsent(Wrong):
    caught_by = "test_unknown_versions_are_not_found"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def destroy(self, path, version):
            with suppress(SecretNotFoundError):
                super().destroy(path, version)


class UndeletesOnce(Wrong):
    caught_by = "test_deleted_version_can_be_undeleted"
    caught_with = "it is not deleted"

    class Store(MemoryStore):
        def undelete(self, path, version):
            if self._kept(path, version).readable:
                raise ConflictError(path, "it is not deleted")
            super().undelete(path, version)


class NamesOnlyWhatIsReadable(Wrong):
    caught_by = "test_history_names_what_is_deleted"
    caught_with = "not enough values to unpack"

    class Store(MemoryStore):
        def versions(self, path):
            return [info for info in super().versions(path) if not (info.deleted or info.destroyed)]


class WritingUndeletes(Wrong):
    caught_by = "test_history_names_what_is_deleted"
    caught_with = "(False, False) == (True, False)"

    class Store(MemoryStore):
        def write(self, path, data):
            for info in super().versions(path) if path in self._histories else ():
                if info.deleted:
                    super().undelete(path, info.version)
            return super().write(path, data)


class UndeletesTheDestroyed(Wrong):
    """`undelete` succeeds, but the version cannot be read."""

    caught_by = "test_destroyed_version_is_gone"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def undelete(self, path, version):
            if self._kept(path, version).data is not None:
                super().undelete(path, version)


class DestroysOnce(Wrong):
    caught_by = "test_destroyed_version_is_gone"
    caught_with = "it is destroyed already"

    class Store(MemoryStore):
        def destroy(self, path, version):
            if self._kept(path, version).data is None:
                raise ConflictError(path, "it is destroyed already")
            super().destroy(path, version)


class OldVersionForDestroyed(Wrong):
    caught_by = "test_destroyed_newest_version_leaves_nothing_to_read"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def read(self, path):
            kept = self._history(path).kept
            whole = [number for number, each in enumerate(kept, start=1) if each.data is not None]
            return super().read(path) if len(whole) == len(kept) else super().read_version(path, whole[-1])


class UsesANumberTwice(Wrong):
    caught_by = "test_destroyed_newest_version_leaves_nothing_to_read"
    caught_with = "assert 2 not in {1, 2}"

    class Store(MemoryStore):
        def write(self, path, data):
            kept = self._histories[path].kept if path in self._histories else []
            while kept and kept[-1].data is None:
                kept.pop()
            return super().write(path, data)


class KeepsVersionsOfTheDeleted(Wrong):
    capabilities = MEMORY | {"final_deletes"}
    caught_by = "test_final_delete_takes_everything_along"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        traits = MemoryStore.traits._replace(final_deletes=True)


class KeepsLabelsOfTheDeleted(Wrong):
    capabilities = MEMORY | {"final_deletes"}
    caught_by = "test_final_delete_takes_everything_along"
    caught_with = "== {}"

    class Store(MemoryStore):
        traits = MemoryStore.traits._replace(final_deletes=True)
        left: Mapping[str, str] = {}

        def delete(self, path):
            super().delete(path)
            self.left = self._histories.pop(path).labels

        def write(self, path, data):
            version = super().write(path, data)
            self.write_metadata(path, {**self.read_metadata(path), **self.left})
            return version


class LabelsMakeAVersion(Wrong):
    caught_by = "test_labels_are_replaced_and_nothing_else"
    caught_with = "assert 3 == 1"

    class Store(MemoryStore):
        def write_metadata(self, path, metadata):
            super().write_metadata(path, metadata)
            super().write(path, self.read(path).data)


class NobodysLabelsAreNone(Wrong):
    caught_by = "test_labels_belong_to_a_secret"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def read_metadata(self, path):
            return super().read_metadata(path) if path in self._histories else {}


class DeletingForgetsLabels(Wrong):
    caught_by = "test_labels_belong_to_a_secret"
    caught_with = "assert {} == {'owner': 'billing'}"

    class Store(MemoryStore):
        def delete(self, path):
            super().delete(path)
            super().write_metadata(path, {})


class LabelsMakeASecret(Wrong):
    caught_by = "test_labels_belong_to_a_secret"
    caught_with = "DID NOT RAISE SecretNotFoundError"

    class Store(MemoryStore):
        def write_metadata(self, path, metadata):
            if path not in self._histories:
                super().write(path, {"made": "by labels"})
            super().write_metadata(path, metadata)


# --- redaction, threads, closing, declarations ------------------------------------------------------------------------


class TellsTheValueInAnError(Wrong):
    caught_by = "test_checked_write_replaces_the_expected_version"
    caught_with = "ConflictError shows a value"

    class Store(MemoryStore):
        def write_if(self, path, data, expected):
            try:
                return super().write_if(path, data, expected)
            except ConflictError as error:
                raise ConflictError(path, f"{data['password']} was not written") from error


class WritesTwentyKeys(Wrong):
    caught_by = "test_hard_input_survives_or_is_refused[many keys]"
    caught_with = "assert "

    class Store(MemoryStore):
        def write(self, path, data):
            return super().write(path, dict(islice(data.items(), 20)))


class LogsAValueInBase64(Wrong):
    caught_by = "test_reads_are_independent"
    caught_with = "a value is in the log of zoo"

    class Store(MemoryStore):
        def read(self, path):
            secret = super().read(path)
            document = f'{{"password": "{secret.data["password"].reveal()}"}}'
            logging.getLogger("zoo").debug("got %s", base64.b64encode(document.encode()))
            return secret


class LogsAValueInHex(Wrong):
    caught_by = "test_reads_are_independent"
    caught_with = "a value is in the log of zoo"

    class Store(MemoryStore):
        def read(self, path):
            secret = super().read(path)
            logging.getLogger("zoo").debug("got %s", secret.data["password"].encode().hex())
            return secret


class TellsTheFirstCharactersInAnError(Wrong):
    caught_by = "test_checked_write_replaces_the_expected_version"
    caught_with = "ConflictError shows a value"

    class Store(MemoryStore):
        def write_if(self, path, data, expected):
            try:
                return super().write_if(path, data, expected)
            except ConflictError as error:
                raise ConflictError(path, f"{data['password'].reveal()[:4]}**** was not written") from error


class ShowsItsValuesInItsRepr(Wrong):
    caught_by = "test_store_itself_raises_the_class_of_an_absence"
    caught_with = "repr() of the store shows a credential"

    class Store(MemoryStore):
        def __repr__(self):
            return f"Store(token={CANARY!r})"


class CutsALargeValue(Wrong):
    caught_by = "test_large_value_survives_or_is_refused[131072]"
    caught_with = "a value of 131,072 characters changed"

    class Store(MemoryStore):
        def write(self, path, data):
            return super().write(path, {key: v[:100_000] if isinstance(v, str) else v for key, v in data.items()})


class ListsAThousandAndTen(Wrong):
    caught_by = "test_large_folder_is_listed_whole"
    caught_with = "assert 1010 == 1101"

    class Store(MemoryStore):
        def list_entries(self, prefix):
            return islice(super().list_entries(prefix), 1_010)


class FailsAboveHalfAMebibyte(Wrong):
    caught_by = "test_large_value_survives_or_is_refused[1048576]"
    caught_with = "TypeError"

    class Store(MemoryStore):
        def write(self, path, data):
            if any(isinstance(value, str) and len(value) > 1 << 19 for value in data.values()):
                raise TypeError
            return super().write(path, data)


class PrintsToTheDescriptor(Wrong):
    caught_by = "test_reads_are_independent"
    caught_with = "something was printed to stdout"

    class Store(MemoryStore):
        def read(self, path):
            os.write(1, b"read\n")
            return super().read(path)


class TellsTheValueOnStderr(Wrong):
    caught_by = "test_reads_are_independent"
    caught_with = "a value was printed to stderr"

    class Store(MemoryStore):
        def read(self, path):
            secret = super().read(path)
            os.write(2, secret.data["password"].reveal().encode())
            return secret


class TellsTheValueInAWarning(Wrong):
    caught_by = "test_reads_are_independent"
    caught_with = "a value is in a warning (UserWarning)"

    class Store(MemoryStore):
        def read(self, path):
            secret = super().read(path)
            warnings.warn(f"it is {secret.data['password'].reveal()}", stacklevel=1)
            return secret


class TellsTheValueInALog(Wrong):
    caught_by = "test_write_replaces_the_whole_secret"
    caught_with = "a value is in the log of wrong"

    class Store(MemoryStore):
        def write(self, path, data):
            logging.getLogger("wrong").debug("writing %s", " ".join(map(str, data.values())))
            return super().write(path, data)


class OneBufferForAllThreads(Wrong):
    """All eight readers call `read` before any of them gets an answer."""

    caught_by = "test_threads_get_their_own_answers"
    caught_with = "False = all("

    class Store(MemoryStore):
        def __init__(self):
            super().__init__()
            self.asked = threading.Barrier(8)
            self.path = ""

        def read(self, path):
            self.path = path
            self.asked.wait(10)
            return replace(super().read(self.path), path=path)


class ClosesOnce(Wrong):
    caught_by = "test_closing_twice_is_harmless"
    caught_with = "it is closed"

    class Store(MemoryStore):
        closed = False

        def close(self):
            if self.closed:
                raise ValueError("it is closed")
            self.closed = True


class CanMoreThanItSays(Wrong):
    caught_by = "test_capabilities_are_the_declared_ones"
    caught_with = "'versioned'"
    capabilities = MEMORY - {"versioned"}
    Store = MemoryStore


class DeclaresWhatDoesNotExist(Wrong):
    caught_by = "test_declared_names_exist"
    caught_with = "'null bytes'"
    cannot_hold = frozenset({"null bytes"})
    Store = MemoryStore


# --- denied and unreachable -------------------------------------------------------------------------------------------


class _Refuses:
    """A store whose operations raise a given failure. Its deadline is not enforced: the contract judges it."""

    traits = Traits(honors_deadline=True)

    def __init__(self, failure: Callable[[str], Exception]) -> None:
        self.failure = failure

    def read(self, path: str) -> Secret:
        raise self.failure(path)

    def list_entries(self, prefix: str) -> Iterator[str]:
        raise self.failure(prefix)
        yield

    def probe(self) -> Health:
        raise self.failure("")

    def close(self) -> None:
        pass


class WrongInTrouble(Wrong):
    """A contract of a store with correct denials and outages."""

    capabilities = frozenset({"listable", "probed"})
    impossible = frozenset()

    @pytest.fixture
    def denied(self):
        return _Refuses(PermissionDeniedError)

    @pytest.fixture
    def unreachable(self):
        return _Refuses(StoreUnavailableError)


class DeniedIsAbsent(WrongInTrouble):
    caught_by = "test_denied_is_denied[read]"
    caught_with = "SecretNotFoundError"

    @pytest.fixture
    def denied(self):
        return _Refuses(SecretNotFoundError)


class DeniedListsNothing(WrongInTrouble):
    caught_by = "test_denied_is_denied[list_entries]"
    caught_with = "DID NOT RAISE any of (PermissionDeniedError"

    @pytest.fixture
    def denied(self):
        store = _Refuses(PermissionDeniedError)
        store.list_entries = lambda prefix: iter(())
        return store


class DeniedHistoryIsEmpty(WrongInTrouble):
    caught_by = "test_denied_is_denied[versions]"
    caught_with = "expected Secret"
    capabilities = frozenset({"versioned"})

    @pytest.fixture
    def denied(self):
        store = MemoryStore()
        store.versions = lambda path: []
        return store


class DeniedLabelsAreNone(WrongInTrouble):
    caught_by = "test_denied_is_denied[read_metadata]"
    caught_with = "DID NOT RAISE any of (PermissionDeniedError"
    capabilities = frozenset({"versioned"})

    @pytest.fixture
    def denied(self):
        store = MemoryStore()
        store.read_metadata = lambda path: {}
        return store


class OutageIsAbsent(WrongInTrouble):
    caught_by = "test_unreachable_is_unavailable_in_time[read]"
    caught_with = "SecretNotFoundError"

    @pytest.fixture
    def unreachable(self):
        return _Refuses(SecretNotFoundError)


class OutageIsSomebodyElsesError(WrongInTrouble):
    caught_by = "test_store_itself_raises_the_class_of_the_failure[unreachable]"
    caught_with = "ConnectionError"

    @pytest.fixture
    def unreachable(self):
        return _Refuses(ConnectionError)


class OutageIsWell(WrongInTrouble):
    caught_by = "test_unreachable_store_is_not_well"
    caught_with = "assert not True"

    @pytest.fixture
    def unreachable(self):
        store = _Refuses(StoreUnavailableError)
        store.probe = lambda: Health(ok=True)
        return store


class TakesItsTime(WrongInTrouble):
    """Waits longer than the remaining time."""

    caught_by = "test_unreachable_is_unavailable_in_time[read]"
    caught_with = "and had 0.2 s"

    @pytest.fixture
    def unreachable(self):
        def slow(path: str) -> Exception:
            time.sleep(remaining() + 1.2)
            return StoreUnavailableError(path)

        return _Refuses(slow)


class ForgetsToShowADenial(WrongInTrouble):
    caught_by = "test_denied_is_denied[read]"
    caught_with = "override the fixture `denied`"
    denied = StoreContract.denied


class SaysImpossibleAndShowsIt(WrongInTrouble):
    caught_by = "test_impossible_state_has_no_fixture"
    caught_with = "is declared impossible, and WrongInTrouble has a fixture"
    impossible = frozenset({"denied"})


WRONG = [wrong for base in (Wrong, WrongInTrouble) for wrong in base.__subclasses__() if "caught_by" in vars(wrong)]
