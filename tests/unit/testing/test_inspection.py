"""The read-only part of the contract: each broken store fails the check that is about its fault."""

import logging
import sys

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError, StoreUnavailableError
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from strongroom.testing.inspection import Inspection, InspectionState

CANARY = "canary-71d2"
CONTENTS = {path: {"password": f"{CANARY}-{path}"} for path in ("top", "app/one", "app/two")}


class Invents(MemoryStore):
    def read(self, path):
        return Secret(path, {"password": CANARY}, version=1) if "check" in path else super().read(path)


class Repeats(MemoryStore):
    def list_entries(self, prefix):
        yield from super().list_entries(prefix)
        yield from super().list_entries(prefix)


class Forgets(MemoryStore):
    def walk(self, prefix=""):
        yield "app/one"


class Adds(MemoryStore):
    def walk(self, prefix=""):
        yield from ("top", "app/one", "other/three")


class Changes(MemoryStore):
    reads = 0

    def read(self, path):
        found = super().read(path)
        self.reads += 1
        return Secret(path, {"password": f"{CANARY}-{self.reads}"}, version=found.version)


class OtherVersions(MemoryStore):
    def versions(self, path):
        return []


class LosesBulk(MemoryStore):
    def read_many(self, paths):
        yield from list(super().read_many(paths))[1:]


class Prints(MemoryStore):
    def read(self, path):
        sys.stdout.write("reading\n")
        return super().read(path)


class Logs(MemoryStore):
    def read(self, path):
        found = super().read(path)
        logging.getLogger("corp").debug("read %s", found.data["password"].reveal())
        return found


BROKEN = {
    Invents: "absence is confirmed",
    Repeats: "names are listed once",
    Forgets: "walk and list agree",
    Adds: "walk and list agree",
    Changes: "reads agree",
    OtherVersions: "versions agree",
    LosesBulk: "bulk reads agree",
    Prints: "output and logs hold no value",
    Logs: "output and logs hold no value",
}


def filled(kind: type[MemoryStore]) -> GuardedStore:
    store = kind()
    for path, data in CONTENTS.items():
        store.write(path, data)
    return GuardedStore(store, "corp")


def results(store: GuardedStore, known=()):
    return {result.name: result for result in Inspection(store, known).results()}


def test_store_that_keeps_the_contract_has_no_fault(capsys):
    """And nothing of it is written, printed, or left in the settings of the loggers."""
    level, store = logging.getLogger().level, filled(MemoryStore)
    found = results(store)
    assert {result.state for result in found.values()} <= {InspectionState.OK, InspectionState.SKIPPED}
    assert found["secrets are read"].detail == "3 read"
    assert CANARY not in repr(found)
    assert capsys.readouterr().out == ""
    assert logging.getLogger().level == level


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_store_fails_the_check_that_is_about_its_fault(kind, capsys):
    """With a detail that names the path, and no value."""
    found = results(filled(kind))
    assert found[BROKEN[kind]].state is InspectionState.FAILED
    assert found[BROKEN[kind]].detail
    assert found[BROKEN[kind]].error is None
    assert CANARY not in repr(found)
    assert capsys.readouterr().out == ""


def test_second_page_of_a_thousand_names_is_looked_at():
    """A service that ignores where its next page begins returns the first one again."""

    class OnePage(MemoryStore):
        def list_entries(self, prefix):
            page = [f"name-{number}" for number in range(1_000)]
            yield from page + page

    assert results(filled(OnePage))["names are listed once"].state is InspectionState.FAILED


@pytest.mark.parametrize("raised", [StoreUnavailableError(None, "down"), KeyError(CANARY), SystemExit(0)])
def test_error_of_the_store_is_the_result_of_its_check(raised):
    """The other checks run as ever."""

    class Fails(MemoryStore):
        def list_entries(self, prefix):
            raise raised

    found = results(filled(Fails), known=["top"])
    assert found["names are listed once"].state is InspectionState.FAILED
    assert isinstance(found["names are listed once"].error, StoreError) is isinstance(raised, StoreError)
    assert found["absence is confirmed"].state is InspectionState.OK
    assert CANARY not in repr(found)


def test_known_paths_are_read_from_a_store_that_cannot_be_listed():
    """Those of `[secrets]`. A path that the credentials may not read is counted."""

    class Blind:
        def read(self, path):
            if path == "denied":
                raise PermissionDeniedError(path)
            return filled(MemoryStore).read(path)

        def close(self):
            pass

    found = results(GuardedStore(Blind(), "corp"), known=["top", "denied", "none"])
    assert found["secrets are read"].detail == "1 read, 1 absent, 1 denied"
    assert found["names are listed once"] == found["names are listed once"]._replace(
        state=InspectionState.SKIPPED, detail="the store is not listable"
    )


def test_write_of_another_program_is_no_fault():
    """It may come between any two reads or lists: without versions, a third read tells."""

    class Shared:
        reads = lists = 0

        def read(self, path):
            if path not in {"top", "new"}:
                raise SecretNotFoundError(path)
            self.reads += 1
            return Secret(path, {"password": f"{CANARY}-{min(self.reads, 3)}"})

        def list_entries(self, prefix):
            self.lists += 1
            yield from ("top", "new") if self.lists > 2 else ("top",)

        def walk(self, prefix):
            yield from ("top", "new")

        def close(self):
            pass

    found = results(GuardedStore(Shared(), "corp"))
    assert {name for name, result in found.items() if result.state is InspectionState.FAILED} == set()


def test_no_credential_is_created():
    """A read of a dynamic store would create one."""

    class Dynamic(MemoryStore):
        def makes(self, path):
            return True

        def read(self, path):
            raise AssertionError("it was read")

    found = results(filled(Dynamic))
    assert found["secrets are read"].state is InspectionState.SKIPPED
    assert found["absence is confirmed"].state is InspectionState.SKIPPED
