"""The opened sources and target of migrations, where they are, and the check that a later step finds them there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, NoReturn, Self, TypeAlias, TypeVar

from strongroom import plugins
from strongroom.config import Config
from strongroom.errors import (
    ConfigurationError,
    MigrationError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.migrate.endpoints.sources import ImporterSource, Source, StoreSource
from strongroom.migrate.endpoints.store_spec import (
    named,
    parse_spec,
    placed,
    plugin_group,
    prepare_source,
    prepare_target,
    with_recipients,
)
from strongroom.migrate.plans.mapping_export import MAPPING_FILE, with_mapping
from strongroom.migrate.plans.plan import Plan, PlannedMapping, State
from strongroom.migrate.spi import Exporter, Importer
from strongroom.plugins.option_schema import Schema
from strongroom.secret import Secret, Value, Version
from strongroom.store import Items, SecretStore, answers
from strongroom.store.containment import close_quietly, contained
from strongroom.store.guard import GuardedStore

Endpoint: TypeAlias = SecretStore | GuardedStore | Importer | Exporter
"""An opened store, importer or exporter that a caller passes for a name. The caller closes it."""

_UNREADABLE = "an exporter cannot be read back"

_T = TypeVar("_T", bound="Importer | Exporter | SecretStore")


class Endpoints:
    """The sources and the target of a migration, each opened at most once, and closed together.

    Args:
        config: the configuration; None loads the default one at first use.
        given: opened stores by name.
        mapping: the mapping file for sources of variables.
        encrypt_to: the age recipients of a target that is a file; by default those of the configuration.

    Attributes:
        mapped: True if a source uses the mapping file.
    """

    def __init__(
        self,
        config: Config | None,
        given: Mapping[str, Endpoint] | None,
        mapping: PlannedMapping | None = None,
        encrypt_to: Sequence[str] = (),
    ) -> None:
        self.mapped = False
        self._config = config
        self._given = given or {}
        self._mapping = mapping
        self._encrypt_to = encrypt_to
        self._sources: dict[str, Source] = {}
        self._targets: dict[str, GuardedStore] = {}
        self._exporters: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def open(self, sources: Iterable[str], target: str) -> GuardedStore:
        """Open the sources, then the target, and return the target. An error here comes before the first write.

        Raises:
            StrongroomError: as `source` and `target` do.
        """
        for name in sources:
            self.source(name)
        return self.target(target)

    def source(self, name: str) -> Source:
        """Return the source of that name, which may be an importer.

        Raises:
            ConfigurationError, PluginError: the store does not exist, its options are wrong, or the mapping file was
                changed.
            UnsupportedOperationError: it cannot be listed, or creates a credential on every read.
            StoreError: it could not be opened.
        """
        if name not in self._sources:
            opened: object = self._given.get(name)
            if opened is None:
                opened = self._opened(prepare_source(self._placed(name, plugins.IMPORTERS), name), name)
            if isinstance(opened, GuardedStore | SecretStore):
                self._sources[name] = StoreSource(_guarded(opened, name), name)
            elif isinstance(opened, Importer):
                self._sources[name] = ImporterSource(opened, name)
            else:
                raise plugins.broken(name, opened, "importer and no store")
        return self._sources[name]

    def restorable(self, name: str) -> GuardedStore:
        """Return the target of that name if it can be read back and restored.

        Raises:
            UnsupportedOperationError: it is an exporter.
            StrongroomError: as `target` does.
        """
        target = self.target(name)
        if name in self._exporters:
            raise UnsupportedOperationError(None, f"{_UNREADABLE}, so its writes cannot be undone", store=name)
        return target

    def target(self, name: str) -> GuardedStore:
        """Return the target of that name.

        Raises:
            ConfigurationError, PluginError: the store does not exist, its options are wrong, or it has recipients and
                cannot encrypt.
            UnsupportedOperationError: it is read-only.
            StoreError: it could not be opened.
        """
        if name not in self._targets:
            opened: object = self._given.get(name)
            if opened is None:
                self._check_no_link(name)
                config = with_recipients(self._placed(name, plugins.EXPORTERS), name, self._encrypt_to)
                opened = self._opened(prepare_target(config, name), name)
            elif self._encrypt_to:
                raise ConfigurationError(f"The store {shown(name)} is already open, so it takes no recipients")
            if isinstance(opened, GuardedStore | SecretStore):
                self._targets[name] = check_target(_guarded(opened, name))
            elif isinstance(opened, Exporter):
                self._targets[name] = check_target(GuardedStore(ExporterStore(opened), name))
                self._exporters.add(name)
            else:
                raise plugins.broken(name, opened, "exporter and no store")
        return self._targets[name]

    def reopen_local(self, name: str) -> None:
        """Open a local target anew at its next use. A file store serves its own writes from memory; its file counts."""
        if name not in self._given and name in self._targets and self._targets[name].local:
            del self._targets[name]

    def identity(self, name: str, group: str = plugins.EXPORTERS) -> str:
        """Return a digest of a store's address and location, equal for two names of one place.

        Other options, such as a timeout or a login, may differ between two names of one place, so they are left out.
        Some of these do tell two places apart, such as an AWS region. Then one migration waits for another without
        need, which costs less than two that write at the same time. A plugin without addresses and locations is
        identified by all its public options except the mapping file, which may be moved.

        Args:
            name: the store's name.
            group: the preferred entry-point group: `plugins.EXPORTERS` for a target, `plugins.IMPORTERS` for a source.
        """
        if name in self._given:
            return _digest({"given": name})
        plugin, schema, values = self._options(name, group)
        options = schema.options
        placing = {option for option, about in options.items() if about.option.address or about.option.location}
        public = {option for option, about in options.items() if not about.option.secret and option != MAPPING_FILE}
        place = {option: values[option] for option in placing or public}
        return _digest({"plugin": plugin, "place": place})

    def has_prefix(self, name: str) -> bool:
        """Return True if the location of a source has a prefix of paths."""
        if name in self._given:
            return False
        given = self._placed(name, plugins.IMPORTERS).store(name).options.get("prefix")
        return given is not None and bool(given.value)

    def location(self, name: str, group: str = plugins.EXPORTERS) -> str | None:
        """Return `identity`, or None for a given store, whose place is unknown."""
        return None if name in self._given else self.identity(name, group)

    def are_same(self, source: str, target: str) -> bool:
        """Return True if no option tells the source from the target. If one does, they can still be one place."""
        given = self._given.get(source), self._given.get(target)
        if given != (None, None):
            return given[0] is given[1]
        left, right = self._options(source, plugins.IMPORTERS)[2], self._options(target, plugins.EXPORTERS)[2]
        alike = self.identity(source, plugins.IMPORTERS) == self.identity(target)
        return alike and all(left[option] == right[option] for option in left.keys() & right.keys())

    def _check_no_link(self, name: str) -> None:
        """Check that the file of a target is not a symbolic link, which no file store writes through.

        Raises:
            ConfigurationError: it is one.
        """
        config = self._placed(name, plugins.EXPORTERS)
        group = plugin_group(plugins.EXPORTERS, config.store(name).plugin)
        values: dict[str, object] = {
            option: about.default
            for option, about in plugins.schema(config, name, group).options.items()
            if about.option.location
        }
        settings = plugins.settings(config, name, group)
        values |= {option: settings[option].value for option in values if option in settings}
        for file in values.values():
            if isinstance(file, Path) and file.is_symlink() and not file.is_dir():
                raise ConfigurationError(
                    f"The target {shown(name)}: {file} is a symbolic link. Name the file that it leads to"
                )

    def _options(self, name: str, group: str) -> tuple[str, Schema, dict[str, list[str]]]:
        """Return the plugin of a store, its option schema, and each option's value in a normal form."""
        config = self._placed(name, group)
        plugin = config.store(name).plugin
        group = plugin_group(group, plugin)
        schema = plugins.schema(config, name, group)
        values: dict[str, object] = {option: about.default for option, about in schema.options.items()}
        values |= {option: setting.value for option, setting in plugins.settings(config, name, group).items()}
        return plugin, schema, {option: _normal(value) for option, value in values.items()}

    def _placed(self, name: str, group: str) -> Config:
        """Return the configuration with the store that the name stands for, under that whole name."""
        if self._config is None:
            from strongroom.config.discovery import load

            self._config = load()
        spec = parse_spec(name)
        plugin = named(self._config, spec).plugin
        group = plugin_group(group, plugin)
        schema = plugins.schema(self._config, plugin, group)
        config = placed(self._config, spec, schema)
        if self._mapping is None or group != plugins.IMPORTERS or MAPPING_FILE not in schema.options:
            return config
        self.mapped = True
        return with_mapping(config, name, self._mapping)

    def _opened(self, opener: Callable[[], _T], name: str) -> _T:
        opened = contained(opener, name)
        self._stack.callback(close_quietly, opened.close, name)
        return opened


class ExporterStore:
    """An exporter as a target. It cannot be read: every secret is new to it, and nothing is verified or undone.

    Args:
        exporter: writes the secrets.
    """

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def read(self, path: str) -> NoReturn:
        """Raise SecretNotFoundError."""
        raise SecretNotFoundError(path, _UNREADABLE)

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield SecretNotFoundError for each path."""
        for path in paths:
            yield path, SecretNotFoundError(path, _UNREADABLE)

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Write one secret."""
        outcome = next(self.write_many([(path, data)]), (path, StoreError(path, "the exporter reported no result")))[1]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Write all secrets in one call of the exporter."""
        for outcome in self._exporter.write(Secret(path, data) for path, data in items):
            error = outcome.error
            if not isinstance(error, StrongroomError | None):
                raise answers.unexpected("write", error, "StrongroomError or None", "an error")
            if error is not None and not isinstance(error, StoreError):
                error = StoreError(outcome.path, str(error))
            yield outcome.path, outcome.version if error is None else error

    def delete(self, path: str) -> NoReturn:
        """Raise UnsupportedOperationError."""
        raise UnsupportedOperationError(path, "an exporter cannot delete")

    def close(self) -> None:
        """Close the exporter."""
        self._exporter.close()


class Locations(NamedTuple):
    """Where the stores of a run were when it began, as `Endpoints.location` returns it. Each later step checks it.

    Attributes:
        folder: the working directory, which relative files of the configuration and the command line depend on.
        target: the target's location.
        sources: the locations of the sources whose secrets are written, or equal at the target already.
    """

    folder: str
    target: str | None
    sources: Mapping[str, str | None]


def locations_of(endpoints: Endpoints, plan: Plan) -> Locations:
    """Return where the stores of a plan are now.

    Raises:
        ConfigurationError, PluginError: a store does not exist, or its options are wrong.
    """
    names = dict.fromkeys(item.source for item in plan.items if plan.writes(item) or item.state is State.EQUAL)
    sources = {name: endpoints.location(name, plugins.IMPORTERS) for name in names}
    return Locations(str(Path.cwd()), endpoints.location(plan.target), sources)


def check_target_location(begun: Locations, endpoints: Endpoints, plan: Plan) -> None:
    """Check that the target is where it was when the run began.

    Raises:
        MigrationError: it is elsewhere.
        ConfigurationError, PluginError: the store does not exist, or its options are wrong.
    """
    _check_location(begun.folder, plan.target, begun.target, endpoints.location(plan.target))


def check_locations(begun: Locations, endpoints: Endpoints, plan: Plan) -> None:
    """Check that the target and the sources are where they were when the run began.

    Raises:
        MigrationError, ConfigurationError, PluginError: as `check_target_location` does.
    """
    check_target_location(begun, endpoints, plan)
    for name, location in begun.sources.items():
        _check_location(begun.folder, name, location, endpoints.location(name, plugins.IMPORTERS))


def check_target(store: GuardedStore) -> GuardedStore:
    """Return the store if it is writable.

    Raises:
        UnsupportedOperationError: it is read-only.
    """
    if not store.writable:
        raise UnsupportedOperationError(None, "it cannot be written", store=store.name)
    return store


def _check_location(folder: str, name: str, begun: str | None, now: str | None) -> None:
    if begun is not None and now is not None and begun != now:
        raise MigrationError(
            f"{shown(name)} is another place now than when the migration began in {shown(folder)}. "
            "Continue there, with the same configuration and environment variables"
        )


def _guarded(store: GuardedStore | SecretStore, name: str) -> GuardedStore:
    return store if isinstance(store, GuardedStore) else GuardedStore(store, name)


def _normal(value: object) -> list[str]:
    """Return an option's value in one form, however it was written."""
    if isinstance(value, Path):
        return [os.path.realpath(value)]
    return [str(item).strip("/") for item in (value if isinstance(value, list) else [value])]


def _digest(place: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:32]
