"""The STRONGROOM_* environment variables."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from strongroom._config import Rank, Setting, setting_hint
from strongroom._config.document import suggest
from strongroom._config.setting_types import convert, plain
from strongroom._config.trust import TRUSTED_PATHS
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr

PREFIX = "STRONGROOM_"
"""Beginning of the environment variables that configure Strongroom itself."""

_STORES = "STRONGROOM_STORES_"
_SETTINGS = {
    "STRONGROOM_ENVIRONMENT": "environment",
    "STRONGROOM_TIMEOUT": "timeout",
    "STRONGROOM_CACHE_TTL": "cache.ttl",
    "STRONGROOM_CACHE_MAX_STALE": "cache.max_stale",
    "STRONGROOM_CACHE_MISSING_TTL": "cache.missing_ttl",
    "STRONGROOM_CACHE_DISK": "cache.disk",
    "STRONGROOM_CACHE_FOLDER": "cache.folder",
    "STRONGROOM_OFFLINE": "cache.offline",
    "STRONGROOM_AUDIT_FILE": "audit.file",
}
_NAMES = ("STRONGROOM_CONFIG", TRUSTED_PATHS, *_SETTINGS)


class Variables(NamedTuple):
    """The settings in STRONGROOM_* variables. An empty variable is not set.

    Attributes:
        config: the configuration file to read.
        environment: the environment to select.
        settings: see `Config.settings`.
        stores: each STRONGROOM_STORES_<NAME>_<OPTION> with its text, redacted.
    """

    config: str | None = None
    environment: str | None = None
    settings: Mapping[str, Setting] = MappingProxyType({})
    stores: Mapping[str, str] = MappingProxyType({})

    def options(
        self, stores: Iterable[str], plugins: Callable[[], Iterable[str]] = tuple
    ) -> dict[str, dict[str, tuple[str, str]]]:
        """Return store to option to (variable, text), for these store names.

        A store name is in upper case, with `_` for other characters. If two names match, the longer one counts.

        Args:
            stores: the names of stores.
            plugins: returns the names of installed plugins. It is called if a variable matches no store: `PLUGIN` and
                `PLUGIN:LOCATION` on a command line need no table.

        Raises:
            ConfigurationError: a variable matches neither a store nor a plugin, or two of them with the same upper-case
                name.
        """
        if not self.stores:
            return {}
        stores = list(stores)
        names = _by_upper_name(stores)
        unknown = [variable for variable in self.stores if _fitting(variable, names) is None]
        others = _by_upper_name(plugins()) if unknown else {}
        found: dict[str, dict[str, tuple[str, str]]] = {}
        for variable, text in self.stores.items():
            known = others if variable in unknown else names
            if (name := _fitting(variable, known)) is None:
                raise ConfigurationError(
                    f"The environment variable {variable} names no store and option; the stores are "
                    f"{', '.join(sorted(stores))}"
                )
            if len(known[name]) > 1:
                raise ConfigurationError(
                    f"The environment variable {variable} fits more than one store: {', '.join(sorted(known[name]))}"
                )
            rest = variable.removeprefix(_STORES)
            found.setdefault(known[name][0], {})[rest[len(name) + 1 :].lower()] = (variable, text)
        return found


def _by_upper_name(stores: Iterable[str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for store in stores:
        names.setdefault(_upper(store), []).append(store)
    return names


def _fitting(variable: str, names: Iterable[str]) -> str | None:
    """Return the longest of these upper-case names that the variable has, or None."""
    rest = variable.removeprefix(_STORES)
    fitting = (name for name in names if rest.startswith(f"{name}_") and len(rest) > len(name) + 1)
    return max(fitting, key=len, default=None)


def option_variable(store: str, option: str) -> str:
    """Return the variable that overrides an option of a store."""
    return f"{_STORES}{_upper(store)}_{option.upper()}"


def read_variables(environ: Mapping[str, str]) -> Variables:
    """Read the STRONGROOM_* variables of an environment.

    Raises:
        ConfigurationError: a variable is unknown, or its text is not of the type of its setting.
    """
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    for name in ours:
        if name not in _NAMES and not name.startswith(_STORES):
            known = (*_NAMES, f"{_STORES}<NAME>_<OPTION>")
            raise ConfigurationError(f"The environment variable {name} is unknown; {suggest(name, known)}")
    return Variables(
        config=_name(ours, "STRONGROOM_CONFIG"),
        environment=_name(ours, "STRONGROOM_ENVIRONMENT"),
        settings={_SETTINGS[name]: _setting(name, text) for name, text in ours.items() if name in _SETTINGS},
        stores={name: SensitiveStr(value) for name, value in ours.items() if name.startswith(_STORES)},
    )


def _setting(name: str, text: str) -> Setting:
    origin = f"The environment variable {name}"
    value = plain(convert(text, setting_hint(_SETTINGS[name]), origin, text=True))
    return Setting(value, origin.replace("The", "the", 1), Rank.VARIABLE)


def _name(ours: Mapping[str, str], name: str) -> str | None:
    """Return a variable as plain text, not redacted: these two names are not secret."""
    return str(ours[name]) if name in ours else None


def _upper(store: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in store).upper()
