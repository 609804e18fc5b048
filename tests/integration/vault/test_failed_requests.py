"""A chain over a server that answers one request with HTTP 500: the other requests are sent and answered."""

import pytest

from engines import open_engine
from strongroom.chain.chain import Chain
from strongroom.chain.link import Link
from strongroom.config import CacheConfig, LinkConfig
from strongroom.errors import WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom.store.memory import open_memory

FALLBACK = {"app": {"key": "from the fallback"}, "other": {"key": "from the fallback"}}


@pytest.fixture
def chain(fault_server):
    def open_vault():
        return open_engine(2, url=fault_server.url, token="s.token")

    links = [
        Link(LinkConfig("vault"), open_vault, CacheConfig()),
        Link(LinkConfig("env"), lambda: open_memory(secrets=FALLBACK), CacheConfig()),
    ]
    chain = Chain(links)
    yield chain
    chain.close()


def test_a_failed_write_does_not_turn_reads_to_the_fallback(chain, fault_server, answered, stored):
    fault_server.answers[:] = [answered(500, {"errors": []}), stored(key="from vault")]
    with time_limit(1.0), pytest.raises(WriteOutcomeUnknownError):
        chain.write("app", {"key": "new"}, store="vault", replace=True)
    found = chain.resolve("other", "key")
    assert (found.value, found.store) == ("from vault", "vault")


def test_a_read_that_fails_does_not_turn_other_paths_to_the_fallback(chain, fault_server, answered, stored):
    """The failed path itself goes on to the next link, as in any outage."""
    fault_server.answers[:] = [answered(500, {"errors": []})] * 3
    assert chain.resolve("app", "key").store == "env"
    fault_server.answers[:] = [stored(key="from vault")]
    found = chain.resolve("other", "key")
    assert (found.value, found.store) == ("from vault", "vault")
    assert [each.target for each in fault_server.requests].count("/v1/secret/data/other") == 1
