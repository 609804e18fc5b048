"""Entry points of the installed distributions. None of them is loaded here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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


def groups() -> list[str]:
    """Return every group of entry points whose name begins with `strongroom.`, or with a backend's `strongroom_`."""
    from importlib import metadata

    return sorted(group for group in metadata.entry_points().groups if group.startswith(("strongroom.", "strongroom_")))


@lru_cache(maxsize=8)
def _scanned(group: str, search_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the group's entry points. A distribution that is on the search path twice counts once."""
    having = list(_having(f"[{group}]", search_path))
    if len(having) > 1:  # a name is in the metadata, which takes as long to parse
        having = _first_of_each_name(having)
    return tuple(point for each in having for point in each.entry_points.select(group=group))


def _having(section: str, search_path: Sequence[str]) -> Iterator[Distribution]:
    """Yield each distribution whose entry points have the section.

    `metadata.entry_points` parses those of every distribution, and `metadata.distributions` makes several objects for
    each. Of hundreds, that is a tenth or a twentieth of a short command's time. In a folder, their files have names by
    a standard: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    from importlib import metadata

    others: list[str] = []
    sought = section.encode()
    for entry in search_path:
        try:
            names = os.listdir(entry or ".")  # noqa: PTH208  # names are enough
        except OSError:
            others.append(entry)  # such as a zip file
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                folder = f"{entry or '.'}/{name}"
                if sought in _entry_points(folder):
                    yield metadata.Distribution.at(folder)
    for each in metadata.distributions(path=others):  # and those of other finders than Python's own
        if section in (each.read_text("entry_points.txt") or ""):
            yield each


def _entry_points(folder: str) -> bytes:
    """Return the content of a file with entry points. It is not decoded, which takes as long as the rest."""
    try:
        with open(f"{folder}/entry_points.txt", "rb", buffering=0) as file:  # noqa: PTH123  # as above
            return file.read()
    except OSError:  # most have no entry points
        return b""


def _first_of_each_name(distributions: Sequence[Distribution]) -> list[Distribution]:
    """Return the first distribution of each name, as package indexes compare names, and all without one."""
    import re

    first: dict[object, Distribution] = {}
    for each in distributions:
        first.setdefault(re.sub(r"[-_.]+", "-", each.name).lower() if each.name else each, each)
    return list(first.values())


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


def metadata_text(point: EntryPoint) -> str:
    """Return the metadata of the entry point's distribution, with its name and version. It is not parsed."""
    if point.dist is None:
        return ""
    return point.dist.read_text("METADATA") or point.dist.read_text("PKG-INFO") or ""


def _has_extra(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return name in _extras(distribution("strongroom"))
    except PackageNotFoundError:
        return False


def missing(point: EntryPoint, error: ImportError) -> str:
    """Return the message for a failed import: what to install, or that the plugin is broken.

    Only names from the metadata of the plugin's own distribution are named as things to install. A module's name is
    none: somebody else may have registered it on the package index.
    """
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not module or module == point.module.partition(".")[0]:
        what = f"importing {error.name} raised" if error.name else "it raised"
        return f"The plugin {point.name} of {described(point)} is broken: {what} {type(error).__name__}"
    about = f"The plugin {point.name} needs {module}, which is not installed"
    if point.dist is not None and point.dist.name:
        if extra := _extra_with(point.dist, module, point.name):
            return f'{about}: pip install "{point.dist.name}[{extra}]"'
        if _lacks_requirement(point.dist):
            return f'{about}: pip install "{point.dist.name}" installs its dependencies'
    return f"{about}. The metadata of {described(point)} does not declare it: ask its author"


def _extras(distribution: Distribution) -> Sequence[str]:
    return distribution.metadata.get_all("Provides-Extra") or ()


def _requirements(distribution: Distribution) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each distribution that is required, with the extra that requires it, or None."""
    import re

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
            if name.lower().replace("-", "_") == module.lower():
                having.add(extra)
    if plugin in _extras(distribution):
        return plugin
    return min(having, key=lambda extra: (sizes[extra], extra), default=None)
