"""`[helpers]`: its parsing, and the row for a service that a program names. Pure.

Hosts and ports are compared exactly: a wildcard, or a name that matches by its end, could send a password to a host of
a stranger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from strongroom._config import HelperConfig, Place
from strongroom._config.document import Table
from strongroom._config.setting_types import Text, kind
from strongroom.errors import InvalidDataError
from strongroom.paths import parse_reference

_PORTS = {"https": 443, "http": 80}

# Compiled at first use: most processes read no such table.
_SERVICE = r"(?s)((?:[^/]*://)?[^/]*)(.*)"
_HOST = r"([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
_DOUBTFUL = r"/\.{1,2}(?:/|$)|\\|%(?:2e|2f|5c|25)"
"""A server may take `a/../b` for `b`."""

_EXPECTED = "write HOST, HOST:PORT or HOST/PATH, with http:// before it for a service without TLS"
_ROW: Mapping[str, Any] = {"at": Text, "username": Text}


def parse_place(service: str) -> Place:
    """Return the place of a service: `HOST`, `HOST:PORT` or a URL. Without a scheme it is `https`.

    Raises:
        ValueError: names the fault, without the text.
    """
    origin, path = _split(service)
    return _origin(origin)._replace(path=_path(path))


def find_row(rows: Iterable[HelperConfig], service: str, username: str | None = None) -> HelperConfig | None:
    """Return the row of a service: of those of its scheme, host and port that with the longest path around its own.

    None without such a row, if that row has another user than this one, and for a text that is not the host of a
    service. A row whose secret has the user may be that of any user.

    Raises:
        InvalidDataError: its path is doubtful. The text is not shown.
    """
    text, path = _split(service)
    try:
        origin = _origin(text)
    except ValueError:
        return None
    known = [row for row in rows if row.place[:3] == origin[:3]]
    if not known:
        return None
    try:
        folder = f"{_path(path)}/"
    except ValueError as error:
        fault = str(error)
    else:
        fitting = [row for row in known if not row.place.path or folder.startswith(f"{row.place.path}/")]
        row = max(fitting, key=lambda row: len(row.place.path), default=None)
        of_another = row is not None and username is not None and row.username not in {None, username}
        return None if of_another else row
    raise InvalidDataError(None, f"the address that the program asks for {fault}")


def _split(service: str) -> tuple[str, str]:
    """Return the part of a URL before its path, and the path."""
    found = re.fullmatch(_SERVICE, service)
    return (found[1], found[2]) if found is not None else ("", "")


def _origin(text: str) -> Place:
    scheme, mark, host = text.lower().rpartition("://")
    scheme = scheme if mark else "https"
    if "@" in host:
        raise ValueError("has a user before its host: leave the part before the @ out")
    if "*" in host:
        raise ValueError("has a wildcard: name each host")
    found = re.fullmatch(_HOST, host, re.ASCII)
    if found is None or scheme not in _PORTS or (found[2] and not 0 < int(found[2]) < 1 << 16):
        raise ValueError(f"is not the host of a service: {_EXPECTED}")
    return Place(scheme, found[1], int(found[2] or _PORTS[scheme]))


def _path(path: str) -> str:
    """Return a path without slashes around it."""
    if re.search(_DOUBTFUL, path, re.IGNORECASE) or not path.isprintable():
        raise ValueError("has a path with a segment . or .., a backslash, one of these escaped, or a control character")
    return path.strip("/")


def read_helpers(table: Table) -> tuple[HelperConfig, ...]:
    """Return the rows, in their order.

    Raises:
        ConfigurationError: a row is malformed, or two rows name one service.
    """
    rows: dict[Place, HelperConfig] = {}
    for name, value in table.rest().items():
        row = _row(name, value, table)
        if (other := rows.setdefault(row.place, row)) is not row:
            table.fail(name, f"is the same service as {other.name}")
    return tuple(rows.values())


def _row(name: str, value: object, table: Table) -> HelperConfig:
    origin, found_file = table.where(name), table.document.found_file
    if isinstance(value, Mapping):
        own = table.table(name)
        given = own.values(_ROW)
        own.close()
        at, username = given.get("at"), given.get("username")
        if at is None:
            own.fail("at", 'is missing: it names the secret as "PATH#KEY" or "PATH"')
    elif isinstance(value, str):
        at, username = value, None
    else:
        table.fail(name, f'must be "PATH", or a table with `at` and `username`, not {kind(value)}')
    place = table.parsed(name, parse_place, name)
    path, key = table.parsed(name, parse_reference, str(at))
    if key is not None and username is None:
        table.fail(name, 'has a key and no user: write { at = "PATH#KEY", username = "…" }')
    if username is not None and not username.isprintable():
        table.fail(name, "has a user with a control character")
    return HelperConfig(name, place, path, key or "password", username, origin, found_file)
