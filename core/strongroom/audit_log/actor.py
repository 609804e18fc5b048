"""The actor of a record: the process, and the reason that its code gives. Separate, since applications import it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath

from strongroom.secret import SensitiveStr

_MAX_LENGTH = 500
"""The longest reason or name of an application, in characters."""

_reason: ContextVar[str] = ContextVar("strongroom_audit_reason", default="")


@contextmanager
def reason(text: str) -> Iterator[None]:
    """Give the reason of the reads and changes in this block. The inner of two blocks counts.

    It belongs to the thread or task, and to the calls that it awaits.

    Args:
        text: such as a ticket. It is stored as it is, so it must not have a secret.

    Raises:
        TypeError: it is not text, or it is the value of a secret.
        ValueError: it is empty or has more than 500 characters.
    """
    given: object = text
    if not isinstance(given, str) or isinstance(given, SensitiveStr):
        raise TypeError(f"a reason is text without secrets, not {type(text).__name__}")
    if not text or len(text) > _MAX_LENGTH:
        raise ValueError(f"a reason has 1 to {_MAX_LENGTH} characters, not {len(text)}")
    token = _reason.set(text)
    try:
        yield
    finally:
        _reason.reset(token)


class Actor:
    """The identity of this process, as records have it, with the name that the application gives itself."""

    def __init__(self, application: str = "") -> None:
        self._process: dict[str, str | int] = {"user": _user(), "host": socket.gethostname()}
        self._program = {"program": PurePath(*sys.argv[:1]).name}
        if application:
            self._program["application"] = application

    def fields(self) -> dict[str, str | int]:
        """Return the fields of a record: user, host, process, program, application and reason."""
        text = _reason.get()
        return {**self._process, "pid": os.getpid(), **self._program, **({"reason": text} if text else {})}


def _user() -> str:
    """Return the name of the effective user, or the number of one without a name, as in a container."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
