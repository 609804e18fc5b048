"""Declarations and fixtures of the contract of a service's store, and how the tests open stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, TypeAlias, get_args

import pytest

from strongroom import _plugins as plugins
from strongroom._boundary.guard import GuardedStore
from strongroom._config import Config, discovery
from strongroom.errors import StoreUnavailableError, StrongroomError, WriteOutcomeUnknownError
from strongroom.secret import Value, conceal_deeply
from strongroom.store import time_limit
from strongroom.testing.faulty_services import FaultyService, ServiceFault, recording_server
from strongroom.testing.store_contract.base import PATH, Supervised, fails, secret_data

NAME = "service"
"""The store's name in configurations."""

LIMIT = 0.5
"""Seconds that a call has while the service does not answer."""

_GRACE = 5.0
"""Seconds that a call may take longer on a busy machine. A client's own timeouts and repetitions take longer."""

PATIENCE = 30.0
"""Seconds that a call has while the service answers, or will answer soon."""

Contents: TypeAlias = Mapping[str, Mapping[str, Value]]
Opened: TypeAlias = Callable[..., GuardedStore]
Configured: TypeAlias = Callable[..., Mapping[str, Any]]


class ServiceContractBase(Supervised):
    """Declarations and fixtures of a service's contract. A subclass overrides the fixture `service`."""

    impossible: ClassVar[AbstractSet[ServiceFault]] = frozenset()
    """The faults that the service never has, such as "throttled"."""

    page_size: ClassVar[int] = 100
    """Number of names in one reply of the service. Lower it in the store, to save time: some tests fill ten pages."""

    cannot_hold: ClassVar[AbstractSet[str]] = frozenset()
    """Names of the hard inputs (`strongroom.testing.CASES`) that the store refuses, as in `StoreContract`."""

    @pytest.fixture
    def service(self) -> FaultyService:
        """Return the driver of a service without secrets."""
        pytest.fail("override the fixture `service`")

    @pytest.fixture
    def opened(self, service: FaultyService) -> Iterator[Opened]:
        """Return a function that takes path -> data and returns a guarded store of the service with these contents.

        It opens the store by its plugin and its options, as a configuration does. `address` takes the place of the
        service's own; if it is `secure`, options that are its URL begin with `https`.
        """
        stores: list[GuardedStore] = []

        def open_(
            contents: Contents | None = None, address: tuple[str, int] | None = None, *, secure: bool = False
        ) -> GuardedStore:
            options = dict(service.options(address))
            if address is not None and secure:
                options = {name: _secured(value, address) for name, value in options.items()}
            config = load_config({"chain": [NAME], "stores": {NAME: options}})
            guarded = GuardedStore.open(plugins.prepare(config, NAME), NAME)
            stores.append(guarded)
            for path, data in (contents or {}).items():
                if "writable" in guarded.capabilities:
                    guarded.write(path, data)
                else:
                    service.put(path, data)
            return guarded

        yield open_
        service.heal()
        for guarded in stores:
            with suppress(StrongroomError):  # a test has reported it
                guarded.close()

    @pytest.fixture
    def configured(self, service: FaultyService) -> Configured:
        """Return a function that returns a configuration: the service, and the stores of `more` after it in the chain.

        A read of the service has as much time there as a call, so that a busy machine causes no outage.
        """

        def configure(**more: Mapping[str, Any]) -> Mapping[str, Any]:
            stores = {NAME: service.options(), **more}
            chain = [{"store": name, "timeout": PATIENCE} for name in stores]
            return {"timeout": 2 * PATIENCE, "chain": chain, "stores": stores}

        return configure

    def test_declared_faults_exist(self) -> None:
        """A misspelled declaration is an error."""
        assert self.impossible <= set(get_args(ServiceFault))

    def meet(self, service: FaultyService, fault: ServiceFault, **options: Any) -> None:
        """Let the next requests meet a fault: see `FaultyService.inject`. Skip the test if it is impossible."""
        if fault in self.impossible:
            pytest.skip(f"{fault!r} is declared impossible")
        service.inject(fault, **options)


@contextmanager
def nothing_is_sent_elsewhere(service: FaultyService) -> Iterator[None]:
    """Assert that the server receives nothing to which the service redirects its clients in the block."""
    with recording_server() as (service.location, received):
        yield
        assert not received, "it sent the request to another server"


def load_config(document: Mapping[str, Any]) -> Config:
    """Return a configuration whose values are hidden, as those of a file are."""
    return discovery.load(document=conceal_deeply(document))


def _secured(option: object, address: tuple[str, int]) -> object:
    """Return an option with the URLs of this address as those of TLS."""
    if isinstance(option, list):
        return [_secured(each, address) for each in option]
    plain = f"http://{address[0]}:{address[1]}"
    return option.replace(plain, plain.replace("http", "https", 1)) if isinstance(option, str) else option


def needs(guarded: GuardedStore, *capabilities: str) -> GuardedStore:
    """Return the store. Skip the test if it lacks one of the capabilities."""
    for name in capabilities:
        if name not in guarded.capabilities:
            pytest.skip(f"the store has no capability {name!r}")
    return guarded


@contextmanager
def in_time(limit: float = LIMIT) -> Iterator[None]:
    """Assert that the block ends within `limit` seconds, and a grace for busy machines."""
    began = time.monotonic()
    yield
    taken = time.monotonic() - began
    assert taken < limit + _GRACE, f"it took {taken:.1f} s, and had {limit:g} s"


def is_outage(call: Callable[[], object], *, in_doubt: bool) -> None:
    """Assert that a call ends in time, with an outage that tells whether a change is in doubt.

    On a busy machine, the deadline may come before a request was sent, or while the last one is on the way. The call is
    then repeated, at most twice.
    """
    for _ in range(3):
        with in_time(), time_limit(LIMIT), fails(StoreUnavailableError) as caught:
            call()
        if isinstance(caught.value, WriteOutcomeUnknownError) is in_doubt:
            return
    pytest.fail("the service may still make it" if in_doubt else "nothing was carried out")


def holds(guarded: GuardedStore, own: str, path: str = PATH) -> None:
    """Assert that the secret has `own` as its key `own`, and all other keys."""
    read = guarded.read(path)
    assert dict(read.data) == secret_data(own=own), f"{path} has other keys"


def count_versions(guarded: GuardedStore, path: str = PATH) -> int | None:
    """Return how many versions the secret has; None if the store has no versions."""
    return len(guarded.versions(path)) if "versioned" in guarded.capabilities else None
