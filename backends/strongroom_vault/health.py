"""How a Vault server is, and what is left of the token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strongroom.store import Health
from strongroom_vault.answers import document, malformed, member
from strongroom_vault.session import LOOKUP, Session

# Each state has a status of its own, and some of them would be taken for failures and asked again.
_HEALTH = (
    "/v1/sys/health?standbyok=true&perfstandbyok=true"
    "&standbycode=200&performancestandbycode=200&drsecondarycode=200&sealedcode=200&uninitcode=200"
)


def health(session: Session) -> Health:
    """The server's own word on itself, and whether it accepts the token.

    Facts: `version`, `standby` where it is one, `token_ttl` (seconds left) where the token may look itself up and
    expires.

    Raises:
        StoreError: there was no answer, or none of Vault's.
    """
    reply = session.request("GET", _HEALTH, everywhere=True)
    state = document(reply)
    if reply.status != 200 or state is None or not isinstance(state.get("sealed"), bool):
        raise malformed(None, session.place)
    facts = {"version": str(state.get("version", "unknown"))}
    if state.get("standby") is True:
        facts["standby"] = "yes"
    if state.get("initialized") is not True:
        return Health(ok=False, detail="it is not initialised", facts=facts)
    if state["sealed"] is True:
        return Health(ok=False, detail="it is sealed", facts=facts)
    token = session.request("GET", LOOKUP)
    facts |= _life(member(document(token), "data") or {})
    if token.status == 200 or session.token_is_good():
        return Health(ok=True, detail=f"open: {session.place}", facts=facts)
    return Health(ok=False, detail="it does not accept the token", facts=facts)


def _life(token: Mapping[str, Any]) -> dict[str, str]:
    seconds = token.get("ttl")
    expires = isinstance(seconds, int) and token.get("expire_time") is not None
    return {"token_ttl": str(seconds)} if expires else {}
