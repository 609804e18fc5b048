"""Variables as a source of secrets: the process environment or a `.env` file, grouped into secrets by a mapping.

Every variable becomes a key of a secret, or a `Failure` with the reason. A mapping file alone decides, if one is given;
otherwise the rows of `[secrets]` do. The general naming rule is not used, since it cannot be reversed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

from strongroom.encoding import from_json
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    MissingFileError,
    PermissionDeniedError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.formats.dotenv import log_once, read_dotenv
from strongroom.formats.strict_json import read_json
from strongroom.formats.variables import EnvironmentMapping, is_service_link, variable_value
from strongroom.migrate.spi import Failure
from strongroom.secret import Secret, SensitiveDict, Value, check_data, protect, same
from strongroom.store import Option, Traits

if TYPE_CHECKING:
    from strongroom.migrate._plans.mapping_file import Destination, MappingFile

Read: TypeAlias = Callable[[], Mapping[str, str | None]]
"""Returns all variables; None stands for a name without a value."""


_MOST_LINES = 20
"""The most lines that a warning names."""

_RESERVED = "it is reserved for credentials of stores, which are never migrated"


class VariablesImporter:
    """Variables, grouped into secrets.

    Args:
        read: returns the variables, and is called for each run.
        file: the mapping file, which replaces the rows.
        keep_empty: True if an empty variable is a value. By default it is missing, as some CI systems set an absent
            secret to the empty text.
    """

    traits = Traits(local=True)

    def __init__(
        self,
        read: Read,
        origin: str,
        mapping: EnvironmentMapping,
        file: MappingFile | None = None,
        *,
        keep_empty: bool = False,
    ) -> None:
        self._read = read
        self._origin = origin
        self._mapping = mapping
        self._file = file
        self._keep_empty = keep_empty

    def close(self) -> None:
        pass

    def items(self) -> Iterator[Secret | Failure]:
        """Yield every secret, in the order of its first variable, then every failure.

        Raises:
            StrongroomError: the variables cannot be read.
        """
        fold = _Fold()
        failures: list[Failure] = []
        for name, value in self._read().items():
            if value is None:
                failures.append(_unmapped(name, "it has no value, so it is not set"))
                continue
            destination = self._destination(name, value)
            failures += [destination] if isinstance(destination, Failure) else fold.add(name, destination, value)
        yield from fold.secrets()
        yield from failures
        yield from fold.disputes()

    def _destination(self, name: str, value: str) -> Destination | Failure:
        """Return the path and key of a variable, or the failure."""
        if self._mapping.is_reserved(name):
            return _unmapped(name, _RESERVED)
        try:
            destination = self._located(name)
        except StoreError as error:
            return Failure(name, error)
        if destination is None:
            # A row of [secrets] cannot name a variable with dots or hyphens.
            place = "[secrets]" if name.isidentifier() else "a mapping file (--mapping-file)"
            where = "the mapping file" if self._file else place
            return _unmapped(name, f"no mapping: add it to {where}")
        if not value and not self._keep_empty:
            return _unmapped(name, "it is empty, so it is missing")
        if is_service_link(name, value):
            return _unmapped(name, "it is a Kubernetes service link, not a secret")
        return destination

    def _located(self, name: str) -> Destination | None:
        from strongroom.migrate._plans.mapping_file import Destination

        if self._file is None:
            found = self._mapping.locate(name)
            return Destination(*found) if found else None
        entry = self._file.entry(name)
        return entry.match(name) if entry else None


class _Offer(NamedTuple):
    """A value for a key, with its variable."""

    variable: str
    value: Value


class _Fold:
    """Secrets under construction: the values of each key of each path."""

    def __init__(self) -> None:
        self._offers: dict[str, dict[str, list[_Offer]]] = {}

    def add(self, name: str, destination: Destination, value: str) -> list[Failure]:
        """Add a variable's value, and return failures for the parts that cannot be stored."""
        try:
            data = check_data(destination.path, _keys(destination, name, value))
        except StoreError as error:
            return [Failure(name, error.copy())]
        # Only for a split value, whose names are variables. A key named in the operator's rule is allowed.
        reserved = [key for key in data if destination.key is None and EnvironmentMapping.is_reserved(key)]
        keys = self._offers.setdefault(destination.path, {})
        for key, item in data.items():
            if key not in reserved:
                keys.setdefault(key, []).append(_Offer(name, item))
        return [_unmapped(f"{name}#{key}", _RESERVED) for key in reserved]

    def secrets(self) -> Iterator[Secret]:
        """Yield the secrets, without disputed keys."""
        for path, keys in self._offers.items():
            data = SensitiveDict((key, offers[0].value) for key, offers in keys.items() if not _disputed(offers))
            if data:
                yield Secret(path, data)

    def disputes(self) -> Iterator[Failure]:
        """Yield a failure for each variable of a key with several different values."""
        for path, keys in self._offers.items():
            for key, offers in keys.items():
                if _disputed(offers):
                    names = " and ".join(offer.variable for offer in offers)
                    reason = f"{names} map to key {key!r} with different values"
                    for offer in offers:
                        yield Failure(offer.variable, InvalidDataError(path, reason, hint="Map all but one elsewhere"))


def _disputed(offers: Sequence[_Offer]) -> bool:
    return not all(same(offer.value, offers[0].value) for offer in offers)


def _keys(destination: Destination, name: str, value: str) -> SensitiveDict:
    """Return the keys of a variable: one, or those of the JSON object in its value."""
    if destination.key is not None:
        return SensitiveDict({destination.key: protect(variable_value(value))})
    fault = ""
    try:
        tree = read_json(value)
        if isinstance(tree, dict) and tree:
            return SensitiveDict((key, from_json(item)) for key, item in tree.items())
        fault = "it is not a JSON object with at least one name"
    except InvalidDataError as error:
        fault = error.reason
    value = ""
    raise InvalidDataError(destination.path, f"{name} cannot be split: {fault}")


def _unmapped(name: str, why: str) -> Failure:
    return Failure(name, ConfigurationError(f"{name}: {why}"), unmapped=True)


# --- the sources ------------------------------------------------------------------------------------------------------

_MappingFile = Annotated[Path | None, Option("a mapping file, JSON or TOML, with the path and key of each variable")]
_KeepEmpty = Annotated[bool, Option("an empty variable is a value")]


def open_env(
    *, mapping: EnvironmentMapping, mapping_file: _MappingFile = None, keep_empty: _KeepEmpty = False
) -> VariablesImporter:
    """Open the process environment as a source of a migration.

    Raises:
        ConfigurationError: the mapping file is invalid.
    """
    file = _read_mapping(mapping_file)
    return VariablesImporter(lambda: os.environ, "the environment", mapping, file, keep_empty=keep_empty)


def open_dotenv(
    *,
    mapping: EnvironmentMapping,
    file: Annotated[Path, Option("the file to read", location=True)] = Path(".env"),
    mapping_file: _MappingFile = None,
    keep_empty: _KeepEmpty = False,
) -> VariablesImporter:
    """Open a .env file as a source of a migration.

    Raises:
        ConfigurationError: the mapping file is invalid.
    """
    rules = _read_mapping(mapping_file)
    destination = file.absolute()
    return VariablesImporter(lambda: read_variables(destination), str(file), mapping, rules, keep_empty=keep_empty)


def _read_mapping(file: Path | None) -> MappingFile | None:
    if file is None:
        return None
    from strongroom.migrate._plans.mapping_file import read_mapping  # `strongroom run` imports this module

    return read_mapping(file)


def _expanded_note(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - _MOST_LINES:,} more" if len(lines) > _MOST_LINES else ""
    where = f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:_MOST_LINES]))}{more}"
    return f"{where}: a shell would replace a backtick, $NAME or \\$ here; the value is copied as it is written"


def read_variables(file: Path) -> Mapping[str, str | None]:
    """Return the variables of a `.env` file, and None for each line without `=`, under its line number.

    The number replaces the name, which may be a line of a private key pasted without quotes, and a plan shows names.

    Raises:
        MissingFileError: the file does not exist.
        ConfigurationError: a line is invalid, or it is a folder.
        PermissionDeniedError, StoreUnavailableError: it cannot be read.
    """
    failure: StrongroomError
    try:
        found = read_dotenv(file)
    except (FileNotFoundError, NotADirectoryError):
        failure = MissingFileError(f"There is no {file}")
    except IsADirectoryError:
        failure = ConfigurationError(f"{file} is a folder, not a file")
    except PermissionError:
        failure = PermissionDeniedError(None, f"{file} may not be read", hint="Let this user read the file")
    except OSError as error:
        failure = StoreUnavailableError(None, f"{file}: {error.strerror}", hint="Check that it is a regular file")
    else:
        if found.expanded:
            log_once(file, _expanded_note(found.expanded))
        named: dict[str, str | None] = {name: found.get(name) for name in found.values}
        return named | dict.fromkeys(f"line {line}" for line in found.bare)
    raise failure
