"""Plugins: which are installed, what they take, and opening the one that is configured.

A plugin is an entry point of the group `strongroom.stores`: a callable with keyword-only, type-hinted options that
returns a store. Those of `strongroom.importers` and `strongroom.exporters` are the same for what a migration reads and
writes; one of `strongroom.checks` looks for what is wrong with the options of the store of its name, and opens nothing.
Entry points are looked at before anything of a plugin runs, so that a name which two distributions claim is refused,
and not the luck of the search path.
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
from strongroom.plugins.option_schema import Schema, read_schema
from strongroom.plugins.resolution import check_written, resolve
from strongroom.plugins.setting import Setting
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STORES = "strongroom.stores"
IMPORTERS = "strongroom.importers"
EXPORTERS = "strongroom.exporters"
COMMANDS = "strongroom.commands"
CHECKS = "strongroom.checks"

MAX_REFERENCE_SIZE = 1 << 16
"""The largest file that `{ file = … }` reads, in bytes."""

Opener: TypeAlias = Callable[..., object]


class Plugin(NamedTuple):
    """An installed plugin.

    Attributes:
        name: what `plugin = …` calls it.
        distribution: the name of what was installed, with its version; of each, where several claim the name.
        schema: what it takes.
        fault: why it cannot be used, or the empty string.
    """

    name: str
    distribution: str
    schema: Schema = Schema({})
    fault: str = ""


def prepare(config: Config, store: str) -> Callable[[], SecretStore]:
    """Checks the plugin and the options of a store now, and returns what opens it.

    What it returns may be called more than once. Each call resolves the options anew, so that a token in a file which
    was replaced since is the new one, and raises whatever the plugin raises; a ConfigurationError names the store.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or is broken; when called, also that
            a dependency is missing, or that what it returned is no store.
        ConfigurationError: as `resolution.resolve` does; when called, also what the plugin finds wrong with an option.
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
        PluginError, ConfigurationError: as `prepare` does.
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
    """Looks for what is wrong with the options of a store, as far as that can be known without opening it.

    Raises:
        PluginError: as `prepare` does, also that a dependency is missing.
        ConfigurationError: as `prepare` does, or the plugin's own check in `strongroom.checks`, where it has one.
    """
    about = config.store(store)
    given = settings(config, store)
    if offers(CHECKS, about.plugin):
        _called(_load(CHECKS, about), CHECKS, about, given)


def broken(plugin: str, opened: object, wanted: str) -> PluginError:
    """That a plugin returned something else than what its group is for."""
    return PluginError(f"The plugin {plugin} is broken: it returned {type(opened).__name__}, which is no {wanted}")


def offers(group: str, plugin: str) -> bool:
    """Whether something installed has a plugin of that name in the group."""
    return plugin in by_name(group)


def settings(config: Config, store: str, group: str = STORES) -> Mapping[str, Setting]:
    """The options of a store as they are resolved now, each with its origin in words.

    Raises:
        PluginError, ConfigurationError: as `prepare` does.
    """
    return resolve(config.store(store), schema(config, store, group), config, _read_file)


def schema(config: Config, store: str, group: str = STORES) -> Schema:
    """What the plugin of a store takes.

    Raises:
        PluginError: as `prepare` does.
    """
    about = config.store(store)
    return read_schema(_load(group, about), about.plugin)


def installed() -> list[Plugin]:
    """Return the installed plugins by name, including those that cannot be used. No SDK is imported."""
    from strongroom.plugins import stevedore_loader

    names = by_name(STORES)
    loaded = stevedore_loader.load_all(STORES, [points[0] for points in names.values() if len(points) == 1])
    found: list[Plugin] = []
    for name, points in sorted(names.items()):
        distribution = " and ".join(described(point) for point in points)
        try:
            point = entry_point(STORES, StoreConfig.bare(name))  # refuses a name that is claimed twice
            found.append(Plugin(name, distribution, read_schema(_opener(point, loaded[name]), name)))
        except PluginError as error:
            found.append(Plugin(name, distribution, fault=str(error)))
    return found


def commands() -> Mapping[str, Callable[[], object]]:
    """The commands that plugins add to the command line: by name, what loads the click command.

    What loads it raises PluginError as `prepare` does.
    """

    def loader(name: str) -> Callable[[], object]:
        return lambda: _load(COMMANDS, StoreConfig.bare(name))

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
    """Looks for what is wrong with the options of a store as they are written, for surroundings that are not these.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or is broken.
        ConfigurationError: as `resolution.check_written` does.
    """
    check_written(config.store(store), schema(config, store), production=config.production)


def _called(opener: Opener, group: str, about: StoreConfig, given: Mapping[str, Setting]) -> object:
    """What the plugin's opener or check returns for these options; a ConfigurationError names where they come from."""
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
    """Where the option comes from that a plugin's words begin with: the plugin knows that, and not whose it is."""
    setting = given.get(re.split("[.:]", fault, maxsplit=1)[0])
    if setting is None or setting.rank in {Rank.FILE, Rank.FILE_ENVIRONMENT}:
        return about.origin
    return setting.origin


def _load(group: str, about: StoreConfig) -> Opener:
    """Return the object that the plugin's entry point names.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or cannot be loaded.
    """
    point = entry_point(group, about)
    try:
        loaded = _loaded(point)
    except Exception as error:  # noqa: BLE001  # the code of a third party runs here
        loaded = error
    return _opener(point, loaded)


def _loaded(point: EntryPoint) -> object:
    if point.group == COMMANDS:
        return point.load()  # `--help` loads every command for its summary, and does not wait for stevedore
    from strongroom.plugins import stevedore_loader

    return stevedore_loader.load(point)


def _opener(point: EntryPoint, loaded: object) -> Opener:
    """Return what an entry point named, if it is callable.

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
