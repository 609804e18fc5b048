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

from strongroom.chain.calls.steps import Steps, run
from strongroom.chain.store_handle import (
    DESTROY,
    READ_METADATA,
    READ_VERSION,
    UNDELETE,
    VERSIONS,
    WRITE_METADATA,
    Operation,
)
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
        return run(self._history(path, store))

    def read(self, path: str, version: Version, *, store: str | None = None) -> Secret:
        """Return one version, with its data.

        Raises:
            SecretNotFoundError: it is deleted, destroyed or pruned, or never existed.
        """
        return run(self._read(path, version, store))

    def pending(self, path: str, *, store: str | None = None) -> Secret | None:
        """Return the new value of a rotation that the store itself carries out, such as AWSPENDING.

        None means that none is under way, or that the store has no such version.
        """
        return run(self._pending(path, store))

    def rollback(self, path: str, version: Version, *, store: str | None = None) -> Version | None:
        """Write the data of an old version as a new version, and return its name.

        The write is checked against the newest version, which may be a deleted one.

        Raises:
            SecretNotFoundError: the old version is deleted, destroyed or pruned, or never existed. Nothing is written.
            ConflictError: another writer came between. Nothing is written.
        """
        return run(self._rollback(path, version, store))

    def undelete(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Make a deleted version readable again; do nothing to one that is not deleted.

        `SecretsManager.delete_secret` deletes the newest version.

        Raises:
            SecretNotFoundError: it is destroyed or pruned, or never existed.
        """
        run(self._undelete(path, version, store))

    def destroy(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Remove one version's data for good. The other versions stay.

        Raises:
            SecretNotFoundError: it never existed, or is pruned.
        """
        run(self._destroy(path, version, store))

    def metadata(self, path: str, *, store: str | None = None) -> dict[str, str]:
        """Return the labels of the secret. All versions share them."""
        return run(self._metadata(path, store))

    def set_metadata(self, path: str, metadata: Mapping[str, str], *, store: str | None = None) -> None:
        """Replace the labels of the secret; its data stays.

        Raises:
            InvalidDataError: a label is not text, or the store does not take it.
        """
        run(self._set_metadata(path, metadata, store))

    # --- in an event loop ---------------------------------------------------------------------------------------------

    async def ahistory(self, path: str, *, store: str | None = None) -> list[VersionInfo]:
        """`history`, off the event loop; an asynchronous store is awaited in it."""
        return await self._threads.drive(self._history(path, store))

    async def aread(self, path: str, version: Version, *, store: str | None = None) -> Secret:
        """`read`, off the event loop; an asynchronous store is awaited in it."""
        return await self._threads.drive(self._read(path, version, store))

    async def arollback(self, path: str, version: Version, *, store: str | None = None) -> Version | None:
        """`rollback`, off the event loop; an asynchronous store is awaited in it."""
        return await self._threads.drive(self._rollback(path, version, store))

    async def aundelete(self, path: str, version: Version, *, store: str | None = None) -> None:
        """`undelete`, off the event loop; an asynchronous store is awaited in it."""
        await self._threads.drive(self._undelete(path, version, store))

    async def adestroy(self, path: str, version: Version, *, store: str | None = None) -> None:
        """`destroy`, off the event loop; an asynchronous store is awaited in it."""
        await self._threads.drive(self._destroy(path, version, store))

    async def ametadata(self, path: str, *, store: str | None = None) -> dict[str, str]:
        """`metadata`, off the event loop; an asynchronous store is awaited in it."""
        return await self._threads.drive(self._metadata(path, store))

    async def aset_metadata(self, path: str, metadata: Mapping[str, str], *, store: str | None = None) -> None:
        """`set_metadata`, off the event loop; an asynchronous store is awaited in it."""
        await self._threads.drive(self._set_metadata(path, metadata, store))

    # --- the steps of both --------------------------------------------------------------------------------------------

    def _history(self, path: str, store: str | None) -> Steps[list[VersionInfo]]:
        return self._chain.target_steps(path, store, VERSIONS, path)

    def _read(self, path: str, version: Version, store: str | None) -> Steps[Secret]:
        return self._chain.version_steps(path, store, READ_VERSION, path, check_version(path, version))

    def _pending(self, path: str, store: str | None) -> Steps[Secret | None]:
        return self._chain.version_steps(path, store, _READ_PENDING, path)

    def _rollback(self, path: str, version: Version, store: str | None) -> Steps[Version | None]:
        return self._chain.rollback_steps(path, store, check_version(path, version))

    def _undelete(self, path: str, version: Version, store: str | None) -> Steps[None]:
        version = check_version(path, version)
        return self._chain.target_steps(path, store, UNDELETE, path, version, changes="undelete")

    def _destroy(self, path: str, version: Version, store: str | None) -> Steps[None]:
        version = check_version(path, version)
        return self._chain.target_steps(path, store, DESTROY, path, version, changes="destroy")

    def _metadata(self, path: str, store: str | None) -> Steps[dict[str, str]]:
        return self._chain.target_steps(path, store, READ_METADATA, path)

    def _set_metadata(self, path: str, metadata: Mapping[str, str], store: str | None) -> Steps[None]:
        labels = check_labels(path, metadata)
        return self._chain.target_steps(path, store, WRITE_METADATA, path, labels, changes="label")


def _pending(guarded: GuardedStore, path: str) -> Secret | None:
    try:
        return guarded.read_version(path, guarded.traits.pending_version) if guarded.traits.pending_version else None
    except SecretNotFoundError:
        return None


_READ_PENDING = Operation("", _pending)
