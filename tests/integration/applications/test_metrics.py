"""Metrics and spans of Prometheus and OpenTelemetry, made by their own libraries."""

import asyncio

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from strongroom import PermissionDeniedError, SecretsManager, StoreUnavailableError
from strongroom.events import cache_hits
from strongroom.integrations.metrics.opentelemetry import instrument
from strongroom.integrations.metrics.prometheus import StrongroomCollector
from strongroom.store.memory import MemoryStore
from support.scenarios import migrations


def use(application, store) -> None:
    """One read of the store, two of the cache, a write, a denial and an outage."""
    for _ in range(3):
        application.get_secret("auth/app", "secret")
    application.set_secret("auth/app", {"secret": "s3cret-4711"}, replace=True)
    store.fault = PermissionDeniedError()
    with pytest.raises(PermissionDeniedError):
        application.get_secret("api-keys/payments")
    store.fault = StoreUnavailableError()
    with pytest.raises(StoreUnavailableError):
        application.get_secret("auth/app")


def test_prometheus_scrapes_the_events(application, store):
    """As a server of Prometheus reads them. No label has a path, and nothing has a value."""
    before = cache_hits()["remote"]
    registry, collector = CollectorRegistry(), StrongroomCollector()
    registry.register(collector)
    use(application, store)
    collector.close()
    text = generate_latest(registry).decode()
    samples = {
        (sample.name, *(sample.labels.get(name) for name in ("store", "kind", "outcome") if name in sample.labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels or sample.labels["le"] == "+Inf"
    }
    assert samples["strongroom_cache_hits_total", "remote"] == before + 2
    assert samples["strongroom_events_total", "remote", "read", ""] == 1
    assert samples["strongroom_events_total", "remote", "write", "done"] == 1
    assert samples["strongroom_events_total", "remote", "denied", ""] == 1
    assert samples["strongroom_events_total", "remote", "outage", ""] == 1
    assert samples["strongroom_request_seconds_count", "remote", "read"] == 1
    assert samples["strongroom_request_seconds_bucket", "remote", "write"] == 1
    assert samples["strongroom_store_available", "remote"] == 0
    assert "auth/app" not in text
    assert "s3cret" not in text


def test_opentelemetry_records_metrics_and_spans(application, store):
    """A span is below the current one, and has the path if the application asks for it."""
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader]), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    before = cache_hits()["remote"]
    end = instrument(meter_provider=meters, tracer_provider=tracers, paths=True)
    with tracers.get_tracer("application").start_as_current_span("request") as request:
        use(application, store)
    end()
    points = {
        (metric.name, point.attributes["strongroom.store"], point.attributes.get("strongroom.kind")): point
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    assert points["strongroom.cache.hits", "remote", None].value == before + 2
    assert points["strongroom.events", "remote", "read"].value == 1
    assert points["strongroom.events", "remote", "outage"].value == 1
    assert points["strongroom.request.duration", "remote", "write"].count == 1
    assert not any("strongroom.path" in point.attributes for point in points.values())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    read, denied = spans["strongroom read"], spans["strongroom denied"]
    assert read.attributes["strongroom.path"] == "auth/app"
    assert read.parent.span_id == request.get_span_context().span_id
    assert read.end_time >= read.start_time
    assert (denied.status.status_code, denied.status.description) == (StatusCode.ERROR, "PermissionDeniedError")
    assert "s3cret" not in str([span.to_json() for span in spans.values()])
    tracers.shutdown()
    meters.shutdown()


def test_awaited_reads_and_batches_are_told_once_below_the_current_span(store):
    """The reads run in threads. Each path of a batch is a span."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    end = instrument(meter_provider=MeterProvider(), tracer_provider=tracers, paths=True)

    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            with tracers.get_tracer("application").start_as_current_span("request"):
                assert await manager.aget_secret("auth/app", "secret")
                await manager.aget_secret("auth/app", "secret")
                await manager.aget_secrets(["auth/app", "api-keys/payments"])

    asyncio.run(use())
    end()
    spans = exporter.get_finished_spans()
    requests = {span.context.span_id: span for span in spans if span.name == "request"}
    reads = [span for span in spans if span.name == "strongroom read"]
    assert [(span.attributes["strongroom.store"], span.attributes["strongroom.path"]) for span in reads] == [
        ("remote", path) for path in ("auth/app", "api-keys/payments")
    ]
    assert [requests[span.parent.span_id].context.trace_id for span in reads] == [
        span.context.trace_id for span in reads
    ]
    assert len({span.parent.span_id for span in reads}) == 1
    assert len(spans) == len(reads) + 1
    tracers.shutdown()


def test_the_steps_of_a_rotation_and_a_migration_are_counted(tmp_path):
    """Each step has its duration; a migration has one event for each secret."""
    registry, collector = CollectorRegistry(), StrongroomCollector()
    registry.register(collector)
    config = {
        "chain": ["memory"],
        "stores": {"memory": {"plugin": "memory", "secrets": {"app": {"password": "s3cret-4711"}}}},
        "rotation": {"app": {"rotator": "password"}},
    }
    with SecretsManager.from_config(config) as manager:
        manager.rotations.rotate("app")
    source, target = MemoryStore(), MemoryStore()
    source.write("app", {"key": "s3cret-4711"})
    options = {"stores": {"from": source, "to": target}, "state_folder": tmp_path}
    migrations.apply(migrations.plan("from", "to", **options), **options)
    collector.close()
    text = generate_latest(registry).decode()
    assert 'strongroom_events_total{kind="rotation",outcome="done",store="memory"}' in text
    assert 'strongroom_request_seconds_count{kind="rotation",store="memory"} 5.0' in text
    assert 'strongroom_events_total{kind="migration",outcome="done",store="to"} 1.0' in text
    assert 'strongroom_request_seconds_count{kind="migration",store="to"} 1.0' in text
    assert "s3cret" not in text
