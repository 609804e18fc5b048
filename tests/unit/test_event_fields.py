"""The fields store, link, age and seconds of each kind of event, from each place that emits it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from strongroom import PermissionDeniedError, SecretsManager, StoreUnavailableError, StrongroomError
from strongroom._config import AgentsConfig, RotationConfig, RuleConfig
from strongroom._manager.manager import parts_of
from strongroom.agents._rules.request import Refusal, RequestHead
from strongroom.agents.session import AgentSession
from strongroom.errors import StoreError
from strongroom.events import Event, EventKind, audit
from strongroom.rotate.service import GuardedServiceRotator, ServiceLedger
from strongroom.rotate.transaction import Transaction
from strongroom.store.memory import MemoryStore
from support.clock import Clock
from support.scenarios import migrations, pages
from support.scenarios.rotating import OUTAGE, Rotating
from support.stores import RemoteStore


def read(manager: SecretsManager, *paths: str, fresh: bool = False) -> None:
    """Read secrets, and pass over errors."""
    for path in paths:
        with suppress(StrongroomError):
            manager.get_secret(path, fresh=fresh)


def read_in_fault(manager: SecretsManager, store: RemoteStore, fault: StoreError) -> None:
    """Read a cached secret after its time, while the store has a fault, and again without it; and another secret."""
    read(manager, "app")
    Clock.of(manager).move(301)
    store.fault = fault
    read(manager, "app", "other")
    store.fault = None
    read(manager, "app", fresh=True)


def migrate_and(step: str, folder: Path) -> None:
    """Migrate a secret, and run a later step of it."""
    source, target = MemoryStore(), MemoryStore()
    source.write("app", {"key": "v"})
    options = {"stores": {"from": source, "to": target}, "state_folder": folder}
    migrations.apply(migrations.plan("from", "to", **options), **options)
    getattr(migrations, step)(**options)


DENIAL = PermissionDeniedError("database/app", store="service")


def rotate(*, fault: str = "", error: StoreError = OUTAGE, then: str = "") -> None:
    """Rotate a password. One step may fail, and be repeated by `then`."""
    rotating = Rotating()
    rotating.rotator.faults = {fault: error} if fault else {}
    with suppress(StrongroomError):
        rotating.transaction().rotate()
    rotating.rotator.faults = {}
    if then:
        getattr(rotating.transaction(), then)()
    rotating.manager.close()


class Engine:
    """A service that rotates in no time, or fails to."""

    starts_once = True

    def __init__(self, fault: StoreError | None = None) -> None:
        self.fault = fault

    def start(self, store: object, path: str) -> None:
        if self.fault is not None:
            raise self.fault

    def finished(self, store: object, path: str) -> bool:
        return True

    def last_rotation(self, store: object, path: str) -> None:
        """The service does not tell."""


def rotate_in_service(manager: SecretsManager, fault: StoreError | None = None) -> None:
    """Let a service rotate the secret. The store is not named, so that the chain decides."""
    rotation = RotationConfig("app", "engine")
    rotator = GuardedServiceRotator(Engine(fault), "engine", rotation, parts_of(manager).chain)
    with suppress(StrongroomError):
        Transaction(
            ServiceLedger(parts_of(manager).chain, rotation, rotator), rotator, read=manager.get_secret
        ).rotate()


def use(manager: SecretsManager, path: str = "/v1") -> None:
    """Let a worker use the secret in a request."""
    rule = RuleConfig("api", "app", "key", "API_KEY", ("api.example.com",), paths=("/v1",))
    session = AgentSession(manager, AgentsConfig({"api": rule}))
    key = ("Authorization", session.placeholder("api"))
    with suppress(Refusal):
        session.begin(RequestHead("GET", "https", "api.example.com", 443, path, "", (key,))).end(200)


class Parts(NamedTuple):
    """The parts that a row uses. The store `remote` is the second of the chain."""

    manager: SecretsManager
    remote: RemoteStore
    folder: Path

    def write(self, **options: bool) -> None:
        with suppress(StrongroomError):
            self.manager.set_secret("app", {"key": "w"}, store="remote", **options)

    def fail_to_write(self) -> None:
        self.remote.fault = StoreError()
        self.write(replace=True)


class Row(NamedTuple):
    """What a use emits: events of this kind and, if it is given, step and outcome, with exactly these fields."""

    kind: EventKind
    use: Callable[[Parts], object]
    fields: str
    step: str = ""
    outcome: str = ""
    store: str = "remote"


ROWS = {
    "a read": Row(EventKind.READ, lambda its: read(its.manager, "app"), "link seconds"),
    "a read of a key": Row(EventKind.READ, lambda its: its.manager.get_secret("app", "key"), "link seconds"),
    "an awaited read": Row(EventKind.READ, lambda its: asyncio.run(its.manager.aget_secret("app")), "link seconds"),
    "a batch": Row(EventKind.READ, lambda its: its.manager.get_secrets(["app"]), "link seconds"),
    "a version": Row(
        EventKind.READ, lambda its: its.manager.versions.read("app", 1, store="remote"), "link seconds", step="version"
    ),
    "a cached read": Row(EventKind.HIT, lambda its: read(its.manager, "app", "app"), "link age seconds"),
    "an absence": Row(EventKind.MISS, lambda its: read(its.manager, "absent"), "link seconds"),
    "a denial": Row(EventKind.DENIED, lambda its: read_in_fault(*its[:2], PermissionDeniedError()), "link seconds"),
    "a failure": Row(EventKind.FAILED, lambda its: read_in_fault(*its[:2], StoreError()), "link seconds"),
    "a stale read": Row(
        EventKind.STALE, lambda its: read_in_fault(*its[:2], StoreUnavailableError()), "link age seconds"
    ),
    "a read in an outage": Row(
        EventKind.UNAVAILABLE, lambda its: read_in_fault(*its[:2], StoreUnavailableError()), "link seconds"
    ),
    "the beginning of an outage": Row(
        EventKind.OUTAGE, lambda its: read_in_fault(*its[:2], StoreUnavailableError()), "link"
    ),
    "the end of an outage": Row(
        EventKind.RECOVERY, lambda its: read_in_fault(*its[:2], StoreUnavailableError()), "link seconds"
    ),
    "a write": Row(EventKind.WRITE, Parts.write, "link seconds", step="write", outcome="done"),
    "a failed write": Row(EventKind.WRITE, Parts.fail_to_write, "link seconds", outcome="failed"),
    "an awaited write": Row(
        EventKind.WRITE,
        lambda its: asyncio.run(its.manager.aset_secret("app", {"key": "w"}, store="remote")),
        "link seconds",
        outcome="done",
    ),
    "a delete": Row(
        EventKind.WRITE,
        lambda its: its.manager.delete_secret("app", store="remote"),
        "link seconds",
        step="delete",
        outcome="done",
    ),
    "a rollback": Row(
        EventKind.WRITE,
        lambda its: its.manager.versions.rollback("app", 1, store="remote"),
        "link seconds",
        step="rollback",
        outcome="done",
    ),
    "before a write": Row(EventKind.WRITE, Parts.write, "link", outcome="started"),
    **{
        f"{step} of a rotation": Row(EventKind.ROTATION, lambda _: rotate(), "link seconds", step, "done", "memory")
        for step in ("create", "apply", "prove", "promote", "revoke")
    },
    **{
        f"{step} of a rotation fails": Row(
            EventKind.ROTATION, lambda _, step=step: rotate(fault=step), "link seconds", step, "failed", "memory"
        )
        for step in ("create", "apply", "prove", "revoke")
    },
    "an undone rotation": Row(
        EventKind.ROTATION, lambda _: rotate(fault="apply", error=DENIAL), "link seconds", "undo", "done", "memory"
    ),
    "a resumed rotation": Row(
        EventKind.ROTATION, lambda _: rotate(fault="revoke", then="resume"), "link seconds", "resume", "done", "memory"
    ),
    **{
        f"{step} of a service": Row(
            EventKind.ROTATION, lambda its: rotate_in_service(its.manager), "link seconds", step, "done", "memory"
        )
        for step in ("create", "apply", "prove")
    },
    "apply of a service fails": Row(
        EventKind.ROTATION,
        lambda its: rotate_in_service(its.manager, OUTAGE),
        "link seconds",
        "apply",
        "failed",
        "memory",
    ),
    **{
        f"{step} of a migration": Row(
            EventKind.MIGRATION,
            lambda its, method=method: migrate_and(method, its.folder),
            "seconds",
            step,
            "done",
            "from" if step == "delete-source" else "to",
        )
        for step, method in {
            "apply": "verify",
            "verify": "verify",
            "undo": "undo",
            "delete-source": "delete_source",
        }.items()
    },
    "a use": Row(EventKind.USE, lambda its: use(its.manager), "seconds", outcome="200", store=""),
    "before a use": Row(EventKind.USE, lambda its: use(its.manager), "", outcome="started", store=""),
    "a refused use": Row(EventKind.USE, lambda its: use(its.manager, "/"), "", outcome="refused", store=""),
    "before a migration": Row(
        EventKind.MIGRATION, lambda its: migrate_and("verify", its.folder), "", "apply", "started", "to"
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_an_event_has_the_fields_of_its_kind(row: Row, tmp_path: Path) -> None:
    """And no other: None means that the field has no meaning there."""
    remote, seen = RemoteStore({"app": {"key": "s3cret-4711"}}), list[Event]()
    with SecretsManager(chain=[MemoryStore(), remote], cache_ttl=300) as manager:
        end = audit(seen.append)
        try:
            row.use(Parts(manager, remote, tmp_path))
        finally:
            end()
    found = [
        event
        for event in seen
        if (event.kind, event.store) == (row.kind, row.store)
        and event.step == (row.step or event.step)
        and event.outcome == (row.outcome or event.outcome)
    ]
    assert found
    for event in found:
        numbers = {"link": event.link, "age": event.age, "seconds": event.seconds}
        assert {name for name, value in numbers.items() if value is not None} == set(row.fields.split())
        assert event.link in {None, 2 if row.store == "remote" else 1}
        assert all(value >= 0 for value in numbers.values() if value is not None)


@pytest.mark.parametrize("path", ["absent", "app"])
def test_a_cached_absence_has_its_age(path: str) -> None:
    """Of a secret, and of a key."""
    seen = list[Event]()
    with SecretsManager(chain=[RemoteStore({"app": {"key": "v"}})], cache_ttl=300) as manager:
        end = audit(seen.append)
        for _ in range(2):
            manager.get_secret(path, "other", default=None)
        end()
    assert [(event.kind, event.error) for event in seen] == [(EventKind.MISS, "SecretNotFoundError")] * 2
    assert [event.age is None for event in seen] == [True, False]


def test_a_recovery_tells_how_long_the_outage_lasted() -> None:
    store, seen = RemoteStore({"app": {"key": "v"}}), list[Event]()
    with SecretsManager(chain=[store]) as manager:
        clock = Clock.of(manager)
        end = audit(seen.append)
        store.fault = StoreUnavailableError()
        read(manager, "app")
        clock.move(90)
        store.fault = None
        read(manager, "app")
        end()
    (recovery,) = (event for event in seen if event.kind is EventKind.RECOVERY)
    assert 90 <= recovery.seconds < 600


def test_the_table_of_the_reference_is_the_one_of_these_tests() -> None:
    text = pages.page("reference/events.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*?\| (.*?) ?\| (.*?) ?\| (.*?) ?\| [^|]*\|$", text, re.MULTILINE)
    documented = {
        kind: {name for name, cell in zip(("link", "age", "seconds"), cells, strict=True) if cell}
        for kind, *cells in rows
    }
    tested = {
        kind: {name for row in ROWS.values() if row.kind == kind for name in row.fields.split()} for kind in EventKind
    }
    tested[EventKind.MISS].add("age")
    assert documented == tested
