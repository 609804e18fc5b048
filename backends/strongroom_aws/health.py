"""Health of an AWS service, and the identity of this process there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from strongroom.errors import Check, CheckState, PermissionDeniedError, StoreError, StrongroomError
from strongroom.store import Health
from strongroom_aws.service import Service

_MOST_SKEW = 60.0
"""Tolerated difference of two clocks, in seconds: AWS refuses a signature that is five minutes off."""


def health(service: Service, operation: str, title: str, clock: Callable[[], float] = time.time) -> Health:
    """Return region, latency and clock of the service, and the identity that STS reports.

    Facts: `region`, `latency` of one request and `clock_skew` (both in seconds; a clock that is ahead of this machine's
    is positive), `account` and `identity`, the ARN.

    Args:
        service: the service.
        operation: lists at most one name, and shows no value. A denial of it is a warning.
        title: the service's name in words.
        clock: this machine's seconds since the epoch.

    Raises:
        StoreError: the service did not answer, or refused the credentials.
    """
    started = time.monotonic()
    denied = False
    try:
        reply = service.call(operation, None, MaxResults=1)
    except PermissionDeniedError:
        reply, denied = {}, True
    latency = time.monotonic() - started
    facts = {"region": service.region, "latency": f"{latency:.4f}"}
    text = f"{title} in {service.region}, {latency * 1000:.1f} ms for one request"
    checks = [Check("reachable", CheckState.OK, text), Check("authenticated", CheckState.OK)]
    if denied:
        hint = "Allow it, or ignore this: secrets are read without it"
        checks.append(Check("listing", CheckState.WARNING, f"{operation} is denied, so secrets cannot be listed", hint))
    identity, reply = _identity(service, reply)
    checks.append(identity)
    if identity.state is CheckState.OK:
        facts |= {"account": str(reply.get("Account", "")), "identity": identity.detail}
    if (date := _date(reply)) is not None:
        ahead = date - clock()
        facts["clock_skew"] = f"{ahead:.1f}"
        checks.append(_check_clock(ahead))
    return Health(ok=True, detail=f"open: {title} in {service.region}", facts=facts, checks=tuple(checks))


def _identity(service: Service, reply: Mapping[str, Any]) -> tuple[Check, Mapping[str, Any]]:
    """Return the check of the identity, which needs no right, and the reply of STS, or the given one without it.

    A network that lets only the service be reached is not a fault of the store.
    """
    try:
        answer = service.call("get_caller_identity", None, service="sts")
    except StrongroomError as error:
        reason = error.reason if isinstance(error, StoreError) else "its settings are wrong"
        hint = "Ignore this if STS cannot be reached from here"
        return Check("identity", CheckState.WARNING, f"STS does not report the identity: {reason}", hint), reply
    return Check("identity", CheckState.OK, str(answer.get("Arn", "unknown"))), answer


def _date(reply: Mapping[str, Any]) -> float | None:
    """Return the time of the reply by the clock of AWS, in whole seconds since the epoch."""
    try:
        return parsedate_to_datetime(str(reply["ResponseMetadata"]["HTTPHeaders"]["date"])).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _check_clock(ahead: float) -> Check:
    if abs(ahead) <= _MOST_SKEW:
        return Check("clock", CheckState.OK, f"less than {_MOST_SKEW:.0f} s from this machine's")
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    hint = "Synchronize this machine's clock, with NTP for example: AWS refuses signatures that are five minutes off"
    return Check("clock", CheckState.WARNING, text, hint)
