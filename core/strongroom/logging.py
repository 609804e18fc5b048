"""Redaction of logs: a filter for `logging` and a processor for structlog that mask every value this process has read.

::

    handler.addFilter(RedactingFilter())

Each value of a secret is masked from the moment a store returns it: in the message, its arguments, extra fields and the
traceback, in all forms of `strongroom.fingerprints`. The process keeps keyed fingerprints for this, and no copy of a
value. Create the filter before the first read, as a configuration of logging does: it knows no earlier value.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any

from strongroom.fingerprints import Fingerprints
from strongroom.secret import observe

MARK = "[redacted]"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of a record that `logging` sets itself."""


@cache
def fingerprints() -> Fingerprints:
    """Return the fingerprints of every value that this process has read since the first call."""
    made = Fingerprints()
    observe(lambda path, data: made.add_all(data, path))
    return made


def masked(value: Any) -> Any:
    """Return text, or containers with text at any level, with every known value masked. Other objects are unchanged.

    Bytes, and keys of mappings, are masked too. A container is always copied, a mapping to a dict.
    """
    if isinstance(value, str):
        return fingerprints().mask(value, MARK)
    if isinstance(value, bytes):
        text = value.decode("utf-8", "surrogateescape")
        return fingerprints().mask(text, MARK).encode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        return {masked(key): masked(item) for key, item in value.items()}
    if type(value) in {list, tuple, set, frozenset}:
        return type(value)(map(masked, value))
    return value


class RedactingFilter(logging.Filter):
    """Masks known values in every record that passes. It never drops one.

    Add it to the handlers. A filter of a logger does not see the records of the loggers below it.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        fingerprints()

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record, and return True."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # the handler reports it, with arguments that are masked here
            record.msg, record.args = masked(str(record.msg)), masked(record.args)
        else:
            if (redacted := masked(message)) is not message:
                record.msg, record.args = redacted, ()
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if (redacted := masked(text)) is not text:
                record.exc_text, record.exc_info = redacted, None
        elif record.exc_text:
            record.exc_text = masked(record.exc_text)
        if record.stack_info:
            record.stack_info = masked(record.stack_info)
        for name, value in vars(record).items():
            if name not in _STANDARD:
                setattr(record, name, masked(value))
        return True


class RedactingProcessor:
    """A processor for structlog that masks known values in the event and its fields, at every level.

    Put it after the processors that format exceptions, and before the renderer.
    """

    def __init__(self) -> None:
        fingerprints()

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event with its values masked."""
        del logger, method
        event.update({name: masked(value) for name, value in event.items()})
        return event
