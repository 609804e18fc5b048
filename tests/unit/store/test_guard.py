"""The guard validates what a store receives and redacts what it returns and raises."""

import logging
import threading
import traceback
from datetime import UTC, datetime

import pytest

from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.plugins.capabilities import of_any
from strongroom.secret import Secret, SensitiveDict, SensitiveStr
from strongroom.store import Traits
from strongroom.store.guard import GuardedStore, open_guarded
from strongroom.store.memory import MemoryStore, open_memory

CANARY = "canary-value-81c3"
DATA = {"user": "u", "password": CANARY}
BAD_PATHS = ["", "/a", "a/", "a//b", ".", "a/../b", "a\\b", "a\nb", "a\x00b", "x" * 1025, "\ud800", None, 7]


class Recorder(MemoryStore):
    """A store that records the names of the methods that were called."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not callable(found) or name.startswith("_"):
            return found

        def recorded(*arguments):
            self.calls.append(name)
            return found(*arguments)

        return recorded


class ReadOnly:
    """A store with only `read` and `close`."""

    def __init__(self, failure=None):
        self.failure = failure
        self.closed = 0

    def read(self, path):
        secret = f"{CANARY} in a variable"
        if self.failure:
            raise self.failure
        return Secret(path, {"key": secret})

    def close(self):
        self.closed += 1


def everywhere(error):
    """Return everything that an error can print, with the local variables of every frame."""
    frames = error.__traceback__.tb_next  # the test's own frame knows the value
    printed = traceback.TracebackException(type(error), error, frames, capture_locals=True)
    parts = [*printed.format(), str(error), repr(error), repr(error.args), repr(vars(error))]
    seen = error.__cause__ or error.__context__
    while seen:
        parts += [str(seen), repr(seen), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(parts)


# --- checks -----------------------------------------------------------------------------------------------------------

PATH_OPERATIONS = {
    "read": lambda guarded, path: guarded.read(path),
    "read_key": lambda guarded, path: guarded.read_key(path, "k"),
    "write": lambda guarded, path: guarded.write(path, DATA),
    "write_if": lambda guarded, path: guarded.write_if(path, DATA, None),
    "delete": lambda guarded, path: guarded.delete(path),
    "versions": lambda guarded, path: guarded.versions(path),
    "read_version": lambda guarded, path: guarded.read_version(path, 1),
    "undelete": lambda guarded, path: guarded.undelete(path, 1),
    "destroy": lambda guarded, path: guarded.destroy(path, 1),
    "read_metadata": lambda guarded, path: guarded.read_metadata(path),
    "write_metadata": lambda guarded, path: guarded.write_metadata(path, {}),
}


class KeyedRecorder(Recorder):
    def read_key(self, path, key):
        return self.read(path).data[key]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path)[:12])
@pytest.mark.parametrize("operation", PATH_OPERATIONS)
def test_no_store_sees_a_path_that_names_nothing(operation, path):
    """Each operation refuses an invalid path without calling the store or showing a value."""
    store = KeyedRecorder()
    with pytest.raises(InvalidPathError) as caught:
        PATH_OPERATIONS[operation](GuardedStore(store, "s"), path)
    assert store.calls == []
    assert CANARY not in everywhere(caught.value)


@pytest.mark.parametrize("prefix", ["/", "a//", "../", "a/./b"])
def test_no_store_sees_a_prefix_that_names_nothing(prefix):
    """Listing and walking validate their prefix."""
    store = Recorder()
    for listing in (GuardedStore(store, "s").list_entries, GuardedStore(store, "s").walk):
        with pytest.raises(InvalidPathError):
            list(listing(prefix))
    assert store.calls == []


def test_no_store_sees_an_impossible_key():
    """A key is validated like a path."""
    store = KeyedRecorder()
    for key in ("", "a\x00", "\ud800", None):
        with pytest.raises(InvalidPathError):
            GuardedStore(store, "s").read_key("a", key)
    assert store.calls == []


BAD_DATA = {
    "empty": {},
    "not finite": {"password": CANARY, "n": float("nan")},
    "surrogate": {"password": CANARY, "n": CANARY + "\ud800"},
    "type": {"password": CANARY, "n": {CANARY}},
    "object": {"password": CANARY, "n": object()},
    "key": {"password": CANARY, 5: CANARY},
    "empty key": {"": CANARY},
    "text": CANARY,
    "list": [CANARY],
    "bytes": CANARY.encode(),
    "none": None,
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
def test_no_store_sees_data_that_cannot_be_kept(data):
    """Invalid data is refused without calling the store, and no frame of the error shows it."""
    store = Recorder()
    guarded = GuardedStore(store, "s")
    for write in (lambda: guarded.write("a", data), lambda: guarded.write_if("a", data, None)):
        with pytest.raises((InvalidDataError, InvalidPathError)) as caught:
            write()
        error = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # and the lambda knows it too
        assert CANARY not in everywhere(error)
    assert store.calls == []


def test_store_gets_a_copy_that_shows_nothing():
    """The store receives a redacted copy: the caller may go on to use its own data."""
    got = []

    class Store(ReadOnly):
        def write(self, path, data):
            got.append(data)

        def delete(self, path):
            pass

    inner = ["one"]
    data = {"password": CANARY, "inner": inner}
    GuardedStore(Store(), "s").write("a", data)
    inner.append("two")
    assert isinstance(got[0], SensitiveDict)
    assert CANARY not in repr(got[0])
    assert got[0] == {"password": CANARY, "inner": ["one"]}


def test_single_key_is_redacted():
    """A plain value that a store returns for a key is redacted."""

    class Store(ReadOnly):
        def read_key(self, path, key):
            return {"text": CANARY, "list": [CANARY]}[key]

    assert type(GuardedStore(Store(), "s").read_key("a", "text")) is SensitiveStr
    assert CANARY not in repr(GuardedStore(Store(), "s").read_key("a", "list"))


# --- capabilities -----------------------------------------------------------------------------------------------------


def test_capabilities_are_asked_once():
    """Capabilities are detected when a store is wrapped."""
    guarded = GuardedStore(open_memory(), "s")
    assert guarded.capabilities == {"listable", "writable", "checked", "versioned", "bulk", "probed", "local"}
    assert (guarded.listable, guarded.writable, guarded.checked, guarded.keyed) == (True, True, True, False)
    assert GuardedStore(ReadOnly(), "s").capabilities == frozenset()
    assert GuardedStore(KeyedRecorder(), "s").keyed


@pytest.mark.parametrize("name", ["final_deletes", "piecewise", "recoverable", "local"])
def test_trait_is_a_capability_when_it_is_true(name):
    """On the store and on its class, which the list of plugins uses."""
    for says, has in ((True, {name}), (False, set()), ("yes", set())):
        kind = type("Store", (ReadOnly,), {"traits": Traits(**{name: says})})
        assert GuardedStore(kind(), "s").capabilities == has
        assert of_any([kind]) == (has, set())


@pytest.mark.parametrize("operation", [name for name in PATH_OPERATIONS if name != "read"])
def test_missing_capability_names_the_store(operation):
    """An operation that the store lacks is refused, and the error names the store."""
    with pytest.raises(UnsupportedOperationError, match="store s") as caught:
        PATH_OPERATIONS[operation](GuardedStore(ReadOnly(), "s"), "a")
    assert caught.value.store == "s"
    assert CANARY not in everywhere(caught.value)


def test_local_must_be_true_and_not_just_there():
    """A store with `Traits(local=False)` is not local."""

    class Remote(ReadOnly):
        traits = Traits(local=False)

    class Local(ReadOnly):
        traits = Traits(local=True)

    assert not GuardedStore(Remote(), "s").local
    assert GuardedStore(Local(), "s").local


def test_store_that_cannot_say_how_it_is_is_well_while_open():
    """A store without `probe` is healthy while it is open. A closed one is refused."""
    guarded = GuardedStore(ReadOnly(), "s")
    assert guarded.probe().ok
    guarded.close()
    with pytest.raises(StoreError, match="closed"):
        guarded.probe()


# --- failures ---------------------------------------------------------------------------------------------------------


class OwnError(StoreUnavailableError):
    """A subclass of a backend."""


STRAYS = {
    ConnectionRefusedError(111, CANARY): StoreUnavailableError,
    ConnectionResetError(CANARY): StoreUnavailableError,
    TimeoutError(CANARY): StoreUnavailableError,
    KeyError(CANARY): StoreError,
    ValueError(CANARY): StoreError,
    OSError(5, CANARY): StoreError,
    StopIteration(CANARY): StoreError,
    RecursionError(CANARY): StoreError,
    ExceptionGroup(CANARY, [ValueError(CANARY)]): StoreError,
}


@pytest.mark.parametrize(("stray", "kind"), STRAYS.items(), ids=lambda value: type(value).__name__)
def test_stray_exception_becomes_one_of_the_tree(stray, kind):
    """An outage stays an outage, and another exception is fatal and never an absence. Neither shows its message."""
    with pytest.raises(StoreError) as caught:
        GuardedStore(ReadOnly(stray), "s").read("a/b")
    error = caught.value
    assert type(error) is kind
    assert (error.store, error.path) == ("s", "a/b")
    assert type(stray).__name__ in str(error)
    assert CANARY not in everywhere(error)


@pytest.mark.parametrize(
    "kind", [SecretNotFoundError, PermissionDeniedError, ConflictError, StoreUnavailableError, StoreError, OwnError]
)
def test_error_of_the_tree_keeps_its_class_and_loses_its_frames(kind):
    """A store's error keeps its class and gets the store's name, without its frames, cause and context."""

    class Store(ReadOnly):
        def read(self, path):
            secret = f"{CANARY} in a variable"
            try:
                int(secret)
            except ValueError as error:
                raise kind(reason="as it is") from error

    with pytest.raises(kind) as caught:
        GuardedStore(Store(), "s").read("a/b")
    error = caught.value
    assert type(error) is kind
    assert (error.path, error.store, error.reason) == ("a/b", "s", "as it is")
    assert error.__cause__ is None
    assert error.__context__ is None
    assert CANARY not in everywhere(error)


def test_error_keeps_the_path_and_store_that_it_names():
    """A path and a store name that the store set are kept."""
    with pytest.raises(SecretNotFoundError) as caught:
        GuardedStore(ReadOnly(SecretNotFoundError("other", store="inner")), "s").read("a")
    assert (caught.value.path, caught.value.store) == ("other", "inner")


def test_error_outside_the_store_tree_goes_through():
    """A configuration error of a read stays a configuration error."""
    with pytest.raises(ConfigurationError, match="mount"):
        GuardedStore(ReadOnly(ConfigurationError("no such mount")), "s").read("a")


def test_interrupt_is_nobodys_error():
    """Ctrl-C is not turned into a store error."""
    with pytest.raises(KeyboardInterrupt):
        GuardedStore(ReadOnly(KeyboardInterrupt()), "s").read("a")


class Interrupted(MemoryStore):
    """A store whose methods are interrupted by a signal while a value is in a variable and in the context."""

    def __init__(self, interrupt):
        super().__init__()
        self.interrupt = interrupt

    def _hold(self, *_):
        plain = f"{CANARY} in a variable"
        try:
            int(plain)
        except ValueError:
            raise self.interrupt from None

    read = write = write_if = delete = list_entries = probe = close = _hold


INTERRUPTED = {
    "open": lambda store: open_guarded(store.close, "s"),
    "read": lambda store: GuardedStore(store, "s").read("a"),
    "write": lambda store: GuardedStore(store, "s").write("a", DATA),
    "write_if": lambda store: GuardedStore(store, "s").write_if("a", DATA, None),
    "delete": lambda store: GuardedStore(store, "s").delete("a"),
    "list_entries": lambda store: list(GuardedStore(store, "s").list_entries()),
    "read_many": lambda store: list(GuardedStore(store, "s").read_many(["a"])),
    "probe": lambda store: GuardedStore(store, "s").probe(),
    "close": lambda store: GuardedStore(store, "s").close(),
}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("operation", INTERRUPTED)
def test_interrupt_brings_no_value_along(operation, kind):
    """An interrupt keeps its class and loses the frames, cause and context of the store."""
    interrupt = kind("stop")
    with pytest.raises(kind) as caught:
        INTERRUPTED[operation](Interrupted(interrupt))
    assert caught.value is interrupt
    assert interrupt.args == ("stop",)
    assert interrupt.__cause__ is None
    assert interrupt.__context__ is None
    assert CANARY not in everywhere(interrupt)


class Breaks(MemoryStore):
    """A store that fails with the value in a variable, in the message and in the context."""

    def _break(self, data):
        plain = {str(key): str(value) for key, value in data.items()}
        try:
            int(str(plain))
        except ValueError as error:
            raise RuntimeError(f"could not write {plain}") from error

    def write(self, path, data):
        self._break(data)

    def write_if(self, path, data, expected):
        self._break(data)

    def write_many(self, items):
        for path, data in items:
            yield path, None
            self._break(data)

    def list_entries(self, prefix):
        yield "one"
        self._break(DATA)

    def read_many(self, paths):
        for path in paths:
            yield path, Secret(path, DATA)
            self._break(DATA)

    def probe(self):
        self._break(DATA)


@pytest.mark.parametrize(
    "operation",
    [
        lambda guarded, data: guarded.write("a", data),
        lambda guarded, data: guarded.write_if("a", data, None),
        lambda guarded, data: list(guarded.write_many(iter([("a", data)]))),
        lambda guarded, data: list(guarded.list_entries("")),
        lambda guarded, data: list(guarded.walk("")),
        lambda guarded, data: list(guarded.read_many(["a"])),
        lambda guarded, data: guarded.probe(),
    ],
    ids=["write", "write_if", "write_many", "list", "walk", "read_many", "probe"],
)
def test_nothing_is_left_of_a_value_when_a_store_breaks(operation, caplog):
    """No message, frame, context or DEBUG record of a failed read or write shows a value."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreError, match="it raised RuntimeError") as caught:
        operation(GuardedStore(Breaks(), "s"), DATA)
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # the lambda's frame is the caller's
    assert CANARY not in everywhere(error)
    assert CANARY not in caplog.text
    assert "RuntimeError" in caplog.text


MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("read", None),
        ("read", {"key": CANARY}),
        ("read", Secret("app/db", {"password": CANARY, "since": MOMENT})),
        ("read", Secret("app/db", {"key": [{1: CANARY}]})),
        ("read_version", {"key": CANARY}),
        ("read_key", MOMENT),
    ],
    ids=["nothing", "a dict", "a time in a secret", "a number for a name", "a dict for a version", "a time for a key"],
)
def test_answer_that_is_no_secret_is_a_bug_of_the_plugin(operation, answer):
    """A malformed answer is a StoreError, never an absence, and shows no value."""
    store = KeyedRecorder()
    setattr(store, operation, lambda *_: answer)
    guarded = GuardedStore(store, "wrong")
    call = {
        "read": lambda: guarded.read("app/db"),
        "read_version": lambda: guarded.read_version("app/db", 1),
        "read_key": lambda: guarded.read_key("app/db", "key"),
    }[operation]
    with pytest.raises(StoreError, match=r"app/db \(store wrong: it raised TypeError\)") as caught:
        call()
    assert type(caught.value) is StoreError
    below = caught.value.__traceback__.tb_next  # this frame holds the answer itself
    shown = traceback.TracebackException(StoreError, caught.value, below, capture_locals=True)
    assert CANARY not in "".join(shown.format())


@pytest.mark.parametrize("operation", ["read", "read_version"])
def test_another_paths_secret_is_never_served(operation):
    """A secret of another path is an error: the plugin has mixed up its connections."""
    store = KeyedRecorder()
    setattr(store, operation, lambda *_: Secret("app/other", {"key": CANARY}))
    guarded = GuardedStore(store, "wrong")
    calls = {"read": lambda: guarded.read("app/db"), "read_version": lambda: guarded.read_version("app/db", 1)}
    call = calls[operation]
    with pytest.raises(StoreError, match=r"app/db \(store wrong: it raised LookupError\)") as caught:
        call()
    assert type(caught.value) is StoreError


def test_debug_log_says_where_a_plugin_failed(caplog):
    """The DEBUG log names the line that raised, since the frames are dropped."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreError):
        GuardedStore(Breaks(), "s").write("a", DATA)
    assert "test_guard.py:" in caplog.text


def test_what_cannot_be_iterated_is_a_bug_of_the_plugin():
    """A list that is not iterable is a StoreError."""

    class Store(MemoryStore):
        def list_entries(self, prefix):
            return None

    with pytest.raises(StoreError, match="TypeError"):
        list(GuardedStore(Store(), "s").list_entries(""))


def test_opening_fails_as_reading_does():
    """An outage of the opener is an outage, and another exception shows no value."""

    def refuse():
        raise ConnectionError(CANARY)

    with pytest.raises(StoreUnavailableError) as caught:
        open_guarded(refuse, "s")
    assert caught.value.store == "s"
    assert CANARY not in everywhere(caught.value)


# --- many -------------------------------------------------------------------------------------------------------------


class OneByOne(ReadOnly):
    """A store without bulk operations."""

    def __init__(self):
        super().__init__()
        self.memory = open_memory(secrets={"there": DATA})
        self.read, self.write, self.delete = self.memory.read, self.memory.write, self.memory.delete


@pytest.mark.parametrize("store", [OneByOne, lambda: open_memory(secrets={"there": DATA})], ids=["single", "bulk"])
def test_each_read_of_many_has_its_own_outcome(store):
    """An absent or invalid path does not end a bulk read."""
    outcomes = dict(GuardedStore(store(), "s").read_many(["a//b", "absent", "there", "c/"]))
    assert {path: type(outcome) for path, outcome in outcomes.items()} == {
        "a//b": InvalidPathError,
        "absent": SecretNotFoundError,
        "there": Secret,
        "c/": InvalidPathError,
    }


@pytest.mark.parametrize("store", [OneByOne, lambda: open_memory(secrets={"there": DATA})], ids=["single", "bulk"])
def test_each_write_of_many_has_its_own_outcome(store):
    """Invalid data is refused for its own path, and the others are written."""
    guarded = GuardedStore(store(), "s")
    items = [("a", {"n": float("inf")}), ("b", DATA), ("c//", DATA), ("there", {"n": 1}), ("d", {})]
    outcomes = dict(guarded.write_many(items))
    assert {path: type(outcome) for path, outcome in outcomes.items()} == {
        "a": InvalidDataError,
        "b": int,
        "c//": InvalidPathError,
        "there": int,
        "d": InvalidDataError,
    }
    assert guarded.read("b").data == DATA
    assert all(CANARY not in everywhere(error) for error in outcomes.values() if isinstance(error, StoreError))


def test_source_that_fails_shows_no_value():
    """If the items of a bulk write raise halfway, no frame shows the values before."""

    def items():
        yield "a", dict(DATA)
        raise LookupError

    for store in (OneByOne(), open_memory()):
        with pytest.raises((LookupError, StoreError)) as caught:
            list(GuardedStore(store, "s").write_many(items()))
        assert CANARY not in everywhere(caught.value)


# --- closing ----------------------------------------------------------------------------------------------------------


def test_closed_front_refuses_everything_and_closes_once():
    """A store is closed once, even by several threads, and later calls are refused."""
    store = ReadOnly()
    guarded = GuardedStore(store, "s")
    threads = [threading.Thread(target=guarded.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.closed == 1
    with pytest.raises(StoreError, match="it is closed"):
        guarded.read("a")


@pytest.mark.parametrize("operation", [name for name in PATH_OPERATIONS if name != "read_key"])
def test_closed_front_refuses_each_operation(operation):
    """No operation calls a closed store."""
    guarded = GuardedStore(open_memory(secrets={"a": DATA}), "s")
    guarded.close()
    with pytest.raises(StoreError, match="it is closed"):
        PATH_OPERATIONS[operation](guarded, "a")


def test_listing_stops_when_the_front_is_closed():
    """A running list stops when its store is closed."""
    guarded = GuardedStore(open_memory(secrets={"a": DATA, "b": DATA}), "s")
    entries = guarded.list_entries()
    assert next(entries) == "a"
    guarded.close()
    with pytest.raises(StoreError, match="it is closed"):
        next(entries)


def test_store_that_fails_to_close_is_logged(caplog):
    """Closing never raises, and logs the class but not the message of an error."""

    class Store(ReadOnly):
        def close(self):
            raise RuntimeError(CANARY)

    GuardedStore(Store(), "s").close()
    assert "Closing store s failed: RuntimeError" in caplog.text
    assert CANARY not in caplog.text


def test_repr_says_the_store_and_nothing_it_holds():
    """For logs and debuggers."""
    assert repr(GuardedStore(open_memory(secrets={"a": DATA}), "s")) == "GuardedStore('s', MemoryStore)"
