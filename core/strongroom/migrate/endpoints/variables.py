"""Variables as a source of secrets: the process environment, or a `.env` file, folded by a mapping.

Every variable comes out of it: as a key of a secret, or as a `Failure` that says why not. Where a mapping file is
given it alone decides; else the table of the environment's mapping does. The open rule never does: it cannot be read
backwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

from strongroom.config.dotenv import read_dotenv
from strongroom.config.env_names import EnvironmentMapping, is_service_link, variable_value
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
from strongroom.files.json_codec import read_json
from strongroom.migrate.plans.mapping_export import read_mapping
from strongroom.migrate.plans.mapping_file import MappingFile, Place
from strongroom.migrate.spi import Failure
from strongroom.secret import Secret, SensitiveDict, Value, check_data, protect, same
from strongroom.store import Option

Read: TypeAlias = Callable[[], Mapping[str, str | None]]
"""Gives all variables as they are now; None for what has no value, under the name that it is listed by."""


_RESERVED = "it is reserved for what opens a store, and is never migrated"


class VariablesImporter:
    """Variables, folded into secrets.

    Args:
        read: gives the variables, anew for each run.
        origin: where they come from, for messages.
        mapping: the rows that say where they go.
        file: the mapping file that says so in their place.
        keep_empty: whether an empty variable is a value. By default it counts as missing: some CI systems set an absent
            secret to it.
    """

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

    def __repr__(self) -> str:
        return f"VariablesImporter({self._origin!r})"

    def close(self) -> None:
        """Nothing is held."""

    def items(self) -> Iterator[Secret | Failure]:
        """Every secret, in the order of its first variable, and then what none is made of, each with its reason.

        Raises:
            StrongroomError: the variables cannot be read.
        """
        fold = _Fold()
        failures: list[Failure] = []
        for name, value in self._read().items():
            if value is None:
                failures.append(_unmapped(name, "it has a name without a value, which counts as not set"))
                continue
            place = self._place(name, value)
            failures += [place] if isinstance(place, Failure) else fold.add(name, place, value)
        yield from fold.secrets()
        yield from failures
        yield from fold.disputes()

    def _place(self, name: str, value: str) -> Place | Failure:
        """Where a variable goes, or why it goes nowhere."""
        if self._mapping.is_reserved(name):
            return _unmapped(name, _RESERVED)
        try:
            place = self._located(name)
        except StoreError as error:
            return Failure(name, error)
        if place is None:
            where = "the mapping file" if self._file else "[secrets]"
            return _unmapped(name, f"no rule says where it belongs: name it in {where}")
        if not value and not self._keep_empty:
            return _unmapped(name, "it is empty, which counts as missing")
        if is_service_link(name, value):
            return _unmapped(name, "it holds a Kubernetes service link, which is no secret")
        return place

    def _located(self, name: str) -> Place | None:
        if self._file is None:
            found = self._mapping.locate(name)
            return Place(*found) if found else None
        entry = self._file.entry(name)
        return entry.match(name) if entry else None


class _Offer(NamedTuple):
    """A value for a key, and the variable that has it."""

    variable: str
    value: Value


class _Fold:
    """Secrets in the making: what is offered for each key of each path."""

    def __init__(self) -> None:
        self._offers: dict[str, dict[str, list[_Offer]]] = {}

    def add(self, name: str, place: Place, value: str) -> list[Failure]:
        """Puts the variable's value into its place; returns what of it cannot be there, and why."""
        try:
            data = check_data(place.path, _keys(place, name, value))
        except StoreError as error:
            return [Failure(name, error.copy())]
        # Only where the value's own names are keys: a key that the operator's rule names is no variable.
        reserved = [key for key in data if place.key is None and EnvironmentMapping.is_reserved(key)]
        keys = self._offers.setdefault(place.path, {})
        for key, item in data.items():
            if key not in reserved:
                keys.setdefault(key, []).append(_Offer(name, item))
        return [_unmapped(f"{name}#{key}", _RESERVED) for key in reserved]

    def secrets(self) -> Iterator[Secret]:
        """What was folded, without the keys that are in dispute."""
        for path, keys in self._offers.items():
            data = SensitiveDict((key, offers[0].value) for key, offers in keys.items() if not _disputed(offers))
            if data:
                yield Secret(path, data)

    def disputes(self) -> Iterator[Failure]:
        """The variables that go to one key with different values: which of them is meant nobody knows."""
        for path, keys in self._offers.items():
            for key, offers in keys.items():
                if _disputed(offers):
                    names = " and ".join(offer.variable for offer in offers)
                    reason = f"{names} go to key {key!r} with different values"
                    for offer in offers:
                        yield Failure(offer.variable, InvalidDataError(path, reason, hint="Map all but one elsewhere"))


def _disputed(offers: Sequence[_Offer]) -> bool:
    return not all(same(offer.value, offers[0].value) for offer in offers)


def _keys(place: Place, name: str, value: str) -> SensitiveDict:
    """The keys that a variable gives to a secret: one, or those of the JSON object that its value is."""
    if place.key is not None:
        return SensitiveDict({place.key: protect(variable_value(value))})
    fault = ""
    try:
        tree = read_json(value)
        if isinstance(tree, dict) and tree:
            return SensitiveDict((key, from_json(item)) for key, item in tree.items())
        fault = "it is not a JSON object with names in it"
    except InvalidDataError as error:
        fault = error.reason
    value = ""
    raise InvalidDataError(place.path, f"{name} cannot be split: {fault}")


def _unmapped(name: str, why: str) -> Failure:
    return Failure(name, ConfigurationError(f"{name}: {why}"), unmapped=True)


# --- the sources ------------------------------------------------------------------------------------------------------

_MappingFile = Annotated[Path | None, Option("a mapping file, JSON or TOML, that says where each variable goes")]
_KeepEmpty = Annotated[bool, Option("an empty variable is a value, and not missing")]


def open_env(
    *, mapping: EnvironmentMapping, mapping_file: _MappingFile = None, keep_empty: _KeepEmpty = False
) -> VariablesImporter:
    """The process environment, as a source of a migration.

    Raises:
        ConfigurationError: the mapping file is not one.
    """
    file = read_mapping(mapping_file) if mapping_file else None
    return VariablesImporter(lambda: os.environ, "the environment", mapping, file, keep_empty=keep_empty)


def open_dotenv(
    *,
    mapping: EnvironmentMapping,
    file: Annotated[Path, Option("the file to read", location=True)] = Path(".env"),
    mapping_file: _MappingFile = None,
    keep_empty: _KeepEmpty = False,
) -> VariablesImporter:
    """A .env file, as a source of a migration.

    Raises:
        ConfigurationError: the mapping file is not one.
    """
    rules = read_mapping(mapping_file) if mapping_file else None
    place = file.absolute()
    return VariablesImporter(lambda: read_variables(place), str(file), mapping, rules, keep_empty=keep_empty)


def read_variables(file: Path) -> Mapping[str, str | None]:
    """The variables of a `.env` file, and None for each line that has a name without `=`, under the line's number.

    Not under that name: it may be a line of a key that was pasted without quotes, and a plan shows it to others.

    Raises:
        MissingFileError: there is no such file: as a source that is no empty one, but a mistake.
        ConfigurationError: a line of it cannot be understood.
        PermissionDeniedError, StoreUnavailableError: it cannot be read.
    """
    failure: StrongroomError
    try:
        found = read_dotenv(file)
    except (FileNotFoundError, NotADirectoryError):
        failure = MissingFileError(f"There is no {file}")
    except PermissionError:
        failure = PermissionDeniedError(None, f"{file} may not be read", hint="Let this user read the file")
    except OSError as error:
        failure = StoreUnavailableError(None, f"{file}: {error.strerror}", hint="Check that it is a regular file")
    else:
        named: dict[str, str | None] = {name: found.get(name) for name in found.values}
        return named | dict.fromkeys(f"line {line}" for line in found.bare)
    raise failure
