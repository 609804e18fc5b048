"""Opening what a migration reads and writes, by the name that it has on a command line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

from strongroom import plugins
from strongroom.config import Config
from strongroom.errors import ConfigurationError, StoreError, StrongroomError, UnsupportedOperationError, shown
from strongroom.migrate.endpoints.ends import prepare_source, prepare_target
from strongroom.migrate.endpoints.recipients import with_recipients
from strongroom.migrate.endpoints.sources import ImporterSource, Source, StoreSource
from strongroom.migrate.endpoints.spec import named, parse_spec, placed
from strongroom.migrate.endpoints.targets import ExporterStore, check_target
from strongroom.migrate.plans.mapping import MAPPING_FILE, with_mapping
from strongroom.migrate.plans.plan import PlannedMapping
from strongroom.migrate.spi import Exporter, Importer
from strongroom.plugins.option_schema import Schema
from strongroom.store import SecretStore
from strongroom.store.guard import GuardedStore

Endpoint: TypeAlias = SecretStore | GuardedStore | Importer | Exporter
"""What can stand for a name in place of a store of the configuration. Who gives it closes it."""

_T = TypeVar("_T", bound="Importer | Exporter | SecretStore")


class Endpoints:
    """The sources and the target of one migration, each opened at most once, and closed together.

    Args:
        config: the configuration; None loads it at first use, as `SecretsManager` does.
        given: stores that are open already, by the names that they are asked for.
        mapping: the mapping file that sources of variables are read with.
        encrypt_to: to whom the file is encrypted that the target is; by default as the configuration has it.

    Attributes:
        mapped: a source is read with the mapping file.
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
        """The target, after each of these sources is open, too: what cannot be opened is known before the first step.

        Raises:
            StrongroomError: as `source` and `target` do.
        """
        for name in sources:
            self.source(name)
        return self.target(target)

    def source(self, name: str) -> Source:
        """The source of that name, which may be an importer.

        Raises:
            ConfigurationError, PluginError: there is no such store, its options are wrong, or the mapping file is not
                what it was.
            UnsupportedOperationError: it cannot be listed, or makes secrets when it is read.
            StoreError: it could not be opened.
        """
        if name not in self._sources:
            opened: object = self._given.get(name)
            if opened is None:
                opened = self._opened(prepare_source(self._placed(name, plugins.IMPORTERS), name), name)
            if isinstance(opened, GuardedStore | SecretStore):
                self._sources[name] = StoreSource(_front(opened, name), name)
            elif isinstance(opened, Importer):
                self._sources[name] = ImporterSource(opened, name)
            else:
                raise plugins.broken(name, opened, "importer and no store")
        return self._sources[name]

    def restorable(self, name: str) -> GuardedStore:
        """The target of that name, where what was written there can be looked at, and taken back.

        Raises:
            UnsupportedOperationError: it is an exporter.
            StrongroomError: as `target` does.
        """
        front = self.target(name)
        if name in self._exporters:
            reason = "an exporter cannot be read back, and nothing that it wrote be undone"
            raise UnsupportedOperationError(None, reason, store=name)
        return front

    def target(self, name: str) -> GuardedStore:
        """The target of that name.

        Raises:
            ConfigurationError, PluginError: there is no such store, its options are wrong, or it is to be encrypted and
                cannot.
            UnsupportedOperationError: it cannot be written.
            StoreError: it could not be opened.
        """
        if name not in self._targets:
            opened: object = self._given.get(name)
            if opened is None:
                config = with_recipients(self._placed(name, plugins.EXPORTERS), name, self._encrypt_to)
                opened = self._opened(prepare_target(config, name), name)
            elif self._encrypt_to:
                raise ConfigurationError(f"The store {shown(name)}: it is open already, and takes no recipients now")
            if isinstance(opened, GuardedStore | SecretStore):
                self._targets[name] = check_target(_front(opened, name))
            elif isinstance(opened, Exporter):
                self._targets[name] = check_target(GuardedStore(ExporterStore(opened), name))
                self._exporters.add(name)
            else:
                raise plugins.broken(name, opened, "exporter and no store")
        return self._targets[name]

    def identity(self, name: str, group: str = plugins.EXPORTERS) -> str:
        """What tells one place from another: alike for two names of one place, as far as its options say.

        A place is an address and a location. Every other option may differ between two names of one place, such as a
        timeout or a login; so it is left out, also where it does tell places apart, such as a region of AWS: who waits
        without need loses less than who writes at the same time. A plugin whose options have neither is told apart by
        all of them but the mapping file, which may be moved.

        Args:
            name: the store's.
            group: of the plugin that is preferred: `plugins.EXPORTERS` for a target, `plugins.IMPORTERS` for a source.
        """
        if name in self._given:
            return _digest({"given": name})
        plugin, schema, values = self._options(name, group)
        options = schema.options
        placing = {option for option, about in options.items() if about.option.address or about.option.location}
        public = {option for option, about in options.items() if not about.option.secret and option != MAPPING_FILE}
        place = {option: values[option] for option in placing or public}
        return _digest({"plugin": plugin, "place": place})

    def place(self, name: str, group: str = plugins.EXPORTERS) -> str | None:
        """`identity`; None where the store was given, which may be anywhere."""
        return None if name in self._given else self.identity(name, group)

    def are_one(self, source: str, target: str) -> bool:
        """Whether a source and a target are one place for sure: no option that both have tells them apart.

        Where one does, such as a login, a namespace or a region, they may be one place all the same.
        """
        given = self._given.get(source), self._given.get(target)
        if given != (None, None):
            return given[0] is given[1]
        mine, its = self._options(source, plugins.IMPORTERS)[2], self._options(target, plugins.EXPORTERS)[2]
        alike = self.identity(source, plugins.IMPORTERS) == self.identity(target)
        return alike and all(mine[option] == its[option] for option in mine.keys() & its.keys())

    def _options(self, name: str, group: str) -> tuple[str, Schema, dict[str, list[str]]]:
        """The plugin of a store, its options, and what each is set to, in the form that every way to write it has."""
        config = self._placed(name, group)
        plugin = config.store(name).plugin
        if not plugins.offers(group, plugin):
            group = plugins.STORES
        schema = plugins.schema(config, name, group)
        values: dict[str, object] = {option: about.default for option, about in schema.options.items()}
        values |= {option: setting.value for option, setting in plugins.settings(config, name, group).items()}
        return plugin, schema, {option: _normal(value) for option, value in values.items()}

    def _placed(self, name: str, group: str) -> Config:
        """The configuration with the store that the name means, under that whole name."""
        if self._config is None:
            from strongroom.config.discovery import load

            self._config = load()
        spec = parse_spec(name)
        plugin = named(self._config, spec).plugin
        if not plugins.offers(group, plugin):
            group = plugins.STORES
        schema = plugins.schema(self._config, plugin, group)
        config = placed(self._config, spec, schema)
        if self._mapping is None or group != plugins.IMPORTERS or MAPPING_FILE not in schema.options:
            return config
        self.mapped = True
        return with_mapping(config, name, self._mapping)

    def _opened(self, opener: Callable[[], _T], name: str) -> _T:
        try:
            opened = opener()
        except StoreError as error:
            failure: StrongroomError = error.copy(store=error.store or name)
        except StrongroomError as error:
            failure = error.copy()
        except Exception as error:  # noqa: BLE001  # a stranger's plugin runs here
            kind = type(error).__name__
            failure = StoreError(None, f"it raised {kind}", store=name, hint="This is a bug in the store's plugin")
        else:
            self._stack.callback(opened.close)
            return opened
        raise failure


def _front(store: GuardedStore | SecretStore, name: str) -> GuardedStore:
    return store if isinstance(store, GuardedStore) else GuardedStore(store, name)


def _normal(value: object) -> list[str]:
    """An option in the form that every way to write it has."""
    if isinstance(value, Path):
        return [os.path.realpath(value)]
    return [str(item).strip("/") for item in (value if isinstance(value, list) else [value])]


def _digest(place: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:32]
