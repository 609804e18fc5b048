"""Conversion of a secret, or of one key's value, to a type of the application.

The built-in types are converted by `encoding`. Every other type is validated by pydantic (the extra `typed`), and a
`msgspec.Struct` by msgspec. All faults are reported at once. No message holds a part of a value.

An environment variable is always text, and Vault has numbers and lists. One type gives the same result from every
store: text is read as JSON for a field that is a container, and numbers, booleans and containers become JSON text for a
field that is text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
    NotRequired,
    Required,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

from strongroom import encoding
from strongroom._manager.redacted_objects import redacted
from strongroom.encoding import from_json
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveDict, SensitiveStr, Value

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_EXTRA = "pip install 'strongroom[typed]'"

_NO_TYPES = (str, FunctionType, BuiltinFunctionType, MethodType, partial)

_WHOLE = (dict, SensitiveDict, object)
"""The built-in types of a whole secret."""


def declared_type(name: str) -> Any:
    """Return the type that `type` of a row of `[secrets]` names: one of `secrets_table.TYPES`."""
    from datetime import date, datetime, timedelta
    from decimal import Decimal
    from pathlib import Path
    from uuid import UUID

    further = {"list[str]": list[str], "list[int]": list[int], "dict[str, str]": dict[str, str]}
    known = (*encoding.TYPES, Path, Decimal, datetime, date, timedelta, UUID)
    return {**{kind.__name__: kind for kind in known}, **further}[name]


class _Fault(NamedTuple):
    """One fault of the data.

    Attributes:
        field: the key of the secret that it is about; empty for the secret itself, or for the value of one key.
        wants: the form of the value that may fit: `text`, `container`, or empty.
        message: the broken rule, without a part of the value.
    """

    field: str
    wants: str
    message: str


_Validate: TypeAlias = Callable[[Any, bool], "tuple[Any, list[_Fault]]"]
"""Takes data, and whether it is a whole secret. Returns the object, or None and the faults."""


def check_type(wanted: object, *, whole: bool) -> None:
    """Raise TypeError unless `convert` supports this type, for a whole secret or for the value of one key."""
    if _is_built_in(wanted):
        if whole and wanted not in _WHOLE:
            raise TypeError(f"as_={_name(wanted)} is the type of one key's value: give the key too")
        return
    _validator(wanted)


def convert(value: Value, wanted: Any, path: str, key: str | None, store: str = "") -> Any:
    """Return a secret, or the value of one key, as a type that `check_type` accepts.

    Args:
        value: the secret's data if `key` is None, otherwise the value.
        wanted: a built-in type, a dataclass, a TypedDict, a pydantic model, a msgspec Struct, or any type of pydantic.
        path: the secret's path, for messages.
        key: the key, or None for the whole secret.
        store: the store that has it, for messages.

    Raises:
        InvalidDataError: the value does not fit. Names every key that does not, and shows no value.
    """
    if _is_built_in(wanted):
        return value if key is None else encoding.convert(value, wanted, path, key)
    made, faults = _fitted(value, _validator(wanted), whole=key is None)
    del value  # the frame of an error can be shown
    if faults:
        subject = "" if key is None else f"key {key!r}: "
        found = "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
        raise InvalidDataError(path, f"{subject}not a valid {_name(wanted)}: {found}", store=store or None)
    return redacted(made)


def _is_built_in(wanted: object) -> bool:
    try:
        encoding.check_type(wanted)
    except TypeError:
        return False
    return True


def _name(wanted: object) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) and not get_args(wanted) else repr(wanted)


def _fitted(value: Value, validate: _Validate, *, whole: bool) -> tuple[Any, list[_Fault]]:
    """Validate the value, and once more with other forms of the keys that did not fit."""
    made, faults = validate(value, whole)
    if whole and isinstance(value, Mapping):
        other = SensitiveDict(value)
        for fault in faults:
            if fault.field in value:
                other[fault.field] = _other_form(value[fault.field], fault.wants)
        return validate(other, whole) if faults else (made, faults)
    wants = next((fault.wants for fault in faults if not fault.field), "")
    return validate(_other_form(value, wants), whole) if wants else (made, faults)


def _other_form(value: Value, wants: str) -> Value:
    """Return text as the container that it is the JSON of, and a number or container as JSON; others unchanged."""
    if wants == "container" and isinstance(value, str):
        from strongroom.formats.strict_json import read_json

        try:
            return from_json(read_json(value))
        except InvalidDataError:
            return value
    if wants == "text" and value is not None and not isinstance(value, str | bytes):
        return SensitiveStr(encoding.to_json_text(value))
    return value


def _validator(wanted: Any) -> _Validate:
    """Return the validator of a type.

    Raises:
        TypeError: the type is not supported.
    """
    try:
        hash(wanted)
    except TypeError:
        return _made_validator.__wrapped__(wanted)
    return _made_validator(wanted)


@lru_cache(maxsize=256)
def _made_validator(wanted: Any) -> _Validate:
    msgspec: Any = sys.modules.get("msgspec")  # not loaded: the type is not one of its
    if msgspec is not None and isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _struct_validator(wanted)
    try:
        import pydantic
    except ImportError:
        raise TypeError(
            f"as_={_name(wanted)} needs pydantic: {_EXTRA}. Without it as_ is one of {_built_in_names()}"
        ) from None
    try:
        adapter = pydantic.TypeAdapter(_own_typed_dict(wanted))
    except (pydantic.errors.PydanticUserError, TypeError, NameError):
        pass  # the message of pydantic is long, and about its own settings
    else:
        # An incomplete type has names that are not defined. Text is a name itself, and is looked up in this module. A
        # function would be called with the value. No value is a class or a function.
        refused = isinstance(wanted, _NO_TYPES) or (get_origin(wanted) or wanted) in {type, Callable}
        if adapter.pydantic_complete and not refused:
            return _pydantic_validator(adapter)
    raise TypeError(
        f"as_={_name(wanted)} is not a supported type. as_ is one of {_built_in_names()}, a dataclass, a TypedDict, a "
        "pydantic model, a msgspec Struct, or a type that pydantic validates, such as Path, Decimal or list[str]"
    )


def _built_in_names() -> str:
    return ", ".join(known.__name__ for known in encoding.TYPES)


def _own_typed_dict(wanted: Any) -> Any:
    """Return a `typing.TypedDict` as the `typing_extensions.TypedDict` that pydantic needs before Python 3.12."""
    if sys.version_info >= (3, 12) or type(wanted).__module__ != "typing" or not hasattr(wanted, "__total__"):
        return wanted
    from typing_extensions import TypedDict

    marked = {
        name: (Required if name in wanted.__required_keys__ else NotRequired)[_own_typed_dict(hint)]
        for name, hint in get_type_hints(wanted, include_extras=True).items()
    }
    return TypedDict(wanted.__name__, marked)  # type: ignore[operator]  # made at run time


# --- pydantic ---------------------------------------------------------------------------------------------------------

_TEXT = frozenset({"string_type", "url_type", "path_type", "decimal_type", "uuid_type"})
_CONTAINER = frozenset({
    "list_type", "tuple_type", "set_type", "frozen_set_type", "dict_type", "mapping_type", "iterable_type",
    "model_type", "model_attributes_type", "dataclass_type",
})  # fmt: skip
_FIXED = _TEXT | _CONTAINER | {
    "missing", "extra_forbidden", "unexpected_keyword_argument", "none_required", "literal_error", "enum",
    "string_too_short", "string_too_long", "string_pattern_mismatch", "int_type", "int_parsing", "int_parsing_size",
    "int_from_float", "float_type", "float_parsing", "bool_type", "bool_parsing", "finite_number", "multiple_of",
    "greater_than", "greater_than_equal", "less_than", "less_than_equal", "decimal_parsing", "decimal_max_digits",
    "decimal_max_places", "decimal_whole_digits", "bytes_type", "bytes_too_short", "bytes_too_long", "date_type",
    "date_past", "date_future", "datetime_type", "datetime_past", "datetime_future", "datetime_object_invalid",
    "time_type", "time_delta_type", "timezone_naive", "timezone_aware", "url_scheme",
}  # fmt: skip
"""The errors of pydantic whose message depends on the type alone, and not on the value."""


def _pydantic_validator(adapter: TypeAdapter[Any]) -> _Validate:
    names = frozenset(_declared(adapter))

    def validate(data: Any, whole: bool) -> tuple[Any, list[_Fault]]:  # noqa: FBT001  # see _Validate
        from pydantic import ValidationError

        try:
            return adapter.validate_python(data), []
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
        faults: dict[str, _Fault] = {}
        for one in found:
            # A name that the type does not declare may be a part of a value: only a key of the secret is shown.
            place = enumerate(one["loc"])
            field = ".".join(
                str(part) for n, part in place if isinstance(part, int) or part in names or (whole and n == 0)
            )
            kind = one["type"]
            wants = "text" if kind in _TEXT else "container" if kind in _CONTAINER else ""
            message = one["msg"] if kind in _FIXED else f"Not valid ({kind})" if kind in _kinds() else "Not valid"
            faults.setdefault(field, _Fault(field, wants, message))  # a union has one error for each member
        return None, list(faults.values())

    return validate


def _kinds() -> tuple[str, ...]:
    from pydantic_core.core_schema import ErrorType

    return get_args(ErrorType)


def _declared(adapter: TypeAdapter[Any]) -> Iterator[str]:
    """Yield the names of all fields of a type, at every level."""
    from pydantic.errors import PydanticUserError

    try:
        waiting: list[Any] = [adapter.json_schema()]
    except PydanticUserError:  # a type of the application without a JSON schema
        return
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            properties = part.get("properties")
            yield from properties if isinstance(properties, dict) else ()
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


# --- msgspec ----------------------------------------------------------------------------------------------------------

_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]*)`(?:, got `[^`]*`)?")


def _struct_validator(wanted: Any) -> _Validate:
    """Return a validator that converts each field by itself, since msgspec reports only the first fault."""
    import msgspec

    known = msgspec.structs.fields(wanted)

    def validate(data: Any, _: bool) -> tuple[Any, list[_Fault]]:  # noqa: FBT001  # see _Validate
        if not isinstance(data, Mapping):
            return None, [_Fault("", "container", "Expected `object`")]
        plain = SensitiveDict(data).reveal()
        faults = [fault for field in known if (fault := _struct_fault(field, plain, msgspec))]
        if faults:
            return None, faults
        try:
            return msgspec.convert(plain, wanted, strict=False), []
        except msgspec.ValidationError:
            return None, [_Fault("", "", "A key or a rule of the type does not fit")]

    return validate


def _struct_fault(field: Any, data: dict[str, Any], msgspec: Any) -> _Fault | None:
    name = field.encode_name
    if name not in data:
        return _Fault(name, "", "Field required") if field.required else None
    try:
        msgspec.convert(data[name], field.type, strict=False)
    except msgspec.ValidationError as error:
        expected = _EXPECTED.match(str(error))
        kind = expected["wanted"].partition(" | ")[0] if expected else ""
    else:
        return None
    wants = "text" if kind in {"str", "decimal", "uuid"} else "container" if kind in {"array", "object"} else ""
    return _Fault(name, wants, expected[0] if expected else "Not valid")
