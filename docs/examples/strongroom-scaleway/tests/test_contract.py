"""The store keeps Strongroom's contracts, on a fake of Scaleway's API."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
import strongroom_scaleway
from fake_scaleway import PROJECT, TOKEN, ScalewayService
from strongroom_scaleway import ScalewayStore, open_scaleway

from strongroom.testing import (
    FaultyService,
    PluginContract,
    ServiceContract,
    StoreContract,
    dripping_server,
    dropping_proxy,
    silent_server,
)

PAGE = 4


@pytest.fixture
def scaleway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScalewayService]:
    """Start the fake, with small pages."""
    monkeypatch.setattr(strongroom_scaleway, "PAGE", PAGE)
    with ScalewayService() as service:
        yield service


def opened(address: tuple[str, int], token: str = TOKEN) -> ScalewayStore:
    host, port = address
    return open_scaleway(project=PROJECT, token=token, api_url=f"http://{host}:{port}")


class TestStore(StoreContract):
    capabilities = frozenset({"listable", "writable"})
    cannot_hold = frozenset({"64 KiB"})
    page_size = PAGE
    many = 25

    @pytest.fixture
    def store(self, scaleway: ScalewayService) -> ScalewayStore:
        return opened(scaleway.address)

    @pytest.fixture
    def denied(self, scaleway: ScalewayService) -> ScalewayStore:
        return opened(scaleway.address, "denied")

    @pytest.fixture
    def unreachable(self) -> Iterator[ScalewayStore]:
        with silent_server() as address:
            yield opened(address)

    @pytest.fixture
    def dripping(self) -> Iterator[ScalewayStore]:
        with dripping_server() as address:
            yield opened(address)

    @pytest.fixture
    def restarted(self, scaleway: ScalewayService) -> Iterator[Callable[..., Any]]:
        """Return a store behind a proxy, and the function that closes its connections."""
        with dropping_proxy(*scaleway.address) as proxy:

            def fill(contents: Mapping[str, Any]) -> tuple[ScalewayStore, Callable[[], object]]:
                store = opened(proxy.address)
                for path, data in contents.items():
                    store.write(path, data)
                return store, proxy.drop

            yield fill


class TestService(ServiceContract):
    cannot_hold = frozenset({"64 KiB"})
    page_size = PAGE

    @pytest.fixture
    def service(self, scaleway: ScalewayService) -> FaultyService:
        return scaleway


class TestPlugin(PluginContract):
    plugin = "scaleway"
    options: ClassVar = {"project": PROJECT, "token": "t"}
    lazy = frozenset({"httpx", "httpcore"})


def test_secret_of_another_program_is_read(scaleway: ScalewayService) -> None:
    """JSON objects are keys, and other content is the key `value`."""
    for name, content in (("keys", b'{"user":"app"}'), ("text", b"canary"), ("binary", b"\xff\x00")):
        scaleway.secrets[name] = {"id": name, "path": "/team", "name": name, "versions": [content]}
    store = opened(scaleway.address)
    assert sorted(store.list_entries("team")) == ["binary", "keys", "text"]
    assert store.read("team/keys").data == {"user": "app"}
    assert [store.read(f"team/{name}").data["value"] for name in ("text", "binary")] == ["canary", b"\xff\x00"]
