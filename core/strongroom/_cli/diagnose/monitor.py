"""The monitor: one chain that stays open, probed again and again, so that a store is not logged in to at each look."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from strongroom._cli.diagnose.chain_status import Agents, ChainStatus, LinkStatus, Migrations, RotationRow
from strongroom._cli.diagnose.findings import chain_of, location_of, rotations_of, state_of
from strongroom._cli.maintain.cache import cache_status
from strongroom.errors import StoreError, StrongroomError
from strongroom.store.deadline import require_paths

if TYPE_CHECKING:
    from strongroom._config import Config, LinkConfig, RotationConfig
    from strongroom.store import Health


class Monitor:
    """The status of a configuration. As a context manager it closes the chain at the end of the block.

    Args:
        config: the configuration.
        paths: also probe the rights on the required secrets, whose checks name their paths.
    """

    def __init__(self, config: Config, *, paths: bool = False) -> None:
        self._config = config
        self._required = tuple(dict.fromkeys(secret.path for secret in config.secrets.values())) if paths else ()
        self._chain = chain_of(config)
        self._migrations, self._agents = Migrations(), Agents()
        self._locations = {link.store: location_of(config, link.store) for link in config.chain}
        self._lock = threading.Lock()
        self._health: dict[str, Health] = {}
        self._rotations = [_row(about) for about in config.rotations.values()]
        self._probed: datetime | None = None
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._chain.close()

    def start(self, interval: float) -> None:
        """Probe the stores every `interval` seconds in a daemon thread, from now on."""
        threading.Thread(target=self._run, args=(interval,), name="strongroom monitor", daemon=True).start()

    def _run(self, interval: float) -> None:
        while not self._closed.is_set():
            self.probe()
            self._closed.wait(interval)

    def probe(self) -> None:
        """Probe every store, and read the state of every rotation. No failure is raised: it is the result."""
        with require_paths(self._required):
            health = self._chain.health()
        rotations = [self._rotation(about) for about in self._config.rotations.values()]
        with self._lock:
            if self._closed.is_set():
                return  # the chain was closed meanwhile, so the result is not a fault of a store
            self._health, self._rotations, self._probed = health, rotations, datetime.now(UTC)

    def errors(self) -> list[StrongroomError]:
        """Return the faults of the stores at the last probe."""
        with self._lock:
            return [health.error for health in self._health.values() if health.error is not None]

    def status(self) -> ChainStatus:
        """Return the status: stores and rotations as of the last probe, everything on this machine as of now.

        Raises:
            ConfigurationError: a file that is not trusted names the folder of the cache on disk.
        """
        with self._lock:
            links = tuple(map(self._link, self._config.chain))
            rotations, probed = self._rotations, self._probed
        return ChainStatus(
            time=datetime.now(UTC),
            probed=probed,
            environment=self._config.environment,
            production=self._config.production,
            links=links,
            cache=self._config.cache,
            disk_cache=cache_status(self._config) if self._config.cache.disk else None,
            rotations=rotations,
            migrations=self._migrations.status(),
            agents=self._agents.status(),
        )

    def _link(self, policy: LinkConfig) -> LinkStatus:
        name = policy.store
        about = LinkStatus(policy, self._config.store(name).plugin, self._locations[name])
        health = self._health.get(name)
        if health is None:
            return about
        return replace(
            about,
            state=state_of(health),
            seconds=health.seconds,
            detail=health.detail,
            checks=health.checks,
        )

    def _rotation(self, about: RotationConfig) -> RotationRow:
        try:
            (found,) = rotations_of(self._chain, self._config).status([about.path])
        except StrongroomError as error:
            # The text of any other error may name the path.
            fault = error.reason or error.summary if isinstance(error, StoreError) else "see strongroom rotate status"
            return _row(about, fault)
        return RotationRow(found.path, found.rotator, found.store, found)


def _row(about: RotationConfig, fault: str = "") -> RotationRow:
    return RotationRow(about.path, about.rotator.plugin, about.store or "", fault=fault)
