"""The AWS SDK's log, while it works for us: at DEBUG it writes down what it sends and receives, values and all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SDK = ("boto3", "botocore")

_ours: ContextVar[bool] = ContextVar("strongroom_aws_quiet", default=False)


class _NotForUs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  # whatever it says
        return not _ours.get()


_filter = _NotForUs()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of boto3's and botocore's is logged by this thread in the block; what others do with them is."""
    mute()
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def mute() -> None:
    """Takes in the loggers that are there by now: the SDK loads modules late, each with a logger of its own."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(_SDK):
            logging.getLogger(name).addFilter(_filter)
