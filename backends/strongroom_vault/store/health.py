"""Health of a Vault server, the life of the token, and its rights to the required secrets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from strongroom.errors import (
    Check,
    CheckState,
    PermissionDeniedError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    shown,
)
from strongroom.store import Health
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.http.tls import check_certificates
from strongroom_vault.responses import document, malformed, member

if TYPE_CHECKING:
    from strongroom_vault.session.session import Session

_MOST_SKEW = 5.0
"""Tolerated difference of two clocks, in seconds. Signed logins fail when it exceeds their leeway."""

_SHORT = 3600.0
"""A token that cannot be renewed is worth a warning when it has less than this left, in seconds."""


_AUTHENTICATED = Check("authenticated", CheckState.OK)


@dataclass(frozen=True)
class _Server:
    """The public state of a server, and the reason why it answers no reads, if there is one."""

    checks: tuple[Check, ...]
    facts: dict[str, str] = field(default_factory=dict)
    fault: StoreUnavailableError | None = None


def health(session: Session, needed: Sequence[str] = (), clock: Callable[[], float] = time.time) -> Health:
    """Return the state of the server, and whether it accepts the token.

    Facts: `version`, `sealed` (yes, no), `standby` (yes, on a standby), `latency` of one request and `clock_skew` (both
    in seconds; positive if the server's clock is ahead), and `token_ttl` (seconds left) if the token expires and its
    life is known from a lookup or a login.

    Args:
        session: sends the requests.
        needed: API paths of the required secrets, without `/v1/`.
        clock: this machine's seconds since the epoch.

    Raises:
        StoreError: the server gave no answer, or a malformed one.
    """
    server = _look_at_server(session, clock)
    if server.fault is not None:
        return _unwell(server, server.fault)
    reply = session.request(requests().token.lookup_self())
    token = member(document(reply), "data") or {}
    if reply.status != 200 and not session.token_is_good():
        reason = "the token is wrong, expired or revoked, or has no rights at the mount"
        return _unwell(server, VaultAuthenticationError(reason=reason))
    checks = (*server.checks, _AUTHENTICATED, *_look_at_token(session, token, clock()))
    if exposure := session.exposure:
        checks = (*checks, Check("credential file", CheckState.WARNING, exposure, "Run chmod 600 on it"))
    facts, denied = server.facts | _life(session, token), None
    if needed:
        permitted, denied = check_policies(session, needed)
        checks = (*checks, permitted)
    detail = "open" if denied is None else denied.reason
    return Health(ok=denied is None, detail=detail, facts=facts, checks=checks, error=denied)


def with_checks(error: StrongroomError, session: Session) -> StrongroomError:
    """Return a copy of the error with the checks of the server, if it still answers."""
    try:
        checks = _look_at_server(session, time.time).checks
    except StrongroomError:  # the first failure is the one to report
        return error
    return error.copy(checks=(*checks, _AUTHENTICATED) if isinstance(error, PermissionDeniedError) else checks)


def skew(server: int, sent: float, received: float) -> float:
    """Return the least lead of the server's clock over ours, in seconds; negative if it is behind.

    Args:
        server: the server's time, truncated to seconds, at some moment between the other two.
        sent: our time when the request was sent.
        received: our time when the reply arrived.
    """
    if server > received:
        return server - received
    return min(0.0, server + 1 - sent)


def _unwell(server: _Server, error: StoreError) -> Health:
    return Health(ok=False, detail=error.reason, facts=server.facts, checks=server.checks, error=error)


def _look_at_server(session: Session, clock: Callable[[], float]) -> _Server:
    sent, started = clock(), time.monotonic()
    # By default each state has its own status, and some of these would be taken for failures and repeated.
    request = requests().system.read_health_status(
        standby_ok="true",
        standby_code=200,
        performance_standby_code=200,
        dr_secondary_code=200,
        sealed_code=200,
        uninit_code=200,
        method="GET",
    )
    reply = session.request(request, anonymous=True)
    latency, received = time.monotonic() - started, clock()
    state = document(reply)
    if reply.status != 200 or state is None or not isinstance(state.get("sealed"), bool):
        raise malformed(None, session.location)
    version, sealed = str(state.get("version", "unknown")), state["sealed"] is True
    facts = {"version": version, "sealed": "yes" if sealed else "no", "latency": f"{latency:.4f}"}
    text = f"version {version}, {latency * 1000:.1f} ms for one request"
    if state.get("standby") is True and not sealed:
        facts["standby"] = "yes"
        text += ", a standby"
    checks = [Check("reachable", CheckState.OK, text)]
    if isinstance(server_time := state.get("server_time_utc"), int):
        ahead = skew(server_time, sent, received)
        facts["clock_skew"] = f"{ahead:.1f}"
        checks.append(_look_at_clock(ahead))
    if certificates := session.certificates:
        checks.append(check_certificates(certificates, datetime.fromtimestamp(clock(), UTC)))
    if not session.verified:
        hint = "Remove skip_verify and set ca_cert: another server could receive the token"
        checks.append(
            Check("certificate trust", CheckState.WARNING, "TLS verification is disabled (skip_verify)", hint)
        )
    if state.get("initialized") is not True:
        return _closed(checks, facts, "it is not initialized", "Initialize it: bao operator init")
    if sealed:
        return _closed(checks, facts, "it is sealed", "Unseal it: bao operator unseal, once for each key share")
    return _Server((*checks, Check("unsealed", CheckState.OK)), facts)


def _closed(checks: list[Check], facts: dict[str, str], reason: str, hint: str) -> _Server:
    failed = Check("unsealed", CheckState.FAILED, reason, hint)
    return _Server((*checks, failed), facts, StoreUnavailableError(reason=reason, hint=hint))


def _look_at_clock(ahead: float) -> Check:
    if abs(ahead) <= _MOST_SKEW:
        return Check("clock", CheckState.OK, f"less than {_MOST_SKEW:.0f} s from this machine's")
    text = f"{_rough(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's"
    hint = "Synchronize both clocks, with NTP for example: logins and certificates depend on them"
    return Check("clock", CheckState.WARNING, text, hint)


def _look_at_token(session: Session, token: Mapping[str, Any], now: float) -> tuple[Check, ...]:
    life, policies = _look_at_life(session, token, now), token.get("policies")
    if not isinstance(policies, list) or "root" not in policies:
        return (life,)
    hint = "Give the application a token whose policies allow what it needs"
    return (life, Check("token rights", CheckState.WARNING, "it is a root token, which may do everything", hint))


def _look_at_life(session: Session, token: Mapping[str, Any], now: float) -> Check:
    ttl, uses = _life(session, token).get("token_ttl"), token.get("num_uses")
    hint = "Have a new token ready before that, or let the store log in with `auth`"
    if isinstance(uses, int) and uses > 0 and not session.is_kept:
        text = f"{uses} uses left" + ("" if ttl is None else f", within {_rough(float(ttl))}") + ", and no renewal"
        return Check("token life", CheckState.WARNING, text, hint)
    if ttl is None:
        known = bool(token) or session.seconds_left is not None
        text = "it does not expire" if known else "not known: its policies do not let it look itself up"
        return Check("token life", CheckState.OK, text)
    left, text = float(ttl), f"{_rough(float(ttl))} left"
    if session.is_kept:
        return Check("token life", CheckState.OK, f"{text}, then a renewal or a login")
    renewable = token.get("renewable") is True
    most, born = token.get("explicit_max_ttl"), token.get("creation_time")
    if renewable and isinstance(most, int) and isinstance(born, int) and most > 0:
        left = max(0.0, born + most - now)
        text += f", renewable for {_rough(left)} in all"
    elif renewable:
        return Check("token life", CheckState.OK, f"{text}, renewable")
    else:
        text += ", not renewable"
    if left >= _SHORT:
        return Check("token life", CheckState.OK, text)
    return Check("token life", CheckState.WARNING, text, hint)


def _life(session: Session, token: Mapping[str, Any]) -> dict[str, str]:
    """Return the fact `token_ttl`, if the token expires and its life is known from a lookup or a login."""
    seconds = token.get("ttl") if token.get("expire_time") is not None else None
    if not token and (left := session.seconds_left) is not None and math.isfinite(left):
        seconds = int(left)
    return {"token_ttl": str(seconds)} if isinstance(seconds, int) else {}


def _rough(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


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
    granted = {path: rights for path in paths if isinstance(rights := data.get(path), list)}
    denied = [path for path in paths if _READING.isdisjoint(granted.get(path, ()))]
    if not denied:
        count = f"{len(paths)} path{'' if len(paths) == 1 else 's'}"
        return Check(_NAME, CheckState.OK, f"to read all that [secrets] needs: {count}"), None
    more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
    reason = f"the token's policies do not allow to read {shown(denied[0])}{more}, which [secrets] needs"
    if len(denied) < len(paths):
        return Check(_NAME, CheckState.WARNING, reason, _HINT), None
    return Check(_NAME, CheckState.FAILED, reason, _HINT), PermissionDeniedError(reason=reason, hint=_HINT)
