"""Resolving a store's options: from the configured sources to the values that open its plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast, get_origin

from strongroom._config import Ambient, Config, Rank, Setting, StoreConfig
from strongroom._config.document import gone, suggest
from strongroom._config.setting_types import convert, members, read_json, read_value
from strongroom._config.trust import not_trusted
from strongroom._plugins.option_rules import check
from strongroom._plugins.option_schema import OptionSchema, Schema
from strongroom.errors import ConfigurationError, MissingFileError
from strongroom.secret import SensitiveDict, SensitiveStr, protect

ReadFile: TypeAlias = Callable[[Path, str], str]
"""Reads the file of a reference; the second argument is the origin of the reference, for messages."""

_AUTH = "auth"
"""The option that says how to authenticate: with it, no credential of a lower source is taken."""


def resolve(store: StoreConfig, schema: Schema, config: Config, read_file: ReadFile) -> dict[str, Setting]:
    """The settings of a store: those that some source gives. For the others the plugin has a default.

    Raises:
        ConfigurationError: an option is unknown, missing or of a wrong type; a reference leads nowhere; an address is
            not allowed; or an ambient credential would go to an address that only a file found in the working
            directory gave.
    """
    _check_known(store, schema)
    chosen = dict(_chosen(store, schema))
    settings: dict[str, Setting] = {}
    for name, option in schema.options.items():
        if name in chosen:
            given = chosen[name]
            if given.found_file in config.untrusted and _has_reference(given.value):
                raise not_trusted(config.untrusted, f"{name} of store {store.name} reads a variable or a file")
            settings[name] = _given(option, given, config.ambient, read_file)
        elif not (_is_credential(option) and _AUTH in chosen) and (found := _ambient(option, config.ambient)):
            settings[name] = found
        elif option.required:
            instead = "".join(f", or set {variable}" for variable in option.option.ambient[-1:])
            raise ConfigurationError(f"{store.origin}: the option {name} is missing: it is {option.type_name}{instead}")
    check(store, schema, settings, production=config.production, untrusted=config.untrusted)
    return settings


def check_written(store: StoreConfig, schema: Schema, *, production: bool) -> None:
    """Validate the options as they are written, for use in another environment.

    References are not followed, and an option that the environment may give is not missing.

    Raises:
        ConfigurationError: an option is unknown or of a wrong type, or an address is not allowed.
    """
    _check_known(store, schema)
    written = {name: given for name, given in store.options.items() if not _has_reference(given.value)}
    settings = {name: _setting(schema.options[name], given, text=False) for name, given in written.items()}
    check(store, schema, settings, production=production)


def _check_known(store: StoreConfig, schema: Schema) -> None:
    for name, given in store.options.items():
        if name not in schema.options:
            if instead := schema.removed.get(name):
                raise ConfigurationError(f"{given.origin}: {gone(instead)}")
            raise ConfigurationError(
                f"{given.origin}: the plugin {store.plugin} has no option {name}; "
                f"{suggest(name, schema.options, _address_words(schema))}"
            )


def _address_words(schema: Schema) -> dict[str, str]:
    """Return the words that other tools use for the option with the address, each with its name here."""
    addresses = [name for name, option in schema.options.items() if option.option.address]
    return {word: name for name in addresses for word in ("address", "addr", "endpoint", "host", "url")}


def _chosen(store: StoreConfig, schema: Schema) -> Iterator[tuple[str, Setting]]:
    """Yield the configured options; of `auth` and the credentials beside it, only the higher source."""
    said = store.options
    credentials = {name for name in said if _is_credential(schema.options[name])}
    auth = said[_AUTH].rank if _AUTH in said else None
    highest = max((said[name].rank for name in credentials), default=None)
    for name, given in said.items():
        replaced = auth is not None and (
            (name in credentials and given.rank < auth) or (name == _AUTH and highest is not None and highest > auth)
        )
        if not replaced:
            yield name, given


def _is_credential(option: OptionSchema) -> bool:
    """Return True for another way to log in than `auth`. Headers and a client certificate can stand beside it."""
    return option.option.sent_to is not None and option.option.secret and not option.takes_json


def _ambient(option: OptionSchema, sources: Sequence[Ambient]) -> Setting | None:
    for source in sources:
        for name in option.option.ambient:
            if (found := source.setting(name)) is not None:
                return _setting(option, _with_json(option, found), text=True)
    return None


def _with_json(option: OptionSchema, given: Setting) -> Setting:
    """Return text with the list or table that it is as JSON, if the option takes one."""
    return given._replace(value=read_json(given.value)) if option.takes_json and isinstance(given.value, str) else given


def _given(option: OptionSchema, given: Setting, sources: Sequence[Ambient], read_file: ReadFile) -> Setting:
    text = given.rank is Rank.VARIABLE
    given = _with_json(option, given) if text else given
    whole = _reference(given.value) is not None
    references = _References(given, sources, read_file, whole=whole)
    value = references.follow(given.value)  # before the origin, which it finds
    followed = given._replace(value=value, origin=references.origin, declared=given.found_file)
    if whole:
        # What a file names is not what the file says: an address in a variable of the process is the process's own.
        followed = _with_json(option, followed._replace(found_file=references.found_file))
    else:  # one address of a list can come from ./.env
        followed = followed._replace(found_file=given.found_file or references.found_file)
    return _setting(option, followed, text=text or whole, secret=whole)


def _setting(option: OptionSchema, given: Setting, *, text: bool, secret: bool = False) -> Setting:
    """The value read as the option's type; text that came through a reference is as secret as the option can be."""
    where = f"{given.origin}: the option {option.name}"
    read = convert(given.value, option.hint, where, text=text, folder=given.folder)
    if option.option.address:
        read = _parted(read, option.hint)
    # An address with a password in it is refused, by a check whose frames may be printed.
    about = option.option
    secret = secret or about.secret or (about.address and _may_hold_password(read))
    shielded = _shielded(read, secret=secret)
    if about.fault is not None and (fault := about.fault(shielded)):
        raise ConfigurationError(f"{given.origin}: {fault}")
    locates = about.locates or about.location
    return given._replace(value=shielded, secret=secret, address=about.address, locates=locates)


def _parted(address: object, hint: Any) -> object:
    """The addresses that a text holds, with commas between them: a variable such as VAULT_ADDR has no other list."""
    if isinstance(address, list):
        return [part for item in address for part in (_parts(item) if isinstance(item, str) else [item])]
    if isinstance(address, str) and "," in address and any(list in {one, get_origin(one)} for one in members(hint)):
        return _parts(address)
    return address


def _parts(text: str) -> list[str]:
    return [part for item in text.split(",") if (part := item.strip())]


def _may_hold_password(address: object) -> bool:
    items = address if isinstance(address, list) else [address]
    return any(isinstance(item, str) and "@" in item for item in items)


def _shielded(value: Any, *, secret: bool) -> Any:  # any type of an option
    """Return the value in redacted types if it is secret, otherwise in plain types.

    A table is always shielded: whether it holds a credential is known to its plugin alone.
    """
    if isinstance(value, Mapping) or (secret and isinstance(value, str | list)):
        return protect(value)
    if isinstance(value, list):
        return [_shielded(item, secret=False) for item in value]
    return str(value) if isinstance(value, str) else value


# --- references -------------------------------------------------------------------------------------------------------


def _reference(value: object) -> tuple[str, str] | None:
    """Return the kind and the target of `{ env = "NAME" }` or `{ file = "PATH" }`; None for other values."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((what, name),) = value.items()
        if what in {"env", "file"} and isinstance(name, str) and name:
            return what, str(name)
    return None


def _has_reference(value: object) -> bool:
    if isinstance(value, Mapping):
        return _reference(value) is not None or any(map(_has_reference, value.values()))
    return isinstance(value, list) and any(map(_has_reference, value))


class _References:
    """Follows the references in one option. Afterwards `origin` and `found_file` say where their targets come from."""

    def __init__(self, given: Setting, sources: Sequence[Ambient], read_file: ReadFile, *, whole: bool) -> None:
        self._given = given
        self._whole = whole
        self._sources = sources
        self._read_file = read_file
        self.origin = given.origin
        self.found_file = given.found_file

    def follow(self, value: Any) -> Any:  # any type of TOML or JSON
        """Return the value with its references replaced by their targets, at every level."""
        if (reference := _reference(value)) is not None:
            what, name = reference
            return SensitiveStr(self._variable(name) if what == "env" else self._file(name))
        if isinstance(value, Mapping):
            return SensitiveDict((name, self.follow(item)) for name, item in value.items())
        if isinstance(value, list):
            return [self.follow(item) for item in value]
        return value

    def _variable(self, name: str) -> str:
        for source in self._sources:
            if (found := source.setting(name)) is not None:
                self.origin = f"{self._given.origin}, from {found.origin}"
                self.found_file = found.found_file if self._whole else self.found_file or found.found_file
                return cast("str", found.value)
        raise ConfigurationError(f"{self._given.origin}: the environment variable {name} is not set, or is empty")

    def _file(self, name: str) -> str:
        path = read_value(name, Path, text=True, folder=self._given.folder)
        if not isinstance(path, Path):
            raise ConfigurationError(f"{self._given.origin}: {{ file = … }} names no file")
        self.origin = f"{self._given.origin}, from the file {path}"
        text = self._read_file(path, self._given.origin).removesuffix("\n").removesuffix("\r")
        if not text:
            raise MissingFileError(f"{self._given.origin}: the file {path} is empty")
        return text
