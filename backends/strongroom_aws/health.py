"""How a service of AWS is, and who we are to AWS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from strongroom.errors import Check, CheckState, PermissionDeniedError, StoreError, StrongroomError
from strongroom.store import Health
from strongroom_aws.service import Service

_MOST_SKEW = 60.0
"""Seconds that two clocks may differ by without a word: a signature is refused at five minutes."""


def health(service: Service, operation: str, title: str, clock: Callable[[], float] = time.time) -> Health:
    """Whether the service answers, with which region, latency and clock, and whom STS says we are.

    Facts: `region`, `latency` of one request and `clock_skew` (both in seconds; a clock that is ahead of ours is
    positive), `account` and `identity`, the ARN.

    Args:
        service: asks.
        operation: names what is there, one at the most, and shows no value. That it is denied is an answer as well.
        title: the service's name in words.
        clock: seconds since the epoch, as this machine has them.

    Raises:
        StoreError: there was no answer, or the credentials are not accepted.
    """
    started = time.monotonic()
    denied = False
    try:
        answer = service.call(operation, None, MaxResults=1)
    except PermissionDeniedError:
        answer, denied = {}, True
    latency = time.monotonic() - started
    facts = {"region": service.region, "latency": f"{latency:.4f}"}
    words = f"{title} in {service.region}, {latency * 1000:.1f} ms for one request"
    checks = [Check("reachable", CheckState.OK, words), Check("authenticated", CheckState.OK)]
    if denied:
        checks.append(_denied(operation))
    identity, answer = _who(service, answer)
    checks.append(identity)
    if identity.state is CheckState.OK:
        facts |= {"account": str(answer.get("Account", "")), "identity": identity.detail}
    if (told := _date(answer)) is not None:
        ahead = told - clock()
        facts["clock_skew"] = f"{ahead:.1f}"
        checks.append(_look_at_clock(ahead))
    return Health(ok=True, detail=f"open: {title} in {service.region}", facts=facts, checks=tuple(checks))


def _denied(operation: str) -> Check:
    words = f"{operation} is denied, so that nothing can be listed"
    return Check("listing", CheckState.WARNING, words, "Allow it, or leave it: secrets are read without it")


def _who(service: Service, answer: Mapping[str, Any]) -> tuple[Check, Mapping[str, Any]]:
    """Who we are, which needs no right, and the answer to look further into: STS's, or the service's where it has none.

    Where the network lets nobody but the service be reached, that is no fault of the store.
    """
    try:
        told = service.call("get_caller_identity", None, service="sts")
    except StrongroomError as error:
        reason = error.reason if isinstance(error, StoreError) else "its settings are wrong"
        words = f"STS does not say who this is: {reason}"
        return Check("identity", CheckState.WARNING, words, "Nothing, if STS is not to be reached from here"), answer
    return Check("identity", CheckState.OK, str(told.get("Arn", "unknown"))), told


def _date(answer: Mapping[str, Any]) -> float | None:
    """The time at AWS, in seconds since the epoch, whole ones."""
    try:
        return parsedate_to_datetime(str(answer["ResponseMetadata"]["HTTPHeaders"]["date"])).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _look_at_clock(ahead: float) -> Check:
    if abs(ahead) <= _MOST_SKEW:
        return Check("clock", CheckState.OK, f"less than {_MOST_SKEW:.0f} s from this machine's")
    words = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    hint = "Synchronise this machine's clock, with NTP for example: AWS refuses signatures that are minutes off"
    return Check("clock", CheckState.WARNING, words, hint)
