"""Read-after-write consistency on any node of a cluster, for each secret.

A standby answers reads from its own, older state. The reply to a write names the new state in `X-Vault-Index`. A
request with this header is answered from that state or a later one, by the active node if necessary
(https://developer.hashicorp.com/vault/docs/enterprise/consistency).
"""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote

from strongroom.store import fork_safe_lock
from strongroom.store.deadline import scoped

INDEX: Final = "X-Vault-Index"
INCONSISTENT: Final = "X-Vault-Inconsistent"
FORWARD: Final = "forward-active-node"

_NEVER: Final = 2**62
_MOST_SECRETS: Final = 10_000
_KV2_VIEWS: Final = frozenset({"data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata"})
"""The first segment of a version 2 engine's paths: they all concern the same secrets."""
_active_alone: ContextVar[bool] = ContextVar("strongroom_vault_active_alone", default=False)


def reads_from_active_node() -> AbstractContextManager[None]:
    """Let the active node, which has the newest state, answer the requests of the block."""
    return scoped(_active_alone, value=True)


def is_from_active_node() -> bool:
    """Return True within `reads_from_active_node`."""
    return _active_alone.get()


class States:
    """The states that the requests of one session need, so that they see its changes.

    A read of a secret needs the state after the last change to that secret, and after every change that is not to a
    secret: a login, a policy. Any other request needs the state after all changes. A standby that is behind because of
    another secret still answers while a cluster has no leader.

    Args:
        mount: the engine's mount path; None if no target is a secret's.
    """

    def __init__(self, mount: str | None = None) -> None:
        self._below = None if mount is None else f"/v1/{quote(mount)}/"
        self._of_secret: dict[str, str] = {}  # the oldest first
        self._of_others: str | None = None
        self._of_all: str | None = None
        self._any: str | None = None
        self._unknown: dict[str, object] = {}  # secret, or other target -> mark of its last change of unknown outcome
        self._lock = fork_safe_lock(self, "_lock")

    def needed(self, method: str, target: str) -> tuple[str | None, object | None]:
        """Return the state from which a node must answer this request, if any, and the mark that `unknown` returns."""
        unknown = None if not self._unknown else self.unknown(target)
        written = self._of_all
        if written is not None and method == "GET" and (secret := self._secret(target)) is not None:
            written = later(self._of_secret.get(secret), self._of_others)
        if written is None and self._any is None:
            return None, unknown  # a server without standbys names no state
        return required(written, self._any, newest=unknown is not None), unknown

    def newest(self) -> str | None:
        """Return what only the active node has reached; None if that is not known, or cannot be expressed."""
        return required(None, self._any, newest=True)

    def unknown(self, target: str) -> object | None:
        """Return the mark of the last change to this secret whose outcome is unknown, if there is one."""
        return self._unknown.get(self._secret(target) or target)

    def doubt(self, target: str) -> None:
        """Note a change whose outcome is unknown: the active node must answer the next read."""
        self._unknown[self._secret(target) or target] = object()

    def settle(self, target: str, state: str | None, unknown: object | None) -> None:
        """Note the active node's answer to a read: later reads must not be older. `unknown` was the mark before it."""
        self.changed(target, state)
        if unknown is not None and unknown is self.unknown(target):
            self._unknown.pop(self._secret(target) or target, None)

    def seen(self, state: str | None) -> None:
        """Note any state: it names the cluster."""
        self._any = state or self._any

    def changed(self, target: str, state: str | None) -> None:
        """Note the state after a change."""
        if state is None:
            return
        secret = self._secret(target)
        with self._lock:
            self._of_all = later(self._of_all, state)
            if secret is None:
                self._of_others = later(self._of_others, state)
                return
            known = self._of_secret.pop(secret, None)
            self._of_secret[secret] = later(known, state) or state
            if len(self._of_secret) > _MOST_SECRETS:
                oldest = self._of_secret.pop(next(iter(self._of_secret)))
                self._of_others = later(self._of_others, oldest)

    def _secret(self, target: str) -> str | None:
        """Return the path of the secret that a target concerns; None if it concerns another thing."""
        if self._below is None or not target.startswith(self._below):
            return None
        path = target.partition("?")[0][len(self._below) :]
        view, _, below = path.partition("/")
        return below if view in _KV2_VIEWS else path


def required(written: str | None, seen: str | None, *, newest: bool = False) -> str | None:
    """Return the state from which a node must answer a request, if any.

    Args:
        written: the latest state after a write of this process.
        seen: any state of this cluster.
        newest: require the newest state, as within `reads_from_active_node`.

    Returns:
        For the newest, a state that no node has reached: each standby then forwards the request, and the active
        node answers from its state (measured on OpenBao 2.7.2, where `X-Vault-Forward` changes nothing). The
        states of Vault are signed and cannot be made up; its standbys forward every request, but for those of
        Enterprise.
    """
    if seen is None or not (newest or _active_alone.get()):
        return written
    position = _position(seen)
    if position is None or not _is_openbaos(seen):
        return written
    return base64.b64encode(json.dumps({"cluster": position[0], "value": str(_NEVER)}).encode()).decode()


def _is_openbaos(state: str) -> bool:
    return base64.b64decode(state).startswith(b"{")


def later(known: str | None, new: str | None) -> str | None:
    """Return the later of two states; the new one if they cannot be compared.

    Replies to writes of two threads may arrive in either order, and each thread must see its own write.
    """
    if known is None or new is None:
        return known or new
    before, after = _position(known), _position(new)
    if before and after and before[0] == after[0] and before[1] > after[1]:
        return known
    return new


def _position(state: str) -> tuple[str, int] | None:
    """Return the cluster and the number in its log; None if the state has neither known form."""
    try:
        text = base64.b64decode(state, validate=True).decode()
        if text.startswith("{"):  # OpenBao: {"cluster": "…", "value": "35"}
            document = json.loads(text)
            return str(document["cluster"]), int(document["value"])
        _, cluster, index, *_ = text.split(":")  # Vault: v1:cluster:local:replicated:signature
        return cluster, int(index)
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
