"""The first request of a session: how long it takes in an outage, and when the care for its token begins."""

from __future__ import annotations

import pytest

from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import SecretTooLargeError
from strongroom.store.deadline import fail_fast, opening_for
from strongroom_vault import plugin
from strongroom_vault.auth.token import StaticToken
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.http.messages import FaultKind, HttpFault, Reply, SendStep
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_request
from strongroom_vault.store.kv1 import VaultKV1
from strongroom_vault.store.kv2 import VaultKV2
from support.clock import CallTime

ADDRESS = Address.parse("http://127.0.0.1:1")
REFUSED = HttpFault(FaultKind.UNREACHABLE, "refused")


def test_the_first_read_of_a_process_ends_after_a_second_of_refused_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The opening is part of it, and no other request or attempt follows."""
    clock = CallTime.of_calls(monkeypatch)
    targets: set[str] = set()
    openings: list[VaultKV1 | VaultKV2 | None] = []

    def send(step: SendStep) -> HttpFault:
        targets.add(step.request.target)
        return REFUSED

    def opener() -> VaultKV1 | VaultKV2:
        openings.append(None)
        driver = new_driver([ADDRESS], TLSSettings())
        monkeypatch.setattr(driver, "send", send)
        monkeypatch.setattr(driver._closed, "wait", clock.sleep)  # the pauses between attempts
        session = Session(driver, Cluster([ADDRESS]), StaticToken("t"), namespace=None, mount="secret")
        return plugin._open(session, "", 2)

    chain = Chain([Link(LinkConfig("vault"), opener, CacheConfig())])
    began = clock.monotonic()
    with pytest.raises(VaultConnectionError, match="refused"):
        chain.resolve("db", "url")
    assert 1.0 <= clock.monotonic() - began < 1.5
    assert len(openings) == 1
    assert targets == {"/v1/secret/data/db"}


def test_a_first_read_that_is_too_large_does_not_keep_the_store_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the error of its path: the mount is asked, and other paths are read."""
    openings: list[None] = []
    mounted = b'{"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}}'
    version = b'{"lease_duration": 0, "data": {"data": {"k": "v"}, "metadata": {"version": 1}}}'

    def send(step: SendStep) -> Reply | HttpFault:
        if step.request.target.endswith("/large"):
            return HttpFault(FaultKind.TOO_LARGE, "the reply is too long")
        return Reply(200, {}, mounted if step.request.target == mount_request("secret").target else version)

    def opener() -> VaultKV1 | VaultKV2:
        openings.append(None)
        driver = new_driver([ADDRESS], TLSSettings())
        monkeypatch.setattr(driver, "send", send)
        return plugin._open(
            Session(driver, Cluster([ADDRESS]), StaticToken("b.t"), namespace=None, mount="secret"), "", 2
        )

    chain = Chain([Link(LinkConfig("vault"), opener, CacheConfig())])
    with pytest.raises(SecretTooLargeError, match="large"):
        chain.resolve("large", "k")
    assert chain.resolve("db", "k").value == "v"
    assert len(openings) == 1
    chain.close()


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        (b'{"lease_id": "", "lease_duration": 2764800, "data": {"k": "v"}}', True),
        (b'{"lease_id": "database/creds/app/x", "lease_duration": 60, "data": {"k": "v"}}', False),
        (b"[]", False),
    ],
)
def test_a_leased_credential_is_no_secret_of_a_version_1_engine(
    monkeypatch: pytest.MonkeyPatch, body: bytes, answers: bool
) -> None:
    """With `version = 1` and the mount of another engine by mistake, the mount is asked, and the error names it."""
    driver = new_driver([ADDRESS], TLSSettings())
    monkeypatch.setattr(driver, "send", lambda _step: Reply(200, {}, body))
    session = Session(driver, Cluster([ADDRESS]), StaticToken("b.t"), namespace=None, mount="database")
    with opening_for("creds/app"):
        assert VaultKV1(session, requests().kv1, "").answers_first_read() is answers
    session.close()


@pytest.mark.parametrize(
    ("result", "turns"),
    [(REFUSED, 0), (Reply(200, {}, b"{}"), 1), (Reply(404, {}, b'{"errors": []}'), 1)],
)
def test_the_care_for_a_token_begins_with_the_first_reply(
    monkeypatch: pytest.MonkeyPatch, result: Reply | HttpFault, turns: int
) -> None:
    """In an outage the lookup of its life would fail too, and `close` would wait for that: up to two seconds."""
    driver = new_driver([ADDRESS], TLSSettings())
    session = Session(driver, Cluster([ADDRESS]), StaticToken("t"), namespace=None, mount="secret")
    woken: list[None] = []

    def send(_step: SendStep) -> Reply | HttpFault:
        return result

    monkeypatch.setattr(driver, "send", send)
    monkeypatch.setattr(session.renewer, "wake", lambda: woken.append(None))
    for _ in range(2):
        try:
            with fail_fast():
                session.request(mount_request("secret"))
        except VaultConnectionError:
            assert isinstance(result, HttpFault)
    assert len(woken) == turns
    session.close()
