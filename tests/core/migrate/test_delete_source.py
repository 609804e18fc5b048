"""Deleting at the source: what it leaves alone, and what undoing leaves alone after it."""

from __future__ import annotations

import pytest

from strongroom.errors import MigrationError, PermissionDeniedError, StoreUnavailableError
from strongroom.memory import MemoryStore
from strongroom.migrate import ItemState, OnConflict, apply, delete_source, plan, undo


@pytest.fixture
def home(tmp_path):
    return tmp_path / "migrations"


def states(report):
    return {result.path: result.state for result in report.results}


def failed(function, *arguments, **options):
    """The report of what was not done to its end."""
    with pytest.raises(MigrationError) as caught:
        function(*arguments, **options)
    return caught.value.report


# --- undoing after it -------------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A store in which one path cannot be deleted, for this reason."""

    error = None

    def delete(self, path):
        if path == "b" and self.error is not None:
            raise self.error
        super().delete(path)


def test_the_only_copy_is_never_undone(home):
    """Neither deleted, where the run made it, nor replaced, where the run changed it."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("made", {"k": 1})
    stores["s"].write("changed", {"k": 1})
    stores["t"].write("changed", {"k": 2})
    apply(plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, home=home), stores=stores, home=home)
    assert delete_source(stores=stores, home=home).ok
    for _ in range(2):
        report = failed(undo, stores=stores, home=home)
        assert states(report) == {"made": ItemState.CONFLICT, "changed": ItemState.CONFLICT}
        assert all("source was deleted" in result.reason for result in report.results)
    assert [stores["t"].read(path).data for path in ("made", "changed")] == [{"k": 1}] * 2


@pytest.mark.parametrize(
    ("error", "state"),
    [(PermissionDeniedError("b"), ItemState.DONE), (StoreUnavailableError("b"), ItemState.CONFLICT)],
)
def test_what_was_not_deleted_is_undone(home, error, state):
    """Of a deletion whose end nobody saw, the secret may be gone."""
    stores = {"s": Failing(), "t": MemoryStore()}
    for path in ("a", "b"):
        stores["s"].write(path, {"k": 1})
    apply(plan("s", "t", stores=stores, home=home), stores=stores, home=home)
    stores["s"].error = error
    assert states(failed(delete_source, stores=stores, home=home)) == {"a": ItemState.DONE, "b": ItemState.FAILED}
    assert states(failed(undo, stores=stores, home=home)) == {"a": ItemState.CONFLICT, "b": state}


def test_a_deletion_is_in_the_journal_before_it_is_sent(home):
    """Whoever is killed right after it has not forgotten it."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    apply(plan("s", "t", stores=stores, home=home), stores=stores, home=home)
    seen = []

    def delete(path):
        seen.extend(line for file in home.glob("*/journal") for line in file.read_text().splitlines()[-1:])
        MemoryStore.delete(stores["s"], path)

    stores["s"].delete = delete
    delete_source(stores=stores, home=home)
    assert seen == ['{"t": "source-deleted", "i": 0}']
