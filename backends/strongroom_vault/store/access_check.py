"""Whether the token's policies allow what the application needs: asked of the server, and nothing is read for it."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import Check, CheckState, PermissionDeniedError, shown
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.responses import document, member
from strongroom_vault.session.session import Session

_CAPABILITIES = "/v1/sys/capabilities-self"
_READING = frozenset({"read", "root"})
_NAME = "permitted"
_HINT = "Have the token given a policy for them: `strongroom vault policy` prints the least that is needed"


def check_policies(session: Session, paths: Sequence[str]) -> tuple[Check, PermissionDeniedError | None]:
    """Whether the token may read these API paths, and the error of a read where it may read none of them.

    Args:
        session: asks, with the token.
        paths: what the application needs, without `/v1/`; at least one.

    Raises:
        StoreError: there was no answer.
    """
    reply = session.request(ApiRequest("POST", _CAPABILITIES, {"paths": list(paths)}))
    data = member(document(reply), "data") if reply.status == 200 else None
    if data is None:
        return Check(_NAME, CheckState.OK, "not known: its policies do not let it ask what they allow"), None
    denied = [path for path in paths if _READING.isdisjoint(_listed(data.get(path)))]
    if not denied:
        return Check(_NAME, CheckState.OK, f"to read all that [secrets] needs: {_count(paths)}"), None
    more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
    words = f"the token's policies do not allow to read {shown(denied[0])}{more}, which [secrets] needs"
    if len(denied) < len(paths):
        return Check(_NAME, CheckState.WARNING, words, _HINT), None
    return Check(_NAME, CheckState.FAILED, words, _HINT), PermissionDeniedError(reason=words, hint=_HINT)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _count(paths: Sequence[str]) -> str:
    return f"{len(paths)} path{'' if len(paths) == 1 else 's'}"
