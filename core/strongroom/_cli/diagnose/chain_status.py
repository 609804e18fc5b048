"""The status of the chain and of what works with it, as plain data for a terminal, a web page and `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from strongroom._cli.maintain.cache import described as described_disk_cache
from strongroom._cli.rotation_status import described as described_rotation
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import Check

if TYPE_CHECKING:
    from strongroom._cli.diagnose.migrations import MigrationStatus
    from strongroom._disk_cache.maintenance import DiskCacheStatus
    from strongroom.rotate.rotations import RotationStatus

CHECKING = "checking"
"""State of a store that has not answered its first probe yet."""


@dataclass(frozen=True)
class LinkStatus:
    """One link of the chain.

    `state` is `ok`, `checking`, or a fault as in `strongroom doctor`. `seconds`, `detail` and `checks` are those of the
    last probe; the detail of a fault is its reason.
    """

    policy: LinkConfig
    plugin: str
    location: str
    state: str = CHECKING
    seconds: float | None = None
    detail: str = ""
    checks: tuple[Check, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the store has no known fault."""
        return self.state in {"ok", CHECKING}


@dataclass(frozen=True)
class RotationRow:
    """One rotation: its status, or why that is not known."""

    path: str
    rotator: str
    store: str
    status: RotationStatus | None = None
    fault: str = ""


@dataclass(frozen=True)
class ChainStatus:
    """The whole status at one time. The cache on disk is None if it is disabled; migrations are newest first."""

    time: datetime
    probed: datetime | None
    environment: str | None
    production: bool
    links: tuple[LinkStatus, ...]
    cache: CacheConfig
    disk_cache: DiskCacheStatus | None
    rotations: Sequence[RotationRow]
    migrations: Sequence[MigrationStatus]

    @property
    def ok(self) -> bool:
        """True if no store has a fault."""
        return all(link.ok for link in self.links)


def document(status: ChainStatus, *, paths: bool) -> dict[str, Any]:
    """Return the status as a JSON object. Durations are seconds, sizes are bytes."""
    cache = status.cache
    return {
        "time": status.time,
        "probed": status.probed,
        "ok": status.ok,
        "environment": status.environment,
        "production": status.production,
        "chain": [_link(number, link, paths=paths) for number, link in enumerate(status.links, 1)],
        "cache": {"ttl": cache.ttl, "max_stale": cache.max_stale, "missing_ttl": cache.missing_ttl},
        "disk_cache": None if status.disk_cache is None else described_disk_cache(status.disk_cache),
        "rotations": [_rotation(row, paths=paths) for row in status.rotations],
        "migrations": list(map(asdict, status.migrations)),
    }


def _link(number: int, link: LinkStatus, *, paths: bool) -> dict[str, Any]:
    policy = link.policy
    return {
        "link": number,
        "store": policy.store,
        "plugin": link.plugin,
        "location": link.location,
        "state": link.state,
        "seconds": link.seconds,
        "detail": link.detail,
        "checks": [check._asdict() for check in link.checks],
        "policy": {
            "on_unavailable": policy.on_unavailable,
            "on_denied": policy.on_denied,
            "on_missing_key": policy.on_missing_key,
            "timeout": policy.timeout,
            "patterns": len(policy.paths),
            "paths": list(policy.paths) if paths else None,
        },
    }


def _rotation(row: RotationRow, *, paths: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "rotator": row.rotator,
        "store": row.store,
        "state": "unknown",
        "fault": row.fault or None,
    }
    if row.status is not None:
        known |= described_rotation(row.status)
    return {**known, "path": row.path if paths else None}
