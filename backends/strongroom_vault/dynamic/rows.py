"""Rows of the option `paths`: which request issues the credentials of a path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from strongroom.errors import ConfigurationError
from strongroom.formats.durations import ALLOWED, parse_duration
from strongroom.paths import check_option
from strongroom_vault.http.hvac_adapter import ApiRequest

_METHODS = {"read": "GET", "write": "POST"}
_KEYS = ("path", "method", "parameters", "ttl")


class Row(NamedTuple):
    """One row of `paths`.

    Attributes:
        place: the path below the mount, such as `creds/app` or `issue/web`.
        method: `read` or `write`, as the documentation of the engine's path names it.
        parameters: of the request.
        ttl: the seconds for which an answer lives that has neither a lease nor an end; 0 is one for each
            read, None no such answer.
    """

    place: str
    method: str = "read"
    parameters: Mapping[str, Any] = {}
    ttl: float | None = None

    def request(self, mount: str) -> ApiRequest:
        """Return the request. hvac has no method for a path of any engine."""
        target = f"/v1/{quote(mount)}/{quote(self.place)}"
        if self.method == "write":
            return ApiRequest("POST", target, self.parameters, creates=True)
        query = f"?{urlencode(self.parameters)}" if self.parameters else ""
        return ApiRequest("GET", f"{target}{query}", creates=True)


def read_rows(paths: Mapping[str, Any]) -> dict[str, Row]:
    """Return the rows of the option `paths`, by the application's path.

    Raises:
        ConfigurationError: the option is empty, or a row is malformed.
    """
    if not paths:
        raise ConfigurationError('paths: it names no path. Write { "database/app" = "creds/app" } and the like')
    return {check_option(f"paths: {path!r}", path): _read_row(f"paths: {path!r}", row) for path, row in paths.items()}


def _read_row(where: str, row: object) -> Row:
    if isinstance(row, str):
        return Row(check_option(f"paths: {row!r}", row))
    if not isinstance(row, Mapping):
        raise ConfigurationError(f"{where} must be a path below the mount, or a table with `path`")
    if unknown := sorted(row.keys() - set(_KEYS)):
        raise ConfigurationError(f"{where}: there is no '{unknown[0]}'. Its keys are {', '.join(_KEYS)}")
    place, method, parameters = row.get("path"), row.get("method", "read"), row.get("parameters", {})
    if not isinstance(place, str):
        raise ConfigurationError(f"{where}: its `path` must be a path below the mount")
    if method not in _METHODS:
        raise ConfigurationError(f"{where}: its `method` must be one of {', '.join(_METHODS)}")
    if not isinstance(parameters, Mapping):
        raise ConfigurationError(f"{where}: its `parameters` must be a table")
    ttl = parse_duration(row["ttl"]) if "ttl" in row else None
    if "ttl" in row and ttl is None:
        raise ConfigurationError(f"{where}: its `ttl` must be {ALLOWED}")
    return Row(check_option(f"{where}: `path`", place), str(method), dict(parameters), ttl)
