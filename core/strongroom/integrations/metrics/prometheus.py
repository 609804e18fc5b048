"""Metrics for Prometheus.

::

    from strongroom.integrations.metrics.prometheus import StrongroomCollector

    REGISTRY.register(StrongroomCollector())
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from math import inf

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from strongroom.events import Event, EventKind, cache_hits, listen
from strongroom.store import fork_safe_lock

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, inf)
"""Upper bounds of the histogram, in seconds."""
_BOUNDS = tuple(map(floatToGoString, _BUCKETS))


class StrongroomCollector(Collector):
    """The events since this object was made, and the cached reads of the process.

    `strongroom_cache_hits_total{store}`, `strongroom_events_total{store, kind, outcome}`,
    `strongroom_request_seconds{store, kind}` of reads, writes, steps of rotations and migrations, and outages that are
    over, and `strongroom_store_available{store}`, which is 0 during an outage. No label has a path: an application may
    have thousands.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_lock(self, "_lock")
        self._events: Counter[tuple[str, str, str]] = Counter()
        self._buckets: dict[tuple[str, str], Counter[float]] = {}
        self._sums: Counter[tuple[str, str]] = Counter()
        self._available: dict[str, bool] = {}
        self._end = listen(self._note)

    def close(self) -> None:
        """Note no further events."""
        self._end()

    def _note(self, event: Event) -> None:
        with self._lock:
            self._events[event.store, event.kind.value, event.outcome] += 1
            if event.seconds is not None:
                of = event.store, event.kind.value
                bucket = next(bound for bound in _BUCKETS if event.seconds <= bound)
                self._buckets.setdefault(of, Counter())[bucket] += 1
                self._sums[of] += event.seconds  # type: ignore[assignment]  # a Counter of floats
            if event.kind in {EventKind.OUTAGE, EventKind.RECOVERY, EventKind.READ}:
                self._available[event.store] = event.kind is not EventKind.OUTAGE

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. The registry calls this at each scrape."""
        hits = CounterMetricFamily("strongroom_cache_hits", "Reads that a cache answered", labels=["store"])
        for store, count in cache_hits().items():
            hits.add_metric([store], count)
        yield hits
        with self._lock:
            events = CounterMetricFamily("strongroom_events", "Events", labels=["store", "kind", "outcome"])
            for labels, count in self._events.items():
                events.add_metric(list(labels), count)
            seconds = HistogramMetricFamily("strongroom_request_seconds", "Durations", labels=["store", "kind"])
            for of, counts in self._buckets.items():
                totals = accumulate(counts[bound] for bound in _BUCKETS)
                seconds.add_metric(list(of), list(zip(_BOUNDS, totals, strict=True)), sum_value=self._sums[of])
            available = GaugeMetricFamily("strongroom_store_available", "0 during an outage", labels=["store"])
            for store, is_available in self._available.items():
                available.add_metric([store], is_available)
        yield from (events, seconds, available)
