"""The names and secrets in the output of a program. Pure."""

from __future__ import annotations

from typing import Any

from strongroom.errors import InvalidDataError, StoreUnavailableError
from strongroom.formats.strict_json import read_json
from strongroom.secret import SensitiveStr
from strongroom_local.command.profiles import Profile


def names_of(output: bytes, field: str) -> list[str]:
    """Return the paths in the output of a listing.

    Args:
        output: paths separated by NUL, if it has one, otherwise by newlines; or JSON.
        field: the field of each object that is a path, if the output is JSON. With `*`, the names of an object.

    Raises:
        StoreUnavailableError: the output cannot be read.
    """
    if field == "*":
        tree = _json(_text(output))
        if not isinstance(tree, dict):
            raise StoreUnavailableError(None, "the listing is not a JSON object")
        return list(tree)
    if field:
        return [str(item[field]) for item in _objects(output, field)]
    text = _text(output)
    return [name for name in (text.split("\0") if "\0" in text else text.split("\n")) if name]


def may_hold(output: bytes, path: str, profile: Profile) -> bool:
    """Return whether a listing has a secret that the program would find by this path, or may be hiding it.

    Raises:
        StoreUnavailableError: the output cannot be read.
    """
    names = names_of(output, profile.name_field)
    if profile.found_by:
        items = _objects(output, profile.name_field)
        names += [str(item[field]) for item in items for field in profile.found_by if field in item]
    if not profile.withheld.keys().isdisjoint(names) or (profile.fails_empty and not names):
        return True
    if profile.ignores_case:
        return path.casefold() in map(str.casefold, names)
    return path in names


def entry_of(output: bytes, path: str, name_field: str, value_field: str) -> bytes | None:
    """Return the content of the object that has exactly this name, None if no object has it.

    Raises:
        InvalidDataError: several objects have it, or it has no text.
        StoreUnavailableError: the output cannot be read.
    """
    found = [item.get(value_field) for item in _objects(output, name_field) if item[name_field] == path]
    if not found:
        return None
    if len(found) > 1:
        raise InvalidDataError(path, f"{len(found)} secrets have this name", hint="Rename all but one of them")
    if not isinstance(found[0], str):
        raise InvalidDataError(path, f"the field {value_field} of it is not text")
    return found[0].encode()


def _objects(output: bytes, field: str) -> list[dict[str, Any]]:
    tree = _json(_text(output))
    if isinstance(tree, list) and all(isinstance(item, dict) and isinstance(item.get(field), str) for item in tree):
        return tree
    del output, tree
    raise StoreUnavailableError(None, f"the output of the program is not a JSON array of objects with {field!r}")


def _text(output: bytes) -> str:
    try:
        return SensitiveStr(output.decode())
    except UnicodeDecodeError:
        pass
    raise StoreUnavailableError(None, "the output of the program is not UTF-8")


def _json(text: str) -> Any:
    """Return the parsed text, or None if it is not strict JSON."""
    try:
        return read_json(text)
    except InvalidDataError:
        return None
