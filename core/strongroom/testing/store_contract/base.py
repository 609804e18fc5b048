"""Declarations and fixtures that every part of the contract shares, and the examination of failures."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeAlias, TypeVar

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom._boundary.watchdog import Watchdog
from strongroom._redaction.printed_forms import base64_pieces
from strongroom.errors import PluginError, SecretNotFoundError, StoreError, UnsupportedOperationError
from strongroom.secret import REDACTED, Value, Version, same
from strongroom.store import SecretStore, WritableStore
from strongroom.store.protocols import OPERATIONS
from strongroom.testing.cases import CANARY

Contents: TypeAlias = Mapping[str, Mapping[str, Value]]
Holding: TypeAlias = Callable[[Contents], SecretStore]
Restarted: TypeAlias = Callable[[Contents], tuple[SecretStore, Callable[[], object]]]
Opened: TypeAlias = Callable[..., GuardedStore]

_SUITE = __name__.removesuffix("store_contract.base")
"""The package of the contracts."""
NAME = "under-contract"
PATH = "contract/app"
_LAST_RESORT = 30.0
"""Seconds after `longest_test` at which a process ends that runs C code and takes no signal."""
STATES = frozenset({"denied", "unreachable"})
_OPENING = {
    *STATES,
    "store",
    "dripping",
    "foreign",
    "unreadable",
    "partly_unreadable",
    "misnamed",
    "exporter",
    "rotator",
}
"""Fixtures that return something open. The contract closes it after each test."""

_BEGINNING = CANARY[:4]
"""The part of a value that a mask such as `abcd****` shows."""

_FORMS = (_BEGINNING, *base64_pieces(CANARY.encode()), CANARY.encode().hex(), CANARY.encode().hex().upper())
"""The forms in which a value that begins with `CANARY` is printed. Writers of JSON, HTML and URLs change nothing."""

_Test = TypeVar("_Test", bound=Callable[..., None])
_NEEDS: dict[str, tuple[str, str | None]] = {}
"""By the name of a test: the capability that it is about, and one whose stores another test is about."""


def secret_data(**more: Value) -> dict[str, Value]:
    """Return data whose values must show up nowhere."""
    return {"user": f"{CANARY}-user", "password": f"{CANARY}-password", **more}


def shows_value(text: object) -> bool:
    """Return True if a text has a value of the contract: the whole, its first characters, or its base64 or hex form."""
    return any(form in str(text) for form in _FORMS)


class Supervised:
    """A contract whose tests fail if they hang, print to stdout, or show a value on stderr, in a log or a warning."""

    longest_test: ClassVar[float] = 60.0
    """Seconds after which a test counts as hung. The failure names it."""

    time_to_end: ClassVar[float] = 10.0
    """Seconds that connections and threads may take to end after `close`: only a leak takes so long."""

    _resources: AbstractSet[str] = frozenset()

    def note_resources(self) -> None:
        """Note the open connections and threads, after the servers of a plugin's fixture and before its body."""
        self._resources = resources()

    def check_ended(self) -> None:
        """Assert that nothing is left that `note_resources` did not note, within `time_to_end`."""
        left = left_after(self._resources, self.time_to_end)
        assert not left, f"close() left {', '.join(sorted(left))}"

    @staticmethod
    def close_opened(fixture: str, value: Any) -> None:
        """Close the store, or the other plugin's object, that a fixture returned, while its service still runs.

        It may be closed already, and may be one of a tuple.
        """
        for opened in value if isinstance(value, tuple) else (value,):
            if fixture in _OPENING and hasattr(opened, "close"):
                with suppress(PluginError):  # a test has reported it
                    Watchdog(opened, NAME, "plugin").close()

    @pytest.fixture(autouse=True)
    def _watchdog(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """End a test that hangs, and name it. If no signal can end it, print every stack and end the process."""
        name = request.node.nodeid

        def end(*_: object) -> None:
            pytest.fail(f"{name} hung: it was not over after {self.longest_test:g} seconds (`longest_test`)")

        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(self.longest_test + _LAST_RESORT, exit=True, file=sys.__stderr__)
        try:
            with _alarm(self.longest_test, end):
                yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    @pytest.fixture(autouse=True)
    def _silent_streams(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Check that nothing is printed, since stdout may be a pipe that carries data, and no value is on stderr.

        A library in C, or a child process, writes to the descriptors.
        """
        own = {"capsys", "capfdbinary", "capsysbinary"} & set(request.fixturenames)  # a test has one of them
        capture = request.getfixturevalue(own.pop() if own else "capfd")
        yield
        printed = capture.readouterr()
        assert not printed.out, "something was printed to stdout"
        assert not shows_value(printed.err), "a value was printed to stderr"

    @pytest.fixture(autouse=True)
    def _redacted_warnings(self) -> Iterator[None]:
        """Check the warnings, and issue them again for pytest's summary."""
        with warnings.catch_warnings(record=True) as seen:
            yield
        telling = {found.category.__name__ for found in seen if shows_value(found.message)}
        assert not telling, f"a value is in a warning ({', '.join(sorted(telling))})"
        for found in seen:
            warnings.warn_explicit(found.message, found.category, found.filename, found.lineno)

    @pytest.fixture(autouse=True)
    def _redacted_logs(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """Check the records of every logger at every level."""
        caplog.set_level(logging.DEBUG)
        yield
        records = [*caplog.get_records("setup"), *caplog.get_records("call")]
        telling = {record.name for record in records if shows_value(f"{record.getMessage()} {vars(record)}")}
        assert not telling, f"a value is in the log of {', '.join(sorted(telling))}"


@contextmanager
def _alarm(seconds: float, handler: Callable[..., None]) -> Iterator[None]:
    """Call the handler in the main thread after this time, if the system has such an alarm."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ContractBase(Supervised):
    """Declarations and fixtures of a store's contract.

    A subclass overrides the fixture `store`, or `holding` if Strongroom cannot write to the store. It overrides
    `denied` and `unreachable` too, or declares in `impossible` that the store is never in that state.
    """

    capabilities: ClassVar[AbstractSet[str]] = frozenset()
    """Names of its capabilities (`strongroom.store.protocols.CAPABILITIES`), and of its traits that are True."""

    cannot_hold: ClassVar[AbstractSet[str]] = frozenset()
    """Names of the hard inputs (`strongroom.testing.CASES`) that the store refuses. All others must survive."""

    impossible: ClassVar[AbstractSet[str]] = frozenset()
    """The states that the store is never in: "denied" or "unreachable"."""

    many: ClassVar[int] = 1_101
    """Number of secrets in the test of a large folder: more than the usual largest page, and than ten usual pages.

    Lower it if the test's service is slow.

    A concurrency test repeats its operations 25 times, or `many` / 4 times if that is less.
    """

    page_size: ClassVar[int] = 100
    """Number of names, or of items of a bulk call, in one reply of the service."""

    @property
    def rounds(self) -> int:
        """Number of times that a concurrency test repeats its operations."""
        return max(1, min(25, self.many // 4))

    def __init_subclass__(cls, **options: Any) -> None:
        """Leave out the tests of capabilities that the store does not declare: one skipped test reports each."""
        super().__init_subclass__(**options)
        for name, (capability, unless) in _NEEDS.items():
            defined = [vars(base)[name] for base in cls.__mro__ if vars(base).get(name) is not None]
            if capability in cls.capabilities and unless not in cls.capabilities:
                if defined:
                    setattr(cls, name, defined[0])
            elif name not in vars(cls):
                setattr(cls, name, None)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize the tests whose parameters depend on the store's declarations."""

    @pytest.fixture
    def store(self) -> SecretStore:
        """Return an open, empty store that the contract may write to."""
        pytest.fail("override the fixture `store`, or `holding` for a store that Strongroom cannot write to")

    @pytest.fixture
    def holding(self, request: pytest.FixtureRequest) -> Holding:
        """Return a function that takes path -> data and returns an open store with exactly these contents.

        A test calls it once. By default it writes to `store`.
        """

        def fill(contents: Contents) -> SecretStore:
            store = request.getfixturevalue("store")
            if contents and not isinstance(store, WritableStore):
                pytest.fail("override the fixture `holding`: this store has no `write`")
            for path, data in contents.items():
                store.write(path, data)
            return store  # type: ignore[no-any-return]  # pytest's fixture values are Any

        return fill

    @pytest.fixture
    def denied(self) -> SecretStore:
        """Return an open store whose credentials are valid but grant no access at all."""
        pytest.fail("override the fixture `denied`, or declare `impossible = {'denied'}`")

    @pytest.fixture
    def unreachable(self) -> SecretStore:
        """Return an open store whose service accepts connections and never answers, like `silent_server`."""
        pytest.fail("override the fixture `unreachable`, or declare `impossible = {'unreachable'}`")

    @pytest.fixture
    def dripping(self) -> SecretStore:
        """Return an open store whose service answers with a byte now and then, like `dripping_server`. Optional."""
        pytest.skip("the fixture `dripping` is not overridden")

    @pytest.fixture
    def restarted(self) -> Restarted:
        """Return a function that takes path -> data, and returns a store of these contents and another function.

        The second function closes the store's connections at the service while they are idle, and leaves the service
        running: see `dropping_proxy`. Optional.
        """
        pytest.skip("the fixture `restarted` is not overridden")

    @pytest.fixture
    def foreign(self) -> SecretStore:
        """Return an open store with a secret at `contract/app`, and an entry at `contract/foreign` that is none.

        Another program wrote that entry, in a form that no secret has: other columns, or text that is not JSON.
        Optional.
        """
        pytest.skip("the fixture `foreign` is not overridden")

    # --- for the tests ------------------------------------------------------------------------------------------------

    @pytest.fixture
    def opened(self, holding: Holding) -> Iterator[Opened]:
        """Return a function that takes path -> data and returns a guarded store with exactly these contents."""
        opened_stores: list[GuardedStore] = []

        def open_(contents: Contents | None = None) -> GuardedStore:
            opened_stores.append(GuardedStore(holding(contents or {}), NAME))
            return opened_stores[-1]

        yield open_
        for guarded in opened_stores:
            guarded.close()


def in_state(request: pytest.FixtureRequest, name: str, impossible: AbstractSet[str]) -> Any:
    """Return the fixture of a state. Skip the test if the state is declared impossible."""
    if name in impossible:
        pytest.skip(f"{name!r} is declared impossible")
    return request.getfixturevalue(name)


@contextmanager
def fails(*kinds: type[StoreError]) -> Iterator[pytest.ExceptionInfo[StoreError]]:
    """Assert that the block raises one of `kinds`, and that the error shows no value."""
    with pytest.raises(kinds) as caught:
        yield caught
    examine(caught.value)


def absent(operation: Callable[..., object], *given: object) -> None:
    """Assert that the operation raises `SecretNotFoundError`, and that the error shows no value."""
    with fails(SecretNotFoundError):
        operation(*given)


def examine(error: BaseException) -> None:
    """Assert that the error, its attributes, its context and the local variables of its traceback show no value.

    A value that Strongroom has replaced in the text is a fault too.
    """
    assert REDACTED not in str(error), f"{type(error).__name__} shows a value"
    seen: BaseException | None = error
    while seen is not None:
        shown = f"{seen} {seen!r} {seen.args!r} {vars(seen)!r}"
        assert not shows_value(shown), f"{type(seen).__name__} shows a value"
        seen = seen.__cause__ or seen.__context__
    assert not shows_value(_printed(error)), f"the traceback of {type(error).__name__} shows a value"


def _printed(error: BaseException) -> str:
    """Return the traceback with local variables, without the frames of the suite itself: those have the value."""
    last: TracebackType | None = None
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_SUITE):
        last, trace = trace, trace.tb_next
    # An error that a bulk call returned, instead of raising it, has no frame of the plugin.
    returned = last is None or last.tb_frame.f_code is _only.__code__
    assert trace is not None or returned, f"{type(error).__name__} has no frame to examine"
    printed = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    return "".join(printed.format())


def needs(capability: str, *, unless: str | None = None) -> Callable[[_Test], _Test]:
    """Declare that a test holds for stores with `capability` and without `unless`. Other contracts do not have it."""

    def decorate(test: _Test) -> _Test:
        _NEEDS[test.__name__] = (capability, unless)
        return test

    return decorate


def resources() -> set[str]:
    """Return the open sockets of this process, except those that listen, and its threads."""
    found = {f"the thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}
    descriptors = Path("/dev/fd")
    for number in (int(file.name) for file in descriptors.iterdir()) if descriptors.is_dir() else ():
        with suppress(OSError):
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode) and not _listens(number):
                found.add(f"the socket {status.st_ino}")
    return found


def _listens(number: int) -> bool:
    with socket.socket(fileno=os.dup(number)) as copy:
        return bool(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def left_after(before: AbstractSet[str], seconds: float) -> set[str]:
    """Return the resources that were not there before and do not end within these seconds."""
    ends = time.monotonic() + seconds
    while (left := resources() - before) and time.monotonic() < ends:
        time.sleep(0.01)
    return left


def holds(guarded: GuardedStore, own: str, version: Version | None) -> None:
    """Assert that the secret at `PATH` has `own` as its key `own`, all other keys, and this version."""
    read = guarded.read(PATH)
    assert same(read.data, secret_data(own=own))
    assert read.version == version


_ARGUMENTS: Mapping[str, Any] = {
    "path": PATH,
    "key": "user",
    "prefix": "contract",
    "data": secret_data(),
    "version": 1,
    "expected": None,
    "labels": {"owner": "billing"},
}
"""An argument of each kind that the table of operations names."""

_NEVER_FAIL = frozenset({"makes", "kept_versions", "probe", "vet_many", "walk_labels"})
"""Operations that need no request, report the failure, or may yield less."""

REQUESTS: Mapping[str, str] = {
    name: OPERATIONS[operation.one].capability if operation.one else operation.capability
    for name, operation in OPERATIONS.items()
    if name not in _NEVER_FAIL and (operation.one or not operation.optional)
}
"""Each operation that fails if its service does, with the capability that it needs; empty if every store has it."""


def perform(guarded: GuardedStore, name: str) -> None:
    """Perform an operation to its end. The error of the one item of a bulk call is raised."""
    operation = OPERATIONS[name]
    given = [_ARGUMENTS[kind] for kind in operation.takes]
    method = getattr(guarded, name)
    if operation.many:
        _only(method([tuple(given) if len(given) > 1 else given[0]]))
    elif operation.takes == ("prefix",):
        list(method(*given))
    else:
        method(*given)


def _only(outcomes: Iterator[tuple[str, object]]) -> None:
    """Raise the one outcome of a bulk call, as a single call would."""
    [(_, outcome)] = outcomes
    if isinstance(outcome, StoreError):
        raise outcome


def refuses(guarded: GuardedStore, capability: str) -> None:
    """Assert that every operation of a capability that the store lacks is refused."""
    for name, needed in REQUESTS.items():
        if needed == capability:
            with fails(UnsupportedOperationError):
                perform(guarded, name)
