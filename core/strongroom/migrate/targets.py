"""What a migration writes: a store that can be written, or an exporter."""

from __future__ import annotations

from strongroom.errors import UnsupportedOperationError
from strongroom.front import Front
from strongroom.migrate.spi import Exporter
from strongroom.store import SecretStore


def check_target(front: Front) -> Front:
    """The store, when it can be written.

    Raises:
        UnsupportedOperationError: it cannot.
    """
    if not front.writable:
        raise UnsupportedOperationError(None, "it cannot be written", store=front.name)
    return front


def from_exporter(exporter: Exporter, name: str) -> SecretStore:
    """An exporter as a store that knows what this run wrote, and nothing of what was there before.

    Raises:
        UnsupportedOperationError: not supported yet.
    """
    del exporter
    raise UnsupportedOperationError(None, "it is an exporter, which cannot be read back", store=name)
