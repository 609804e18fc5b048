"""The protocols of programs that name a host, git and Docker. Pure.

Sources:
    https://git-scm.com/docs/git-credential#IOFMT. git ignores exit codes, and takes an empty answer for an absence.
    https://github.com/docker/docker-credential-helpers. A failure is a message on stdout and exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, TypeAlias

from strongroom._cli.helper.text import LONGEST_REQUEST, as_json, has_control, request_object
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveStr

LONGEST_LINE = 65_535
"""Bytes that a line of git may have without its end."""

GIT_FAILED = b"quit=1\n"
"""The answer to an outage or a denial. Without it, git would ask the next helper, or the user."""

DOCKER_ABSENT = b"credentials not found in native keychain\n"
"""The sentence that a program takes for an absence. Of any other it says that the helper failed."""

DockerLogin: TypeAlias = tuple[str, str, SensitiveStr]
"""The address of a registry, the user and the password."""

_LOGIN_FIELDS = ("ServerURL", "Username", "Secret")


class GitRequest(NamedTuple):
    """A request for the credential of a service. `username` is empty if the URL has no user."""

    protocol: str = ""
    host: str = ""
    path: str = ""
    username: str = ""

    @property
    def service(self) -> str:
        """The URL of the service; empty if the protocol is not that of a host, or not HTTP."""
        if self.protocol not in {"http", "https"} or not self.host or "/" in self.host:
            return ""
        return f"{self.protocol}://{self.host}/{self.path}"


def git_request(lines: Iterable[bytes]) -> GitRequest:
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


def git_answer(username: str, password: str, ends: datetime | None) -> bytes:
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


def docker_service(content: bytes) -> str:
    """Return the host or URL that a program asks for.

    Raises:
        InvalidDataError: the request is not text.
    """
    try:
        return content.decode().strip() if len(content) <= LONGEST_REQUEST else ""
    except ValueError:
        pass
    raise InvalidDataError(None, "the request is not the address of a registry")


def docker_login(content: bytes) -> DockerLogin:
    """Return the login that a program asks to store.

    Raises:
        InvalidDataError: the request is malformed.
    """
    given = request_object(content)
    fields = [field for name in _LOGIN_FIELDS if isinstance(field := given.get(name), str)]
    if len(fields) == len(_LOGIN_FIELDS):
        service, username, secret = fields
        return service, username, SensitiveStr(secret)
    del content, given, fields
    raise InvalidDataError(None, "the request is not a login: ServerURL, Username and Secret")


def docker_answer(login: DockerLogin) -> bytes:
    """Return the login as a program reads it."""
    return as_json(dict(zip(_LOGIN_FIELDS, login, strict=True)))
