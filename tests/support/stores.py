"""Stores that the tests of the core put into a chain: as slow, as broken and as observable as a test needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from strongroom.errors import StoreError
from strongroom.secret import Secret, Value, Version
from strongroom.store import Traits
from strongroom.store.memory import MemoryStore
from support.clock import LONG


class RemoteStore(MemoryStore):
    """A memory store that counts as a service far away: it is cached, can be out of order, and can be held up.

    `fault` is raised by every call while it is set. While `gate` is not set, reads wait, after `entered` says that one
    has begun; what they bring is what was stored when they began.
    """

    traits = Traits(honors_deadline=True)

    def __init__(self, secrets: Mapping[str, Mapping[str, Value]] | None = None) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.reads: list[str] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        for path, data in (secrets or {}).items():
            super().write(path, data)

    def read(self, path: str) -> Secret:
        self._fail()
        self.reads.append(path)
        secret = super().read(path)
        self.entered.release()
        assert self.gate.wait(LONG)
        return secret

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        self._fail()
        return super().write(path, data)

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        self._fail()
        return super().write_if(path, data, expected)

    def close(self) -> None:
        self.closed += 1

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault


class BulkReads:
    """Gives a store `read_many`, which reads one path after another."""

    read: Callable[[str], Secret]

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        for path in paths:
            try:
                yield path, self.read(path)
            except StoreError as error:
                yield path, error
