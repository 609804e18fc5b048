"""Planning: what is to become of each secret, which goes where, and the plan as a document."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import Config
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.migrate import (
    KeyChange,
    OnConflict,
    Plan,
    PlannedItem,
    PlannedKey,
    PlannedMapping,
    PlannedState,
    Selection,
    dump_plan,
    parse_plan,
)
from strongroom.migrate._plans.document import parse_lines, plan_lines
from strongroom.migrate.spi import Failure
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.scenarios.migrations import apply, plan, verify
from support.stores import RemoteStore


@pytest.fixture
def home(tmp_path):
    return tmp_path / "migrations"


def memory(secrets=None):
    store = MemoryStore()
    for path, data in (secrets or {}).items():
        store.write(path, data)
    return store


class Faulty(MemoryStore):
    """Answers the reads of some paths with an error."""

    def __init__(self, errors):
        super().__init__()
        self.errors = errors

    def read(self, path):
        if path in self.errors:
            raise self.errors[path](path)
        return super().read(path)


def states(made):
    return {item.source_path: item.state for item in made.items}


def test_each_secret_has_its_state(home):
    source = memory(
        {
            "new": {"a": 1},
            "less": {"a": 1, "b": 2},
            "equal": {"a": 1, "b": [True, None]},
            "more": {"a": 1},
            "other": {"a": 1, "b": 2},
            "type": {"a": "1"},
            "number": {"a": 1.0},
        }
    )
    target = memory(
        {
            "less": {"a": 1},
            "equal": {"a": 1, "b": [True, None]},
            "more": {"a": 1, "own": 2},
            "other": {"a": 2},
            "type": {"a": 1},
            "number": {"a": 1},
        }
    )
    made = plan("s", "t", stores={"s": source, "t": target}, state_folder=home)
    assert states(made) == {
        "new": PlannedState.CREATE,
        "less": PlannedState.CHANGE,
        "equal": PlannedState.EQUAL,
        "more": PlannedState.EQUAL,
        "other": PlannedState.CONFLICT,
        "type": PlannedState.CONFLICT,
        "number": PlannedState.EQUAL,
    }
    assert made.is_blocked


def test_an_item_names_keys_and_sizes_and_versions(home):
    source = memory({"s": {"text": "ü", "bytes": b"\0\1\2", "number": 12, "same": None}})
    target = memory({"s": {"same": None, "own": "long value"}})
    (item,) = plan("s", "t", stores={"s": source, "t": target}, state_folder=home).items
    assert item.keys == (
        PlannedKey("bytes", KeyChange.ADDED, 3),
        PlannedKey("number", KeyChange.ADDED, 2),
        PlannedKey("own", KeyChange.REMOVED, 0),
        PlannedKey("same", KeyChange.SAME, 4),
        PlannedKey("text", KeyChange.ADDED, 2),
    )
    assert (item.source_version, item.target_version) == (1, 1)


def test_two_sources_for_one_target_are_impossible_and_both_named(home):
    stores = {"a": memory({"x": {"k": 1}, "y": {"k": 1}}), "b": memory({"x": {"k": 1}}), "t": memory()}
    made = plan(["a", "b"], "t", stores=stores, state_folder=home)
    assert [(item.source, item.state) for item in made.items] == [
        ("a", PlannedState.IMPOSSIBLE),
        ("a", PlannedState.CREATE),
        ("b", PlannedState.IMPOSSIBLE),
    ]
    assert {item.reason for item in made.items if item.reason} == {"two sources for one target: x of a and x of b"}


@pytest.mark.parametrize("error", [PermissionDeniedError, StoreUnavailableError])
def test_what_cannot_be_read_is_impossible_and_never_created(home, error):
    """At either end: denied and out of reach are no absence."""
    source, target = Faulty({"hidden": error}), Faulty({"there": error})
    for path in ("hidden", "there", "fine"):
        source.write(path, {"k": 1})
    made = plan("s", "t", stores={"s": source, "t": target}, state_folder=home)
    assert states(made) == {
        "hidden": PlannedState.IMPOSSIBLE,
        "there": PlannedState.IMPOSSIBLE,
        "fine": PlannedState.CREATE,
    }
    assert all(item.reason for item in made.items if item.state is PlannedState.IMPOSSIBLE)


@pytest.mark.parametrize("error", [StoreUnavailableError, AuthenticationError])
def test_a_store_that_is_out_as_a_whole_ends_the_plan(home, error):
    paths = [f"s{number:03}" for number in range(100)]
    source = memory({path: {"k": 1} for path in paths})
    target = Faulty(dict.fromkeys(paths, error))
    with pytest.raises(error):
        plan("s", "t", stores={"s": source, "t": target}, state_folder=home)


class Unsure(MemoryStore):
    """Answers what is asked of these paths beside reading with an error."""

    def __init__(self, error, paths, calls=("vet", "cautions")):
        super().__init__()
        self.error, self.paths, self.calls = error, paths, calls

    def vet(self, path, data):
        if path in self.paths and "vet" in self.calls:
            raise self.error(path, "refused")

    def cautions(self, path):
        if path in self.paths and "cautions" in self.calls:
            raise self.error(path, "refused")
        return []


@pytest.mark.parametrize("call", ["vet", "cautions"])
@pytest.mark.parametrize("error", [StoreUnavailableError, AuthenticationError])
def test_what_could_not_be_checked_is_not_impossible(home, error, call):
    """An outage says nothing of the secret: it is planned, and the plan says that nobody knows."""
    stores = {"s": Unsure(error, {"a", "b"}, [call]), "t": Unsure(error, {"a", "b"}, [call])}
    for path in ("a", "b", "c"):
        stores["s"].write(path, {"k": 1})
    stores["t"].write("b", {"k": 2})
    made = plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home)
    assert states(made) == {"a": PlannedState.CREATE, "b": PlannedState.CONFLICT, "c": PlannedState.CREATE}
    a, b, c = made.items
    assert a.reason.startswith("it could not be checked: ")
    assert b.reason.startswith("the target has another value for a key of it; it could not be checked: ")
    assert "refused" in a.reason
    assert c.reason == ""
    assert len(made.pending) == 3


@pytest.mark.parametrize("call", ["vet", "cautions"])
@pytest.mark.parametrize("error", [StoreUnavailableError, AuthenticationError])
def test_a_store_that_checks_nothing_any_more_ends_the_plan(home, error, call):
    """Reads that still come, from a batch or a listing, do not hide that it is out."""
    paths = [f"s{number:03}" for number in range(100)]
    stores = {"s": Unsure(error, paths, [call]), "t": Unsure(error, paths, [call])}
    for path in paths:
        stores["s"].write(path, {"k": 1})
    with pytest.raises(error):
        plan("s", "t", stores=stores, state_folder=home)


class Keeping(MemoryStore):
    """Keeps so many versions of each secret, or raises what it cannot tell for."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def kept_versions(self, path):
        if isinstance(self.kept, int):
            return self.kept
        raise self.kept(path)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (1, "the target keeps too few versions to undo it without a backup"),
        (2, ""),
        (PermissionDeniedError, "the number of kept versions is unknown"),
        (StoreUnavailableError, "the number of kept versions is unknown"),
    ],
)
def test_without_a_backup_what_could_not_be_undone_is_impossible(home, kept, reason):
    """What would be overwritten; what is created is undone by deleting it, and the rest is not written."""
    source, target = memory({path: {"k": 1} for path in ("new", "less", "equal", "other")}), Keeping(kept)
    for path, data in (("less", {"own": 1}), ("equal", {"k": 1}), ("other", {"k": 2})):
        target.write(path, data)
    stores = {"s": source, "t": target}
    made = plan("s", "t", on_conflict=OnConflict.OVERWRITE, backup=False, stores=stores, state_folder=home)
    over = {"less": PlannedState.IMPOSSIBLE, "other": PlannedState.IMPOSSIBLE}
    assert states(made) == {
        "new": PlannedState.CREATE,
        "equal": PlannedState.EQUAL,
        **(over if reason else {"less": PlannedState.CHANGE, "other": PlannedState.CONFLICT}),
    }
    assert all(reason in item.reason for item in made.items if item.path in over)
    assert not made.backup


@pytest.mark.parametrize("policy", [OnConflict.FAIL, OnConflict.SKIP])
def test_without_a_backup_a_conflict_that_stays_is_one(home, policy):
    """It is not overwritten, so that there is nothing to undo."""
    source, target = memory({"other": {"k": 1}}), Keeping(1)
    target.write("other", {"k": 2})
    made = plan("s", "t", on_conflict=policy, backup=False, stores={"s": source, "t": target}, state_folder=home)
    assert states(made) == {"other": PlannedState.CONFLICT}


def test_a_store_without_versions_keeps_too_few(home):
    stores = {"s": memory({"a": {"k": 1}}), "t": RemoteStore()}
    stores["t"].write("a", {"own": 1})
    stores["t"].kept_versions = stores["t"].versions = None
    made = plan("s", "t", backup=False, stores=stores, state_folder=home)
    assert states(made) == {"a": PlannedState.IMPOSSIBLE}


def test_what_the_target_refuses_and_what_a_copy_lacks_is_said(home):
    class Vetting(MemoryStore):
        def vet(self, path, data):
            if path == "large":
                raise SecretTooLargeError(path, "5 bytes, the most is 4")

    class Cautioned(MemoryStore):
        def cautions(self, path):
            return ["it rotates"] if path == "rotated" else []

    source = Cautioned()
    for path in ("large", "rotated"):
        source.write(path, {"k": 1})
    made = plan("s", "t", stores={"s": source, "t": Vetting()}, state_folder=home)
    large, rotated = made.items
    assert (large.state, large.reason) == (PlannedState.IMPOSSIBLE, "secret too large: 5 bytes, the most is 4")
    assert rotated.cautions == ("it rotates",)


def test_an_importer_is_a_source_and_unmapped_is_no_error(home):
    class Importer:
        def items(self):
            yield Secret("b", {"k": 1})
            yield Failure("STRAY", ConfigurationError("no row names it"), unmapped=True)
            yield Failure("BROKEN", ConfigurationError("it is broken"))

        def close(self):
            pass

    made = plan("i", "t", stores={"i": Importer(), "t": memory()}, state_folder=home)
    assert states(made) == {"b": PlannedState.CREATE, "STRAY": PlannedState.UNMAPPED, "BROKEN": PlannedState.IMPOSSIBLE}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "canary-77",
        {"k": "canary-77"},
        Failure("x", ValueError("canary-77")),
        Failure(["canary-77"], StoreError()),
    ],
)
def test_what_an_importer_gives_beside_secrets_is_its_own_error_and_no_end(home, wrong):
    """Else what follows would be dropped without a word, or the target be blamed."""

    class Importer:
        def items(self):
            yield Secret("a", {"k": 1})
            yield wrong
            yield Secret("b", {"k": 1})

        def close(self):
            pass

    with pytest.raises(
        StoreError, match=r"items\(\) returned an? (item|Failure with (name|error)) of type \w+, expected"
    ) as caught:
        plan("i", "t", stores={"i": Importer(), "t": memory()}, state_folder=home)
    assert caught.value.store == "i"
    assert "canary-77" not in str(caught.value)


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, ValueError])
def test_importer_that_raises_is_an_error_of_the_source(home, kind):
    """Also in `close`, where it is only logged: an importer ends neither the process nor the plan without a word."""

    class Importer:
        def items(self):
            yield Secret("a", {"k": 1})
            raise kind("canary-77")

        def close(self):
            raise kind("canary-77")

    with pytest.raises(StoreError, match=rf"store i: it raised {kind.__name__}\)") as caught:
        plan("i", "t", stores={"i": Importer(), "t": memory()}, state_folder=home)
    assert "canary-77" not in str(caught.value)


def test_invalid_name_that_a_source_lists_is_a_row_of_its_own(home):
    """One name that is no path, such as a folder named `/`, fails alone. It is shown escaped."""
    source = memory({"good": {"k": 1}})
    names = ["/", "", "..", "a\nb", "\x1b[31m", "good"]
    source.walk = lambda prefix: iter(names)
    made = plan("s", "t", stores={"s": source, "t": memory()}, state_folder=home)
    assert sorted(states(made).items()) == sorted(
        [("good", PlannedState.CREATE), *((name, PlannedState.IMPOSSIBLE) for name in names if name != "good")]
    )
    folders = memory({"good": {"k": 1}})
    folders.walk = None
    folders.list_entries = lambda prefix: iter(names if not prefix else [])
    made = plan("s", "t", stores={"s": folders, "t": memory()}, state_folder=home)
    assert states(made)["good"] is PlannedState.CREATE


def test_a_target_that_is_open_already_takes_no_recipients(home):
    """It would write in plain."""
    stores = {"s": memory({"a": {"k": 1}}), "t": memory()}
    with pytest.raises(ConfigurationError, match="is already open, so it takes no recipients"):
        plan("s", "t", encrypt_to=["age1…"], stores=stores, state_folder=home)


def test_a_source_that_cannot_be_listed_and_a_target_that_cannot_be_written_are_refused(home):
    class Bare:
        def read(self, path):
            raise AssertionError

        def close(self):
            pass

    with pytest.raises(UnsupportedOperationError, match="cannot be listed"):
        plan("b", "m", stores={"b": Bare(), "m": memory()}, state_folder=home)
    with pytest.raises(UnsupportedOperationError, match="cannot be written"):
        plan("m", "b", stores={"b": Bare(), "m": memory()}, state_folder=home)


def test_named_secrets_are_read_without_a_listing(home):
    class Bare:
        def read(self, path):
            return Secret(path, {"k": 1})

        def close(self):
            pass

    made = plan("b", "t", selection=Selection(paths=("a",)), stores={"b": Bare(), "t": memory()}, state_folder=home)
    assert states(made) == {"a": PlannedState.CREATE}


class Words:
    """An importer with a secret, an entry that it cannot read, and one without a mapping."""

    def items(self):
        yield Secret("a", {"k": 1})
        yield Failure("denied", PermissionDeniedError("denied"))
        yield Failure("WORD", ConfigurationError("no mapping"), unmapped=True)

    def close(self):
        pass


def test_a_named_secret_of_an_importer_is_all_that_is_planned(home):
    made = plan("i", "t", selection=Selection(paths=("a",)), stores={"i": Words(), "t": memory()}, state_folder=home)
    assert states(made) == {"a": PlannedState.CREATE}


@pytest.mark.parametrize(
    ("source", "target", "path", "to", "error"),
    [
        (memory(), memory(), "a", "a", SecretNotFoundError),
        (Words(), memory(), "b", "b", SecretNotFoundError),
        (Words(), memory(), "denied", "denied", PermissionDeniedError),
        (memory({"a": {"k": 1}}), Faulty({"b": PermissionDeniedError}), "a", "b", PermissionDeniedError),
        (memory({"a": {"k": 1}}), memory(), "a", "/", InvalidPathError),
    ],
)
def test_a_named_secret_that_cannot_be_migrated_raises(home, source, target, path, to, error):
    """Whoever names one secret gets its error, and not an item of a plan."""
    selection = Selection(rename={path: to}, paths=(path,))
    with pytest.raises(error):
        plan("s", "t", selection=selection, stores={"s": source, "t": target}, state_folder=home)


def test_a_plan_is_made_where_nothing_can_be_remembered(home, caplog):
    """In CI, say: versions, names and sizes are what `apply` goes by then."""
    home.mkdir(mode=0o755)
    caplog.set_level(logging.WARNING)
    made = plan("s", "t", stores={"s": memory({"a": {"k": 1}}), "t": memory()}, state_folder=home)
    assert states(made) == {"a": PlannedState.CREATE}
    assert "are not kept" in caplog.text


def test_a_mapping_file_is_of_the_plan(home, tmp_path, monkeypatch):
    """As a library too: whoever carries the plan out does not give the file again."""
    (tmp_path / ".env").write_text("A_NAME=v\n")
    (tmp_path / "m.toml").write_text('version = 1\n[variables]\nA_NAME = "x/y#z"\n')
    monkeypatch.chdir(tmp_path)
    stores = {"t": memory()}
    made = plan("dotenv:.env", "t", mapping_file=Path("m.toml"), config=Config(), stores=stores, state_folder=home)
    assert made.mapping is not None
    assert made.mapping.file == str(tmp_path / "m.toml")
    apply(parse_plan(dump_plan(made)), config=Config(), stores=stores, state_folder=home)
    assert stores["t"].read("x/y").data == {"z": "v"}
    assert verify(config=Config(), stores=stores, state_folder=home).ok
    with pytest.raises(ConfigurationError, match="no source takes a mapping"):
        plan("s", "t", mapping_file=Path("m.toml"), stores={"s": memory(), "t": memory()}, state_folder=home)


# --- selection --------------------------------------------------------------------------------------------------------


def test_a_selection_says_what_is_taken_and_where_it_goes(home):
    source = memory({path: {"k": 1} for path in ("app/a", "app/b/c", "app/old/d", "app/odd", "apple/e", "f")})
    selection = Selection("app", "team/x", include=("app/*",), exclude=("*/old/*",), rename={"app/odd": "even"})
    made = plan("s", "t", selection=selection, stores={"s": source, "t": memory()}, state_folder=home)
    assert {item.source_path: item.path for item in made.items} == {
        "app/a": "team/x/a",
        "app/b/c": "team/x/b/c",
        "app/odd": "even",
    }


def test_a_prefix_is_checked_like_a_path():
    with pytest.raises(InvalidPathError):
        Selection(from_prefix="a//b")


# --- the document -----------------------------------------------------------------------------------------------------

texts = st.text(max_size=8)
versions = st.none() | st.integers(0) | texts
items = st.builds(
    PlannedItem,
    st.sampled_from(["s", "other"]),
    texts,
    texts,
    st.sampled_from(PlannedState),
    texts,
    st.lists(st.builds(PlannedKey, texts, st.sampled_from(KeyChange), st.integers(0)), max_size=3).map(tuple),
    versions,
    versions,
    st.lists(texts, max_size=2).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
)
plans = st.builds(
    Plan,
    st.just("0123abcd"),
    st.just(("s", "other")),
    texts,
    st.sampled_from(OnConflict),
    st.lists(items, max_size=4, unique_by=(lambda item: item.path, lambda item: (item.source, item.source_path))).map(
        tuple
    ),
    st.none() | st.builds(PlannedMapping, texts, texts),
    st.booleans(),
    st.lists(texts, max_size=2).map(tuple),
)


@given(plans)
def test_a_plan_survives_its_document(made):
    assert parse_plan(dump_plan(made)) == made
    assert parse_lines(list(plan_lines(made)), "plan") == made


def document(**changes):
    made = Plan("ab", ("s",), "t", OnConflict.FAIL, (PlannedItem("s", "a", "a", PlannedState.CREATE),))
    return {**json.loads(dump_plan(made)), **changes}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([], "not a migration plan"),
        ({"format": "x"}, "not a migration plan"),
        (document(version=3, items=[{"unknown": 1}]), "needs a later Strongroom: its format is version 3"),
        (document(version="2"), "version is invalid"),
        (document(extra=1), "extra"),
        (document(id="../x"), "id"),
        (document(on_conflict="maybe"), "on_conflict"),
        (document(sources=["other"]), "item 1"),
        (document(sources="s"), "sources"),
        (document(items={}), "items"),
        (document(backup="no"), "backup"),
        (document(mapping="m.json"), "mapping"),
        (document(mapping={"file": "m.json"}), "mapping"),
        (document(mapping={"file": 1, "digest": ""}), "file"),
        (document(items=[{}]), "item 1"),
        (document(items=[{**document()["items"][0], "state": "maybe"}]), "item 1: state"),
        (document(items=[{**document()["items"][0], "target_version": True}]), "item 1: target_version"),
        (document(items=[{**document()["items"][0], "keys": [{"name": "k"}]}]), "item 1: keys"),
        (document(items=[{**document()["items"][0], "value": "x"}]), "item 1"),
        (document(items=[{**document()["items"][0], "labels": {"owner": "x"}}]), "item 1: labels"),
    ],
)
def test_what_is_no_plan_is_refused_and_said_where(changed, said):
    with pytest.raises(ConfigurationError, match=said):
        parse_plan(json.dumps(changed), "plan.json")


@pytest.mark.parametrize("state", [PlannedState.CREATE, PlannedState.CHANGE, PlannedState.EQUAL])
@pytest.mark.parametrize("other", [("s", "a", "b"), ("s", "b", "a"), ("o", "a", "a"), ("s", "a", "a")])
def test_a_plan_has_each_secret_once(state, other):
    """At the source and at the target: of two, one would be lost. What is only listed may be there twice."""
    first = PlannedItem("s", "a", "a", PlannedState.CREATE)
    for last in (PlannedItem(*other, state), PlannedItem(*other, PlannedState.IMPOSSIBLE)):
        made = Plan("ab", ("s", "o"), "t", OnConflict.FAIL, (first, last))
        if last.state is PlannedState.IMPOSSIBLE:
            assert parse_plan(dump_plan(made)) == made
        else:
            with pytest.raises(ConfigurationError, match=r"plan.json, item 2: .* is also in an earlier item"):
                parse_plan(dump_plan(made), "plan.json")


@pytest.mark.parametrize(
    ("name", "said"),
    [("path", ", item 1: the name 'path' appears twice"), ("on_conflict", ": the name 'on_conflict' appears twice")],
)
def test_a_name_that_a_plan_repeats_is_refused(name, said):
    """A reader sees the first, and the last would be applied."""
    text = dump_plan(Plan("ab", ("s",), "t", OnConflict.FAIL, (PlannedItem("s", "a", "a", PlannedState.CREATE),)))
    twice = text.replace(f'"{name}": ', f'"{name}": "other", "{name}": ', 1)
    with pytest.raises(ConfigurationError, match=f"plan.json{said}"):
        parse_plan(twice, "plan.json")


def test_a_plan_cut_short_is_refused():
    made = Plan(
        "ab",
        ("s",),
        "t",
        OnConflict.FAIL,
        (PlannedItem("s", "a", "a", PlannedState.CREATE), PlannedItem("s", "b", "b", PlannedState.CREATE)),
    )
    with pytest.raises(ConfigurationError, match="is incomplete"):
        parse_lines(list(plan_lines(made))[:-1], "plan")
    with pytest.raises(ConfigurationError, match="not a migration plan"):
        parse_plan(dump_plan(made)[:-5])


# --- what is read of the target ---------------------------------------------------------------------------------------


class Remote(RemoteStore):
    """A store far away, some of whose secrets may not be read, though all are listed."""

    denied = frozenset({"hidden"})

    def read(self, path):
        if path in self.denied:
            raise PermissionDeniedError(path)
        return super().read(path)


def test_only_what_the_target_lists_is_read_there(home):
    """What exists and may not be read is on the list, and is still never created."""
    source = memory({path: {"k": 1} for path in ("new", "hidden", "there")})
    target = Remote({"hidden": {"k": 2}, "there": {"k": 1}, "own": {"k": 3}})
    made = plan("s", "t", stores={"s": source, "t": target}, state_folder=home)
    assert states(made) == {"new": PlannedState.CREATE, "hidden": PlannedState.IMPOSSIBLE, "there": PlannedState.EQUAL}
    assert target.reads == ["there"]


def test_without_check_and_set_or_a_listing_everything_is_read(home):
    """An old list would be the last word there."""

    class Unchecked(Remote):
        write_if = None  # type: ignore[assignment]

    class Unlisted(Remote):
        def list_entries(self, prefix):
            raise PermissionDeniedError(prefix or None)

    source = memory({path: {"k": 1} for path in ("new", "there")})
    for kind in (Unchecked, Unlisted):
        target = kind({"there": {"k": 1}})
        made = plan("s", "t", stores={"s": source, "t": target}, state_folder=home)
        assert states(made) == {"new": PlannedState.CREATE, "there": PlannedState.EQUAL}
        assert "there" in target.reads
        assert len(target.reads) == 2
