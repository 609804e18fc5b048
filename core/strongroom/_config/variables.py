"""The STRONGROOM_* environment variables."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from strongroom import durations
from strongroom._config.document import suggest
from strongroom._config.file import expand_home
from strongroom._config.trust import TRUSTED_PATHS
from strongroom.encoding import read_boolean
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr

PREFIX = "STRONGROOM_"
_STORES = "STRONGROOM_STORES_"
_CACHE = {
    "STRONGROOM_CACHE_TTL": "ttl",
    "STRONGROOM_CACHE_MAX_STALE": "max_stale",
    "STRONGROOM_CACHE_MISSING_TTL": "missing_ttl",
}
_DISK = "STRONGROOM_CACHE_DISK"
_FOLDER = "STRONGROOM_CACHE_FOLDER"
_AUDIT_FILE = "STRONGROOM_AUDIT_FILE"
_SETTINGS = {
    "STRONGROOM_ENVIRONMENT": "environment",
    "STRONGROOM_TIMEOUT": "timeout",
    **{name: f"cache.{setting}" for name, setting in _CACHE.items()},
    _DISK: "cache.disk",
    _FOLDER: "cache.folder",
    _AUDIT_FILE: "audit.file",
}
_NAMES = ("STRONGROOM_CONFIG", TRUSTED_PATHS, *_SETTINGS)


class Variables(NamedTuple):
    """The settings in STRONGROOM_* variables. An empty variable is not set.

    Attributes:
        config: the configuration file to read.
        stores: each STRONGROOM_STORES_<NAME>_<OPTION> with its text, redacted.
        origins: setting to its variable, for messages; see `Config.origins`.
    """

    config: str | None = None
    environment: str | None = None
    timeout: float | None = None
    cache: Mapping[str, Any] = MappingProxyType({})
    audit: Mapping[str, Any] = MappingProxyType({})
    stores: Mapping[str, str] = MappingProxyType({})
    origins: Mapping[str, str] = MappingProxyType({})

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
        ConfigurationError: a variable is unknown, or its duration is malformed.
    """
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    for name in ours:
        if name not in _NAMES and not name.startswith(_STORES):
            known = (*_NAMES, f"{_STORES}<NAME>_<OPTION>")
            raise ConfigurationError(f"The environment variable {name} is unknown; {suggest(name, known)}")
    return Variables(
        config=_name(ours, "STRONGROOM_CONFIG"),
        environment=_name(ours, "STRONGROOM_ENVIRONMENT"),
        timeout=_seconds(ours, "STRONGROOM_TIMEOUT", positive=True),
        cache=_cache(ours),
        audit=_audit(ours),
        stores={name: SensitiveStr(value) for name, value in ours.items() if name.startswith(_STORES)},
        origins={_SETTINGS[name]: f"the environment variable {name}" for name in ours if name in _SETTINGS},
    )


def _cache(ours: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {setting: _seconds(ours, name, positive=False) for name, setting in _CACHE.items()}
    if _DISK in ours:
        found["disk"] = read_boolean(ours[_DISK])
        if found["disk"] is None:
            raise ConfigurationError(f"The environment variable {_DISK} must be true or false")
    if _FOLDER in ours:
        found["folder"] = expand_home(str(ours[_FOLDER]), f"The environment variable {_FOLDER}")
    return {setting: value for setting, value in found.items() if value is not None}


def _audit(ours: Mapping[str, str]) -> dict[str, Any]:
    if _AUDIT_FILE not in ours:
        return {}
    return {"file": expand_home(str(ours[_AUDIT_FILE]), f"The environment variable {_AUDIT_FILE}")}


def _name(ours: Mapping[str, str], name: str) -> str | None:
    """Return a variable as plain text, not redacted: these two names are not secret."""
    return str(ours[name]) if name in ours else None


def _seconds(ours: Mapping[str, str], name: str, *, positive: bool) -> float | None:
    if name not in ours:
        return None
    duration = durations.parse_duration(ours[name])
    if duration is None or (positive and duration == 0):
        raise ConfigurationError(f"The environment variable {name} must be {durations.ALLOWED}")
    return duration


def _upper(store: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in store).upper()
