"""What every part of the contract stands on: a store's declarations and fixtures, and how a failure is examined."""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar, TypeAlias

import pytest

from strongroom.diff import same
from strongroom.errors import StoreError, UnsupportedOperationError
from strongroom.secret import Value, Version
from strongroom.store import SecretStore, WritableStore
from strongroom.store.guard import GuardedStore
from strongroom.testing.cases import CANARY

Contents: TypeAlias = Mapping[str, Mapping[str, Value]]
Holding: TypeAlias = Callable[[Contents], SecretStore]
Opened: TypeAlias = Callable[..., GuardedStore]

NAME = "under-contract"
PATH = "contract/app"


def secret_data(**more: Value) -> dict[str, Value]:
    """Data whose values nobody may see."""
    return {"user": f"{CANARY}-user", "password": f"{CANARY}-password", **more}


class Quiet:
    """What holds for every test of a contract."""

    @pytest.fixture(autouse=True)
    def _quiet_log(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """No record of any logger, at any level, shows a value."""
        caplog.set_level(logging.DEBUG)
        yield
        records = [*caplog.get_records("setup"), *caplog.get_records("call")]
        telling = {record.name for record in records if CANARY in f"{record.getMessage()} {vars(record)}"}
        assert not telling, f"a value is in the log of {', '.join(sorted(telling))}"


class Basis(Quiet):
    """The declarations and fixtures by which a store meets its contract.

    A subclass overrides `store`, or, where Strongroom cannot write, `holding`; and `denied` and `unreachable`, or says
    in `impossible` that this store is never in such a state.
    """

    capabilities: ClassVar[AbstractSet[str]] = frozenset()
    """What the store can do beyond reading: of keyed, listable, writable, checked, versioned, final_deletes, bulk,
    probed, local."""

    cannot_hold: ClassVar[AbstractSet[str]] = frozenset()
    """The names of the hard inputs (`strongroom.testing.cases.CASES`) that the store refuses; all others survive."""

    impossible: ClassVar[AbstractSet[str]] = frozenset()
    """Of "denied" and "unreachable", the states that this store is never in."""

    page_size: ClassVar[int] = 100
    """How many names, or items of a bulk call, the service gives in one reply."""

    @pytest.fixture
    def store(self) -> SecretStore:
        """An open store that is empty, and that the contract may write to."""
        pytest.fail("override the fixture `store`, or `holding` for a store that Strongroom cannot write to")

    @pytest.fixture
    def holding(self, request: pytest.FixtureRequest) -> Holding:
        """A function that takes path -> data and returns an open store that holds exactly that.

        A test calls it once. The default writes to `store`.
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
        """An open store whose credentials are good, and may do nothing at all."""
        pytest.fail("override the fixture `denied`, or declare `impossible = {'denied'}`")

    @pytest.fixture
    def unreachable(self) -> SecretStore:
        """An open store whose service accepts connections and never answers (`strongroom.testing.silent_server`)."""
        pytest.fail("override the fixture `unreachable`, or declare `impossible = {'unreachable'}`")

    # --- for the tests ------------------------------------------------------------------------------------------------

    @pytest.fixture
    def opened(self, holding: Holding) -> Iterator[Opened]:
        """A function that takes path -> data and returns the front of a store that holds exactly that."""
        fronts: list[GuardedStore] = []

        def open_(contents: Contents | None = None) -> GuardedStore:
            fronts.append(GuardedStore(holding(contents or {}), NAME))
            return fronts[-1]

        yield open_
        for front in fronts:
            front.close()


@contextmanager
def fails(*kinds: type[StoreError]) -> Iterator[pytest.ExceptionInfo[StoreError]]:
    """The block fails with one of `kinds`, and what it raises shows no value anywhere."""
    with pytest.raises(kinds) as caught:
        yield caught
    examine(caught.value)


def examine(error: BaseException) -> None:
    """Fails when the error, its attributes, its context or the variables of the frames it left show a value."""
    seen: BaseException | None = error
    while seen is not None:
        shown = f"{seen} {seen!r} {seen.args!r} {vars(seen)!r}"
        assert CANARY not in shown, f"{type(seen).__name__} shows a value"
        seen = seen.__cause__ or seen.__context__
    assert CANARY not in _printed(error), f"the traceback of {type(error).__name__} shows a value"


def _printed(error: BaseException) -> str:
    """The traceback with local variables, without the frames of the suite itself: those know the value."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and not trace.tb_frame.f_globals.get("__name__", "").startswith("strongroom.store.guard"):
        trace = trace.tb_next
    printed = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    return "".join(printed.format())


def needs(capability: str, *, unless: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test holds for a store that has the capability; one that has it not refuses its operations instead.

    Of one that has `unless` too, another test says what holds.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(self: Basis, opened: Opened, **fixtures: object) -> None:
            if capability not in self.capabilities:
                refuses(opened(), capability)
            elif unless not in self.capabilities:
                test(self, opened, **fixtures)

        return run

    return decorate


def holds(front: GuardedStore, own: str, version: Version | None) -> None:
    """The secret at `PATH` is the one that says `own`, whole, under that version."""
    read = front.read(PATH)
    assert same(read.data, secret_data(own=own))
    assert read.version == version


_OPERATIONS: Mapping[str, tuple[Callable[[GuardedStore], Any], ...]] = {
    "keyed": (lambda front: front.read_key(PATH, "user"),),
    "listable": (lambda front: list(front.list_entries("")), lambda front: list(front.walk())),
    "writable": (lambda front: front.write(PATH, secret_data()), lambda front: front.delete(PATH)),
    "checked": (lambda front: front.write_if(PATH, secret_data(), None),),
    "versioned": (
        lambda front: front.versions(PATH),
        lambda front: front.read_version(PATH, 1),
        lambda front: front.undelete(PATH, 1),
        lambda front: front.destroy(PATH, 1),
        lambda front: front.read_metadata(PATH),
        lambda front: front.write_metadata(PATH, {}),
    ),
}


def refuses(front: GuardedStore, capability: str) -> None:
    """Every operation of a capability that the store does not have says so."""
    for operation in _OPERATIONS.get(capability, ()):
        with fails(UnsupportedOperationError):
            operation(front)
