"""The mapping between environment variables and paths and keys. It reads no environment.

Two kinds of rule give a name:

- The **table**: the rows below, those of `[secrets]`, and the pattern `api-keys/<service>` `key` ↔ `<SERVICE>_API_KEY`.
  It is closed: it can be read both ways, so whole reads, listing and migrations use it. In it a variable stands for
  one place, and a place has one variable.
- The **open rule**: path and key upper-cased and joined with `_`, for the exact read of one key only. It cannot be read
  backwards, since `a/b#c` and `a#b_c` are both `A_B_C`. It never gives a name that the table gives to another place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from strongroom.errors import ConfigurationError, InvalidPathError
from strongroom.paths import check_key, check_path
from strongroom.secret import Value

TABLE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "DATABASE_URL": ("database/connection", "url"),
        "DB_HOST": ("database/connection", "host"),
        "DB_PORT": ("database/connection", "port"),
        "DB_USER": ("database/connection", "user"),
        "DB_PASSWORD": ("database/connection", "password"),
        "DB_NAME": ("database/connection", "name"),
        "DB_POOL_SIZE": ("database/pool", "size"),
        "DB_POOL_MAX_OVERFLOW": ("database/pool", "max_overflow"),
        "DB_POOL_TIMEOUT": ("database/pool", "timeout"),
        "JWT_SECRET_KEY": ("auth/jwt", "secret"),
        "JWT_ALGORITHM": ("auth/jwt", "algorithm"),
        "APP_SECRET_KEY": ("auth/app", "secret"),
        "ANTHROPIC_API_KEY": ("api-keys/anthropic", "key"),
        "OPENAI_API_KEY": ("api-keys/openai", "key"),
        "REDIS_HOST": ("cache/redis", "host"),
        "REDIS_PORT": ("cache/redis", "port"),
        "REDIS_PASSWORD": ("cache/redis", "password"),
    }
)
"""The built-in rows, variable to path and key. A row of `[secrets]` replaces one that it contradicts."""

# Credentials for stores are never served as secrets: they would be listed, migrated into the store that they open, and
# readable by path. The names of AWS are those of credentials and of their locations; settings such as AWS_REGION stay
# usable.
_RESERVED_PREFIXES = ("VAULT_", "BAO_", "STRONGROOM_", "AWS_BEARER_TOKEN_")
_RESERVED_NAMES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CREDENTIAL_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    }
)

_NAMEABLE = r"[A-Za-z_][A-Za-z0-9_./-]*"
_SEPARATORS = str.maketrans("/.-", "___")
_SERVICE_LINK = r"(?:tcp|udp|sctp)://"
_SERVICES = "api-keys/"
_SERVICE_KEY = "key"
_SERVICE_VARIABLE = r"([A-Z][A-Z0-9_]*)_API_KEY"


class EnvironmentMapping:
    """The rules of this application: the table, with the application's own rows, and the open rule.

    Args:
        secrets: the rows of `[secrets]`, variable to path and key. They come before `TABLE` and the pattern, and take a
            variable or a place away from them.
        derive: enable the open rule. Production disables it, so that every name is written down.
        files: the variables that may hold the path of a file with the value, as `strongroom run` sets them.

    Raises:
        ConfigurationError: two rows of `[secrets]` have one place, a name is not that of an environment variable, is
            reserved, or its path or key is invalid.
    """

    __slots__ = ("_by_path", "_derive", "_places", "files")

    def __init__(
        self,
        secrets: Mapping[str, tuple[str, str]] = MappingProxyType({}),
        *,
        derive: bool = True,
        files: Collection[str] = (),
    ) -> None:
        self._derive = derive
        self.files = frozenset(files)
        self._places: dict[str, tuple[str, str]] = {}
        self._by_path: dict[str, dict[str, str]] = {}
        places = set(secrets.values())
        for variable, (path, key) in TABLE.items():
            if variable not in secrets and (path, key) not in places:
                self._places[variable] = path, key
                self._by_path.setdefault(path, {})[key] = variable
        for variable, place in secrets.items():
            self._add(variable, place)

    def __repr__(self) -> str:
        return f"EnvironmentMapping({len(self._places)} variables, derive={self._derive})"

    def _add(self, variable: str, place: tuple[str, str]) -> None:
        """Check and add a row of the application."""
        path, key = place
        if not (variable.isascii() and variable.isidentifier()):
            raise ConfigurationError(
                f"[secrets] {variable!r}: not the name of an environment variable: use letters, digits and _"
            )
        if self.is_reserved(variable):
            raise ConfigurationError(
                f"[secrets] {variable}: it is reserved for the credentials of a store: use another name"
            )
        try:
            check_key(key, check_path(path))
        except InvalidPathError as error:
            raise ConfigurationError(f"[secrets] {variable}: {error}") from None
        keys = self._by_path.setdefault(path, {})
        if (named := keys.get(key)) is not None:
            raise ConfigurationError(
                f"[secrets] {variable}: two variables for {path}#{key}, the other is {named}: keep one of the two"
            )
        self._places[variable] = place
        keys[key] = variable

    def variable(self, path: str, key: str) -> str | None:
        """Return the variable of a single key, from the table or by the open rule if it is enabled.

        None if the rules make an invalid or reserved name, or one of another path or key.
        """
        return self._by_path.get(path, {}).get(key) or self._by_pattern(path, key) or self._by_open_rule(path, key)

    def keys(self, path: str) -> Mapping[str, str]:
        """Return the keys of the table at this path with their variables, for a read of the whole secret."""
        keys = self._by_path.get(path, {})
        if _SERVICE_KEY not in keys and (variable := self._by_pattern(path, _SERVICE_KEY)):
            return MappingProxyType({**keys, _SERVICE_KEY: variable})
        return MappingProxyType(keys)

    def locate(self, variable: str) -> tuple[str, str] | None:
        """Return the path and key of a variable in the table, or None; the inverse of `variable`.

        `MY_SERVICE_API_KEY` stands for `api-keys/my_service`, unless a row of `[secrets]` gives it to another place.
        """
        if (place := self._places.get(variable)) is not None:
            return place
        if (match := re.fullmatch(_SERVICE_VARIABLE, variable)) is None:
            return None
        path = f"{_SERVICES}{match[1].lower()}"
        return (path, _SERVICE_KEY) if self.keys(path).get(_SERVICE_KEY) == variable else None

    def rows(self) -> Mapping[str, tuple[str, str]]:
        """Return every row of the table, variable to path and key, without the pattern."""
        return MappingProxyType(self._places)

    def present(self, variables: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Yield path, key and variable for each of these names in the table."""
        for variable in variables:
            if (place := self.locate(variable)) is not None:
                yield *place, variable

    @staticmethod
    def is_reserved(variable: str) -> bool:
        """Return True for the name of a store's credential, in any case, since Windows ignores the case."""
        name = variable.upper()
        return name in _RESERVED_NAMES or name.startswith(_RESERVED_PREFIXES)

    def _by_pattern(self, path: str, key: str) -> str | None:
        service = path.removeprefix(_SERVICES)
        if key != _SERVICE_KEY or service == path or "/" in service or not re.fullmatch(_NAMEABLE, service):
            return None
        variable = f"{_upper(service)}_API_KEY"
        return None if self.is_reserved(variable) or variable in self._places else variable

    def _by_open_rule(self, path: str, key: str) -> str | None:
        name = f"{path}/{key}"
        if not self._derive or not re.fullmatch(_NAMEABLE, name):
            return None
        variable = _upper(name)
        return None if self.is_reserved(variable) or self.locate(variable) is not None else variable


def is_service_link(variable: str, value: str) -> bool:
    """Return True for the address that Kubernetes sets as NAME_PORT in each pod beside a service of that name.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    return variable.endswith("_PORT") and re.match(_SERVICE_LINK, value) is not None


def variable_value(value: str) -> Value:
    """Return the value as text, or as bytes if Python decoded it to lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return os.fsencode(value)
    return value


def _upper(name: str) -> str:
    return name.translate(_SEPARATORS).upper()
