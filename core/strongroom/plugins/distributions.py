"""Entry points of the installed distributions. None of them is loaded here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from strongroom.config import StoreConfig
from strongroom.config.document import suggest
from strongroom.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return every entry point of the group on the current search path."""
    import sys

    return _scanned(group, tuple(sys.path))


@lru_cache(maxsize=8)
def _scanned(group: str, search_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the group's entry points. A distribution that is on the search path twice counts once."""
    del search_path  # a part of the cache's key: importlib.metadata reads it by itself
    from importlib import metadata

    return tuple(metadata.entry_points(group=group))


def by_name(group: str) -> dict[str, list[EntryPoint]]:
    """Return the group's entry points by name; several if distributions claim the same name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group):
        found.setdefault(point.name, []).append(point)
    return found


def entry_point(group: str, about: StoreConfig) -> EntryPoint:
    """Return the one entry point of the plugin's name.

    Raises:
        PluginError: nothing installed has one, or two distributions have one each.
    """
    names = by_name(group)
    points = names.get(about.plugin, [])
    if not points:
        asks = f"{about.origin}: there is no plugin {about.plugin}"
        extra = f'; install it with pip install "strongroom[{about.plugin}]"' if _has_extra(about.plugin) else ""
        raise PluginError(f"{asks}{extra}; {suggest(about.plugin, names)}")
    if len(points) > 1:
        claims = " and ".join(f"{described(point)} ({point.value})" for point in points)
        raise PluginError(f"The plugin {about.plugin} is registered by {claims}: uninstall all but one of them")
    return points[0]


def described(point: EntryPoint) -> str:
    """Return the name and version of the entry point's distribution."""
    name = point.dist.name if point.dist is not None else None
    return f"{name} {point.dist.version}" if name and point.dist is not None else "a distribution without a name"


def _has_extra(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return name in _extras(distribution("strongroom"))
    except PackageNotFoundError:
        return False


def missing(point: EntryPoint, error: ImportError) -> str:
    """Return the message for a failed import: what to install, or that the plugin is broken."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not module or module == point.module.partition(".")[0]:
        what = f"importing {error.name} raised" if error.name else "it raised"
        return f"The plugin {point.name} of {described(point)} is broken: {what} {type(error).__name__}"
    name = point.dist.name if point.dist is not None else ""
    extra = _extra_with(point.dist, module, point.name) if point.dist is not None else None
    what = f'pip install "{name}[{extra}]"' if extra else f"pip install {module}"
    return f"The plugin {point.name} needs {module}, which is not installed: {what}"


def _extras(distribution: Distribution) -> Sequence[str]:
    return distribution.metadata.get_all("Provides-Extra") or ()


def _extra_with(distribution: Distribution, module: str, plugin: str) -> str | None:
    """Return the extra that installs the module: the one named like the plugin, or the smallest that has it."""
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
