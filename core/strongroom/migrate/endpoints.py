"""The sources and the target of a migration: their names, how they are opened, and their locations.

A name on a command line is `NAME` or `NAME:LOCATION`. An importer of a plugin's name is preferred to the store of that
name, and so is an exporter. The source `env` is every variable, including those without a mapping, while the store
`env` knows only the mapped ones. The target `dotenv` is a file that is written, while the store `dotenv` is read-only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias, TypeVar

from strongroom import _plugins as plugins
from strongroom._boundary.guard import GuardedStore
from strongroom._boundary.watchdog import Watchdog, open_plugin
from strongroom._config import Config, Rank, Setting, StoreConfig
from strongroom._plugins.inventory import KINDS
from strongroom._plugins.option_schema import OptionSchema
from strongroom.errors import (
    ConfigurationError,
    MigrationError,
    UnsupportedOperationError,
    shown,
)
from strongroom.migrate._plans.mapping_file import MAPPING_FILE, with_mapping
from strongroom.migrate._plans.plan import Plan, PlannedMapping
from strongroom.migrate.sources import UNREADABLE, ExporterStore, ImporterSource, Source, StoreSource
from strongroom.migrate.spi import Exporter, Importer
from strongroom.store import SecretStore, time_limit

Endpoint: TypeAlias = SecretStore | GuardedStore | Importer | Exporter
"""An opened store, importer or exporter that a caller passes for a name. The caller closes it."""

_T = TypeVar("_T", bound="ImporterSource | GuardedStore")

_SHORT_NAMES: Mapping[str, str] = {"k8s": "kubernetes"}
"""Other names of plugins on a command line."""

_ENCRYPT_TO = "encrypt_to"
"""The option of file stores that holds the age recipients."""


class Spec(NamedTuple):
    """The name of a store, parsed: a configured store or a plugin, and the part after the colon."""

    name: str
    location: str | None


def parse_spec(text: str) -> Spec:
    """Split a store's name at the first colon.

    Raises:
        ConfigurationError: a part is empty, or the location is `-`.
    """
    name, colon, location = text.partition(":")
    if not name or (colon and not location):
        raise ConfigurationError(
            f"The store {shown(text)}: it is NAME or PLUGIN:LOCATION, such as vault:secret/billing"
        )
    if location == "-":
        raise ConfigurationError(f"The store {shown(text)}: standard input and output are not supported. Name a file")
    return Spec(name, location if colon else None)


def named(config: Config, spec: Spec) -> StoreConfig:
    """Return the configured store of that name, or the plugin of that name without options."""
    if spec.name in config.stores:
        return config.stores[spec.name]
    return StoreConfig.bare(_SHORT_NAMES.get(spec.name, spec.name))


def located(config: Config, name: str, preferred: str) -> tuple[Config, str]:
    """Return the configuration with a store added under its whole name, and the entry-point group of its plugin.

    The location replaces all options that locate the store: one that it leaves out gets the plugin's default.

    Args:
        config: the configuration.
        name: NAME or PLUGIN:LOCATION.
        preferred: `plugins.IMPORTERS` for a source, `plugins.EXPORTERS` for a target.

    Raises:
        ConfigurationError, PluginError: the store does not exist, or takes no location.
    """
    spec = parse_spec(name)
    about, origin = named(config, spec), f"The store {shown(name)}"
    group = plugin_group(preferred, about.plugin)
    known = plugins.schema(config, about.plugin, group).options
    options: dict[str, Setting] = dict(about.options)
    if spec.location is not None:
        locating = [option for option, schema in known.items() if schema.option.location]
        if not locating:
            raise ConfigurationError(f"{origin}: the plugin {about.plugin} takes no LOCATION after a colon")
        options = {option: given for option, given in options.items() if option not in locating}
        parts = spec.location.split("/", len(locating) - 1)
        options |= {option: Setting(part, origin, Rank.ARGUMENT) for option, part in zip(locating, parts, strict=False)}
    return config.with_store(StoreConfig(name, about.plugin, origin, options)), group


def with_recipients(config: Config, store: str, recipients: Sequence[str]) -> Config:
    """Return the configuration in which a target is encrypted to these age recipients; none leaves it unchanged.

    Raises:
        ConfigurationError: the store cannot encrypt, so that it would be written in plain text.
    """
    if not recipients:
        return config
    about = config.store(store)
    if _ENCRYPT_TO not in plugins.schema(config, store, plugin_group(plugins.EXPORTERS, about.plugin)).options:
        reason = f"{about.plugin} cannot encrypt to recipients. Only files can: leave --encrypt-to out"
        raise ConfigurationError(f"The store {shown(store)}: {reason}")
    given = Setting(list(recipients), "--encrypt-to", Rank.ARGUMENT)
    return config.with_store(about.with_options({_ENCRYPT_TO: given}))


def plugin_group(preferred: str, plugin: str) -> str:
    """Return the preferred entry-point group if it has the plugin, and that of stores if not."""
    return preferred if plugins.offers(preferred, plugin) else plugins.STORES


def open_endpoint(config: Config, name: str, group: str) -> object:
    """Open a source or a target with the plugin of this entry-point group. The caller checks the class of the result.

    Raises:
        PluginError, ConfigurationError: the plugin or an option is wrong; see `ConfiguredPlugin`.
        StoreError: it could not be opened.
    """
    return open_plugin(plugins.ConfiguredPlugin(config, name, group).open, name, KINDS[group])


class _Options(NamedTuple):
    """The plugin of a store, its options, and the value of each."""

    plugin: str
    schemas: Mapping[str, OptionSchema]
    values: Mapping[str, object]


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
        self._known_options: dict[tuple[str, str], _Options] = {}
        self._exporters: set[str] = set()
        self._stack = ExitStack()
        self._audited = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stack.close()
        finally:
            if self._targets and self._config is not None:
                from strongroom._disk_cache.store_cache import forget_everything

                forget_everything(self._config)

    def open(self, sources: Iterable[str], target: str) -> GuardedStore:
        """Open the sources, then the target, and return the target. An error here comes before the first write.

        Raises:
            StrongroomError: see `source` and `target`.
        """
        for name in sources:
            self.source(name)
        return self.target(target)

    def source(self, name: str) -> Source:
        """Return the source of that name, which may be an importer.

        Raises:
            ConfigurationError, PluginError: the store does not exist, its options are wrong, or the mapping file was
                changed.
            UnsupportedOperationError: it cannot be listed, or issues a credential on every read.
            StoreError: it could not be opened.
        """
        if name not in self._sources:
            opened, plugin = self._opened(name, plugins.IMPORTERS)
            # Ask for a store first: a store can have the methods of an importer or an exporter too.
            if isinstance(opened, GuardedStore | SecretStore):
                self._sources[name] = StoreSource(self._kept(name, _guarded(opened, name, self._limit)), name)
            elif isinstance(opened, Importer):
                self._sources[name] = self._kept(name, ImporterSource(opened, name, self._limit))
            else:
                raise plugins.broken(plugin, opened, "importer and no store", Importer)
        return self._sources[name]

    def restorable(self, name: str) -> GuardedStore:
        """Return the target of that name if it can be read back and restored.

        Raises:
            UnsupportedOperationError: it is an exporter.
            StrongroomError: see `target`.
        """
        target = self.target(name)
        if name in self._exporters:
            raise UnsupportedOperationError(None, f"{UNREADABLE}, so its writes cannot be undone", store=name)
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
            if name not in self._given:
                self._check_no_link(name)
            elif self._encrypt_to:
                raise ConfigurationError(f"The store {shown(name)} is already open, so it takes no recipients")
            opened, plugin = self._opened(name, plugins.EXPORTERS)
            if isinstance(opened, GuardedStore | SecretStore):
                target = self._kept(name, _guarded(opened, name, self._limit))
                if "writable" not in target.capabilities:
                    raise UnsupportedOperationError(None, "it cannot be written", store=target.name)
                self._targets[name] = target
            elif isinstance(opened, Exporter):
                self._targets[name] = self._kept(name, ExporterStore.guarded(opened, name, self._limit))
                self._exporters.add(name)
            else:
                raise plugins.broken(plugin, opened, "exporter and no store", Exporter)
        return self._targets[name]

    def reopen_local(self, name: str) -> None:
        """Open a local target anew at its next use. A file store serves its own writes from memory; its file counts."""
        if name not in self._given and name in self._targets and "local" in self._targets[name].capabilities:
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
        plugin, options, values = self._options(name, group)
        placing = [option for option, about in options.items() if about.option.address or about.option.location]
        public = [option for option, about in options.items() if not about.option.secret and option != MAPPING_FILE]
        place = {option: _normal(values[option]) for option in placing or public}
        return _digest({"plugin": plugin, "place": place})

    def has_prefix(self, name: str) -> bool:
        """Return True if the location of a source has a prefix of paths."""
        if name in self._given:
            return False
        given = self._located(name, plugins.IMPORTERS)[0].store(name).options.get("prefix")
        return given is not None and bool(given.value)

    def location(self, name: str, group: str = plugins.EXPORTERS) -> str | None:
        """Return `identity`, or None for a given store, whose place is unknown."""
        return None if name in self._given else self.identity(name, group)

    def are_same(self, source: str, target: str) -> bool:
        """Return True if no option tells the source from the target. If one does, they can still be one place."""
        given = self._given.get(source), self._given.get(target)
        if given != (None, None):
            return given[0] is given[1]
        left, right = self._options(source, plugins.IMPORTERS).values, self._options(target, plugins.EXPORTERS).values
        alike = self.identity(source, plugins.IMPORTERS) == self.identity(target)
        return alike and all(_normal(left[option]) == _normal(right[option]) for option in left.keys() & right.keys())

    @property
    def _limit(self) -> float | None:
        """Seconds for each call of a store; None without a configuration."""
        return None if self._config is None else self._config.timeout

    def _opened(self, name: str, preferred: str) -> tuple[object, str]:
        """Return the given store or the one that its plugin opens, with the name of the plugin for errors."""
        if name in self._given:
            return self._given[name], name
        config, group = self._located(name, preferred)
        if preferred == plugins.EXPORTERS:
            config = with_recipients(config, name, self._encrypt_to)
        with time_limit(config.timeout):
            return open_endpoint(config, name, group), config.store(name).plugin

    def _kept(self, name: str, opened: _T) -> _T:
        """Return the store that was opened, and close it with the others unless it was given."""
        if name not in self._given:
            self._stack.callback(opened.close)
        return opened

    def _check_no_link(self, name: str) -> None:
        """Check that the file of a target is not a symbolic link, which no file store writes through.

        Raises:
            ConfigurationError: it is one.
        """
        _, options, values = self._options(name, plugins.EXPORTERS)
        for option, file in values.items():
            if not options[option].option.location or not isinstance(file, Path):
                continue
            # The methods of Path raise for a name that is too long, which the store reports.
            if os.path.islink(file) and not os.path.isdir(file):  # noqa: PTH112, PTH114
                raise ConfigurationError(
                    f"The target {shown(name)}: {file} is a symbolic link. Name the file that it leads to"
                )

    def _options(self, name: str, preferred: str) -> _Options:
        """Return the plugin of a store, its options, and the value of each. They stay the same, as the store does."""
        if (name, preferred) not in self._known_options:
            config, group = self._located(name, preferred)
            options = plugins.schema(config, name, group).options
            values: dict[str, object] = {option: about.default for option, about in options.items()}
            values |= {option: setting.value for option, setting in plugins.store_settings(config, name, group).items()}
            self._known_options[name, preferred] = _Options(config.store(name).plugin, options, values)
        return self._known_options[name, preferred]

    def _located(self, name: str, group: str) -> tuple[Config, str]:
        """Return `located`, with the mapping file for a source of variables."""
        if self._config is None:
            from strongroom._config.discovery import load

            self._config = load()
        if self._config.audit.file is not None and not self._audited:
            from strongroom.audit_log.subscription import begin

            self._stack.callback(begin(self._config))
            self._audited = True
        config, group = located(self._config, name, group)
        takes_mapping = group == plugins.IMPORTERS and MAPPING_FILE in plugins.schema(config, name, group).options
        if self._mapping is None or not takes_mapping:
            return config, group
        self.mapped = True
        return with_mapping(config, name, self._mapping), group


class Locations(NamedTuple):
    """The locations of a run's stores when it began; see `Endpoints.location`. Each later step checks them.

    Attributes:
        folder: the working directory, which relative files of the configuration and the command line depend on.
        target: the target's location.
        sources: the locations of the sources whose secrets are written, or equal at the target already.
    """

    folder: str
    target: str | None
    sources: Mapping[str, str | None]

    @classmethod
    def of(cls, endpoints: Endpoints, plan: Plan) -> Self:
        """Return the present locations of the stores of a plan.

        Raises:
            ConfigurationError, PluginError: a store does not exist, or its options are wrong.
        """
        names = dict.fromkeys(item.source for item in plan.items if plan.covers(item))
        sources = {name: endpoints.location(name, plugins.IMPORTERS) for name in names}
        return cls(str(Path.cwd()), endpoints.location(plan.target), sources)

    def check(self, endpoints: Endpoints, plan: Plan, *, target_only: bool = False) -> None:
        """Check that the target, and the sources unless `target_only`, have the locations that they had.

        Raises:
            MigrationError: one has another location.
            ConfigurationError, PluginError: it does not exist, or its options are wrong.
        """
        checked = [(plan.target, self.target, plugins.EXPORTERS)]
        if not target_only:
            checked += [(name, location, plugins.IMPORTERS) for name, location in self.sources.items()]
        for name, begun, group in checked:
            now = endpoints.location(name, group)
            if begun is not None and now is not None and begun != now:
                raise MigrationError(
                    f"{shown(name)} is another place now than when the migration began in {shown(self.folder)}. "
                    "Continue there, with the same configuration and environment variables"
                )


def _guarded(store: GuardedStore | SecretStore, name: str, limit: float | None) -> GuardedStore:
    if isinstance(store, GuardedStore):
        return store
    return GuardedStore(store, name, Watchdog(store, name, limit=limit))


def _normal(value: object) -> list[str]:
    """Return an option's value in one form, however it was written."""
    if isinstance(value, Path):
        return [os.path.realpath(value)]
    return [str(item).strip("/") for item in (value if isinstance(value, list) else [value])]


def _digest(place: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:32]
