"""Redaction of logs: a filter for `logging` and a processor for structlog that mask every value this process has read.

::

    handler.addFilter(RedactingFilter())

Each value of a secret is masked from the moment a store returns it: in the message, its arguments, extra fields and the
traceback, in all forms of `strongroom._redaction.fingerprints`. The process keeps keyed fingerprints for this, and no
copy of a value. Create the filter before the first read, as a configuration of logging does: it knows no earlier value.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import cache
from typing import Any

from strongroom._redaction.fingerprints import Fingerprints
from strongroom.secret import observe

MARK = "[redacted]"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of a record that `logging` sets itself."""

_PLAIN = frozenset({bool, type(None)})
"""Types whose text is never a known value."""


@cache
def fingerprints() -> Fingerprints:
    """Return the fingerprints of every value that this process has read since the first call."""
    made = Fingerprints()
    observe(lambda path, data: made.add_all(data, path))
    return made


def masked(value: Any) -> Any:
    """Return text, or containers with text at any level, with every known value masked.

    Bytes, and keys of mappings, are masked too. A container is always copied, a mapping to a dict. Another object, such
    as an exception, is unchanged, unless it would be printed with a known value: then it becomes its masked text.
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
    return _masked_object(value)


def _masked_object(value: object) -> object:
    if type(value) in _PLAIN or isinstance(value, logging.LogRecord):  # structlog needs its record
        return value
    for printed in (repr, str):
        with suppress(Exception):  # the one that prints it reports this
            text = printed(value)
            if (redacted := fingerprints().mask(text, MARK)) is not text:
                return redacted
    return value


def _masked_traceback(error: BaseException) -> str | None:
    """Return the traceback as masked text, or None if it has no known value."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    redacted = fingerprints().mask(text, MARK)
    return None if redacted is text else redacted


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
            if (text := _masked_traceback(record.exc_info[1])) is not None:
                record.exc_text, record.exc_info = text, None
        elif record.exc_text:
            record.exc_text = masked(record.exc_text)
        if record.stack_info:
            record.stack_info = masked(record.stack_info)
        for name, value in vars(record).items():
            if name not in _STANDARD:
                setattr(record, name, masked(value))
        return True


class RedactingProcessor:
    """A processor for structlog that masks known values in the event, its fields at every level, and its exception.

    Put it just before the renderer.
    """

    def __init__(self) -> None:
        fingerprints()

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event with its values masked."""
        del logger, method
        error = _error_of(event.get("exc_info"))
        if error is not None and (text := _masked_traceback(error)) is not None:
            event["exception"] = text  # as the processor `format_exc_info` does
            del event["exc_info"]
        event.update({name: value if name == "exc_info" else masked(value) for name, value in event.items()})
        return event


def _error_of(exc_info: object) -> BaseException | None:
    """Return the exception that structlog would format for this field."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info and not isinstance(exc_info, BaseException):
        exc_info = sys.exc_info()[1]
    return exc_info if isinstance(exc_info, BaseException) else None
