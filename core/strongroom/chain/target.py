"""The target link of a write, and the check that a new secret in it hides no keys of lower links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from strongroom.chain.link import Link
from strongroom.chain.query import creates
from strongroom.errors import ConfigurationError, ConflictError, SecretNotFoundError, UnsupportedOperationError
from strongroom.secret import SensitiveDict


class WriteTarget(NamedTuple):
    """The store that a write would go to.

    Attributes:
        store: the store's name.
        capabilities: the names of its capabilities beyond reading, such as `versioned` or `recoverable`.
        link: its position in the chain, from 1; None for a store outside of a chain.
    """

    store: str
    capabilities: frozenset[str]
    link: int | None = None


def target_link(links: Sequence[Link], path: str, store: str | None) -> Link:
    """Return the link to write to: the named one, or the first that can be written.

    Raises:
        ConfigurationError: the chain lacks a link of this name.
        UnsupportedOperationError: it does not cover the path, or no link can be written.
    """
    if store is not None:
        link = named_link(links, store)
        if not link.covers(path):
            raise UnsupportedOperationError(path, "its `paths` do not cover this path", store=store)
        return link
    for link in links:
        if link.covers(path) and link.opened().writable:
            return link
    raise UnsupportedOperationError(path, "no store of the chain can be written")


def named_link(links: Sequence[Link], store: object) -> Link:
    """Return the link of this name.

    Raises:
        ConfigurationError: the chain lacks it.
    """
    for link in links:
        if link.name == store:
            return link
    named = repr(store) if isinstance(store, str) else f"of type {type(store).__name__}"
    names = ", ".join(link.name for link in links)
    raise ConfigurationError(f"no store {named} in the chain: it has {names}")


def refuse_to_hide(links: Sequence[Link], path: str, merged: SensitiveDict, target: Link) -> None:
    """Refuse a new secret that would hide keys of a lower link: reads of the whole secret would lose them.

    Raises:
        ConflictError: it would hide some.
    """
    for link in links[links.index(target) + 1 :]:
        if not link.covers(path):
            continue
        if creates(link, path):
            reason = f"it would hide what store {link.name} makes there"
            raise ConflictError(path, reason, store=target.name, hint="Write it elsewhere, or pass replace=True")
        try:
            reading = link.read(path, fresh=True)
        except SecretNotFoundError:
            continue
        hidden = sorted(reading.data.keys() - merged.keys())
        if hidden:
            reason = f"it would hide the keys {', '.join(hidden)}, which only store {link.name} has"
            raise ConflictError(path, reason, store=target.name, hint="Set these too, or pass replace=True")
