"""One AWS service, called through boto3 within the time that a call has, in silence, and with our errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from strongroom.errors import StoreUnavailableError, StrongroomError, WriteOutcomeUnknownError
from strongroom.secret import protect_data
from strongroom.store import in_daemon, remaining, time_limit
from strongroom_aws.errors import may_have_been_done, meaning, misconfigured
from strongroom_aws.sdk_logging import mute, quiet

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
"""How long botocore waits for a connection and between two bytes, in seconds: a call that was given up ends by then."""

AT_ONCE = 8
"""How many calls of a batch are under way at a time."""

_R = TypeVar("_R")


@dataclass(frozen=True)
class Access:
    """How AWS is reached. What is None is found as boto3 finds it: AWS_* variables, ~/.aws, the machine's own role.

    Attributes:
        region: the region's name.
        profile: the profile of ~/.aws/config.
        endpoint_url: the service's address, for one that is not AWS's own.
    """

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None


@dataclass
class _Clients:
    """The clients of one process: sockets and locks are of no use to its children."""

    process: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: dict[str, Any] = field(default_factory=dict, repr=False)


class Service:
    """A service of AWS, with a boto3 client for each process that calls it.

    Requests are repeated as botocore's adaptive mode does: AWS_MAX_ATTEMPTS and the profile say how often.

    Args:
        name: boto3's name for it.
        access: how it is reached.
    """

    def __init__(self, name: str, access: Access) -> None:
        self.name = name
        self._access = access
        self._clients = _Clients()

    def __repr__(self) -> str:
        return f"Service({self.name})"

    @property
    def region(self) -> str:
        """The region that the client is for; empty where there is none yet."""
        client = self._clients.made.get(self.name)
        return str(client.meta.region_name) if client is not None else ""

    def open(self) -> None:
        """Makes the client, without a request to the service.

        Raises:
            ConfigurationError: there is no region, no such profile, or the like.
        """
        _in_time(None, lambda: self._client(self.name))

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
        """What AWS answers to an operation, under a `repr` that shows nothing.

        botocore's timeouts are for each wait on a socket, and neither finding credentials nor looking up a name has
        one: so each call runs in a thread of its own, which is left to itself when the time is over. It sends nothing
        any more from then on.

        Args:
            operation: the method of boto3's client.
            path: the secret that it is about, for the error.
            service: another service's name, which is reached where boto3 finds it.
            changes: it changes something: a lost reply is a `WriteOutcomeUnknownError`.
            parameters: of the operation.
        """

        def send() -> Mapping[str, Any]:
            answer = getattr(self._client(service or self.name), operation)(**parameters)
            return protect_data(answer)

        return _in_time(path, send, changes=changes)

    def close(self) -> None:
        """Closes the connections of this process."""
        clients = self._mine()
        made, clients.made = clients.made, {}  # not under the lock, which a hung search for credentials may hold
        for client in made.values():
            client.close()

    def _mine(self) -> _Clients:
        if self._clients.process != os.getpid():
            self._clients = _Clients()
        return self._clients

    def _client(self, name: str) -> Any:  # boto3 ships no types
        clients = self._mine()
        client = clients.made.get(name)
        if client is None:
            with clients.lock:  # making a client is not safe in several threads at once
                client = clients.made.get(name)
                if client is None:
                    client = clients.made[name] = self._make(name)
        return client

    def _make(self, name: str) -> Any:
        from boto3.session import Session  # type: ignore[import-untyped]  # boto3 ships no types
        from botocore.config import Config  # type: ignore[import-untyped]  # botocore ships no types

        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "adaptive"},
            max_pool_connections=2 * AT_ONCE,
            user_agent_extra="strongroom",
        )
        session = Session(profile_name=self._access.profile, region_name=self._access.region)
        endpoint_url = self._access.endpoint_url if name == self.name else None
        try:
            client = session.client(name, config=config, endpoint_url=endpoint_url)
        except ValueError as error:  # an endpoint that is no URL
            kind = type(error).__name__
        else:
            client.meta.events.register("before-send", _send_in_time)
            mute()
            return client
        raise misconfigured(kind)


def _send_in_time(**_: object) -> None:
    """Before each request and each repetition: nobody waits any more, and a late write would undo a later one."""
    if remaining() <= 0:
        raise StoreUnavailableError(reason="no time is left")


def _in_time(path: str | None, operation: Callable[[], _R], *, changes: bool = False) -> _R:
    """The operation's result, or its failure as one of our errors, within `remaining()`."""
    limit = remaining()

    def run() -> _R:
        try:
            with quiet(), time_limit(limit):
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
    failure = meaning(error, path)
    if changes and isinstance(failure, StoreUnavailableError) and may_have_been_done(error):
        return WriteOutcomeUnknownError(path, failure.reason)
    return failure.copy()
