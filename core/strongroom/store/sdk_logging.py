"""Silencing of an SDK's log during calls of a store: at DEBUG it can hold values. A file for its process-wide state."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from contextvars import ContextVar

from strongroom.store.deadline import scoped

_silenced: ContextVar[frozenset[str]] = ContextVar("strongroom_silenced_logs", default=frozenset())


class _SilenceFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        # A logger has the filter for the whole process, perhaps because of another store.
        return record.name.partition(".")[0] not in _silenced.get()


_filter = _SilenceFilter()


def silenced_logs(*packages: str) -> AbstractContextManager[None]:
    """Drop log records of these packages from this thread while the block runs."""
    silence_new_loggers(*packages)
    return scoped(_silenced, _silenced.get() | frozenset(packages))


def silence_new_loggers(*packages: str) -> None:
    """Let `silenced_logs` drop the records of loggers that exist by now: an SDK loads modules late, each with one.

    The loggers of the packages themselves are made for this.
    """
    for name in [*packages, *logging.root.manager.loggerDict]:  # `Logger.getChildren` came with Python 3.12
        if name.partition(".")[0] in packages:
            logging.getLogger(name).addFilter(_filter)
