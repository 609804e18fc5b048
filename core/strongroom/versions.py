"""What was overwritten or deleted, and how it comes back: `SecretsManager.versions`. A thin face.

::

    with SecretsManager() as secrets:
        for info in secrets.versions.history("database/connection"):
            print(info.version, info.created, info.deleted)
        secrets.versions.rollback("database/connection", 3)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from strongroom.errors import SecretNotFoundError
from strongroom.secret import Secret, Version
from strongroom.store import VersionInfo

if TYPE_CHECKING:
    from strongroom.chain.chain import Chain
    from strongroom.chain.threads import Threads
    from strongroom.store.guard import GuardedStore


class Versions:
    """The versions and labels of secrets, in one store of a chain.

    Which store that is, is decided as for a write: the one that is named with `store`, by default the first that can be
    written. It is asked itself, past the cache; and what is cached of a secret is dropped when its versions change. No
    other store of the chain is asked: a secret that only another one has is not found here.

    Every method raises `UnsupportedOperationError` where that store keeps no versions, `ConfigurationError` where the
    chain has no store of that name, and `SecretNotFoundError` where the store never had the secret or that version.
    """

    def __init__(self, chain: Chain, threads: Threads) -> None:
        self._chain = chain
        self._threads = threads

    def __repr__(self) -> str:
        return f"Versions({self._chain!r})"

    def history(self, path: str, *, store: str | None = None) -> list[VersionInfo]:
        """What is known of each version, oldest first: also of those that are deleted or destroyed.

        Raises:
            PermissionDeniedError: the history may not be read, which reading the secret itself does not say.
        """
        return self._chain.at_target(path, store, lambda front: front.versions(path))

    def read(self, path: str, version: Version, *, store: str | None = None) -> Secret:
        """One version, with its data.

        Raises:
            SecretNotFoundError: it is deleted, destroyed or pruned, or never was.
        """
        return self._chain.at_target(path, store, lambda front: front.read_version(path, version))

    def rollback(self, path: str, version: Version, *, store: str | None = None) -> Version | None:
        """Writes what an old version holds as a new one; returns the store's name for that.

        It is written under check-and-set, over what was the newest version just before: also over a deleted one.

        Raises:
            SecretNotFoundError: the old version is deleted, destroyed or pruned, or never was. Nothing is written.
            ConflictError: somebody else wrote in between. Nothing is written.
        """
        return self._chain.at_target(path, store, lambda front: _roll_back(front, path, version), changes=True)

    def undelete(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Makes a deleted version readable again; does nothing to one that is not deleted.

        `SecretsManager.delete_secret` is what deletes, in a store of versions: the newest one.

        Raises:
            SecretNotFoundError: it is destroyed or pruned, or never was.
        """
        self._chain.at_target(path, store, lambda front: front.undelete(path, version), changes=True)

    def destroy(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Removes one version's data for good. The other versions stay as they are.

        Raises:
            SecretNotFoundError: it never was, or is pruned.
        """
        self._chain.at_target(path, store, lambda front: front.destroy(path, version), changes=True)

    def metadata(self, path: str, *, store: str | None = None) -> dict[str, str]:
        """The secret's own labels, which belong to all its versions."""
        return self._chain.at_target(path, store, lambda front: front.read_metadata(path))

    def set_metadata(self, path: str, metadata: Mapping[str, str], *, store: str | None = None) -> None:
        """Replaces the secret's own labels, and nothing else of it.

        Raises:
            InvalidDataError: a label is not a text, or more than the store takes.
        """
        self._chain.at_target(path, store, lambda front: front.write_metadata(path, metadata), changes=True)

    # --- off the event loop -------------------------------------------------------------------------------------------

    async def ahistory(self, path: str, *, store: str | None = None) -> list[VersionInfo]:
        """`history`, off the event loop."""
        return await self._threads.run(self.history, path, store=store)

    async def aread(self, path: str, version: Version, *, store: str | None = None) -> Secret:
        """`read`, off the event loop."""
        return await self._threads.run(self.read, path, version, store=store)

    async def arollback(self, path: str, version: Version, *, store: str | None = None) -> Version | None:
        """`rollback`, off the event loop."""
        return await self._threads.run(self.rollback, path, version, store=store)

    async def aundelete(self, path: str, version: Version, *, store: str | None = None) -> None:
        """`undelete`, off the event loop."""
        await self._threads.run(self.undelete, path, version, store=store)

    async def adestroy(self, path: str, version: Version, *, store: str | None = None) -> None:
        """`destroy`, off the event loop."""
        await self._threads.run(self.destroy, path, version, store=store)

    async def ametadata(self, path: str, *, store: str | None = None) -> dict[str, str]:
        """`metadata`, off the event loop."""
        return await self._threads.run(self.metadata, path, store=store)

    async def aset_metadata(self, path: str, metadata: Mapping[str, str], *, store: str | None = None) -> None:
        """`set_metadata`, off the event loop."""
        await self._threads.run(self.set_metadata, path, metadata, store=store)


def _roll_back(front: GuardedStore, path: str, version: Version) -> Version | None:
    # First what never changes. It also says, before the secret is read, whether the store keeps versions at all.
    old = front.read_version(path, version)
    try:
        newest = front.read(path).version
    except SecretNotFoundError:
        newest = None
    return front.write_if(path, old.data, newest)
