"""Resolving a store's options: from what the sources say to the values that its plugin is opened with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from strongroom.addresses import check_address
from strongroom.config import Ambient, Config, Given, Rank, StoreConfig
from strongroom.document import kind, suggest
from strongroom.errors import ConfigurationError
from strongroom.model import REDACTED, SensitiveDict, SensitiveStr, protect
from strongroom.options import MISMATCH, OptionSchema, Schema, read_json, read_value

ReadFile: TypeAlias = Callable[[Path, str], str]
"""Reads the file of a reference; the second argument says where the reference stands, for messages."""

_AUTH = "auth"
"""The option that says how to authenticate: with it, no credential of a lower source is taken."""


@dataclass(frozen=True, repr=False)
class Setting:
    """An option's value, and where it comes from.

    Attributes:
        value: what the plugin is given.
        origin: the source in words.
        secret: whether the value is never shown.
        rank: the source's place in the order of precedence.
        found: the file that gave it, where that was found in the working directory and nobody named it.
    """

    value: object
    origin: str
    secret: bool
    rank: Rank
    found: str = ""

    def __repr__(self) -> str:
        return f"Setting({REDACTED if self.secret else repr(self.value)}, origin={self.origin!r})"


def resolve(store: StoreConfig, schema: Schema, config: Config, read_file: ReadFile) -> dict[str, Setting]:
    """The settings of a store: those that some source gives. For the others the plugin has a default.

    Args:
        store: what was said for it.
        schema: what its plugin takes.
        config: the whole configuration, for the ambient sources and the rules of production.
        read_file: reads the files that options refer to.

    Raises:
        ConfigurationError: an option is unknown, missing or of a wrong type; a reference leads nowhere; an address is
            not allowed; or an ambient credential would go to an address that only a file found in the working
            directory gave.
    """
    for name, given in store.options.items():
        if name not in schema.options:
            raise ConfigurationError(
                f"{given.origin}: the plugin {store.plugin} has no option {name}; {suggest(name, schema.options)}"
            )
    chosen = dict(_chosen(store, schema))
    settings: dict[str, Setting] = {}
    for name, option in schema.options.items():
        if name in chosen:
            settings[name] = _given(option, chosen[name], config.ambient, read_file)
        elif not (option.option.sent_to and _AUTH in chosen) and (found := _ambient(option, config.ambient)):
            settings[name] = found
        elif option.required:
            instead = "".join(f", or set {variable}" for variable in option.option.ambient[-1:])
            raise ConfigurationError(f"{store.origin}: the option {name} is missing: it is {option.words}{instead}")
    for name, setting in settings.items():
        if schema.options[name].option.address:
            _check_addresses(setting, production=config.production)
        if sent_to := schema.options[name].option.sent_to:
            _check_ambient(store, name, setting, settings.get(sent_to))
    return settings


def _chosen(store: StoreConfig, schema: Schema) -> Iterator[tuple[str, Given]]:
    """What was said; of `auth` and the credentials beside it, what the higher source says."""
    said = store.options
    credentials = {name for name in said if schema.options[name].option.sent_to and name != _AUTH}
    auth = said[_AUTH].rank if _AUTH in said else None
    highest = max((said[name].rank for name in credentials), default=None)
    for name, given in said.items():
        replaced = auth is not None and (
            (name in credentials and given.rank < auth) or (name == _AUTH and highest is not None and highest > auth)
        )
        if not replaced:
            yield name, given


def _ambient(option: OptionSchema, sources: Sequence[Ambient]) -> Setting | None:
    for source in sources:
        for name in option.option.ambient:
            if text := source.values.get(name):
                value = read_json(text) if option.takes_json else text
                origin = source.origin(name)
                return _setting(option, value, Given(text, origin, source.rank, source.found), text=True)
    return None


def _given(option: OptionSchema, given: Given, sources: Sequence[Ambient], read_file: ReadFile) -> Setting:
    value, found, text = given.value, given.found, given.rank is Rank.VARIABLE
    if text and option.takes_json and isinstance(value, str):
        value = read_json(value)
    references = _References(given, sources, read_file)
    if _reference(value) is not None:
        value = references.follow(value)
        # A process variable is not the found file's own word: it only says which one is meant.
        found = references.found
        text = True
        value = read_json(value) if option.takes_json and isinstance(value, str) else value
    else:
        value = references.follow(value)
    return _setting(option, value, Given(given.value, references.origin, given.rank, found, given.folder), text=text)


def _setting(option: OptionSchema, value: object, given: Given, *, text: bool) -> Setting:
    read = read_value(value, option.hint, text=text, folder=given.folder)
    if read is MISMATCH:
        what = "this text" if text else kind(value)
        raise ConfigurationError(f"{given.origin}: the option {option.name} must be {option.words}, not {what}")
    secret = option.option.secret or isinstance(read, SensitiveStr)
    if secret or isinstance(read, dict | list):
        read = _protected(read)
    elif isinstance(read, str):
        read = str(read)
    return Setting(read, given.origin, secret, given.rank, given.found)


def _protected(value: object) -> object:
    """The value in types whose `repr` shows nothing; a path has no such type."""
    if isinstance(value, Mapping):
        return SensitiveDict((name, protect(item)) for name, item in value.items())
    return protect(value) if isinstance(value, str | list) else value


# --- references -------------------------------------------------------------------------------------------------------


def _reference(value: object) -> tuple[str, str] | None:
    """`{ env = "NAME" }` or `{ file = "PATH" }` as its kind and what it names."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((what, name),) = value.items()
        if what in {"env", "file"} and isinstance(name, str) and name:
            return what, str(name)
    return None


class _References:
    """Follows the references in one option. Afterwards `origin` and `found` say where the option comes from."""

    def __init__(self, given: Given, sources: Sequence[Ambient], read_file: ReadFile) -> None:
        self._given = given
        self._sources = sources
        self._read_file = read_file
        self.origin = given.origin
        self.found = given.found

    def follow(self, value: Any) -> Any:  # whatever TOML or JSON holds
        """The value with what its references name in their place, all the way down."""
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
            if text := source.values.get(name):
                self.origin, self.found = f"{self._given.origin}, from {source.origin(name)}", source.found
                return text
        raise ConfigurationError(f"{self._given.origin}: the environment variable {name} is not set, or is empty")

    def _file(self, name: str) -> str:
        path = read_value(name, Path, text=True, folder=self._given.folder)
        if not isinstance(path, Path):
            raise ConfigurationError(f"{self._given.origin}: {'{ file = … }'} names no file")
        self.origin = f"{self._given.origin}, from the file {path}"
        text = self._read_file(path, self._given.origin).removesuffix("\n").removesuffix("\r")
        if not text:
            raise ConfigurationError(f"{self._given.origin}: the file {path} is empty")
        return text


# --- where what is sent may go ----------------------------------------------------------------------------------------


def _check_addresses(setting: Setting, *, production: bool) -> None:
    value = setting.value
    for address in value if isinstance(value, list) else [value]:
        if address is not None:
            check_address(str(address), setting.origin, production=production)


def _check_ambient(store: StoreConfig, name: str, credential: Setting, address: Setting | None) -> None:
    """Refuses a credential that nobody meant for the address: a stranger's folder must not be able to ask for it."""
    if credential.rank > Rank.PROCESS or address is None or not address.found or credential.found == address.found:
        return
    raise ConfigurationError(
        f"The store {store.name} has its {name} from {credential.origin}, which does not go to an address that only "
        f"{address.found} gives: name the {name}'s source there too, or give the address where the {name} comes from"
    )
