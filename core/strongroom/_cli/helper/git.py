"""The protocol of git's credential helpers. Pure.

Source: https://git-scm.com/docs/git-credential#IOFMT. git ignores exit codes, and takes an empty answer for an absence:
only `quit=1` keeps it from the next helper and from a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from strongroom._cli.helper.text import has_control
from strongroom.errors import InvalidDataError

LONGEST_LINE = 65_535
"""Bytes that a line may have without its end."""

FAILED = b"quit=1\n"
"""The answer to a request that failed, such as by an outage or a denial."""

_SCHEMES = ("http", "https")


class GitRequest(NamedTuple):
    """A request for the credential of a service. `username` is empty if the URL has no user."""

    protocol: str = ""
    host: str = ""
    path: str = ""
    username: str = ""

    @property
    def service(self) -> str:
        """The URL of the service; empty if the protocol is not that of a host, or not HTTP."""
        if self.protocol not in _SCHEMES or not self.host or "/" in self.host:
            return ""
        return f"{self.protocol}://{self.host}/{self.path}"


def read_request(lines: Iterable[bytes]) -> GitRequest:
    """Return the request in these lines, which have no line ends. Other fields than those of the request are ignored.

    Raises:
        InvalidDataError: a line is not a field, is too long, or has a control character.
    """
    fields: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.decode("utf-8", "replace").partition("=")
        if not separator or len(line) > LONGEST_LINE or "\0" in value:
            raise InvalidDataError(None, "git's request has a line that is not a field of its protocol")
        if name in GitRequest._fields:
            fields[name] = value
    if any(map(has_control, fields.values())):
        raise InvalidDataError(None, "git's request has a control character")
    return GitRequest(**fields)


def answer(username: str, password: str, ends: datetime | None) -> bytes:
    """Return the credential. Neither text has a control character.

    Raises:
        InvalidDataError: a line is too long for git.
    """
    lines = [f"username={username}".encode(), f"password={password}".encode()]
    if ends is not None:
        lines.append(f"password_expiry_utc={int(ends.timestamp())}".encode())
    if any(len(line) > LONGEST_LINE for line in lines):
        raise InvalidDataError(None, f"a line of git's protocol has at most {LONGEST_LINE:,} bytes, and the value more")
    return b"".join(line + b"\n" for line in lines)
