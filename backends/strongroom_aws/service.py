"""One AWS service, called through boto3 within the deadline, without its logging, and with Strongroom's errors.

Its health includes the identity of this process there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeVar

from strongroom.errors import (
    Check,
    CheckState,
    PermissionDeniedError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import protect_data
from strongroom.store import Health, in_daemon, remaining, time_limit
from strongroom.store.concurrency import MAX_CONCURRENT
from strongroom.store.sdk_logging import silence_new_loggers, silenced_logs
from strongroom_aws.errors import malformed, may_have_reached_aws, misconfigured, translate

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
"""Seconds that botocore waits for a connection and between two bytes. An abandoned call ends after them."""

_MOST_SKEW = 60.0
"""Tolerated difference of two clocks, in seconds: AWS refuses a signature that is five minutes off."""

_SDK = ("boto3", "botocore")
CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
"""The variables in which boto3 finds a credential itself. Others, such as AWS_PROFILE, name a place that has one."""

_R = TypeVar("_R")
_T = TypeVar("_T")


@dataclass
class _Clients:
    """The clients of one process. A forked child must not use its sockets and locks."""

    process: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: dict[str, Any] = field(default_factory=dict, repr=False)


class Service:
    """A service of AWS, with a boto3 client for each process.

    botocore retries requests in its adaptive mode; AWS_MAX_ATTEMPTS and the profile set how often. It finds settings
    that are None: AWS_* variables, ~/.aws, the role of the machine.

    Args:
        name: the name of the service in boto3.
        region: the region's name.
        profile: the profile of ~/.aws/config.
        endpoint_url: the address of the service if it is not AWS's own.
    """

    def __init__(self, name: str, region: str | None, profile: str | None, endpoint_url: str | None) -> None:
        self.name = name
        self._region = region
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._clients = _Clients()

    def __repr__(self) -> str:
        return f"Service({self.name})"

    @property
    def region(self) -> str:
        """The region of the client; empty before there is a client."""
        client = self._clients.made.get(self.name)
        return str(client.meta.region_name) if client is not None else ""

    def open(self) -> None:
        """Create the client, without a request to the service.

        Raises:
            ConfigurationError: boto3 refuses the settings, for example because it finds no region.
        """
        in_time(None, lambda: self._client(self.name))

    def call(
        self,
        operation: str,
        path: str | None,
        /,
        *,
        service: str | None = None,
        changes: bool = False,
        **parameters: Any,
    ) -> Mapping[str, Any]:
        """Call an operation; return the reply with its values redacted in `repr`.

        botocore's timeouts apply to each wait on a socket, and finding credentials and resolving a name have none. So
        each call runs in a separate thread, which is abandoned at the deadline and then sends no further request.

        Args:
            operation: the method of boto3's client.
            path: the path of the secret, for errors.
            service: the name of another service, at its default address.
            changes: the operation writes: a lost reply is a `WriteOutcomeUnknownError`.
            parameters: of the operation.
        """

        def send() -> Mapping[str, Any]:
            answer = getattr(self._client(service or self.name), operation)(**parameters)
            return protect_data(answer)

        return in_time(path, send, changes=changes)

    def sign(self, path: str | None, operation: Callable[[Any], str]) -> str:
        """Return a token that the client signs. Only requests for credentials are sent."""
        return in_time(path, lambda: operation(self._client(self.name)))

    def close(self) -> None:
        """Close the connections of this process."""
        clients = self._own_clients()
        made, clients.made = clients.made, {}  # without the lock, which a hung search for credentials may hold
        for client in made.values():
            client.close()

    def _own_clients(self) -> _Clients:
        if self._clients.process != os.getpid():
            self._clients = _Clients()
        return self._clients

    def _client(self, name: str) -> Any:  # boto3 ships no types
        clients = self._own_clients()
        client = clients.made.get(name)
        if client is None:
            with clients.lock:  # creating a client is not thread-safe
                client = clients.made.get(name)
                if client is None:
                    client = clients.made[name] = self._create(name)
        return client

    def _create(self, name: str) -> Any:
        from boto3.session import Session  # type: ignore[import-untyped]  # boto3 ships no types
        from botocore.config import Config  # type: ignore[import-untyped]  # botocore ships no types

        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "adaptive"},
            max_pool_connections=2 * MAX_CONCURRENT,
            user_agent_extra="strongroom",
        )
        session = Session(profile_name=self._profile, region_name=self._region)
        endpoint_url = self._endpoint_url if name == self.name else None
        try:
            client = session.client(name, config=config, endpoint_url=endpoint_url)
        except ValueError as error:  # the endpoint is not a URL
            kind = type(error).__name__
        else:
            client.meta.events.register("before-send", _send_in_time)
            silence_new_loggers(*_SDK)
            return client
        raise misconfigured(kind)


def _send_in_time(**_: object) -> None:
    """Stop a request or retry after the deadline: its caller has left, and a late write would undo a newer one."""
    if remaining() <= 0:
        raise StoreUnavailableError(reason="no time is left")


def in_time(path: str | None, operation: Callable[[], _R], *, changes: bool = False) -> _R:
    """Run the operation within `remaining()`; return its result or raise its translated failure."""
    limit = remaining()

    def run() -> _R:
        try:
            with silenced_logs(*_SDK), time_limit(limit):
                return operation()
        except Exception as error:  # noqa: BLE001  # its frames hold values
            failure = _failure(error, path, changes=changes)
        raise failure

    outcome: Future[_R] = in_daemon(run, "aws") if limit > 0 else Future()
    try:
        return outcome.result(timeout=limit)
    except TimeoutError:
        kind = WriteOutcomeUnknownError if changes and limit > 0 else StoreUnavailableError
        failure: StrongroomError = kind(path, "AWS did not answer in time")
    except StrongroomError as error:
        failure = error
    raise failure.copy()


def _failure(error: Exception, path: str | None, *, changes: bool) -> StrongroomError:
    failure = translate(error, path)
    if changes and isinstance(failure, StoreUnavailableError) and may_have_reached_aws(error):
        return WriteOutcomeUnknownError(path, failure.reason)
    return failure.copy()


def pages(call: Callable[..., Mapping[str, Any]], *words: object, **parameters: Any) -> Iterator[Mapping[str, Any]]:
    """Yield each page of an operation of `Service.call` or the like. A page may be empty although more follow."""
    while True:
        page = call(*words, **parameters)
        yield page
        if not (token := page.get("NextToken")):
            return
        parameters["NextToken"] = token


def listed(answer: Mapping[str, Any], member: str, path: str | None, *, optional: bool = False) -> list[Any]:
    """Return the list of mappings in a field of a reply."""
    found = answer.get(member, [] if optional else None)
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise malformed(path)
    return found


def in_groups(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in lists of `size` without duplicates in a list; the last list may be shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield list(dict.fromkeys(group))


# --- health -----------------------------------------------------------------------------------------------------------


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
