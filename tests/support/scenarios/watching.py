"""Watches that a test drives by hand, and stores that tell their newest versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from strongroom import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import SecretNotFoundError, StoreError
from strongroom.store import VersionInfo
from support.stores import RemoteStore


class ListedStore(RemoteStore):
    """A remote store that tells the newest versions of many secrets at once. `looks` has the paths of each request."""

    def __init__(self, secrets=None) -> None:
        super().__init__(secrets)
        self.looks: list[list[str]] = []
        self.denied = False

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        self._fail()
        paths = list(paths)
        self.looks.append(paths)
        if self.denied:
            return
        for path in paths:
            try:
                yield path, self.versions(path)[-1]
            except SecretNotFoundError as error:
                yield path, error


class Looks:
    """Lets the manager's watches look when the test calls it, and never by themselves."""

    def __init__(self, manager: SecretsManager) -> None:
        self._watcher = parts_of(manager).watcher
        self._watcher.draw = lambda: math.inf

    def __call__(self, interval: float | None = None) -> None:
        watcher = self._watcher
        watcher.look(watcher.intervals if interval is None else frozenset([interval]))
