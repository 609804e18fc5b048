"""The option schema of a plugin, read from its opener's signature."""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from strongroom._boundary.plugin_calls import plugin_code
from strongroom._boundary.translation import is_interrupt
from strongroom._config.setting_types import SCALARS, members, type_name
from strongroom._config.variables import PREFIX
from strongroom.errors import PluginError
from strongroom.formats.variables import EnvironmentMapping
from strongroom.store import Option, SecretStore
from strongroom.store.protocols import capabilities_of, traits_of

RESERVED = frozenset({"plugin"})
"""Keys of a store's table with another meaning than an option."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class OptionSchema(NamedTuple):
    """One option.

    Attributes:
        name: the parameter's name.
        hint: its type, without `Annotated`.
        option: the author's annotation beyond the type.
        required: whether it has no default.
        default: its default.
    """

    name: str
    hint: Any  # a type, or one of typing's forms: they have no common class
    option: Option
    required: bool
    default: object = None

    @property
    def type_name(self) -> str:
        """Its type in words."""
        return type_name(self.hint)

    @property
    def takes_json(self) -> bool:
        """Whether a list or a table is one of its types, so that text can be JSON."""
        return any(get_origin(member) in {list, dict} or member in {list, dict} for member in members(self.hint))


class Schema(NamedTuple):
    """The options of a plugin's opener.

    Attributes:
        options: what can be configured, by name.
        mapping: the name of the parameter that is given the `EnvironmentMapping`, or None.
        stores: the annotated return types: one class, or those of a union; empty without a usable annotation.
        removed: options of earlier releases, each with what takes its place.
    """

    options: Mapping[str, OptionSchema]
    mapping: str | None = None
    stores: tuple[type, ...] = ()
    removed: Mapping[str, str] = types.MappingProxyType({})

    def capabilities(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """Return the capabilities that all of the stores have, and those that only some have. Opens nothing.

        Return None if the classes do not tell: there are none, or one is a protocol, which shows the least of a store.
        """
        kinds = self.stores
        if not kinds or any(
            getattr(kind, "_is_protocol", False) or not issubclass(kind, SecretStore) for kind in kinds
        ):
            return None
        each = [capabilities_of(kind) for kind in kinds]
        always = frozenset.intersection(*each)
        return always, frozenset.union(*each) - always


def read_schema(opener: Callable[..., object], plugin: str) -> Schema:
    """Return the schema of the opener's signature.

    Raises:
        PluginError: a parameter is not keyword-only, has no type hint, has one that no configuration can give, or has
            an `Option` that is malformed; or a store that it returns needs a newer store protocol.
    """
    # Only a function is sure to have a hash.
    return _function_schema(opener, plugin) if inspect.isfunction(opener) else _read(opener, plugin)


def ambient_credentials(schema: Schema) -> set[str]:
    """Return the environment variables that set a secret option."""
    options = (about.option for about in schema.options.values())
    return {name for option in options if option.secret for name in option.ambient}


@lru_cache(maxsize=64)
def _function_schema(opener: Callable[..., object], plugin: str) -> Schema:
    return _read(opener, plugin)


def _read(opener: Callable[..., object], plugin: str) -> Schema:
    try:
        with plugin_code():
            return _schema(opener, plugin)
    except PluginError:
        raise
    except (NameError, TypeError, ValueError, AttributeError) as error:
        fault = str(error)
    except BaseException as error:
        if is_interrupt(error):
            raise
        fault = type(error).__name__
    raise PluginError(f"The plugin {plugin} is broken: its signature cannot be read ({fault})")


def _schema(opener: Callable[..., object], plugin: str) -> Schema:
    signature = _signature(opener)
    options: dict[str, OptionSchema] = {}
    mapping: str | None = None
    for name, parameter in signature.parameters.items():
        option = _option(parameter, f"The plugin {plugin} is broken: its option {name}")
        if option.hint is EnvironmentMapping:
            mapping = name
        else:
            options[name] = option
    for name, schema in options.items():
        related = [("is sent to", address) for address in schema.option.receivers]
        for relation, address in (*related, ("vouches for", schema.option.verifies)):
            if address is not None and address not in options:
                raise PluginError(
                    f"The plugin {plugin} is broken: its option {name} {relation} {address}, which it lacks"
                )
    stores = _store_classes(signature.return_annotation, plugin)
    return Schema(options, mapping, stores, dict(getattr(opener, "removed", {})))


def _signature(opener: Callable[..., object]) -> inspect.Signature:
    """Return the signature with the keys of `**options: Unpack[TypedDict]` as keyword-only parameters (PEP 692)."""
    signature = inspect.signature(opener, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and get_origin(parameter.annotation) is Unpack:
            parameters += _keywords(*get_args(parameter.annotation))
        else:
            parameters.append(parameter)
    return signature.replace(parameters=parameters)


def _keywords(keys: Any) -> Iterator[inspect.Parameter]:
    """Yield a parameter for each key of a TypedDict. A key that is not required has the default None, or False."""
    for name, marked in get_type_hints(keys, include_extras=True).items():
        marker = get_origin(marked)  # `__required_keys__` does not have those of hints that are strings
        hint = get_args(marked)[0] if marker in {Required, NotRequired} else marked
        required = marker is Required or (marker is not NotRequired and name in keys.__required_keys__)
        default = inspect.Parameter.empty if required else False if _without_annotated(hint)[0] is bool else None
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _option(parameter: inspect.Parameter, about: str) -> OptionSchema:
    """Return the schema of a parameter."""
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        raise PluginError(f"{about} is not keyword-only, or stands for any number of them")
    if parameter.annotation is inspect.Parameter.empty:
        raise PluginError(f"{about} has no type hint")
    if parameter.name in RESERVED:
        raise PluginError(f"{about} has a reserved name: rename it")
    hint, found = _without_annotated(parameter.annotation)
    if len(found) > 1:
        raise PluginError(f"{about} has {len(found)} Options: keep one")
    option = found[0] if found else Option()
    if fault := _option_fault(option):
        raise PluginError(f"{about} has an Option whose {fault}")
    if hint is not EnvironmentMapping and not _is_readable(hint):
        raise PluginError(f"{about} has a type that no configuration can give: {hint}")
    required = parameter.default is inspect.Parameter.empty
    return OptionSchema(parameter.name, hint, option, required, None if required else parameter.default)


def _store_classes(annotation: Any, plugin: str) -> tuple[type, ...]:
    """Return the classes that a return annotation names; none if it names anything else.

    Raises:
        PluginError: one of them needs a newer store protocol.
    """
    returned = members(annotation)
    stores = tuple(member for member in returned if isinstance(member, type) and member is not inspect.Signature.empty)
    for store in stores:
        traits_of(store, f"Plugin {plugin}")
    return stores if len(stores) == len(returned) else ()


def _without_annotated(hint: Any) -> tuple[Any, list[Option]]:
    """Return the bare hint, and each `Option` that stands beside it or beside a member of its union."""
    if get_origin(hint) is Annotated:
        inner, below = _without_annotated(hint.__origin__)
        return inner, [*(item for item in hint.__metadata__ if isinstance(item, Option)), *below]
    if get_origin(hint) in {Union, types.UnionType}:
        members = [_without_annotated(member) for member in get_args(hint)]
        found = [option for _, options in members for option in options]
        return Union[tuple(member for member, _ in members)], found  # noqa: UP007  # made of a tuple
    return hint, []


def _option_fault(option: Option) -> str:
    """Return the fault of a malformed `Option`, or the empty string."""
    schemes: object = option.tls_schemes
    if not isinstance(schemes, tuple) or not schemes or not all(map(_is_scheme, schemes)):
        return 'tls_schemes is not a tuple of schemes in lower case such as ("rediss",)'
    for field in ("secret", "address", "location", "locates", "recipients"):
        if not isinstance(getattr(option, field), bool):
            return f"{field} is {type(getattr(option, field)).__name__}, not bool"
    if not all(isinstance(name, str) for name in option.receivers):
        return "sent_to is neither the name of an option nor a tuple of names"
    for field in ("help", "verifies"):
        if not isinstance(text := getattr(option, field), str | None) or (text is None and field == "help"):
            return f"{field} is {type(text).__name__}, not str"
    for field in ("credential_variables", "identity", "fault"):
        if not ((function := getattr(option, field)) is None or callable(function)):
            return f"{field} is {type(function).__name__}, not callable"
    return _ambient_fault(option.ambient)


def _ambient_fault(ambient: object) -> str:
    if not isinstance(ambient, tuple) or not all(isinstance(name, str) for name in ambient):
        return f'ambient is {type(ambient).__name__}, not a tuple of names such as ("NAME",)'
    for name in ambient:
        if not (name.isascii() and name.isidentifier()):
            return f"ambient variable {name!r} is not the name of an environment variable"
        if name.startswith(PREFIX):
            return f"ambient variable {name} is reserved: names that begin with {PREFIX} configure Strongroom"
    return ""


def _is_scheme(scheme: object) -> bool:
    return isinstance(scheme, str) and _SCHEME.fullmatch(scheme) is not None


def _is_readable(hint: Any) -> bool:
    if hint in {object, Any}:
        return False
    if hint in SCALARS or hint in {list, dict} or get_origin(hint) is Literal:
        return True
    if get_origin(hint) is list:
        return all(map(_is_readable, get_args(hint)))
    if get_origin(hint) is dict:
        name, item = get_args(hint)
        return name is str and (item in {object, Any} or _is_readable(item))
    return len(members(hint)) > 1 and all(map(_is_readable, members(hint)))
