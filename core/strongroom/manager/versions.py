"""Version history and labels of secrets: `SecretsManager.versions`.

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
from strongroom.secret import Secret, Version, check_labels, check_version
from strongroom.store import VersionInfo

if TYPE_CHECKING:
    from strongroom.chain.calls.threads import Threads
    from strongroom.chain.chain import Chain
    from strongroom.store.boundary.guard import GuardedStore


class Versions:
    """The versions and labels of secrets, in one store of a chain.

    The store is the one that a write would go to: the one named `store`, by default the first that can be written. It
    is queried past the cache, which drops a secret when its versions change. No other store is queried.

    Every method raises `UnsupportedOperationError` if that store keeps no versions, `ConfigurationError` if the chain
    has no store of that name, and `SecretNotFoundError` if the store never had the secret or that version.
    """

    def __init__(self, chain: Chain, threads: Threads) -> None:
        self._chain = chain
        self._threads = threads

    def __repr__(self) -> str:
        return f"Versions({self._chain!r})"

    def history(self, path: str, *, store: str | None = None) -> list[VersionInfo]:
        """Return each version of the secret, oldest first, including deleted and destroyed ones.

        Raises:
            PermissionDeniedError: the history is denied. The secret itself may still be readable.
        """
        return self._chain.at_target(path, store, lambda guarded: guarded.versions(path))

    def read(self, path: str, version: Version, *, store: str | None = None) -> Secret:
        """Return one version, with its data.

        Raises:
            SecretNotFoundError: it is deleted, destroyed or pruned, or never existed.
        """
        version = check_version(path, version)
        return self._chain.read_version(path, store, lambda guarded: guarded.read_version(path, version))

    def pending(self, path: str, *, store: str | None = None) -> Secret | None:
        """Return the new value of a rotation that the store itself carries out, such as AWSPENDING.

        None means that none is under way, or that the store has no such version.
        """
        return self._chain.read_version(path, store, lambda guarded: _pending(guarded, path))

    def rollback(self, path: str, version: Version, *, store: str | None = None) -> Version | None:
        """Write the data of an old version as a new version, and return its name.

        The write is checked against the newest version, which may be a deleted one.

        Raises:
            SecretNotFoundError: the old version is deleted, destroyed or pruned, or never existed. Nothing is written.
            ConflictError: another writer came between. Nothing is written.
        """
        version = check_version(path, version)
        return self._chain.at_target(
            path, store, lambda guarded: _roll_back(guarded, path, version), changes="rollback"
        )

    def undelete(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Make a deleted version readable again; do nothing to one that is not deleted.

        `SecretsManager.delete_secret` deletes the newest version.

        Raises:
            SecretNotFoundError: it is destroyed or pruned, or never existed.
        """
        version = check_version(path, version)
        self._chain.at_target(path, store, lambda guarded: guarded.undelete(path, version), changes="undelete")

    def destroy(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Remove one version's data for good. The other versions stay.

        Raises:
            SecretNotFoundError: it never existed, or is pruned.
        """
        version = check_version(path, version)
        self._chain.at_target(path, store, lambda guarded: guarded.destroy(path, version), changes="destroy")

    def metadata(self, path: str, *, store: str | None = None) -> dict[str, str]:
        """Return the labels of the secret. All versions share them."""
        return self._chain.at_target(path, store, lambda guarded: guarded.read_metadata(path))

    def set_metadata(self, path: str, metadata: Mapping[str, str], *, store: str | None = None) -> None:
        """Replace the labels of the secret; its data stays.

        Raises:
            InvalidDataError: a label is not text, or the store does not take it.
        """
        labels = check_labels(path, metadata)
        self._chain.at_target(path, store, lambda guarded: guarded.write_metadata(path, labels), changes="label")

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


def _pending(guarded: GuardedStore, path: str) -> Secret | None:
    try:
        return guarded.read_version(path, guarded.traits.pending_version) if guarded.traits.pending_version else None
    except SecretNotFoundError:
        return None


def _roll_back(guarded: GuardedStore, path: str, version: Version) -> Version | None:
    # Read the old version first: a store without versions refuses here, before the secret itself is read.
    old = guarded.read_version(path, version)
    try:
        newest = guarded.read(path).version
    except SecretNotFoundError:
        newest = None
    return guarded.write_if(path, old.data, newest)
