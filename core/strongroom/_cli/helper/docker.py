"""The protocol of Docker's credential helpers. Pure.

Source: https://github.com/docker/docker-credential-helpers. A failure is a message on stdout and exit code 1.
"""

from __future__ import annotations

from typing import NamedTuple

from strongroom._cli.helper.text import as_json
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import read_json

ABSENT = b"credentials not found in native keychain\n"
"""The sentence that a program takes for an absence. Of any other it says that the helper failed."""

_FIELDS = ("ServerURL", "Username", "Secret")

LONGEST_REQUEST = 1 << 20
"""Bytes that a request may have."""


class Login(NamedTuple):
    """The login of a registry."""

    service: str
    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Login(service={self.service!r})"


def read_service(content: bytes) -> str:
    """Return the host or URL that a program asks for.

    Raises:
        InvalidDataError: the request is not text.
    """
    try:
        return content.decode().strip() if len(content) <= LONGEST_REQUEST else ""
    except ValueError:
        pass
    raise InvalidDataError(None, "the request is not the address of a registry")


def read_login(content: bytes) -> Login:
    """Return the login that a program asks to store.

    Raises:
        InvalidDataError: the request is malformed.
    """
    try:
        given = read_json(content.decode()) if len(content) <= LONGEST_REQUEST else None
        fields = [given[name] for name in _FIELDS] if isinstance(given, dict) else []
    except (ValueError, KeyError, InvalidDataError):
        fields = []
    del content
    if not fields or not all(isinstance(field, str) for field in fields):
        fields.clear()
        raise InvalidDataError(None, "the request is not a login: ServerURL, Username and Secret")
    return Login(*fields)


def answer(login: Login) -> bytes:
    """Return the login as a program reads it."""
    return as_json(dict(zip(_FIELDS, login, strict=True)))
