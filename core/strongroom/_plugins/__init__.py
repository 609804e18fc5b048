"""Plugins: list the installed ones, load them with stevedore, read their options, and open the configured one.

A store plugin is an entry point of the group `strongroom.stores`: a callable with keyword-only, type-hinted options
that returns a store. Those of `strongroom.importers` and `strongroom.exporters` return the source or the target of a
migration, and those of `strongroom.rotators` a rotator. An opener *may* have an attribute `check`: a callable that
takes the same options and validates them without opening anything.

Entry points are checked before any code of a plugin runs: a name that two distributions claim is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from strongroom._boundary.plugin_calls import import_limit, plugin_code
from strongroom._boundary.plugin_errors import is_own
from strongroom._boundary.translation import guarded, is_interrupt, line_in, translated
from strongroom._config import Config, Rank, Setting
from strongroom._plugins.distributions import by_name, described, entry_point, entry_points, missing
from strongroom._plugins.option_schema import Schema, ambient_credentials, read_schema
from strongroom._plugins.option_values import resolve
from strongroom.errors import Check, ConfigurationError, PluginError, StoreUnavailableError, StrongroomError
from strongroom.files.bounded import read_text
from strongroom.secret import conceal
from strongroom.store import SecretStore, in_daemon
from strongroom.store.protocols import class_title, traits_of
from strongroom.store.sdk_logging import silenced_logs

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STORES = "strongroom.stores"
IMPORTERS = "strongroom.importers"
EXPORTERS = "strongroom.exporters"
COMMANDS = "strongroom.commands"
ROTATORS = "strongroom.rotators"

CREDENTIAL_VARIABLES = "strongroom.credential_variables"
"""The group of names, not of plugins: see `credential_variables`."""

_CONFIGURED = (STORES, IMPORTERS, EXPORTERS, ROTATORS)
"""The groups whose plugins have options."""

MAX_REFERENCE_SIZE = 1 << 16
"""The largest file that `{ file = … }` reads, in bytes."""

_LONGEST_EXAMINATION = 5.0
"""Seconds that the import of a plugin may take that is only listed, or asked for its options."""

Opener: TypeAlias = Callable[..., object]

_slow: dict[str, Future[object]] = {}
"""Distribution -> the import of a module of it that was given up."""


class SlowImportError(PluginError):
    """The import of a plugin takes too long."""


class Plugin(NamedTuple):
    """An installed plugin.

    Attributes:
        name: the name that `plugin = …` selects.
        points: its entry point; one of each distribution if several claim the name.
        target: the object that the entry point names; None if it cannot be loaded.
        schema: its options.
        fault: the reason if it cannot be used, or the empty string.
    """

    name: str
    points: Sequence[EntryPoint]
    target: Opener | None = None
    schema: Schema = Schema({})
    fault: str = ""

    @property
    def distribution(self) -> str:
        """The name and version of its distribution; of each, if several claim the name."""
        return " and ".join(map(described, self.points))


class ConfiguredPlugin:
    """The plugin of a store with its options. They are resolved once, unless one is in a file, which may be replaced.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or is broken.
    """

    def __init__(self, config: Config, store: str, group: str = STORES) -> None:
        self._config = config
        self._group = group
        self._about = config.store(store)
        self.target = load(group, self._about.plugin, self._about.origin)
        self.schema = read_schema(self.target, self._about.plugin)
        self._settings: Mapping[str, Setting] | None = None

    def settings(self) -> Mapping[str, Setting]:
        """Return the options, each with its origin.

        Raises:
            ConfigurationError: an option is wrong: see `option_values.resolve`.
        """
        if self._settings is not None:
            return self._settings
        files: list[Path] = []

        def read_file(file: Path, where: str) -> str:
            files.append(file)
            return read_text(file, where, MAX_REFERENCE_SIZE)

        found = resolve(self._about, self.schema, self._config, read_file)
        if not files:
            self._settings = found
        return found

    @property
    def is_local(self) -> bool:
        """True if every class that the opener is annotated to return is, by its traits, a store on this machine."""
        kinds = self.schema.stores if self._group == STORES else ()
        return bool(kinds) and all(traits_of(kind, self._about.origin).local is True for kind in kinds)

    def open(self) -> object:
        """Open the store, or the other object of the plugin, which the caller examines.

        It may be called more than once. It reads a file that an option names at each call, because it may have been
        replaced. The plugin's own errors are raised; a ConfigurationError names the store.

        Raises:
            PluginError: a dependency is missing, or the plugin did not return a store.
            ConfigurationError: an option is wrong (see `option_values.resolve`), or the plugin refuses one.
        """
        if self._config.offline and not self.is_local:
            name = self._about.name
            raise StoreUnavailableError(reason=self._config.offline, store=name, hint="Go online for this")
        mapping = {} if self.schema.mapping is None else {self.schema.mapping: self._config.mapping}
        opened = self.call(partial(self.target, **mapping))
        if self._group == STORES and not isinstance(opened, SecretStore):
            raise broken(self._about.plugin, opened, "store", SecretStore)
        return opened

    def call(self, function: Opener) -> object:
        """Call the plugin's opener or check with the options. A ConfigurationError names their origin.

        No error of a plugin of another distribution shows the value of a secret option.
        """
        given = self.settings()
        fault = wrong = ""
        checks: tuple[Check, ...] = ()
        failure: BaseException | None = None
        opened: object = None
        try:
            opened = function(**{name: setting.value for name, setting in given.items()})
        except ImportError as error:
            fault = missing(entry_point(self._group, self._about.plugin), error)
        except FileNotFoundError:
            if not _is_working_directory_gone():
                raise
            gone = "the working directory is gone: start in one that is there, or give whole paths"
            wrong = f"{self._about.origin}: {gone}"
        except StrongroomError as error:
            name = self._about.name if self._group == STORES else self._about.plugin
            failure = translated(error, None, name, known=() if is_own(self.target) else self._secrets(given))
        if fault:
            raise PluginError(fault)
        if isinstance(failure, ConfigurationError):
            wrong, checks = f"{self._origin(str(failure), given)}: {failure}", failure.checks
        elif failure is not None:
            raise failure
        if wrong:
            raise ConfigurationError(wrong).copy(checks=checks)
        return opened

    def _secrets(self, given: Mapping[str, Setting]) -> list[object]:
        """Return the values of the secret options."""
        secret = {name for name, about in self.schema.options.items() if about.option.secret}
        return [conceal(setting.value) for name, setting in given.items() if name in secret]

    def _origin(self, fault: str, given: Mapping[str, Setting]) -> str:
        """Return the origin of the option that a plugin's message begins with: the plugin does not know the origin."""
        setting = given.get(re.split("[.:]", fault, maxsplit=1)[0])
        if setting is None or setting.rank in {Rank.FILE, Rank.FILE_ENVIRONMENT}:
            return self._about.origin
        return setting.origin


def prepare(config: Config, store: str) -> Callable[[], SecretStore]:
    """Return `ConfiguredPlugin.open` after a check of the options.

    A wrong configuration stops an application when it starts.

    Raises:
        PluginError, ConfigurationError: see `ConfiguredPlugin`.
    """
    plugin = ConfiguredPlugin(config, store)
    plugin.settings()
    return cast("Callable[[], SecretStore]", plugin.open)


def check(config: Config, store: str) -> None:
    """Validate the options of a store without opening it.

    Raises:
        PluginError: see `ConfiguredPlugin`; also if a dependency is missing.
        ConfigurationError: see `ConfiguredPlugin`; also if the opener's `check` refuses an option.
        StoreError: the opener's `check` raised another exception.
    """
    plugin = ConfiguredPlugin(config, store)
    plugin.settings()

    def validate() -> None:
        if (check_options := getattr(plugin.target, "check", None)) is not None:
            plugin.call(check_options)

    guarded(validate, store)


def broken(plugin: str, opened: object, wanted: str, protocol: type) -> PluginError:
    """Return the error for a plugin that returned an object of the wrong kind, with the methods that it lacks."""
    title = type(opened).__name__ if type(opened).__module__ == "builtins" else class_title(type(opened))
    methods = [name for name in vars(protocol) if not name.startswith("_")]
    lacking = " and ".join(f"{name}()" for name in methods if not callable(getattr(opened, name, None)))
    fault = f"it returned {title}, which is no {wanted}{lacking and f': it has no {lacking}'}"
    return PluginError(f"The plugin {plugin} is broken: {fault}")


def offers(group: str, plugin: str) -> bool:
    """Return True if a plugin of that name is installed in the group."""
    return plugin in by_name(group)


def store_settings(config: Config, store: str, group: str = STORES) -> Mapping[str, Setting]:
    """Return the options of a store as resolved now, each with its origin in words.

    Raises:
        PluginError, ConfigurationError: see `ConfiguredPlugin`.
    """
    return ConfiguredPlugin(config, store, group).settings()


def schema(config: Config, store: str, group: str = STORES) -> Schema:
    """Return the options of the plugin of a store.

    Raises:
        PluginError: see `ConfiguredPlugin`.
    """
    return ConfiguredPlugin(config, store, group).schema


def schemas(name: str) -> list[Schema]:
    """Return the options of the installed plugins of that name that can be used.

    A store, an importer, an exporter and a rotator may share a name.

    Raises:
        SlowImportError: the import of one takes too long.
    """
    found: list[Schema] = []
    for group in _CONFIGURED:
        if offers(group, name):
            try:
                found.append(_loaded(group, name)[1])
            except SlowImportError:
                raise
            except PluginError:
                continue
    return found


def credential_variables(configured: Collection[str]) -> set[str]:
    """Return the environment variables that set a secret option of an installed plugin.

    A distribution lists those of its plugins as entry points `VARIABLE = "MODULE"` of the group
    `strongroom.credential_variables`, and is not imported. Of a distribution that lists none, the plugins with a
    configured name are imported: no other one decides whether a command starts.

    Args:
        configured: the names of the plugins that the configuration uses.

    Raises:
        SlowImportError: the import of one takes too long.
    """
    listed = entry_points(CREDENTIAL_VARIABLES)
    known = {id(point.dist) for point in listed if point.dist is not None}
    found = {point.name for point in listed}
    for name in configured:
        points = [point for group in _CONFIGURED for point in by_name(group).get(name, ())]
        if not all(id(point.dist) in known for point in points):
            found.update(*map(ambient_credentials, schemas(name)))
    return found


def installed(group: str = STORES, name: str | None = None) -> list[Plugin]:
    """Return the installed plugins of a group by name, or those of one name, also those that cannot be used.

    No SDK is imported. A plugin whose import takes too long cannot be used.
    """
    found = sorted(by_name(group).items())
    return [_examined(group, each, points) for each, points in found if name in {None, each}]


def names(group: str = STORES) -> list[str]:
    """Return the names of the installed plugins of a group. None of them is imported."""
    return sorted(by_name(group))


def _examined(group: str, name: str, points: Sequence[EntryPoint]) -> Plugin:
    try:
        target, known = _loaded(group, name)
    except PluginError as error:
        return Plugin(name, points, fault=str(error))
    return Plugin(name, points, target, known)


def _loaded(group: str, name: str) -> tuple[Opener, Schema]:
    """Return the object of a plugin that is examined, with its options: see `load`."""
    target = load(group, name, limit=_LONGEST_EXAMINATION)
    return target, read_schema(target, name) if group in _CONFIGURED else Schema({})


def commands() -> Mapping[str, Callable[[], object]]:
    """Return the commands that plugins add to the command line: name -> a function that loads the click command.

    The function raises PluginError: see `load`.
    """
    return {name: partial(load, COMMANDS, name) for name in sorted(by_name(COMMANDS))}


def load(group: str, name: str, origin: str = "The configuration", limit: float | None = None) -> Opener:
    """Return the object that the entry point of a plugin names.

    Args:
        group: the group of the entry point.
        name: the name of the plugin.
        origin: what asks for the plugin, for the message.
        limit: seconds after which the import is given up; None for `import_limit`.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or cannot be loaded.
        SlowImportError: its import was given up.
    """
    point = entry_point(group, name, origin)  # before any code of a plugin runs
    message = fault = ""
    try:
        target = _imported(point, import_limit.get() if limit is None else limit)
    except SlowImportError:
        raise
    except ImportError as error:
        message = missing(point, error)
    except BaseException as error:
        if is_interrupt(error):
            raise
        line = line_in(error, point.module.partition(".")[0])
        absent = isinstance(error, AttributeError) and not line
        fault = f"{point.value} does not exist" if absent else f"loading it raised {type(error).__name__}{line}"
    else:
        if callable(target):
            return target
        fault = f"{point.value} is not callable"
    raise PluginError(message or f"The plugin {name} of {described(point)} is broken: {fault}")


def _imported(point: EntryPoint, limit: float | None) -> object:
    """Return the object that an entry point names. Errors of its module pass through.

    With a limit it is imported in a daemon thread. While this thread hangs, nothing else of its distribution is tried:
    it could wait for the lock of the same module.

    Raises:
        SlowImportError: the import takes longer.
    """
    if limit is None:
        return _driver(point)
    future = _slow.get(described(point)) if _slow else None  # its name and version take 8 % of a short command
    if future is None or future.done():
        future = in_daemon(partial(_driver, point), f"import of {point.module}")
        try:
            return future.result(limit)
        except TimeoutError:
            if future.done():  # it ended at the last moment, or raised a TimeoutError itself
                return future.result()
            _slow[described(point)] = future
    fault = f"the import of {point.module} takes longer than {limit:g} s"
    raise SlowImportError(f"The plugin {point.name} of {described(point)} is broken: {fault}")


def _driver(point: EntryPoint) -> object:
    """Return the object that an entry point names. Errors of its module pass through."""
    from stevedore import DriverManager, ExtensionManager

    # stevedore's own list is a file in the user's cache folder, which counts as current for two minutes after a change.
    # It can miss a new plugin, or have an old target, so stevedore loads from the list that was examined.
    ExtensionManager.ENTRY_POINT_CACHE[point.group] = list(entry_points(point.group))
    with plugin_code(), silenced_logs("stevedore"):  # one line for each installed plugin of the group
        return DriverManager[object](point.group, point.name).driver


def _is_working_directory_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
