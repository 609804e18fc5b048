"""Metrics and spans for OpenTelemetry.

::

    from strongroom.integrations.metrics.opentelemetry import instrument

    instrument()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Status, StatusCode, TracerProvider

from strongroom.events import Event, EventKind, cache_hits, listen

_NAME = "strongroom"
_FAULTS = frozenset({EventKind.DENIED, EventKind.UNAVAILABLE, EventKind.FAILED})


def instrument(
    *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None, paths: bool = False
) -> Callable[[], None]:
    """Record the events of this process from now on, and return the function that ends this.

    Metrics, by store and kind: `strongroom.cache.hits`, `strongroom.events`, `strongroom.request.duration` in seconds.
    Spans: one for each read or write that reached a store, and for each step of a rotation or of a secret's migration,
    below the current span. A cached read has none.

    Args:
        meter_provider: None is the global one.
        tracer_provider: None is the global one.
        paths: spans have the path of the secret, as `strongroom.path`. Metrics never have it.
    """
    meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
    tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
    events = meter.create_counter("strongroom.events", description="Events")
    durations = meter.create_histogram(
        "strongroom.request.duration", unit="s", description="Reads, writes, steps, and outages that are over"
    )

    def hits(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"strongroom.store": store}) for store, count in cache_hits().items()]

    meter.create_observable_counter("strongroom.cache.hits", [hits], description="Reads that a cache answered")

    def note(event: Event) -> None:
        attributes: dict[str, str | int | float] = {
            "strongroom.store": event.store,
            "strongroom.kind": event.kind.value,
        }
        if event.outcome:
            attributes["strongroom.outcome"] = event.outcome
        events.add(1, attributes)
        if event.seconds is None:
            return
        durations.record(event.seconds, attributes)
        if event.kind is EventKind.RECOVERY:  # an outage is not a call
            return
        optional = {"path": event.path, "step": event.step, "link": event.link, "age": event.age}
        attributes |= {f"strongroom.{name}": value for name, value in optional.items() if value not in {None, ""}}
        end = time.time_ns()
        span = tracer.start_span(
            f"strongroom {event.kind.value}", start_time=end - int(event.seconds * 1e9), attributes=attributes
        )
        if event.kind in _FAULTS or event.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(end)

    return listen(note, paths=paths)
