"""The credentials in the record of a rotation are secret, its words are not: `PATH/rotation/pending` everywhere."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom._cli.options import Invocation
from strongroom.errors import ConflictError, PermissionDeniedError, UnsupportedOperationError
from strongroom.logging import fingerprints, masked
from strongroom.migrate import Migrator, PlannedState, Selection
from strongroom.migrate._execution.drift import drift
from strongroom.migrate.sources import StoreSource
from strongroom.paths import MAX_PATH_LENGTH, is_rotation_record
from strongroom.rotate.state import KEY, pending_path
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.scenarios.redaction import forget_values
from support.scenarios.rotating import FIRST, PATH, WRITES, KillableStore, Killed, Rotating

RECORD = pending_path(PATH)
SENTENCE = "order 7 done by the service: password policy ok"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "migrations"


@pytest.fixture
def known():
    """The redaction of this process, which knows no value yet."""
    forget_values()
    yield fingerprints()
    forget_values()


@pytest.fixture
def scanned(command, monkeypatch):
    """A function that returns the leaks of a store's values in a text, and the number of secrets."""

    def scan(store, text):
        monkeypatch.setattr(store, "close", lambda: None)
        monkeypatch.setattr(Invocation, "open", lambda _: SecretsManager(chain=[store]))
        Path("app.log").write_text(text, "utf-8")
        document = json.loads(command("scan", "--json", "app.log").out)
        return [leak["name"] for leak in document["leaks"]], document["secrets"]

    return scan


def stopped(write=2, *, begin=None):
    """Return a rotation whose process was killed after this write; after the second one, the service has applied it."""
    rotating = begin or Rotating(two=False, store=KillableStore())
    rotating.store.arm(write, after=True)
    with pytest.raises(Killed):
        rotating.transaction().rotate()
    rotating.store.left = None
    return rotating


def rotated():
    rotating = Rotating()
    rotating.transaction().rotate()
    return rotating


def words(document):
    """Return the text of a record without its credentials."""
    state = document[KEY]
    return json.dumps({name: state[name] for name in state if name not in {"new", "old"}})


# --- redaction and scan -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_a_log_keeps_the_words_of_a_record_and_loses_its_credentials(known, write):
    rotating = stopped(write)
    document = rotating.document
    assert masked(SENTENCE) == SENTENCE
    assert masked(words(document)) == words(document)
    for value in {*document[KEY].get("new", {}).values(), *document[KEY].get("old", {}).values()}:
        assert masked(f"login with {value.reveal()} failed") == "login with [redacted] failed"
    if write < WRITES:
        assert masked(document["password"].reveal()) == "[redacted]"


def test_a_log_loses_every_value_of_a_secret_at_a_reserved_path_that_is_no_record(known):
    Secret("a/rotation/pending", {"k": "canary-of-the-application"})
    assert masked("canary-of-the-application") == "[redacted]"


def test_a_scan_does_not_look_for_the_words_of_a_record(scanned):
    rotating = rotated()
    assert scanned(rotating.store, f"{SENTENCE}\n{words(rotating.document)}\n") == ([], 1)


def test_a_scan_looks_for_the_pending_password_and_not_for_its_address(scanned):
    rotating = stopped()
    live = rotating.document["password"].reveal()
    assert rotating.service.accepted == {live}
    text = f"{SENTENCE}\n{words(rotating.document)}\nhost {FIRST['host']}\npassword={live}\n"
    assert scanned(rotating.store, text) == ([f"{RECORD}#password"], 1)


# --- one rule for every surface ---------------------------------------------------------------------------------------


def listed(store):
    return SecretsManager(chain=[store]).list_secrets(recursive=True)


def listed_by_folder(store):
    manager, found, folders = SecretsManager(chain=[store]), [], [""]
    while folders:
        folder = folders.pop()
        for name in manager.list_secrets(folder):
            path = f"{folder}/{name}" if folder else name
            (folders if name.endswith("/") else found).append(path.removesuffix("/"))
    return found


def listed_asynchronously(store):
    return asyncio.run(SecretsManager(chain=[store]).alist_secrets(recursive=True))


def preloaded(store):
    return SecretsManager(chain=[store]).preload(strict=True)


def planned(store, target=None):
    target = MemoryStore() if target is None else target
    return Migrator(stores={"here": store, "there": target}, state_folder=Path("runs")).plan("here", "there")


def planned_paths(store):
    return [item.source_path for item in planned(store).items]


def compared(store):
    stores = {"first": store, "second": MemoryStore()}
    sources = [StoreSource(GuardedStore(store, name), name) for name, store in stores.items()]
    return [difference.path for difference in drift(*sources, Selection())]


SURFACES = [listed, listed_by_folder, listed_asynchronously, preloaded, planned_paths, compared]
PATHS = st.sets(st.lists(st.sampled_from(["a", "rotation", "pending"]), min_size=1, max_size=5).map("/".join))


@pytest.fixture(scope="module")
def document():
    return rotated().document


@pytest.mark.parametrize("surface", SURFACES)
@given(paths=PATHS)
def test_every_surface_leaves_out_the_reserved_paths_and_no_other(surface, document, paths):
    store = MemoryStore()
    for path in paths:
        store.write(path, document if is_rotation_record(path) else {"k": "v"})
    assert sorted(surface(store)) == sorted(path for path in paths if not is_rotation_record(path))


def test_a_read_of_the_reserved_path_works():
    assert KEY in rotated().manager.get_secret(RECORD)


# --- migrations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", range(1, WRITES))
def test_a_secret_whose_rotation_is_unfinished_is_not_planned(write):
    """Its only working password may be the pending one, and nobody would revoke the old one."""
    rotating = stopped(write)
    (item,) = planned(rotating.store).items
    assert (item.source_path, item.state) == (PATH, PlannedState.IMPOSSIBLE)
    assert item.reason.startswith("its rotation is unfinished. Finish it with strongroom rotate resume database/app")
    rotating.transaction().resume(take_over=True)
    assert [item.state for item in planned(rotating.store).items] == [PlannedState.CREATE]


def test_a_pending_password_without_its_secret_is_in_the_plan():
    rotating = stopped()
    rotating.store.delete(PATH)
    assert [(item.source_path, item.state) for item in planned(rotating.store).items] == [
        (PATH, PlannedState.IMPOSSIBLE)
    ]


def test_a_plan_says_once_that_a_record_stays(home):
    (item,) = planned(rotated().store).items
    assert (item.source_path, item.state) == (PATH, PlannedState.CREATE)
    assert item.cautions == ("the record of its rotations, which stays at the source",)


def test_a_record_follows_the_selection_of_its_secret(home):
    stores = {"here": stopped().store, "there": MemoryStore()}
    for selection, state in (
        (Selection(include=(PATH,)), [PlannedState.IMPOSSIBLE]),
        (Selection(exclude=("*/pending",)), [PlannedState.IMPOSSIBLE]),
        (Selection(exclude=(PATH,)), []),
        (Selection(from_prefix=f"{PATH}/rotation"), []),
    ):
        made = Migrator(stores=stores, state_folder=home).plan("here", "there", selection=selection)
        assert [item.state for item in made.items] == state


def test_something_else_at_the_reserved_path_makes_its_secret_impossible():
    rotating = Rotating()
    rotating.store.write(RECORD, {"k": "of an application"})
    (item,) = planned(rotating.store).items
    assert (item.source_path, item.state) == (PATH, PlannedState.IMPOSSIBLE)
    assert "it is not the state of a rotation" in item.reason


def test_a_record_that_may_not_be_read_makes_its_secret_impossible():
    rotating = rotated()
    rotating.store.__class__ = _Denying
    (item,) = planned(rotating.store).items
    assert (item.state, item.reason) == (
        PlannedState.IMPOSSIBLE,
        "its rotation record cannot be read: permission denied",
    )


def migrated(stores, home):
    migrator = Migrator(stores=stores, state_folder=home)
    return migrator.apply(migrator.plan("here", "there"))


class _Denying(MemoryStore):
    def read(self, path):
        if path == RECORD:
            raise PermissionDeniedError(path)
        return super().read(path)


def test_a_token_that_may_read_no_record_migrates_a_secret_without_one(home):
    source, target = _Denying(), MemoryStore()
    source.write(PATH, FIRST)
    stores = {"here": source, "there": target}
    assert migrated(stores, home).ok
    assert target.read(PATH).data == FIRST


def test_a_secret_whose_path_is_too_long_for_a_record_is_migrated(home):
    stores = {"here": MemoryStore(), "there": MemoryStore()}
    stores["here"].write("x" * MAX_PATH_LENGTH, {"k": "v"})
    assert migrated(stores, home).ok


def test_nothing_is_written_to_a_reserved_path(home):
    source = MemoryStore()
    source.write("secret", {"k": "v"})
    selection = Selection(rename={"secret": RECORD})
    stores = {"here": source, "there": MemoryStore()}
    made = Migrator(stores=stores, state_folder=home).plan("here", "there", selection=selection)
    (item,) = made.items
    assert item.state is PlannedState.IMPOSSIBLE
    assert "the path is reserved for the record of a rotation" in item.reason


class _Importer:
    def items(self):
        yield Secret(RECORD, {"k": "v"})
        yield Secret("other", {"k": "v"})

    def close(self):
        pass


def test_an_importer_with_a_reserved_path_is_told(home):
    stores = {"here": _Importer(), "there": MemoryStore()}
    made = Migrator(stores=stores, state_folder=home).plan("here", "there")
    assert {item.source_path: item.state for item in made.items} == {
        RECORD: PlannedState.IMPOSSIBLE,
        "other": PlannedState.CREATE,
    }


# --- copy -------------------------------------------------------------------------------------------------------------


def copied(store, path, to, home):
    stores = {"here": store, "there": MemoryStore()}
    migrator = Migrator(stores=stores, state_folder=home)
    return migrator.apply(migrator.plan("here", "there", selection=Selection(paths=(path,), rename={path: to})))


def test_a_secret_whose_rotation_is_unfinished_is_not_copied(home):
    with pytest.raises(ConflictError, match="its rotation is unfinished"):
        copied(stopped().store, PATH, PATH, home)
    assert copied(rotated().store, PATH, PATH, home).ok


@pytest.mark.parametrize(("path", "to"), [(RECORD, "other"), (PATH, "other/rotation/pending")])
def test_a_record_is_neither_copied_nor_overwritten(path, to, home):
    with pytest.raises(UnsupportedOperationError, match="reserved for the record of a rotation"):
        copied(rotated().store, path, to, home)
