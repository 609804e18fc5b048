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

from strongroom._chain.threads import off_loop, off_loop_in_turn
from strongroom.errors import SecretNotFoundError
from strongroom.secret import Secret, Version, check_labels, check_version
from strongroom.store import VersionInfo

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._chain.chain import Chain
    from strongroom._chain.threads import Threads


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

    ahistory = off_loop(history)

    def read(self, path: str, version: Version, *, store: str | None = None) -> Secret:
        """Return one version, with its data.

        Raises:
            SecretNotFoundError: it is deleted, destroyed or pruned, or never existed.
        """
        version = check_version(path, version)
        found = self._chain.version_at_target(path, store, lambda guarded: guarded.read_version(path, version))
        assert found is not None  # noqa: S101  # an absence is an error
        return found

    aread = off_loop(read)

    def pending(self, path: str, *, store: str | None = None) -> Secret | None:
        """Return the new value of a rotation that the store itself carries out, such as AWSPENDING.

        None means that none is under way, or that the store has no such version.
        """
        return self._chain.version_at_target(path, store, lambda guarded: _pending(guarded, path))

    def rollback(self, path: str, version: Version, *, store: str | None = None) -> Version | None:
        """Write the data of an old version as a new version, and return its name.

        The write is checked against the newest version, which may be a deleted one.

        Raises:
            SecretNotFoundError: the old version is deleted, destroyed or pruned, or never existed. Nothing is written.
            ConflictError: another writer came between. Nothing is written.
        """
        return self._chain.roll_back(path, store, check_version(path, version))

    arollback = off_loop_in_turn(rollback)

    def undelete(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Make a deleted version readable again; do nothing to one that is not deleted.

        `SecretsManager.delete_secret` deletes the newest version.

        Raises:
            SecretNotFoundError: it is destroyed or pruned, or never existed.
        """
        version = check_version(path, version)
        self._chain.at_target(path, store, lambda guarded: guarded.undelete(path, version), changes="undelete")

    aundelete = off_loop_in_turn(undelete)

    def destroy(self, path: str, version: Version, *, store: str | None = None) -> None:
        """Remove one version's data for good. The other versions stay.

        Raises:
            SecretNotFoundError: it never existed, or is pruned.
        """
        version = check_version(path, version)
        self._chain.at_target(path, store, lambda guarded: guarded.destroy(path, version), changes="destroy")

    adestroy = off_loop_in_turn(destroy)

    def metadata(self, path: str, *, store: str | None = None) -> dict[str, str]:
        """Return the labels of the secret. All versions share them."""
        return self._chain.at_target(path, store, lambda guarded: guarded.read_metadata(path))

    ametadata = off_loop(metadata)

    def set_metadata(self, path: str, metadata: Mapping[str, str], *, store: str | None = None) -> None:
        """Replace the labels of the secret; its data stays.

        Raises:
            InvalidDataError: a label is not text, or the store does not take it.
        """
        labels = check_labels(path, metadata)
        self._chain.at_target(path, store, lambda guarded: guarded.write_metadata(path, labels), changes="label")

    aset_metadata = off_loop_in_turn(set_metadata)


def _pending(guarded: GuardedStore, path: str) -> Secret | None:
    try:
        return guarded.read_version(path, guarded.traits.pending_version) if guarded.traits.pending_version else None
    except SecretNotFoundError:
        return None
