"""The guard validates what a store receives and redacts what it returns and raises."""

import asyncio
import base64
import contextlib
import functools
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom._plugins.option_schema import Schema
from strongroom.errors import (
    Check,
    CheckState,
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret, SensitiveDict, SensitiveStr
from strongroom.store import Health, Traits, VersionInfo
from strongroom.store.memory import MemoryStore, open_memory
from strongroom_vault.errors import VaultConnectionError
from support.signals import handling

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
    assert guarded.operations >= {"read", "read_many", "write_if"}
    assert "walk" not in guarded.operations
    assert GuardedStore(ReadOnly(), "s").capabilities == frozenset()
    assert "keyed" in GuardedStore(KeyedRecorder(), "s").capabilities


@pytest.mark.parametrize("name", ["final_deletes", "piecewise", "recoverable", "local"])
def test_trait_is_a_capability_when_it_is_true(name):
    """On the store and on its class, which the list of plugins uses."""
    for says, has in ((True, {name}), (False, set()), ("yes", set())):
        kind = type("Store", (ReadOnly,), {"traits": Traits(**{name: says})})
        assert GuardedStore(kind(), "s").capabilities == has
        assert Schema({}, stores=(kind,)).capabilities() == (has, set())


@pytest.mark.parametrize("operation", [name for name in PATH_OPERATIONS if name != "read"])
def test_missing_capability_names_the_store(operation):
    """An operation that the store lacks is refused, and the error names the store."""
    with pytest.raises(UnsupportedOperationError, match="store s") as caught:
        PATH_OPERATIONS[operation](GuardedStore(ReadOnly(), "s"), "a")
    assert caught.value.store == "s"
    assert CANARY not in everywhere(caught.value)


@pytest.mark.parametrize("listing", ["list_entries", "walk"])
def test_missing_listing_is_refused(listing):
    """A store that cannot list is neither listed nor walked."""
    with pytest.raises(UnsupportedOperationError, match="store s"):
        list(getattr(GuardedStore(ReadOnly(), "s"), listing)())


def test_local_must_be_true_and_not_just_there():
    """A store with `Traits(local=False)` is not local."""

    class Remote(ReadOnly):
        traits = Traits(local=False)

    class Local(ReadOnly):
        traits = Traits(local=True)

    assert "local" not in GuardedStore(Remote(), "s").capabilities
    assert "local" in GuardedStore(Local(), "s").capabilities


def test_store_that_cannot_say_how_it_is_is_well_while_open():
    """A store without `probe` is healthy while it is open. A closed one is refused."""
    guarded = GuardedStore(ReadOnly(), "s")
    assert guarded.probe().ok
    guarded.close()
    with pytest.raises(StoreError, match="closed"):
        guarded.probe()


# --- failures ---------------------------------------------------------------------------------------------------------


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


LOST = {
    ConnectionResetError(CANARY): WriteOutcomeUnknownError,
    BrokenPipeError(CANARY): WriteOutcomeUnknownError,
    TimeoutError(CANARY): WriteOutcomeUnknownError,
    ConnectionRefusedError(111, CANARY): StoreUnavailableError,
    ValueError(CANARY): StoreError,
}


@pytest.mark.parametrize(("stray", "kind"), LOST.items(), ids=lambda value: type(value).__name__)
def test_write_that_loses_its_connection_may_have_been_made(stray, kind):
    """Alone and in a batch. A connection that was refused has carried nothing, and a read changes nothing."""

    class Store(MemoryStore):
        def delete(self, path):
            raise stray

        write_many = read_many = lambda _, items: iter(lambda: (_ for _ in ()).throw(stray), None)

        def read(self, path):
            raise stray

    store = GuardedStore(Store(), "s")
    for call in (lambda: store.delete("a"), lambda: list(store.write_many([("a", {"k": "v"})]))):
        with pytest.raises(StoreError) as caught:
            call()
        assert type(caught.value) is kind
        assert CANARY not in everywhere(caught.value)
    with pytest.raises(StoreError) as caught:
        store.read("a")
    assert not isinstance(caught.value, WriteOutcomeUnknownError)


@pytest.mark.parametrize(
    "kind",
    [
        SecretNotFoundError,
        PermissionDeniedError,
        ConflictError,
        StoreUnavailableError,
        StoreError,
        VaultConnectionError,
    ],
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


def test_asynchronous_read_is_a_bug_of_the_plugin():
    """A coroutine is no secret. It is closed, so that Python does not warn that it was never awaited."""

    async def read(path):
        return Secret(path, DATA)

    class Store(ReadOnly):
        def read(self, path):
            return read(path)

    with pytest.raises(StoreError, match=r"read\(\) returned coroutine, expected Secret"):
        GuardedStore(Store(), "s").read("a")


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
    "open": lambda store: GuardedStore.open(store.close, "s"),
    "read": lambda store: GuardedStore(store, "s").read("a"),
    "write": lambda store: GuardedStore(store, "s").write("a", DATA),
    "write_if": lambda store: GuardedStore(store, "s").write_if("a", DATA, None),
    "delete": lambda store: GuardedStore(store, "s").delete("a"),
    "list_entries": lambda store: list(GuardedStore(store, "s").list_entries()),
    "read_many": lambda store: list(GuardedStore(store, "s").read_many(["a"])),
    "probe": lambda store: GuardedStore(store, "s").probe(),
    "close": lambda store: GuardedStore(store, "s").close(),
}


@pytest.mark.parametrize("operation", INTERRUPTED)
def test_interrupt_brings_no_value_along(operation):
    """An interrupt keeps its class and loses the frames, cause and context of the store."""
    interrupt = KeyboardInterrupt("stop")
    with pytest.raises(KeyboardInterrupt) as caught:
        INTERRUPTED[operation](Interrupted(interrupt))
    assert caught.value is interrupt
    assert interrupt.args == ("stop",)
    assert interrupt.__cause__ is None
    assert interrupt.__context__ is None
    assert CANARY not in everywhere(interrupt)


class Stop(BaseException):
    """A base exception of a plugin."""


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, GeneratorExit, Stop])
@pytest.mark.parametrize("operation", [name for name in INTERRUPTED if name != "close"])
def test_plugin_cannot_end_its_host(operation, kind):
    """A base exception that a plugin raises is a StoreError: raised as itself, it would end the process or a task."""
    with pytest.raises(StoreError, match=rf"store s: it raised {kind.__name__}\)") as caught:
        INTERRUPTED[operation](Interrupted(kind(CANARY)))
    assert type(caught.value) is StoreError
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    assert CANARY not in everywhere(error)


def test_plugin_that_exits_while_it_closes_is_logged(caplog):
    """Closing never raises."""
    GuardedStore(Interrupted(SystemExit(CANARY)), "s").close()
    assert "Closing store s failed: SystemExit" in caplog.text


class Killed(MemoryStore):
    """A store whose process gets SIGUSR1 during a read."""

    def read(self, path):
        plain = f"{CANARY} in a variable"
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(1000):  # the handler runs between two instructions
            time.sleep(0)
        return Secret(path, {"key": plain})


class _Handlers:
    def method(self, number, frame):
        raise SystemExit(143)

    def __call__(self, number, frame):
        raise SystemExit(143)


def _function(number, frame):
    del number, frame
    raise SystemExit(143)


def _restores_the_default(number, frame):
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(143)


def _times_out(number, frame):
    raise TimeoutError


HANDLERS = {
    "function": (_function, SystemExit),
    "method": (_Handlers().method, SystemExit),
    "object": (_Handlers(), SystemExit),
    "partial": (functools.partial(lambda given, number, frame: sys.exit(given), 143), SystemExit),
    "any arguments": (lambda *_: sys.exit(143), SystemExit),
    "one that restores the default": (_restores_the_default, SystemExit),
    "alarm of the application": (_times_out, TimeoutError),
}


@pytest.mark.parametrize(("handler", "kind"), HANDLERS.values(), ids=HANDLERS)
def test_exception_of_a_signal_handler_is_not_the_store_s(handler, kind):
    """SIGTERM must end a process that reads a secret, and an application's own alarm must reach it."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(kind) as caught:
            GuardedStore(Killed(), "s").read("a")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert CANARY not in everywhere(caught.value)


def stop():
    raise TimeoutError


def test_a_lock_that_fails_after_a_signal_hides_no_exception_of_its_handler():
    """As CPython's do if the handler raises within a wait."""

    class Waits(Killed):
        def read(self, path):
            try:
                return super().read(path)
            finally:
                raise RuntimeError("release unlocked lock")

    with handling(stop), pytest.raises(TimeoutError) as caught:
        GuardedStore(Waits(), "s").read("a")
    assert CANARY not in everywhere(caught.value)


def test_an_interrupt_that_the_caller_handles_is_none_of_its_next_call():
    """A program that reads a secret while it cleans up after Ctrl-C learns why that read failed."""

    class Broken(MemoryStore):
        def read(self, path):
            raise RuntimeError

    try:
        GuardedStore(ReadOnly(KeyboardInterrupt()), "s").read("a")
    except KeyboardInterrupt:
        with pytest.raises(StoreError, match="it raised RuntimeError"):
            GuardedStore(Broken(), "s").read("a")


def test_handler_in_the_callers_frames_excuses_no_plugin():
    """A plugin that exits is a StoreError too if a signal handler reads the secret."""
    caught = []

    def handler(number, frame):
        try:
            GuardedStore(Interrupted(SystemExit(0)), "s").read("a")
        except StoreError as error:
            caught.append(error)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "it raised SystemExit" in str(caught[0])


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


_VALUES = "text, bytes, number, boolean, null, list or mapping"


class Text(str):
    """A value that shows itself in a message."""


def secret(**fields):
    return Secret("app/db", {"key": CANARY}, **{"version": 1, **fields})


WRONG_SECRETS = {
    "nothing": (None, r"() returned NoneType, expected Secret"),
    "a dict": ({"key": CANARY}, r"() returned dict, expected Secret"),
    "a time in a secret": (
        Secret("app/db", {"password": CANARY, "since": MOMENT}, 1),
        f"() returned a value of type datetime, expected {_VALUES}",
    ),
    "bytes for a key": (Secret("app/db", {b"key": CANARY}, 1), "() returned a key of type bytes, expected text"),
    "a number for a name": (
        Secret("app/db", {"key": [{1: CANARY}]}, 1),
        "() returned a key of type int, expected text",
    ),
    "a float for a version": (secret(version=1.5), "() returned a version of type float, expected int, str or None"),
    "a bool for a version": (secret(version=True), "() returned a version of type bool, expected int, str or None"),
    "an empty version": (secret(version=""), "() returned a version of type str, expected int, str or None"),
    "a text for a time": (secret(created="2026"), "() returned a creation time of type str, expected datetime or None"),
    "a time without a zone": (
        secret(created=MOMENT.replace(tzinfo=None)),
        "() returned a creation time without a time zone",
    ),
    "no labels": (secret(metadata=None), "() returned labels of type NoneType, expected a mapping of str to str"),
    "a number for a label": (secret(metadata={"a": 1}), "() returned a label of type int, expected str"),
    "a text for a ttl": (secret(ttl=Text(CANARY)), "() returned a ttl of type Text, expected seconds or None"),
    "a negative ttl": (secret(ttl=-1.0), "() returned a ttl that is negative or not finite"),
    "a ttl that is no number": (secret(ttl=float("nan")), "() returned a ttl that is negative or not finite"),
}


@pytest.mark.parametrize("operation", ["read", "read_version", "read_many"])
@pytest.mark.parametrize(("answer", "reason"), WRONG_SECRETS.values(), ids=WRONG_SECRETS)
def test_answer_that_is_no_secret_is_a_bug_of_the_plugin(operation, answer, reason):
    """A malformed answer is a StoreError that names types, never an absence, and shows no value."""
    store = KeyedRecorder()
    store.read_many = lambda paths: [(path, answer) for path in paths]
    if operation != "read_many":
        setattr(store, operation, lambda *_: answer)
    guarded = GuardedStore(store, "wrong")
    error = outcome_of(
        {
            "read": lambda: guarded.read("app/db"),
            "read_version": lambda: guarded.read_version("app/db", 1),
            "read_many": lambda: dict(guarded.read_many(["app/db"]))["app/db"],
        }[operation]
    )
    assert type(error) is StoreError
    assert str(error) == (
        f"The store failed: app/db (store wrong: {operation}{reason}). "
        f"This is a bug in the store's plugin, {__name__}.KeyedRecorder"
    )


def test_a_store_without_versions_keeps_the_current_one_alone():
    class Plain:
        def read(self, path):
            raise SecretNotFoundError(path)

        def close(self):
            pass

    assert GuardedStore(Plain(), "plain").kept_versions("app/db") == 1


@pytest.mark.parametrize("enforced", [False, True])
def test_debug_log_names_the_line_of_the_plugin(caplog, enforced):
    """Neither that of the library which it called, nor that of Strongroom."""
    caplog.set_level("DEBUG")

    class Broken(MemoryStore):
        traits = Traits(local=not enforced)

        def read(self, path):
            return json.loads("{")  # the line that is named

    with pytest.raises(StoreError):
        GuardedStore(Broken(), "broken").read("app/db")
    line = Broken.read.__code__.co_firstlineno + 1
    assert f"Store broken raised JSONDecodeError at {__file__}:{line} in read" in caplog.messages


def outcome_of(call):
    """Return the error that a call raised or returned, whose frames show no value."""
    try:
        error = call()
    except StoreError as raised:
        below = raised.__traceback__.tb_next.tb_next  # the call knows the answer
        shown = traceback.TracebackException(type(raised), raised, below, capture_locals=True)
        assert CANARY not in "".join(shown.format())
        error = raised
    assert CANARY not in str(error) + repr(error)
    return error


WRONG_ANSWERS = {
    ("read_key", lambda guarded: guarded.read_key("app/db", "k")): [
        (MOMENT, f"read_key() returned datetime, expected {_VALUES}")
    ],
    ("write", lambda guarded: guarded.write("app/db", DATA)): [
        (1.5, "write() returned float, expected int, str or None; the secret may have been written"),
        (True, "write() returned bool, expected int, str or None; the secret may have been written"),
    ],
    ("write_if", lambda guarded: guarded.write_if("app/db", DATA, None)): [
        ({}, "write_if() returned dict, expected int, str or None; the secret may have been written")
    ],
    ("write_many", lambda guarded: list(guarded.write_many([("app/db", DATA)]))): [
        (5, "write_many() returned int, expected an iterator"),
        ([None], "write_many() returned an item of type NoneType, expected a path and its outcome"),
        ([(None, 1)], "write_many() returned an item of type NoneType, expected str"),
    ],
    ("read_many", lambda guarded: list(guarded.read_many(["app/db"]))): [
        (None, "read_many() returned NoneType, expected an iterator"),
        (["ab"], "read_many() returned an item of type str, expected a path and its outcome"),
    ],
    ("versions", lambda guarded: guarded.versions("app/db")): [
        (None, "versions() returned NoneType, expected a list of VersionInfo"),
        ([], "versions() returned no version, expected SecretNotFoundError"),
        ([1], "versions() returned an item of type int, expected VersionInfo"),
        ([VersionInfo(None)], "versions() returned a version of type NoneType, expected int or str"),
        ([VersionInfo(1, MOMENT.replace(tzinfo=None))], "versions() returned a time without a time zone"),
        ([VersionInfo(1, deleted=None)], "versions() returned a VersionInfo with deleted of type NoneType, expected"),
    ],
    ("kept_versions", lambda guarded: guarded.kept_versions("app/db")): [
        (None, "kept_versions() returned NoneType, expected int"),
        (0, "kept_versions() returned less than 1"),
    ],
    ("read_metadata", lambda guarded: guarded.read_metadata("app/db")): [
        (None, "read_metadata() returned labels of type NoneType, expected a mapping of str to str"),
        ({"a": None}, "read_metadata() returned a label of type NoneType, expected str"),
    ],
    ("probe", lambda guarded: guarded.probe()): [
        (True, "probe() returned bool, expected Health"),
        (Health(ok=None), "probe() returned a Health with ok of type NoneType, expected the type that Health declares"),
        (Health(ok=True, checks=("ok",)), "probe() returned a check of type str, expected Check"),
        (Health(ok=True, checks=None), "probe() returned a Health with checks of type NoneType, expected the type"),
        (Health(ok=True, checks=(Check("a", "ok"),)), "probe() returned a Check with state of type str, expected"),
        (
            Health(ok=True, checks=(Check(None, CheckState.OK),)),
            "probe() returned a Check with name of type NoneType",
        ),
        (Health(ok=False, error=ValueError()), "probe() returned a Health with error of type ValueError, expected"),
        (Health(ok=True, facts={"a": 1}), "probe() returned a fact of type int, expected str"),
        (Health(ok=True, facts=None), "probe() returned a Health with facts of type NoneType, expected"),
    ],
    ("list_entries", lambda guarded: list(guarded.list_entries("app"))): [
        (None, "list_entries() returned NoneType, expected an iterator"),
        ("ab", "list_entries() returned str, expected an iterator"),
        ([b"ab"], "list_entries() returned an item of type bytes, expected str"),
    ],
    ("walk", lambda guarded: list(guarded.walk("app"))): [
        ("ab", "walk() returned str, expected an iterator"),
        ([None], "walk() returned an item of type NoneType, expected str"),
    ],
    ("walk_labels", lambda guarded: list(guarded.walk_labels("app"))): [
        (["a"], "walk_labels() returned an item of type str, expected a path and its outcome"),
        ([("app/a", None)], "walk_labels() returned labels of type NoneType, expected a mapping of str to str"),
    ],
    ("cautions", lambda guarded: guarded.cautions("app/db")): [
        ("none", "cautions() returned str, expected an iterator"),
        ([None], "cautions() returned an item of type NoneType, expected str"),
    ],
    ("write_formed", lambda guarded: guarded.write_formed("app/db", DATA, {})): [
        (1.5, "write_formed() returned float, expected int, str or None; the secret may have been written")
    ],
}


@pytest.mark.parametrize(
    ("method", "call", "answer", "reason"),
    [(*key, *wrong) for key, each in WRONG_ANSWERS.items() for wrong in each],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_answer_is_a_bug_of_the_plugin(method, call, answer, reason):
    """Whatever a store returns is checked where it enters, and the message names the method and the type."""
    store = KeyedRecorder()
    object.__setattr__(store, method, lambda *_: answer)
    error = outcome_of(lambda: call(GuardedStore(store, "wrong")))
    assert type(error) is StoreError
    assert f"store wrong: {reason}" in str(error)


def test_left_out_write_may_have_been_made():
    """A bulk write that reports nothing for a path does not pass for a success."""
    store = open_memory()
    store.write_many = lambda items: iter([(path, 1) for path, _ in items][:1])
    outcomes = dict(GuardedStore(store, "s").write_many([("a", DATA), ("b", DATA)]))
    assert outcomes["a"] == 1
    assert type(outcomes["b"]) is WriteOutcomeUnknownError


def test_path_that_a_bulk_read_does_not_look_at_has_an_outcome():
    """A bulk operation that ends early leaves no path out of the result."""
    store = open_memory(secrets={"a": DATA, "b": DATA})
    real = store.read_many
    store.read_many = lambda paths: real([next(paths)])
    outcomes = dict(GuardedStore(store, "s").read_many(["a", "b", "c//"]))
    assert {path: type(outcome) for path, outcome in outcomes.items()} == {
        "a": Secret,
        "b": StoreError,
        "c//": InvalidPathError,
    }


def test_error_of_many_has_the_store_s_name_and_no_frames():
    """Like a raised error, one that a bulk operation yields loses the frames of the store."""

    class Store(MemoryStore):
        def read_many(self, paths):
            for path in paths:
                plain = f"{CANARY} in a variable"
                error = PermissionDeniedError(path, hint=plain[:0])
                with contextlib.suppress(PermissionDeniedError):
                    raise error
                yield path, error

    ((_, error),) = GuardedStore(Store(), "s").read_many(["a"])
    assert (type(error), error.store, error.__traceback__) == (PermissionDeniedError, "s", None)


class ExitingError(ConfigurationError):
    @property
    def args(self):
        raise SystemExit(0)


@pytest.mark.parametrize(
    "error",
    [StoreError(7), StoreError("a", 7, store=[]), StoreError("a", hint=7), ConfigurationError(7), ExitingError(CANARY)],
    ids=lambda error: type(error).__name__,
)
def test_malformed_error_is_a_bug_of_the_plugin(error):
    """An error whose fields cannot be used is replaced, so that it does not fail where it is shown."""
    with pytest.raises(StoreError, match=r"store s: it raised a malformed \w+\)") as caught:
        GuardedStore(ReadOnly(error), "s").read("a")
    assert CANARY not in str(caught.value)


# --- errors that quote a value ----------------------------------------------------------------------------------------


class QuotingError(StoreUnavailableError):
    """A plugin's own class, with the value in everything that can be printed."""

    summary = "Corp is unavailable"

    def __init__(self, path, value):
        super().__init__(path, f"it refuses {value!r}", hint=f"Do not write {value}", store="inner")
        self.value = value
        self.args = (path, value)
        self.checks = (Check("reachable", CheckState.FAILED, f"not with {value}", f"Drop {value}"),)
        self.add_note(f"it was {value}")

    def __str__(self):
        return f"no {self.value}"

    def copy(self, **fields):
        return self

    @classmethod
    def of(cls, path, value):
        """Return an error that was raised because of another one."""
        error = cls(path, value)
        error.__cause__ = ValueError(value)
        return error


def plain(data):
    return str(data["password"])


class Quoting(MemoryStore):
    """A store of another distribution that quotes each value that it gets or has returned."""

    traits = Traits(honors_deadline=True)

    def write(self, path, data):
        raise QuotingError.of(path, plain(data))

    def write_if(self, path, data, expected):
        raise QuotingError.of(path, base64.b64encode(plain(data).encode()).decode())

    def write_many(self, items):
        for path, data in items:
            yield path, QuotingError.of(path, plain(data))

    def write_many_if(self, items):
        (path, data, _), *_ = items
        raise QuotingError.of(path, plain(data))
        yield

    def read_many(self, paths):
        for path in paths:
            yield path, Secret(path, DATA)
        raise QuotingError.of(path, CANARY)

    def vet(self, path, data):
        raise InvalidDataError(path, SensitiveStr(plain(data)), hint=json.dumps({"was": plain(data)}))


QUOTED = {
    "write": lambda guarded: guarded.write("a", DATA),
    "write_if": lambda guarded: guarded.write_if("a", DATA, None),
    "write_many": lambda guarded: raised(guarded.write_many([("a", DATA)])),
    "write_many_if": lambda guarded: list(guarded.write_many_if([("a", DATA, None), ("b", DATA, None)])),
    "read_many": lambda guarded: list(guarded.read_many(["a"])),
    "vet": lambda guarded: guarded.vet("a", DATA),
}


def raised(outcomes):
    """Raise the outcome of the one path of a bulk operation."""
    ((_, error),) = outcomes
    raise error


@pytest.mark.parametrize("enforced", [False, True])
@pytest.mark.parametrize("operation", QUOTED)
def test_error_that_quotes_a_value_shows_none(operation, enforced):
    """The error is of the nearest class of Strongroom, and keeps its words. The values of the call are replaced."""
    store = Quoting()
    store.traits = Traits(honors_deadline=not enforced)
    with pytest.raises(StoreError) as caught:
        QUOTED[operation](GuardedStore(store, "s"))
    error = caught.value
    shown = everywhere(error)
    assert CANARY not in shown
    assert base64.b64encode(CANARY.encode()).decode() not in shown
    assert type(error) in {StoreUnavailableError, InvalidDataError}
    assert error.path == "a"
    assert "**********" in error.reason
    assert "**********" in error.hint
    if type(error) is StoreUnavailableError:
        assert str(error).startswith("Store unavailable: a (store inner: it refuses ")
        assert error.checks[0].hint.startswith("Drop **********")


def test_error_of_the_tree_without_a_path_shows_no_value():
    """Its message alone is kept."""

    class Store(MemoryStore):
        def write(self, path, data):
            error = MigrationError(f"cannot write {plain(data)}", report=[plain(data)])
            error.add_note(plain(data))
            raise error

    with pytest.raises(MigrationError) as caught:
        GuardedStore(Store(), "s").write("a", DATA)
    assert str(caught.value) == "cannot write **********"
    assert CANARY not in everywhere(caught.value)


def test_own_store_keeps_its_words():
    """A backend of Strongroom shows no value, and may name a host that is one."""

    class Store(MemoryStore):
        def write(self, path, data):
            raise VaultConnectionError(path, f"no answer from {plain(data)}", hint="as it is").copy(
                path_only=True, conclusive=False
            )

    Store.__module__ = "strongroom_vault.store"
    with pytest.raises(VaultConnectionError) as caught:
        GuardedStore(Store(), "s").write("a", DATA)
    error = caught.value
    assert (error.reason, error.hint) == (f"no answer from {CANARY}", "as it is")
    assert (error.path_only, error.conclusive) == (True, False)


INVALID_NAMES = ["", "/", "..", ".", "a\nb", "\x1b[31m", "../", "a\\b", "\u2028", "\ud800", "x" * 1025]


@pytest.mark.parametrize("name", INVALID_NAMES, ids=ascii)
def test_invalid_name_is_an_error_of_that_name(name):
    """It hides no other name, is refused by every operation, and is not looked into: `/` would recur for ever."""

    class Store(MemoryStore):
        walk = property()  # so that the guard walks folder by folder

        def list_entries(self, prefix):
            assert prefix == "app"
            return iter([name, "z"])

    guarded = GuardedStore(Store(), "s")
    assert list(guarded.list_entries("app")) == [name, "z"]
    assert list(guarded.walk("app")) == [f"app/{name}", "app/z"]
    outcomes = dict(guarded.read_many(guarded.walk("app")))
    assert type(outcomes[f"app/{name}"]) is InvalidPathError
    assert str(outcomes[f"app/{name}"]).isprintable()


@pytest.mark.parametrize("name", ["a/b", "a//", "//"])
def test_name_with_a_slash_inside_ends_the_list_with_an_error(name):
    """It would stand for a path in another folder. The valid names come first."""
    store = open_memory()
    store.list_entries = lambda prefix: iter([name, "z"])
    names = GuardedStore(store, "s").list_entries("app")
    assert next(names) == "z"
    with pytest.raises(InvalidPathError, match=r"store s: it lists this name, and it has a slash inside\)"):
        next(names)


@pytest.mark.parametrize("path", ["", "/", "other/a", "app", "application"])
def test_path_outside_the_folder_ends_the_list_with_an_error(path):
    """A walk that ignores its prefix would copy or delete what nobody selected."""
    store = open_memory()
    store.walk = lambda prefix: iter([path, "app/z"])
    store.walk_labels = lambda prefix: iter([(path, {}), ("app/z", {"a": "b"})])
    guarded = GuardedStore(store, "s")
    for listed, valid in ((guarded.walk("app"), "app/z"), (guarded.walk_labels("app"), ("app/z", {"a": "b"}))):
        assert next(listed) == valid
        with pytest.raises(InvalidPathError, match="it lists this name, and it is not in the listed folder"):
            next(listed)


@pytest.mark.parametrize("answer", [True, None, "no", RuntimeError(), SystemExit(0), StoreUnavailableError()])
def test_store_that_cannot_tell_if_a_read_creates_counts_as_if_it_does(answer):
    """A read that creates a credential by surprise is worse than one that is not made."""

    class Store(ReadOnly):
        def makes(self, path):
            if isinstance(answer, BaseException):
                raise answer
            return answer

    assert GuardedStore(Store(), "s").makes("a")
    answer = False
    assert not GuardedStore(Store(), "s").makes("a")


@pytest.mark.parametrize("operation", ["read", "read_version"])
def test_another_paths_secret_is_never_served(operation):
    """A secret of another path is an error: the plugin has mixed up its connections."""
    store = KeyedRecorder()
    setattr(store, operation, lambda *_: Secret("app/other", {"key": CANARY}))
    guarded = GuardedStore(store, "wrong")
    calls = {"read": lambda: guarded.read("app/db"), "read_version": lambda: guarded.read_version("app/db", 1)}
    call = calls[operation]
    with pytest.raises(StoreError, match=r"app/db \(store wrong: \w+\(\) returned the secret of another") as caught:
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

    with pytest.raises(StoreError, match=r"list_entries\(\) returned NoneType, expected an iterator"):
        list(GuardedStore(Store(), "s").list_entries(""))


def test_opening_fails_as_reading_does():
    """An outage of the opener is an outage, and another exception shows no value."""

    def refuse():
        raise ConnectionError(CANARY)

    with pytest.raises(StoreUnavailableError) as caught:
        GuardedStore.open(refuse, "s")
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
