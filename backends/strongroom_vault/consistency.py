"""Reading what was written, from any node of a cluster: the state that a write leaves behind. Pure.

A standby answers reads from its own, older state. Each write's reply names the state that it made in `X-Vault-Index`;
a request that carries this header is answered from that state or a later one, by the active node where need be
(https://developer.hashicorp.com/vault/docs/enterprise/consistency).
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

INDEX: Final = "X-Vault-Index"
INCONSISTENT: Final = "X-Vault-Inconsistent"
FORWARD: Final = "forward-active-node"


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
