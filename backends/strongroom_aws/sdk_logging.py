"""Silencing of the AWS SDK's log during our calls: at DEBUG it contains values. A file for its process-wide state."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SDK = ("boto3", "botocore")

_silenced: ContextVar[bool] = ContextVar("strongroom_aws_quiet", default=False)


class _SilenceFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  # every record
        return not _silenced.get()


_filter = _SilenceFilter()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop log records of boto3 and botocore from this thread while the block runs."""
    mute()
    token = _silenced.set(True)
    try:
        yield
    finally:
        _silenced.reset(token)


def mute() -> None:
    """Add the filter to the loggers that exist now: the SDK loads modules late, each with a logger."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(_SDK):
            logging.getLogger(name).addFilter(_filter)
