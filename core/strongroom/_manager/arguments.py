"""Arguments of the methods of the manager, shared by its blocking and its asynchronous half."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from strongroom.paths import check_path, parse_reference


def api_key_path(service: str) -> str:
    """Return the path of a service's API key."""
    return f"api-keys/{check_path(service)}"


def strings(paths: Iterable[Any]) -> list[str]:
    """Return the paths, if all are strings: others may not even be keys of the result."""
    if isinstance(paths, str | bytes) or not isinstance(paths, Iterable):
        raise TypeError(f"paths is a collection of paths, not {type(paths).__name__}: for one secret call get_secret")
    return [path if isinstance(path, str) else check_path(path) for path in paths]


def requested_key(path: Any, key: str | None, as_: Any) -> tuple[str, str | None]:
    """Return the path and key of a read. Raise TypeError if `as_` is not a type for them."""
    if key is None and isinstance(path, str) and "#" in path:
        path, key = parse_reference(path)
    if as_ is not None:
        from strongroom._manager.conversion import check_type

        check_type(as_, whole=key is None)
    return path, key


def check_flag(name: str, value: object) -> None:
    """Refuse a flag that is not a bool: text from a variable, such as "false", would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {type(value).__name__}")
