"""Read-after-write consistency on any node of a cluster. Pure.

A standby answers reads from its own, older state. The reply to a write names the new state in `X-Vault-Index`. A
request with this header is answered from that state or a later one, by the active node if necessary
(https://developer.hashicorp.com/vault/docs/enterprise/consistency).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

INDEX: Final = "X-Vault-Index"
INCONSISTENT: Final = "X-Vault-Inconsistent"
FORWARD: Final = "forward-active-node"

_NEVER: Final = 2**62
_active_alone: ContextVar[bool] = ContextVar("strongroom_vault_active_alone", default=False)


@contextmanager
def reads_from_active_node() -> Iterator[None]:
    """Let the active node, which has the newest state, answer the requests of the block."""
    token = _active_alone.set(True)
    try:
        yield
    finally:
        _active_alone.reset(token)


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
