"""Reads and writes of one rotation: the secret and the document of its state, in one store, under check-and-set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from strongroom._boundary.guard import GuardedStore
from strongroom._chain.answer import WriteTarget
from strongroom._chain.chain import Chain
from strongroom.errors import ConflictError, SecretNotFoundError, StrongroomError, UnsupportedOperationError, shown
from strongroom.rotate.state import KEY, RotationState, as_document, parse_document, pending_path
from strongroom.secret import Secret, Value, Version

logger = logging.getLogger("strongroom.secrets_manager")

_R = TypeVar("_R")

_ATTEMPTS = 10
"""How often a write of the secret is repeated while others write other keys of it."""

NO_CHECK_AND_SET = "it has no check-and-set, so two processes could rotate the secret at once"


class Ledger:
    """The secret at `path` and the state of its rotation.

    Args:
        store: the store's name; None is the first of the chain that can be written.

    Attributes:
        store: the store's name.
        link: its position in the chain.
        versioned: True if the store keeps versions and labels.
        is_recorded: True if the state is stored.

    Raises:
        UnsupportedOperationError: the store cannot be written, or has no check-and-set.
    """

    def __init__(self, chain: Chain, path: str, store: str | None = None) -> None:
        self.path = path
        target = self._target(chain, store)
        self.store = target.store
        self.link = target.link
        self.is_recorded = True
        self.versioned = "versioned" in target.capabilities
        self._chain = chain

    def secret(self) -> Secret:
        """Return the secret, past the cache.

        Raises:
            SecretNotFoundError: there is nothing to rotate.
            ConflictError: the secret has the key that rotations reserve.
        """
        secret = self._at(self.path, lambda store: store.read(self.path))
        if KEY in secret.data:
            raise ConflictError(self.path, f"the secret has the key {KEY!r}, which rotations reserve", store=self.store)
        return secret

    def change(self, update: Callable[[Mapping[str, Value]], Mapping[str, Value] | None]) -> Version | None:
        """Write `update(data)` as the secret under check-and-set, and return the new version.

        It is repeated if somebody else writes meanwhile. `update` returns None if there is nothing to write, and raises
        if the change is not possible any more.
        """
        for _ in range(_ATTEMPTS):
            secret = self.secret()
            data = update(secret.data)
            if data is None:
                return secret.version
            try:
                return self._written(self.path, data, secret.version)
            except ConflictError:
                continue
        raise ConflictError(self.path, "others keep writing to it", store=self.store, hint="Run the command again")

    def former(self, version: Version | None) -> Secret:
        """Return an earlier version of the secret.

        Raises:
            UnsupportedOperationError: the store does not have it, or keeps no versions.
        """
        hint = f"To replace the credential, run: strongroom rotate {shown(self.path)}"
        if version is None or not self.versioned:
            reason = "it keeps no versions, so the old credential is gone"
            raise UnsupportedOperationError(self.path, reason, store=self.store, hint=hint)
        try:
            return self._at(self.path, lambda store: store.read_version(self.path, version))
        except SecretNotFoundError:
            reason = f"version {version} of the secret, with the old credential, is gone"
        raise UnsupportedOperationError(self.path, reason, store=self.store, hint=hint)

    def load(self) -> tuple[RotationState | None, Version | None]:
        """Return the state and its version; None and None if the secret was never rotated."""
        place = pending_path(self.path)
        try:
            found = self._at(place, lambda store: store.read(place))
        except SecretNotFoundError:
            return None, None
        return parse_document(found.data, place), found.version

    def save(self, state: RotationState, secret: Mapping[str, Value], expected: Version | None) -> Version:
        """Write the state, and return its new version.

        Raises:
            ConflictError: another process has written it.
        """
        place = pending_path(self.path)
        version = self._written(place, as_document(state, secret), expected)
        if version is None:
            raise UnsupportedOperationError(self.path, "its check-and-set returns no versions", store=self.store)
        return version

    def label(self, labels: Mapping[str, str | None]) -> None:
        """Set labels of the secret, and remove those that are None. A store that refuses keeps its own."""
        if not self.versioned:
            return

        def merge(store: GuardedStore) -> None:
            found = store.read_metadata(self.path)
            kept = {name: label for name, label in found.items() if name not in labels}
            wanted = {**kept, **{name: label for name, label in labels.items() if label is not None}}
            if wanted != found:
                store.write_metadata(self.path, wanted)

        try:
            self._chain.at_target(self.path, self.store, merge, changes="label")
        except StrongroomError as error:  # policies for data alone are common, and the state has the times too
            logger.debug("The labels of %s were not written: %s", self.path, error)

    def _target(self, chain: Chain, store: str | None) -> WriteTarget:
        target = chain.write_target(self.path, store=store)
        if "checked" not in target.capabilities:
            hint = "Keep it in a store with check-and-set, such as Vault KV version 2, or let its service rotate it"
            raise UnsupportedOperationError(self.path, NO_CHECK_AND_SET, store=target.store, hint=hint)
        return target

    def _written(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        return self._chain.at_target(
            path, self.store, lambda store: store.write_if(path, data, expected), changes="write"
        )

    def _at(self, path: str, operation: Callable[[GuardedStore], _R]) -> _R:
        return self._chain.at_target(path, self.store, operation)
