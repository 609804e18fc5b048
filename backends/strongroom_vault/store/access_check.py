"""Check of the token's policies against the required secrets. No secret is read for it."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import Check, CheckState, PermissionDeniedError, shown
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.responses import document, member
from strongroom_vault.session.session import Session

_READING = frozenset({"read", "root"})
_NAME = "permitted"
_HINT = "Have the token given a policy for them: `strongroom vault policy` prints the least that is needed"


def check_policies(session: Session, paths: Sequence[str]) -> tuple[Check, PermissionDeniedError | None]:
    """Check whether the token may read these API paths; add the error of a read if it may read none of them.

    Args:
        session: sends the request with its token.
        paths: API paths of the required secrets, without `/v1/`; at least one.

    Raises:
        StoreError: the server did not answer.
    """
    reply = session.request(requests().system.get_capabilities(list(paths)))
    data = member(document(reply), "data") if reply.status == 200 else None
    if data is None:
        return Check(_NAME, CheckState.OK, "not known: its policies do not allow this check"), None
    denied = [path for path in paths if _READING.isdisjoint(_listed(data.get(path)))]
    if not denied:
        return Check(_NAME, CheckState.OK, f"to read all that [secrets] needs: {_count(paths)}"), None
    more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
    reason = f"the token's policies do not allow to read {shown(denied[0])}{more}, which [secrets] needs"
    if len(denied) < len(paths):
        return Check(_NAME, CheckState.WARNING, reason, _HINT), None
    return Check(_NAME, CheckState.FAILED, reason, _HINT), PermissionDeniedError(reason=reason, hint=_HINT)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _count(paths: Sequence[str]) -> str:
    return f"{len(paths)} path{'' if len(paths) == 1 else 's'}"
