"""Reading what was written, from any node of a cluster: the state that a write leaves behind. Pure.

A standby answers reads from its own, older state. Each write's reply names the state that it made in `X-Vault-Index`;
a request that carries this header is answered from that state or a later one, by the active node where need be
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
    """What the block asks is answered by the active node, of whose state every other is a part."""
    token = _active_alone.set(True)
    try:
        yield
    finally:
        _active_alone.reset(token)


def required(written: str | None, seen: str | None, *, newest: bool = False) -> str | None:
    """The state from which a request is to be answered, if any.

    Args:
        written: the latest state that a write of ours has left behind.
        seen: any state of this cluster.
        newest: whether it is to be answered from the newest state that there is, as `reads_from_active_node` says too.

    Returns:
        For the newest, a state that no node has reached: each standby then forwards the request, and the
        active node answers from what it has (measured on OpenBao 2.7.2, where `X-Vault-Forward` changes nothing). The
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
    """The later one of two states; the new one, where they cannot be compared.

    Replies of two threads' writes may come in either order, and each thread has to see its own.
    """
    if known is None or new is None:
        return known or new
    before, after = _position(known), _position(new)
    if before and after and before[0] == after[0] and before[1] > after[1]:
        return known
    return new


def _position(state: str) -> tuple[str, int] | None:
    """The cluster and the number in its log; None where the state is of neither known form."""
    try:
        text = base64.b64decode(state, validate=True).decode()
        if text.startswith("{"):  # OpenBao: {"cluster": "…", "value": "35"}
            document = json.loads(text)
            return str(document["cluster"]), int(document["value"])
        _, cluster, index, *_ = text.split(":")  # Vault: v1:cluster:local:replicated:signature
        return cluster, int(index)
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
