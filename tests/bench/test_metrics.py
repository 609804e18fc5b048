"""1,000,000 cached reads with the metrics of Prometheus, beside as many without metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from strongroom import SecretsManager
from strongroom.events import cache_hits
from strongroom.integrations.metrics.prometheus import StrongroomCollector
from strongroom.secret import SensitiveStr
from strongroom.testing import parts_of
from support.stores import RemoteStore

READS = 1_000_000
ROUND = 10_000
MOST = 1.1


@pytest.fixture
def manager() -> Iterator[SecretsManager]:
    with SecretsManager(chain=[RemoteStore({"app": {"key": "correct-horse-battery"}})]) as manager:
        manager.get_secret("app", "key")
        yield manager


def seconds(manager: SecretsManager, reads: int) -> float:
    """Return the processor time of cached reads."""
    get = manager.get_secret
    began = time.process_time()
    for _ in range(reads):
        get("app", "key")
    return time.process_time() - began


@pytest.mark.timeout(600)
def test_cached_reads_with_metrics(manager: SecretsManager, pytestconfig: pytest.Config) -> None:
    """Rounds with and without alternate, so that both meet the same machine. All reads are counted.

    Without metrics, a read leaves out the counter too, which is not the case in the library: it always counts.
    """
    timed = pytestconfig.getoption("benchmark_enable")
    rounds = READS // ROUND if timed else 1
    without, with_metrics = 0.0, 0.0
    cache = parts_of(manager).chain.links[0].cache
    registry = CollectorRegistry()
    before = cache_hits()["remote"]
    for _ in range(rounds):
        parts_of(manager).peek = uncounted(cache)
        without += seconds(manager, ROUND)
        parts_of(manager).peek = parts_of(manager).chain.peek
        registry.register(collector := StrongroomCollector())
        with_metrics += seconds(manager, ROUND)
        generate_latest(registry)
        registry.unregister(collector)
        collector.close()
    assert cache_hits()["remote"] - before == rounds * ROUND
    ratio = with_metrics / without
    pytestconfig.get_terminal_writer().line(f" {rounds * ROUND:,} cached reads with metrics: {ratio:.3f} of without")
    assert not timed or ratio <= MOST


def uncounted(cache: Any) -> Callable[[str, str], SensitiveStr | None]:
    """Return `MemoryCache.text` without its counter."""

    class Uncounted(type(cache)):
        def text(self, path, key):
            try:
                until, decrypt, nonce, ciphertext, bound = self._fields[path][key]
            except KeyError:
                return None
            if until <= self.clock():
                return None
            try:
                text = SensitiveStr(decrypt(nonce, ciphertext, bound), "utf-8")
            except self._sealer.broken_seal:
                return None
            return text

    twin = Uncounted.__new__(Uncounted)
    vars(twin).update(vars(cache))
    return twin.text
