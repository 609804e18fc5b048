"""A chain over a server that fails: with HTTP 500 for one request, or behind a gateway that answers for it."""

import contextlib

import pytest

from strongroom import SecretsManager
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom.store.memory import open_memory
from support.clock import Clock
from support.vault.engines import open_engine

FALLBACK = {"app": {"key": "from the fallback"}, "other": {"key": "from the fallback"}}


@pytest.fixture
def open_chain(fault_server, stored):
    """A function that returns a chain whose first store is open, with these options of that store."""
    with contextlib.ExitStack() as stack:

        def open_(**options):
            store = open_engine(2, url=fault_server.url, token="s.token", **options)
            links = [
                Link(LinkConfig("vault", timeout=60), lambda: store, CacheConfig()),
                Link(LinkConfig("env"), lambda: open_memory(secrets=FALLBACK), CacheConfig()),
            ]
            chain = stack.enter_context(contextlib.closing(Chain(links)))
            fault_server.answers[:] = [stored(key="from vault")]
            assert chain.resolve("first", "key").store == "vault"
            return chain

        yield open_


def test_a_failed_write_does_not_turn_reads_to_the_fallback(open_chain, fault_server, answered, stored):
    chain = open_chain()
    fault_server.answers[:] = [answered(500, {"errors": []}), stored(key="from vault")]
    with time_limit(1.0), pytest.raises(WriteOutcomeUnknownError):
        chain.write("app", {"key": "new"}, store="vault", replace=True)
    found = chain.resolve("other", "key")
    assert (found.value, found.store) == ("from vault", "vault")


def test_a_read_that_fails_does_not_turn_other_paths_to_the_fallback(open_chain, fault_server, answered, stored):
    """The failed path itself goes on to the next link, as in any outage."""
    chain = open_chain(max_retries=0)
    fault_server.answers[:] = [answered(500, {"errors": []})]
    assert chain.resolve("app", "key").store == "env"
    fault_server.answers[:] = [stored(key="from vault")]
    found = chain.resolve("other", "key")
    assert (found.value, found.store) == ("from vault", "vault")
    assert [each.target for each in fault_server.requests].count("/v1/secret/data/other") == 1


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>"), (404, b""), (403, b"<html>"), (403, b"")])
def test_gateway_that_answers_for_the_server_leaves_the_stale_value(fault_server, answered, monkeypatch, status, body):
    """As an ingress whose backend is gone. A secret that is not cached is read from the next link."""
    monkeypatch.setenv("OTHER_KEY", "from env")
    found = {"data": {"key": "from vault"}, "metadata": {"version": 1, "created_time": "2026-01-02T03:04:05Z"}}
    fault_server.answers[:] = [answered(200, {"lease_duration": 0, "data": found})]
    with SecretsManager(vault_url=fault_server.url, vault_token="s.token") as manager:
        assert manager.get_secret("app", "key") == "from vault"
        Clock.of(manager).move(301)
        fault_server.answers[:] = [answered(status, body)]
        stale = manager.resolve("app", "key")
        assert (stale.value, stale.stale) == ("from vault", True)
        assert manager.resolve("other", "key").store == "env"
