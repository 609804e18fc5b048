"""Everything that is installed: each entry point of every group, with its distribution and its fault.

Separate from `loader`, which looks for one plugin: an inventory loads them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from strongroom.config.document import suggest
from strongroom.errors import PluginError
from strongroom.plugins.distributions import by_name, groups
from strongroom.plugins.loader import COMMANDS, EXPORTERS, IMPORTERS, ROTATORS, STORES, Opener, load_group
from strongroom.plugins.option_schema import Schema, read_schema
from strongroom.store.protocols import traits_of

KINDS: Mapping[str, str] = {
    STORES: "store",
    IMPORTERS: "importer",
    EXPORTERS: "exporter",
    ROTATORS: "rotator",
    COMMANDS: "command",
}
"""The groups of the core in the order of an inventory, and the kind of their plugins."""

_OWN = "strongroom."


class InstalledPlugin(NamedTuple):
    """One entry point. A name that two distributions claim has one for each, both with the fault.

    Attributes:
        group: the group of the entry point.
        kind: the kind of plugin in the group; for a group of a backend, its name in words, such as `vault auth`.
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
    """Return every entry point of the core's groups, in their order, and then of the groups of backends. Loads all."""
    present = groups()
    others = [group for group in present if group not in KINDS]
    return [plugin for group in (*KINDS, *others) if group in present for plugin in _of_group(group)]


def _of_group(group: str) -> Iterator[InstalledPlugin]:
    points = by_name(group)
    if group.startswith(_OWN) and group not in KINDS:  # nothing would load them
        fault = f"Strongroom has no entry-point group {group}; {suggest(group, KINDS)}"
        examined: dict[str, tuple[int | None, str]] = dict.fromkeys(sorted(points), (None, fault))
    else:
        examined = {name: _examined(group, name, opener) for name, opener in load_group(group).items()}
    for name, (protocol, fault) in examined.items():
        for point in points[name]:
            about = point.dist
            distribution, version = (about.name or "", about.version) if about is not None else ("", "")
            yield InstalledPlugin(group, _kind(group), name, point.value, distribution, version, protocol, fault)


def _kind(group: str) -> str:
    return KINDS.get(group) or group.removeprefix("strongroom").lstrip("._").replace(".", " ")


def _examined(group: str, name: str, opener: Opener | PluginError) -> tuple[int | None, str]:
    """Return the protocol version of a plugin's stores, and its fault."""
    if isinstance(opener, PluginError):
        return None, str(opener)
    if group == COMMANDS or group not in KINDS:
        return None, ""
    try:
        schema = read_schema(opener, name)
    except PluginError as error:
        return None, str(error)
    return (_protocol(schema, name) if group == STORES else None), ""


def _protocol(schema: Schema, name: str) -> int | None:
    """Return the newest protocol version that the plugin's stores were written for."""
    return max((traits_of(store, f"Plugin {name}").protocol for store in schema.stores), default=None)
