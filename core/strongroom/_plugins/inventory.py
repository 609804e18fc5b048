"""Everything that is installed: each entry point of every group, with its distribution and its fault.

Separate from the package: `strongroom plugins` alone needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from strongroom._config.document import suggest
from strongroom._plugins import (
    COMMANDS,
    CREDENTIAL_VARIABLES,
    EXPORTERS,
    IMPORTERS,
    ROTATORS,
    STORES,
    Plugin,
    installed,
)
from strongroom._plugins.distributions import by_name, groups, name_and_version
from strongroom.store.protocols import traits_of

KINDS: Mapping[str, str] = {
    STORES: "store",
    IMPORTERS: "importer",
    EXPORTERS: "exporter",
    ROTATORS: "rotator",
    COMMANDS: "command",
}
"""The groups of the core in the order of an inventory, and the kind of their plugins."""


class InstalledPlugin(NamedTuple):
    """One entry point. A name that two distributions claim has one for each, both with the fault.

    Attributes:
        group: the group of the entry point.
        kind: the kind of plugin in the group; for an unknown group, the rest of its name.
        name: the name of the entry point.
        target: the object that it names, as MODULE:ATTRIBUTE.
        distribution: the name of its distribution, or the empty string.
        version: the version of its distribution, or the empty string.
        protocol: the version of the store protocol that its stores were written for; None for plugins without stores
            and for those whose class is not known.
        fault: why it cannot be used, or the empty string.
    """

    group: str
    kind: str
    name: str
    target: str
    distribution: str
    version: str
    protocol: int | None = None
    fault: str = ""


def inventory() -> list[InstalledPlugin]:
    """Return every entry point of the known groups, in their order, and then of unknown ones. Loads all plugins."""
    present = groups()
    others = [group for group in present if group not in {*KINDS, CREDENTIAL_VARIABLES}]
    return [plugin for group in (*KINDS, *others) if group in present for plugin in _of_group(group)]


def _of_group(group: str) -> Iterator[InstalledPlugin]:
    if group not in KINDS:  # nothing would load them
        fault = f"Strongroom has no entry-point group {group}; {suggest(group, KINDS)}"
        plugins = [Plugin(name, points, fault=fault) for name, points in sorted(by_name(group).items())]
    else:
        plugins = installed(group)
    kind = KINDS.get(group) or group.removeprefix("strongroom.")
    for plugin in plugins:
        protocol = _protocol(plugin) if group == STORES else None
        for point in plugin.points:
            distribution, version = name_and_version(point)
            yield InstalledPlugin(group, kind, plugin.name, point.value, distribution, version, protocol, plugin.fault)


def _protocol(plugin: Plugin) -> int | None:
    """Return the newest protocol version that the plugin's stores were written for."""
    stores = plugin.schema.stores
    return max((traits_of(store, f"Plugin {plugin.name}").protocol for store in stores), default=None)
