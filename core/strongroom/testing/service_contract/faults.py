"""Faults of a service: throttled, failed, odd, lost, silent and unsent requests, and their errors for the caller."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from strongroom import _plugins as plugins
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom.store.protocols import OPERATIONS
from strongroom.testing.faulty_services import FaultyService, ServiceFault, untrusted_server
from strongroom.testing.service_contract.base import (
    LIMIT,
    NAME,
    PATIENCE,
    Opened,
    ServiceContractBase,
    count_versions,
    holds,
    in_time,
    is_outage,
    load_config,
    needs,
    nothing_is_sent_elsewhere,
)
from strongroom.testing.store_contract.base import PATH, REQUESTS, absent, fails, perform, secret_data, shows_value

_BATCH = 8  # all at the deadline: on a busy machine, more of them take longer than the time in which they count
_MOST_REQUESTS = 40
"""In `LIMIT` seconds: a client that pauses sends far fewer, and one that does not sends hundreds."""

_HASTE = 10.0
"""Seconds after which a call that fails fast has certainly ended, on a busy machine too."""

_MOST_CHANGES = 5
"""Changes that one write sends: more than any known store sends."""

_NEW, _OTHER = f"{PATH}-new", "contract/other"

_SOON = 5.0
"""Seconds in which a call that was given up ends, on a busy machine too. Timeouts of clients are longer."""

_PAUSE = 1
"""Seconds for which the service asks for no further request."""

_CHANGES: dict[str, tuple[str, Callable[[GuardedStore, str], object]]] = {
    "write": ("writable", lambda guarded, path: guarded.write(path, secret_data(own="new"))),
    "write_if": (
        "checked",
        lambda guarded, path: guarded.write_if(path, secret_data(own="new"), guarded.read(path).version),
    ),
    "first write": ("writable", lambda guarded, path: guarded.write(f"{path}-new", secret_data(own="new"))),
    "delete": ("writable", lambda guarded, path: guarded.delete(path)),
    "labels": ("versioned", lambda guarded, path: guarded.write_metadata(path, {"owner": "billing"})),
}
"""Changes of a secret, with the capability that each needs."""

each_change = pytest.mark.parametrize("change", _CHANGES)


class FaultContract(ServiceContractBase):
    """Each fault is an outage, in time, and never an absence. A change tells whether it was made."""

    # --- silence ------------------------------------------------------------------------------------------------------

    def test_silent_service_is_an_outage_in_time(self, service: FaultyService, opened: Opened) -> None:
        """A service that stops answering its open connections: each operation ends in time, all at once."""
        guarded = opened({PATH: secret_data(own="old")})
        guarded.read(PATH)
        self.meet(service, "silent")
        operations = _operations(guarded)

        def end(name: str) -> None:
            with time_limit(LIMIT), fails(StoreUnavailableError) as caught:
                perform(guarded, name)
            if not OPERATIONS[name].changes:
                assert not isinstance(caught.value, WriteOutcomeUnknownError), f"{name} changes nothing"

        with ThreadPoolExecutor(len(operations)) as pool, in_time():
            list(pool.map(end, operations))

    def test_silent_batch_has_an_outage_for_each_item(self, service: FaultyService, opened: Opened) -> None:
        """A bulk read and a bulk write yield each path with its error, in time.

        A batch that is late on a busy machine is given up, and raises one outage for all items that are left.
        """
        guarded = opened({PATH: secret_data()})
        self.meet(service, "silent")
        paths = [f"contract/{number:03}" for number in range(_BATCH)]
        batches: list[Iterator[tuple[str, object]]] = [guarded.read_many(paths)]
        if "writable" in guarded.capabilities:
            batches.append(guarded.write_many((path, secret_data()) for path in paths))
        for batch in batches:
            outcomes: list[tuple[str, object]] = []
            with in_time(), time_limit(LIMIT):
                try:
                    outcomes.extend(batch)
                except StoreUnavailableError as error:
                    outcomes.extend(dict.fromkeys(paths, error).items())
            assert {path for path, _ in outcomes} == set(paths)
            others = {type(found).__name__ for _, found in outcomes if not isinstance(found, StoreUnavailableError)}
            assert not others, f"an item has {', '.join(sorted(others))} instead of the outage"

    @each_change
    def test_change_without_a_reply_is_in_doubt(self, service: FaultyService, opened: Opened, change: str) -> None:
        """The service may still make it: neither success nor failure is certain."""
        guarded, make = _prepared(opened, change)
        self.meet(service, "silent", only="changes")
        is_outage(lambda: make(guarded, PATH), in_doubt=True)

    def test_service_that_answers_again_is_used_again(self, service: FaultyService, opened: Opened) -> None:
        """After a silence, the next read is answered."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, "silent")
        is_outage(lambda: guarded.read(PATH), in_doubt=False)
        service.heal()
        with time_limit(PATIENCE):
            holds(guarded, "old")

    def test_silent_read_ends_soon_after_its_deadline(self, service: FaultyService, opened: Opened) -> None:
        """A read that was given up frees its thread and its connection, long before a timeout of the client's own."""
        guarded = opened({PATH: secret_data()})
        guarded.read(PATH)
        self.meet(service, "silent")
        is_outage(lambda: guarded.read(PATH), in_doubt=False)
        ends = time.monotonic() + _SOON
        while guarded.is_overdue and time.monotonic() < ends:
            time.sleep(0.01)
        assert not guarded.is_overdue, (
            f"the thread of a read still waits {_SOON:g} s after its deadline: pass `remaining()` to the client"
        )

    # --- throttled and failed -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", ["throttled", "failed", "lost"])
    @pytest.mark.parametrize("caller", ["patient", "hasty"])
    def test_single_fault_of_a_read_is_repeated(
        self, service: FaultyService, opened: Opened, fault: ServiceFault, caller: str
    ) -> None:
        """One bad reply does not count as an outage, even if another link of the chain could answer."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, fault, times=1)
        with time_limit(PATIENCE), fail_fast(caller == "hasty"):
            holds(guarded, "old")

    @each_change
    def test_throttled_change_is_repeated_and_made_once(
        self, service: FaultyService, opened: Opened, change: str
    ) -> None:
        """It was not carried out, so repeating it is safe."""
        self._make_once(service, opened, change, "throttled", times=2)

    def test_lasting_throttling_is_an_outage_and_no_doubt(self, service: FaultyService, opened: Opened) -> None:
        """A read and a write end in time, and the write was certainly not made. The service is not asked in a rush."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, "throttled")
        before = service.requests
        is_outage(lambda: guarded.read(PATH), in_doubt=False)
        assert service.requests - before < _MOST_REQUESTS, "it asks again without a pause"
        if "writable" in guarded.capabilities:
            is_outage(lambda: guarded.write(PATH, secret_data(own="new")), in_doubt=False)

    def test_pause_that_the_service_asks_for_is_kept(self, service: FaultyService, opened: Opened) -> None:
        """A throttled reply with the header Retry-After is followed by no request in that time."""
        if not service.ask_for_pause(_PAUSE):
            pytest.skip("the service asks for no pause")
        guarded = opened({PATH: secret_data(own="old")})
        before = len(service.arrivals)
        self.meet(service, "throttled", times=1)
        with time_limit(PATIENCE):
            holds(guarded, "old")
        first, second = service.arrivals[before : before + 2]
        assert second - first > _PAUSE, f"it asked again after {second - first:.1f} s"

    def test_lasting_failure_is_an_outage(self, service: FaultyService, opened: Opened) -> None:
        """Reads end in time. The service is not asked in a rush."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, "failed")
        before = service.requests
        is_outage(lambda: guarded.read(PATH), in_doubt=False)
        assert service.requests - before < _MOST_REQUESTS, "it asks again without a pause"

    def test_lasting_failure_leaves_time_for_a_fallback(self, service: FaultyService, opened: Opened) -> None:
        """If another link can answer, a read gives up long before its deadline."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, "failed")
        with in_time(_HASTE), time_limit(PATIENCE), fail_fast(), fails(StoreUnavailableError):
            guarded.read(PATH)

    # --- changes ------------------------------------------------------------------------------------------------------

    @each_change
    def test_change_whose_reply_was_lost_is_made_once(
        self, service: FaultyService, opened: Opened, change: str
    ) -> None:
        """The store finds out that it was made, and neither fails nor makes it a second time."""
        self._make_once(service, opened, change, "lost", times=1)

    @each_change
    def test_lost_reply_before_a_silence_tells_the_truth(
        self, service: FaultyService, opened: Opened, change: str
    ) -> None:
        """The store cannot look up whether the change was made: its outcome is unknown, in time."""
        guarded, make = _prepared(opened, change)
        self.meet(service, "lost", times=1, only="changes", then="silent")
        with in_time(), time_limit(LIMIT), fails(StoreUnavailableError) as caught:
            make(guarded, PATH)
        service.heal()
        _tells_the_truth(guarded, change, caught.value)

    @each_change
    @pytest.mark.parametrize("fault", ["failed", "odd", "misdirected", "redirected"])
    def test_change_that_failed_tells_the_truth(
        self, service: FaultyService, opened: Opened, change: str, fault: ServiceFault
    ) -> None:
        """It succeeds and is made, or its outcome is unknown, or it fails and is not made."""
        guarded, make = _prepared(opened, change)
        self.meet(service, fault, times=1, only="changes")
        failure: StoreError | None = None
        with nothing_is_sent_elsewhere(service), time_limit(PATIENCE):
            try:
                make(guarded, PATH)
            except StoreUnavailableError as error:
                failure = error
        service.heal()
        _tells_the_truth(guarded, change, failure)

    @pytest.mark.parametrize("change", ["write", "write_if"])
    def test_write_that_stops_halfway_loses_nothing(self, service: FaultyService, opened: Opened, change: str) -> None:
        """A write that sends several changes, of which a later one fails: the old or the new secret can be read."""
        guarded, make = _prepared(opened, change)
        for made in range(1, _MOST_CHANGES):
            path = f"{PATH}-{made}"
            opened({path: secret_data(own="old")})
            before = service.faults
            self.meet(service, "failed", only="changes", after=made)
            with time_limit(LIMIT), suppress(StoreUnavailableError):
                make(guarded, path)
            service.heal()
            if service.faults == before:
                return  # it sends no more changes
            with time_limit(PATIENCE):
                found = dict(guarded.read_many([path]))[path]
            assert isinstance(found, Secret), f"a write that failed after {made} of its changes has lost the old secret"
            assert dict(found.data) in (secret_data(own="old"), secret_data(own="new")), "it left a mixed secret"

    @pytest.mark.parametrize("change", ["write", "write_if", "first write", "delete"])
    def test_change_after_one_of_another_client_tells_the_truth(
        self, service: FaultyService, opened: Opened, change: str
    ) -> None:
        """Another client writes the secret just before. The change is made on top, or it is a conflict and not made."""
        guarded, make = _prepared(opened, change)
        other = opened()
        outcomes: list[tuple[str, object]] = []
        path = _NEW if change == "first write" else PATH
        service.before_change(lambda: outcomes.extend(other.write_many([(path, secret_data(own="other"))])))
        failure: StoreError | None = None
        with time_limit(PATIENCE):
            try:
                make(guarded, PATH)
            except (ConflictError, StoreUnavailableError) as error:
                failure = error
        assert outcomes, "the service did not call `next_fault` with `changes=True`"
        assert not isinstance(outcomes[0][1], StoreError), "the other client could not write"
        _tells_the_truth(guarded, change, failure)
        if change == "write_if":
            assert isinstance(failure, ConflictError), "it replaces another version than the expected one"

    @each_change
    def test_change_that_was_not_sent_was_not_made(self, opened: Opened, change: str) -> None:
        """With nobody listening, the outcome is known."""
        capability, make = _CHANGES[change]
        needs(opened(), capability)
        if change == "write_if":
            make = _write_first
        with closed_port() as address:
            unheard = opened(address=address)
            for hasty in (False, True):
                with fail_fast(hasty):
                    is_outage(lambda: make(unheard, PATH), in_doubt=False)
        absent(opened().read, PATH)

    def _make_once(
        self, service: FaultyService, opened: Opened, change: str, fault: ServiceFault, *, times: int
    ) -> None:
        """Make a change that meets a fault so many times, and assert that it was made, and once."""
        guarded, make = _prepared(opened, change)
        opened({_OTHER: secret_data(own="old")})
        needed = _count_changes(service, lambda: make(guarded, _OTHER))
        before = count_versions(guarded)
        self.meet(service, fault, times=times, only="changes")
        with time_limit(PATIENCE):
            carried_out = _count_changes(service, lambda: make(guarded, PATH))
        assert carried_out <= needed, (
            "the service carried the change out twice; if that changes nothing, pass `repeatable=True` to `next_fault`"
        )
        assert _is_made(guarded, change), "it was not made"
        if change in {"write", "write_if"} and before is not None:
            assert count_versions(guarded) == before + 1, "it was made twice"
        if change == "first write" and before is not None:
            assert count_versions(guarded, _NEW) == 1, "it was made twice"

    # --- odd replies --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", ["odd", "misdirected", "redirected"])
    def test_odd_reply_is_an_outage_and_no_absence(
        self, service: FaultyService, opened: Opened, fault: ServiceFault
    ) -> None:
        """A login page or another server confirms nothing, and lists nothing. No credential is sent to it."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, fault)
        with nothing_is_sent_elsewhere(service):
            for name in _operations(guarded):
                if not OPERATIONS[name].changes:
                    with time_limit(LIMIT), fails(StoreUnavailableError):
                        perform(guarded, name)

    def test_server_without_a_trusted_certificate_receives_nothing(self, opened: Opened, tmp_path: Path) -> None:
        """If the service can be reached through TLS, an unknown certificate is an outage."""
        with untrusted_server(tmp_path) as (address, received):
            try:
                distrusting = opened(address=address, secure=True)
            except ConfigurationError:
                pytest.skip("no store can be opened with such an address")
            is_outage(lambda: distrusting.read(PATH), in_doubt=False)
        assert not received, "it does not verify the certificate"

    # --- credentials --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", ["rejected", "denied"])
    def test_refused_credentials_are_a_denial(
        self, service: FaultyService, opened: Opened, fault: ServiceFault
    ) -> None:
        """They do not count as an absence or an outage, nothing changes, and a later call succeeds."""
        guarded = opened({PATH: secret_data(own="old")})
        self.meet(service, fault)
        for name in _operations(guarded):
            with time_limit(PATIENCE), fails(AuthenticationError, PermissionDeniedError):
                perform(guarded, name)
        if "probed" in guarded.capabilities:
            with time_limit(PATIENCE), suppress(AuthenticationError, PermissionDeniedError):
                assert not shows_value(repr(guarded.probe())), "the health shows a credential"
        service.heal()
        with time_limit(PATIENCE):
            holds(guarded, "old")

    def test_credentials_are_shown_nowhere(self, service: FaultyService, opened: Opened) -> None:
        """Each credential in the options can be recognized. `repr` and health show none; other tests look at logs."""
        given = service.options()
        options = plugins.schema(load_config({"stores": {NAME: given}}), NAME).options
        secrets = [name for name, about in options.items() if about.option.secret and isinstance(given.get(name), str)]
        plain = [name for name in secrets if not shows_value(given[name])]
        assert not plain, f"begin {', '.join(plain)} in `options` with `strongroom.testing.CANARY`, to find it in a log"
        guarded = opened({PATH: secret_data(own="old")})
        holds(guarded, "old")
        assert not shows_value(repr(guarded.unwrapped(PATH))), "repr() of the store shows a credential"
        assert not shows_value(repr(guarded.probe())), "the health shows a credential"

    # --- lists --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", ["failed", "odd", "silent"])
    def test_failed_page_is_no_shorter_list(self, service: FaultyService, opened: Opened, fault: ServiceFault) -> None:
        """A list that fails on its second page is an error, in time."""
        guarded, _ = self._pages(opened)
        self.meet(service, fault, after=1)
        is_outage(lambda: list(guarded.list_entries("contract")), in_doubt=False)

    @pytest.mark.parametrize("fault", ["throttled", "failed", "lost"])
    def test_page_that_failed_once_is_asked_for_again(
        self, service: FaultyService, opened: Opened, fault: ServiceFault
    ) -> None:
        """The list is whole, and has each name once."""
        guarded, names = self._pages(opened)
        self.meet(service, fault, times=1, after=1)
        with time_limit(PATIENCE):
            assert sorted(guarded.list_entries("contract")) == names

    def test_more_than_ten_pages_are_listed_whole(self, opened: Opened) -> None:
        """No limit of pages or names cuts a list."""
        guarded, names = self._pages(opened, 10)
        with time_limit(PATIENCE):
            assert sorted(guarded.list_entries("contract")) == names

    def _pages(self, opened: Opened, number: int = 1) -> tuple[GuardedStore, list[str]]:
        """Return a store with one more name than this number of pages, and the names."""
        names = [f"name-{number:05}" for number in range(number * self.page_size + 1)]
        return needs(opened({f"contract/{name}": {"key": "v"} for name in names}), "listable"), names


def _operations(guarded: GuardedStore) -> list[str]:
    """Return the operations of the store that fail if the service does."""
    return [name for name, needed in REQUESTS.items() if needed in {"", *guarded.capabilities}]


@contextmanager
def closed_port() -> Iterator[tuple[str, int]]:
    """Yield host and port of which connections are refused: it is bound, so that nobody else can listen there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


def _prepared(opened: Opened, change: str) -> tuple[GuardedStore, Callable[[GuardedStore, str], object]]:
    """Return a store with a secret, and a change. Skip the test if the store lacks its capability."""
    capability, make = _CHANGES[change]
    needs(opened(), capability)
    return opened({PATH: secret_data(own="old")}), make


def _count_changes(service: FaultyService, call: Callable[[], object]) -> int:
    """Return how many changes the service carries out meanwhile."""
    before = service.changes
    call()
    return service.changes - before


def _write_first(guarded: GuardedStore, path: str) -> object:
    return guarded.write_if(path, secret_data(own="new"), None)


def _is_made(guarded: GuardedStore, change: str) -> bool:
    if change == "labels":
        return dict(guarded.read_metadata(PATH)) == {"owner": "billing"}
    path = _NEW if change == "first write" else PATH
    try:
        read = guarded.read(path)
    except SecretNotFoundError:
        return change == "delete"
    return change != "delete" and read.data.get("own") == "new"


def _tells_the_truth(guarded: GuardedStore, change: str, failure: StoreError | None) -> None:
    """Assert that the change was made if it succeeded, and was not made if it failed. An unknown outcome may be either.

    A first write may take several requests, of which only the last one makes a secret.
    """
    if failure is None:
        assert _is_made(guarded, change), "it reports a change that was not made"
    elif not isinstance(failure, WriteOutcomeUnknownError):
        assert not _is_made(guarded, change), "it denies a change that was made"
