"""The options of a plugin: its opener's signature is their schema, and says how a value is read."""

from __future__ import annotations

import inspect
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from strongroom.errors import PluginError
from strongroom.mapping import EnvironmentMapping
from strongroom.store import Option

_TRUE = frozenset({"true", "1", "yes", "on", "t"})
_FALSE = frozenset({"false", "0", "no", "off", "f"})
_SCALARS: Mapping[object, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a file's path",
    type(None): "nothing",
}

MISMATCH: Final = object()
"""What `read_value` returns for a value that is not of the type. An error would carry the value."""


@dataclass(frozen=True)
class OptionSchema:
    """One option.

    Attributes:
        name: the parameter's name.
        hint: its type, without `Annotated`.
        option: what the author says beyond the type.
        required: whether it has no default.
        default: its default.
    """

    name: str
    hint: Any  # a type, or one of typing's forms: they have no common class
    option: Option
    required: bool
    default: object = None

    @property
    def words(self) -> str:
        """Its type in words."""
        return _words(self.hint)

    @property
    def takes_json(self) -> bool:
        """Whether a list or a table is one of its types, so that text can be JSON."""
        return any(get_origin(member) in {list, dict} or member in {list, dict} for member in _members(self.hint))


@dataclass(frozen=True)
class Schema:
    """What a plugin's opener takes.

    Attributes:
        options: what can be configured, by name.
        mapping: the name of the parameter that is given the `EnvironmentMapping`, or None.
    """

    options: Mapping[str, OptionSchema]
    mapping: str | None = None


def read_schema(opener: Callable[..., object], plugin: str) -> Schema:
    """The schema that the opener's signature is.

    Raises:
        PluginError: a parameter is not keyword-only, has no type hint, or has one that no configuration can give.
    """
    try:
        signature = inspect.signature(opener, eval_str=True)
    except (NameError, TypeError, ValueError, AttributeError) as error:
        raise PluginError(f"The plugin {plugin} is broken: its signature cannot be read ({error})") from None
    options: dict[str, OptionSchema] = {}
    mapping: str | None = None
    for name, parameter in signature.parameters.items():
        about = f"The plugin {plugin} is broken: its option {name}"
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise PluginError(f"{about} is not keyword-only, or stands for any number of them")
        if parameter.annotation is inspect.Parameter.empty:
            raise PluginError(f"{about} has no type hint")
        hint, option = _without_annotated(parameter.annotation)
        if hint is EnvironmentMapping:
            mapping = name
            continue
        if not _is_readable(hint):
            raise PluginError(f"{about} has a type that no configuration can give: {hint}")
        required = parameter.default is inspect.Parameter.empty
        options[name] = OptionSchema(name, hint, option, required, None if required else parameter.default)
    for name, schema in options.items():
        if schema.option.sent_to is not None and schema.option.sent_to not in options:
            raise PluginError(
                f"The plugin {plugin} is broken: its option {name} is sent to {schema.option.sent_to}, which it lacks"
            )
    return Schema(options, mapping)


def _without_annotated(hint: Any) -> tuple[Any, Option]:
    """The bare hint, and the `Option` that stands beside it or beside a member of its union."""
    if get_origin(hint) is Annotated:
        found = next((item for item in hint.__metadata__ if isinstance(item, Option)), None)
        inner, below = _without_annotated(hint.__origin__)
        return inner, found or below
    if get_origin(hint) in {Union, types.UnionType}:
        members = [_without_annotated(member) for member in get_args(hint)]
        option = next((option for _, option in members if option != Option()), Option())
        return Union[tuple(member for member, _ in members)], option  # noqa: UP007  # made of a tuple
    return hint, Option()


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _is_readable(hint: Any) -> bool:
    if hint in {object, Any}:
        return False
    if hint in _SCALARS or hint in {list, dict} or get_origin(hint) is Literal:
        return True
    if get_origin(hint) is list:
        return all(map(_is_readable, get_args(hint)))
    if get_origin(hint) is dict:
        name, item = get_args(hint)
        return name is str and (item in {object, Any} or _is_readable(item))
    return len(_members(hint)) > 1 and all(map(_is_readable, _members(hint)))


def _words(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in get_args(hint))
    if hint is list or get_origin(hint) is list:
        return f"a list, each {_words(get_args(hint)[0])}" if get_args(hint) else "a list"
    if hint is dict or get_origin(hint) is dict:
        return "a table"
    return " or ".join(_words(member) for member in _members(hint) if member is not type(None))


# --- reading a value --------------------------------------------------------------------------------------------------


def read_json(text: str) -> object:
    """The list or table that the text is in JSON, or the text itself when it is neither."""
    if text.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text


def read_value(value: object, hint: Any, *, text: bool, folder: Path | None = None) -> object:
    """The value as the type of an option, or `MISMATCH`.

    Args:
        value: from TOML or from an argument; or text, of a variable or a file.
        hint: the option's type, without `Annotated`.
        text: whether it is text, which has no type of its own: it is read as the one that is asked for.
        folder: what a relative path is relative to.
    """
    members = _members(hint)
    if len(members) > 1:
        # Text is everything's string: the other types are tried first.
        ordered = sorted(members, key=lambda member: member is str)
        read = (read_value(value, member, text=text, folder=folder) for member in ordered)
        return next((item for item in read if item is not MISMATCH), MISMATCH)
    if hint is list or get_origin(hint) is list:
        return _list(value, *(get_args(hint) or (str,)), text=text, folder=folder)
    if hint is dict or get_origin(hint) is dict:
        return _dict(value, (get_args(hint) or (str, object))[1], text=text, folder=folder)
    return _single(value, hint, text=text, folder=folder)


def _single(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if hint is type(None):
        return None if value is None else MISMATCH
    if get_origin(hint) is Literal:
        return _literal(value, get_args(hint), text=text)
    if hint in {object, Any}:
        return value
    if hint is Path:
        return _path(value, folder)
    return _scalar_of_text(value, hint) if text and isinstance(value, str) else _scalar(value, hint)


def _literal(value: object, allowed: Sequence[object], *, text: bool) -> object:
    for item in allowed:
        if value == item and isinstance(value, bool) == isinstance(item, bool):
            return item
        if text and value == str(item):
            return item
    return MISMATCH


def _list(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if isinstance(value, str | Path):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return MISMATCH
    items = [read_value(item, hint, text=text, folder=folder) for item in value]
    return MISMATCH if any(item is MISMATCH for item in items) else items


def _dict(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return MISMATCH
    items = {name: read_value(item, hint, text=text, folder=folder) for name, item in value.items()}
    return MISMATCH if any(item is MISMATCH for item in items.values()) else items


def _path(value: object, folder: Path | None) -> object:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        return MISMATCH
    try:
        path = Path(str(value)).expanduser()
    except RuntimeError:
        return MISMATCH
    return path if folder is None else folder / path


def _scalar(value: object, hint: Any) -> object:
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else MISMATCH
    if hint is float and isinstance(value, int | float):
        return _finite(value)
    return value if isinstance(value, hint) else MISMATCH


def _scalar_of_text(value: str, hint: Any) -> object:
    if hint is str:
        return value
    word = value.strip().lower()
    if hint is bool:
        return True if word in _TRUE else False if word in _FALSE else MISMATCH
    try:
        return int(word) if hint is int else _finite(float(word))
    except ValueError:
        return MISMATCH


def _finite(value: float) -> object:
    try:
        number = float(value)
    except OverflowError:
        return MISMATCH
    return number if math.isfinite(number) else MISMATCH
