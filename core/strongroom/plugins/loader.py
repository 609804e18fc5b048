"""Plugins: list the installed ones, read their options, and open the configured one.

A store plugin is an entry point of the group `strongroom.stores`: a callable with keyword-only, type-hinted options
that returns a store. Those of `strongroom.importers` and `strongroom.exporters` return the source or the target of a
migration, and those of `strongroom.rotators` a rotator. An opener *may* have an attribute `check`: a callable that
takes the same options and validates them without opening anything.

Entry points are checked before any code of a plugin runs: a name that two distributions claim is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.bounded_file import read_text
from strongroom.config import Config, Rank, StoreConfig
from strongroom.errors import Check, ConfigurationError, PluginError
from strongroom.plugins.distributions import by_name, described, entry_point, missing
from strongroom.plugins.option_schema import Schema, Setting, read_schema
from strongroom.plugins.resolution import check_written, resolve
from strongroom.store import SecretStore
from strongroom.store.boundary.containment import contained, is_interrupt, plugin_code

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STORES = "strongroom.stores"
IMPORTERS = "strongroom.importers"
EXPORTERS = "strongroom.exporters"
COMMANDS = "strongroom.commands"
ROTATORS = "strongroom.rotators"

MAX_REFERENCE_SIZE = 1 << 16
"""The largest file that `{ file = … }` reads, in bytes."""

Opener: TypeAlias = Callable[..., object]


class Plugin(NamedTuple):
    """An installed plugin.

    Attributes:
        name: what `plugin = …` calls it.
        distribution: the name and version of its distribution; of each, if several claim the name.
        schema: its options.
        fault: the reason if it cannot be used, or the empty string.
    """

    name: str
    distribution: str
    schema: Schema = Schema({})
    fault: str = ""


def prepare(config: Config, store: str) -> Callable[[], SecretStore]:
    """Check the plugin and the options of a store, and return a function that opens the store.

    The function may be called more than once. Each call resolves the options again, so that it reads a file which was
    replaced in the meantime. It raises the plugin's own errors; a ConfigurationError names the store.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or is broken; when called, also that
            a dependency is missing, or that the plugin did not return a store.
        ConfigurationError: an option is wrong: see `resolution.resolve`. When called, also if the plugin refuses one.
    """
    opener = prepare_any(config, store, STORES)

    def open_store() -> SecretStore:
        opened = opener()
        if not isinstance(opened, SecretStore):
            raise broken(config.store(store).plugin, opened, "store")
        return opened

    return open_store


def prepare_any(config: Config, store: str, group: str) -> Callable[[], object]:
    """`prepare` for the plugin of that name in any group. What it returns may give anything: the caller looks at it.

    Raises:
        PluginError, ConfigurationError: see `prepare`.
    """
    about = config.store(store)
    opener = _load(group, about)
    schema = read_schema(opener, about.plugin)
    resolve(about, schema, config, _read_file)

    def open_plugin() -> object:
        mapping = {} if schema.mapping is None else {schema.mapping: config.mapping}
        return _called(partial(opener, **mapping), group, about, resolve(about, schema, config, _read_file))

    return open_plugin


def check(config: Config, store: str) -> None:
    """Validate the options of a store without opening it.

    Raises:
        PluginError: see `prepare`; also if a dependency is missing.
        ConfigurationError: see `prepare`; also if the opener's `check` refuses an option.
        StoreError: the opener's `check` raised another exception.
    """
    about = config.store(store)
    opener = _load(STORES, about)
    given = resolve(about, read_schema(opener, about.plugin), config, _read_file)

    def validate() -> None:
        if (check_options := getattr(opener, "check", None)) is not None:
            _called(check_options, STORES, about, given)

    contained(validate, store)


def broken(plugin: str, opened: object, wanted: str) -> PluginError:
    """Return the error for a plugin that returned an object of the wrong kind."""
    return PluginError(f"The plugin {plugin} is broken: it returned {type(opened).__name__}, which is no {wanted}")


def offers(group: str, plugin: str) -> bool:
    """Return True if a plugin of that name is installed in the group."""
    return plugin in by_name(group)


def settings(config: Config, store: str, group: str = STORES, *, known: Schema | None = None) -> Mapping[str, Setting]:
    """Return the options of a store as resolved now, each with its origin in words.

    Args:
        config: the configuration.
        store: the store's name.
        group: the group of its plugin.
        known: the schema of its plugin, if the caller has read it.

    Raises:
        PluginError, ConfigurationError: see `prepare`.
    """
    return resolve(config.store(store), known or schema(config, store, group), config, _read_file)


def schema(config: Config, store: str, group: str = STORES) -> Schema:
    """Return the options of the plugin of a store.

    Raises:
        PluginError: see `prepare`.
    """
    about = config.store(store)
    return read_schema(_load(group, about), about.plugin)


def schemas() -> dict[str, list[Schema]]:
    """Return the options of all installed stores, importers, exporters and rotators that can be used, by name."""
    found: dict[str, list[Schema]] = {}
    for group in (STORES, IMPORTERS, EXPORTERS, ROTATORS):
        for plugin in installed(group):
            if not plugin.fault:
                found.setdefault(plugin.name, []).append(plugin.schema)
    return found


def load_group(group: str) -> dict[str, Opener | PluginError]:
    """Return the object that each entry point of a group names, or the error that says why it cannot be used."""
    from strongroom.plugins import stevedore_loader

    names = by_name(group)
    with plugin_code():
        loaded = stevedore_loader.load_all(group, [points[0] for points in names.values() if len(points) == 1])
    found: dict[str, Opener | PluginError] = {}
    for name in sorted(names):
        try:
            point = entry_point(group, StoreConfig.bare(name))  # refuses a name that is claimed twice
            found[name] = _opener(point, loaded[name])
        except PluginError as error:
            found[name] = error
    return found


def installed(group: str = STORES) -> list[Plugin]:
    """Return the installed plugins of a group by name, including those that cannot be used. No SDK is imported."""
    names = by_name(group)
    found: list[Plugin] = []
    for name, opener in load_group(group).items():
        distribution = " and ".join(described(point) for point in names[name])
        try:
            if isinstance(opener, PluginError):
                raise opener
            found.append(Plugin(name, distribution, read_schema(opener, name)))
        except PluginError as error:
            found.append(Plugin(name, distribution, fault=str(error)))
    return found


def commands(*, listed: bool = False) -> Mapping[str, Callable[[], object]]:
    """Return the commands that plugins add to the command line: name -> a function that loads the click command.

    Args:
        listed: the command is loaded for its summary alone, without stevedore: `--help` does not wait for that.

    The function raises PluginError: see `prepare`.
    """

    def loader(name: str) -> Callable[[], object]:
        return lambda: _load(COMMANDS, StoreConfig.bare(name), _importlib_load if listed else _stevedore_load)

    return {name: loader(name) for name in sorted(by_name(COMMANDS))}


def _is_working_directory_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _read_file(file: Path, where: str) -> str:
    return read_text(file, where, MAX_REFERENCE_SIZE)


def check_elsewhere(config: Config, store: str) -> None:
    """Validate the options of a store as they are written, for use in another environment.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or is broken.
        ConfigurationError: an option is wrong: see `resolution.check_written`.
    """
    check_written(config.store(store), schema(config, store), production=config.production)


def _called(opener: Opener, group: str, about: StoreConfig, given: Mapping[str, Setting]) -> object:
    """Call the plugin's opener or check with these options. A ConfigurationError names their origin."""
    fault = wrong = ""
    checks: tuple[Check, ...] = ()
    opened: object = None
    try:
        opened = opener(**{name: setting.value for name, setting in given.items()})
    except ImportError as error:
        fault = missing(entry_point(group, about), error)
    except FileNotFoundError:
        if not _is_working_directory_gone():
            raise
        wrong = f"{about.origin}: the working directory is gone: start in one that is there, or give whole paths"
    except ConfigurationError as error:
        wrong, checks = f"{_origin(str(error), about, given)}: {error}", error.checks
    if fault:
        raise PluginError(fault)
    if wrong:
        raise ConfigurationError(wrong).copy(checks=checks)
    return opened


def _origin(fault: str, about: StoreConfig, given: Mapping[str, Setting]) -> str:
    """Return the origin of the option that a plugin's message begins with: the plugin does not know the origin."""
    setting = given.get(re.split("[.:]", fault, maxsplit=1)[0])
    if setting is None or setting.rank in {Rank.FILE, Rank.FILE_ENVIRONMENT}:
        return about.origin
    return setting.origin


def _importlib_load(point: EntryPoint) -> object:
    return point.load()


def _stevedore_load(point: EntryPoint) -> object:
    from strongroom.plugins import stevedore_loader

    return stevedore_loader.load(point)


def _load(group: str, about: StoreConfig, load: Callable[[EntryPoint], object] = _stevedore_load) -> Opener:
    """Return the object that the plugin's entry point names.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or cannot be loaded.
    """
    return load_point(entry_point(group, about), load)


def load_point(point: EntryPoint, load: Callable[[EntryPoint], object] = _stevedore_load) -> Opener:
    """Return the object that an entry point names.

    Raises:
        PluginError: it cannot be loaded, or is not callable.
    """
    try:
        with plugin_code():
            loaded = load(point)
    except BaseException as error:
        if is_interrupt(error):
            raise
        loaded = error
    return _opener(point, loaded)


def _opener(point: EntryPoint, loaded: object) -> Opener:
    """Return the loaded object of an entry point, if it is callable.

    Raises:
        PluginError: it is not, or it is the error that loading it raised.
    """
    if isinstance(loaded, ImportError):
        raise PluginError(missing(point, loaded))
    fault = f"loading it raised {type(loaded).__name__}" if isinstance(loaded, BaseException) else ""
    if fault or not callable(loaded):
        fault = fault or f"{point.value} is not callable"
        raise PluginError(f"The plugin {point.name} of {described(point)} is broken: {fault}")
    return loaded
