"""Entry points of the installed distributions. None of them is loaded here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from strongroom._boundary.translation import line_in
from strongroom._config.document import suggest
from strongroom.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint, EntryPoints


def entry_points(group: str) -> Sequence[EntryPoint]:
    """Return every entry point of the group. A distribution that is on the search path twice counts once."""
    return _of_group(group, tuple(sys.path))


def groups() -> list[str]:
    """Return every group of entry points whose name begins with `strongroom.`."""
    return sorted(group for group in _installed(tuple(sys.path)).groups if group.startswith("strongroom."))


@lru_cache(maxsize=32)
def _of_group(group: str, search_path: tuple[str, ...]) -> Sequence[EntryPoint]:
    return tuple(_installed(search_path).select(group=group))


@lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001  # the key: it is `sys.path`
    """Return the entry points of all distributions. Reading them takes longer than everything else here."""
    from importlib import metadata

    return cast("EntryPoints", metadata.entry_points())  # Python 3.11 has another class with the same methods


def by_name(group: str) -> dict[str, list[EntryPoint]]:
    """Return the group's entry points by name; several if distributions claim the same name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group):
        found.setdefault(point.name, []).append(point)
    return found


def entry_point(group: str, name: str, origin: str = "The configuration") -> EntryPoint:
    """Return the one entry point of the plugin.

    Args:
        group: the group of the entry point.
        name: the name of the plugin.
        origin: what asks for the plugin, for the message.

    Raises:
        PluginError: no installed distribution has the plugin, or two distributions claim its name.
    """
    names = by_name(group)
    points = names.get(name, [])
    if not points:
        extra = f'; install it with pip install "strongroom[{name}]"' if _has_extra(name) else ""
        raise PluginError(f"{origin}: there is no plugin {name}{extra}; {suggest(name, names)}")
    if len(points) > 1:
        claims = " and ".join(f"{described(point)} ({point.value})" for point in points)
        raise PluginError(f"The plugin {name} is registered by {claims}: uninstall all but one of them")
    return points[0]


def described(point: EntryPoint) -> str:
    """Return the name and version of the entry point's distribution."""
    name, version = name_and_version(point)
    return f"{name} {version}" if name else "a distribution without a name"


def name_and_version(point: EntryPoint) -> tuple[str, str]:
    """Return the name and the version of the entry point's distribution; empty strings if it has none."""
    return _name_and_version(point.dist) if point.dist is not None else ("", "")


@lru_cache(maxsize=32)
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Parse the metadata of a distribution once: it contains the README, and takes 7 ms for Strongroom's own."""
    metadata = distribution.metadata
    return metadata["Name"] or "", metadata["Version"] or ""


def metadata_text(point: EntryPoint) -> str:
    """Return the metadata of the entry point's distribution, with its name and version. It is not parsed."""
    if point.dist is None:
        return ""
    return point.dist.read_text("METADATA") or point.dist.read_text("PKG-INFO") or ""


def _has_extra(name: str) -> bool:
    from importlib import metadata

    try:
        return name in _extras(metadata.distribution("strongroom"))
    except metadata.PackageNotFoundError:
        return False


def missing(point: EntryPoint, error: ImportError) -> str:
    """Return the message for a failed import: what to install, or that the plugin is broken.

    Only names from the metadata of the plugin's own distribution are named as things to install. A module's name is
    none: somebody else may have registered it on the package index.
    """
    module, own = (error.name or "").partition(".")[0], point.module.partition(".")[0]
    if module != own and (absent := _absent_name(error)):
        about = f"The plugin {point.name} of {described(point)} needs {absent}{line_in(error, own)}"
        return f"{about}, which {_with_version(module)} does not have. Install versions of both that match"
    if not isinstance(error, ModuleNotFoundError) or not module or module == own:
        what = f"importing {error.name} raised" if error.name else "it raised"
        fault = f"{what} {type(error).__name__}{line_in(error, own)}"
        return f"The plugin {point.name} of {described(point)} is broken: {fault}"
    about = f"The plugin {point.name} needs {module}, which is not installed"
    if point.dist is not None and point.dist.name:
        if extra := _extra_with(point.dist, module, point.name):
            return f'{about}: pip install "{point.dist.name}[{extra}]"'
        if _lacks_requirement(point.dist):
            return f'{about}: pip install "{point.dist.name}" installs its dependencies'
    return f"{about}. The metadata of {described(point)} does not declare it: ask its author"


def _absent_name(error: ImportError) -> str:
    """Return the module or the name that an installed package lacks; the empty string if the package is missing."""
    name = error.name or ""
    if isinstance(error, ModuleNotFoundError):
        parent = sys.modules.get(name.rpartition(".")[0])
        return name if getattr(parent, "__file__", None) else ""  # a namespace package has no file
    found = re.match(r"cannot import name '(\w+)' from ", str(error))
    return f"{name}.{found[1]}" if name and found else ""


def _with_version(module: str) -> str:
    """Return a top-level module with the version of the distribution of that name, if there is one."""
    from importlib import metadata

    try:
        return f"{module} {metadata.version(module)}"
    except metadata.PackageNotFoundError:
        return f"the installed {module}"


def _extras(distribution: Distribution) -> Sequence[str]:
    return distribution.metadata.get_all("Provides-Extra") or ()


def _requirements(distribution: Distribution) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each distribution that is required, with the extra that requires it, or None."""
    for requirement in distribution.requires or ():
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", requirement)
        if needed := re.match(r"[A-Za-z0-9._-]+", requirement):
            yield needed[0], extra[1] if extra else None


def _lacks_requirement(distribution: Distribution) -> bool:
    """Return True if a distribution that is required without an extra is not installed."""
    from importlib import metadata

    required = {name for name, extra in _requirements(distribution) if extra is None}
    return any(not any(metadata.Distribution.discover(name=name)) for name in required)


def _extra_with(distribution: Distribution, module: str, plugin: str) -> str | None:
    """Return the extra that installs the module: the one named like the plugin, or the smallest that has it."""
    sizes: dict[str, int] = {}
    having: set[str] = set()
    for name, extra in _requirements(distribution):
        if extra is not None:
            sizes[extra] = sizes.get(extra, 0) + 1
            named = name.lower().replace("-", "_")
            if named == module.lower() or named.startswith(f"{module.lower()}_"):  # a namespace has a part of each
                having.add(extra)
    if plugin in _extras(distribution):
        return plugin
    return min(having, key=lambda extra: (sizes[extra], extra), default=None)
