"""Plugins: which are installed, what they take, and opening the one that is configured.

A plugin is an entry point of the group `strongroom.stores`: a callable with keyword-only, type-hinted options that
returns a store. Entry points are looked at before anything of a plugin runs, so that a name which two distributions
claim is refused, and not the luck of the search path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from strongroom.config import Config, StoreConfig
from strongroom.document import suggest
from strongroom.errors import PluginError
from strongroom.options import Schema, read_schema
from strongroom.resolution import Setting, resolve
from strongroom.small_file import read_small_file
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint
    from pathlib import Path

STORES = "strongroom.stores"
COMMANDS = "strongroom.commands"

MAX_REFERENCE_SIZE = 1 << 16
"""The largest file that `{ file = … }` reads, in bytes."""

Opener: TypeAlias = Callable[..., object]


@dataclass(frozen=True)
class Plugin:
    """An installed plugin.

    Attributes:
        name: what `plugin = …` calls it.
        distribution: the name of what was installed, with its version; of each, where several claim the name.
        schema: what it takes.
        fault: why it cannot be used, or the empty string.
    """

    name: str
    distribution: str
    schema: Schema = field(default_factory=lambda: Schema({}))
    fault: str = ""


def prepare(config: Config, store: str) -> Callable[[], SecretStore]:
    """Checks the plugin and the options of a store now, and returns what opens it.

    What it returns may be called more than once. Each call resolves the options anew, so that a token in a file which
    was replaced since is the new one, and raises whatever the plugin raises.

    Raises:
        PluginError: the plugin is not installed, is claimed by two distributions, or is broken; when called, also that
            a dependency is missing, or that what it returned is no store.
        ConfigurationError: as `resolution.resolve` does.
    """
    about = config.store(store)
    opener = _load(STORES, about)
    schema = read_schema(opener, about.plugin)
    resolve(about, schema, config, _read_file)

    def open_store() -> SecretStore:
        given: dict[str, object] = {} if schema.mapping is None else {schema.mapping: config.mapping}
        given |= {name: setting.value for name, setting in resolve(about, schema, config, _read_file).items()}
        fault = ""
        opened: object = None
        try:
            opened = opener(**given)
        except ImportError as error:
            fault = _missing(_entry_point(STORES, about), error)
        if fault:
            raise PluginError(fault)
        if not isinstance(opened, SecretStore):
            raise PluginError(
                f"The plugin {about.plugin} is broken: it returned {type(opened).__name__}, which is no store"
            )
        return opened

    return open_store


def settings(config: Config, store: str) -> Mapping[str, Setting]:
    """The options of a store as they are resolved now, each with its origin in words.

    Raises:
        PluginError, ConfigurationError: as `prepare` does.
    """
    about = config.store(store)
    return resolve(about, read_schema(_load(STORES, about), about.plugin), config, _read_file)


def installed() -> list[Plugin]:
    """The plugins of this environment by name, also those that cannot be used. No SDK is imported for it."""
    found: list[Plugin] = []
    for name, points in sorted(_by_name(STORES).items()):
        distribution = " and ".join(_described(point) for point in points)
        about = StoreConfig(name, name, "")
        try:
            found.append(Plugin(name, distribution, read_schema(_load(STORES, about), name)))
        except PluginError as error:
            found.append(Plugin(name, distribution, fault=str(error)))
    return found


def commands() -> Mapping[str, Callable[[], object]]:
    """The commands that plugins add to the command line: by name, what loads the click command.

    What loads it raises PluginError as `prepare` does.
    """

    def loader(name: str) -> Callable[[], object]:
        return lambda: _load(COMMANDS, StoreConfig(name, name, ""))

    return {name: loader(name) for name in sorted(_by_name(COMMANDS))}


def _read_file(file: Path, where: str) -> str:
    return read_small_file(file, where, MAX_REFERENCE_SIZE)


# --- entry points -----------------------------------------------------------------------------------------------------


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    import sys

    return _scanned(group, tuple(sys.path))


@lru_cache(maxsize=8)
def _scanned(group: str, search_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The group's entry points. A distribution that stands on the search path twice counts once, where it is first."""
    del search_path  # a part of the cache's key: importlib.metadata reads it by itself
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))


def _by_name(group: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in _entry_points(group):
        found.setdefault(point.name, []).append(point)
    return found


def _entry_point(group: str, about: StoreConfig) -> EntryPoint:
    """The one entry point of the plugin's name."""
    by_name = _by_name(group)
    points = by_name.get(about.plugin, [])
    if not points:
        asks = f"{about.origin}: there is no plugin {about.plugin}"
        extra = f'; install it with pip install "strongroom[{about.plugin}]"' if _has_extra(about.plugin) else ""
        raise PluginError(f"{asks}{extra}; {suggest(about.plugin, by_name)}")
    if len(points) > 1:
        claims = " and ".join(f"{_described(point)} ({point.value})" for point in points)
        raise PluginError(f"The plugin {about.plugin} is registered by {claims}: uninstall all but one of them")
    return points[0]


def _load(group: str, about: StoreConfig) -> Opener:
    """The object that the plugin's entry point names."""
    point = _entry_point(group, about)
    from stevedore import DriverManager, ExtensionManager

    # Stevedore's own discovery writes to the user's cache folder, and forgets the distributions.
    ExtensionManager.ENTRY_POINT_CACHE[group] = list(_entry_points(group))
    fault = ""
    loaded: object = None
    try:
        manager: DriverManager[object] = DriverManager(group, about.plugin)
        loaded = manager.extensions[0].plugin
    except ImportError as error:
        fault = _missing(point, error)
    except Exception as error:  # noqa: BLE001  # a stranger's module runs here
        fault = f"The plugin {about.plugin} of {_described(point)} is broken: loading it raised {type(error).__name__}"
    if fault:
        raise PluginError(fault)
    if not callable(loaded):
        raise PluginError(f"The plugin {about.plugin} of {_described(point)} is broken: {point.value} is not callable")
    return loaded


# --- distributions ----------------------------------------------------------------------------------------------------


def _described(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _has_extra(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return name in _extras(distribution("strongroom"))
    except PackageNotFoundError:
        return False


def _missing(point: EntryPoint, error: ImportError) -> str:
    """What an import that failed means for the person who configured the plugin, in one line."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not module or module == point.module.partition(".")[0]:
        return f"The plugin {point.name} of {_described(point)} is broken: {type(error).__name__} for {error.name}"
    name = point.dist.name if point.dist is not None else ""
    extra = _extra_with(point.dist, module, point.name) if point.dist is not None else None
    what = f'pip install "{name}[{extra}]"' if extra else f"pip install {module}"
    return f"The plugin {point.name} needs {module}, which is not installed: {what}"


def _extras(distribution: Distribution) -> Sequence[str]:
    return distribution.metadata.get_all("Provides-Extra") or ()


def _extra_with(distribution: Distribution, module: str, plugin: str) -> str | None:
    """The extra that brings the module: the one named like the plugin, else the smallest one that asks for it."""
    import re

    sizes: dict[str, int] = {}
    having: set[str] = set()
    for requirement in distribution.requires or ():
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", requirement)
        needed = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra and needed:
            sizes[extra[1]] = sizes.get(extra[1], 0) + 1
            if needed[0].lower().replace("-", "_") == module.lower():
                having.add(extra[1])
    if plugin in _extras(distribution):
        return plugin
    return min(having, key=lambda extra: (sizes[extra], extra), default=None)
