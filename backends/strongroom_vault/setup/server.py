"""A server that is set up: its present state, and the steps that are performed on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from strongroom.errors import ConfigurationError, PermissionDeniedError, PluginError, StoreError, StrongroomError
from strongroom.store import remaining, time_limit
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_request
from strongroom_vault.store.mounts import kv_version

_STEP_LIMIT = 10.0
"""Time limit of one step, in seconds."""

_PAUSE = 0.05


def connect(**options: Any) -> Session:
    """Open a session with these options of the store `vault`.

    Raises:
        PluginError: a package is not installed. The message names the extra that installs it.
        ConfigurationError: an option is invalid.
    """
    try:
        from strongroom_vault.plugin import open_session

        requests()
        return open_session(**options)
    except ImportError as error:
        missing = error.name or "a package"
    raise PluginError(f'{missing} is not installed. Run: pip install "strongroom[vault]"')


class StepState(StrEnum):
    """The present state of the thing that a step creates."""

    EXISTS = "exists"
    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True)
class SetupStep:
    """One thing that the server shall have.

    Attributes:
        name: the thing, for messages.
        state: its present state.
        detail: how it differs, or a hint, in one line.
        difference: the difference line by line, for a text.
        path: its API path, for messages.
        requests: the requests that create it. If the server refuses one with HTTP 400, the next is tried.
        ready: a request that an engine answers with HTTP 400 until it can be used.
    """

    name: str
    state: StepState
    detail: str = ""
    difference: tuple[str, ...] = ()
    path: str = ""
    requests: tuple[ApiRequest, ...] = field(default=(), repr=False)
    ready: ApiRequest | None = None

    @property
    def pending(self) -> bool:
        """True if the step changes the server."""
        return self.state is not StepState.EXISTS


class SetupServer:
    """A server, as the operator's token sees it.

    Args:
        session: has the operator's token.
        origin: the source of that token, for messages.
    """

    def __init__(self, session: Session, origin: str) -> None:
        self.session = session
        self._origin = origin
        self._accepted = False

    def read(self, request: ApiRequest, path: str) -> Mapping[str, Any] | None:
        """Return the data at an API path; None if it is missing.

        Raises:
            StoreError: the token may not read it, or the server did not answer.
        """
        reply = self.send(request)
        if reply.status == 200:
            if (data := member(document(reply), "data")) is None:
                raise malformed(None, self.session.location)
            return data
        if reply.status not in {400, 404}:  # a missing engine or auth method is 400 on some servers
            raise self.failure(reply, path)
        return None

    def has_engine(self, mount: str) -> bool:
        """Return True if a KV version 2 engine is at the mount.

        Raises:
            ConfigurationError: something else is mounted there, or the namespace does not exist.
        """
        reply = self.send(mount_request(mount))
        if reply.status == 200:
            if kv_version(reply, self.session) == 2:
                return True
            raise ConfigurationError(
                f"mount: {self.session.location} is a key-value engine of version 1, which is not upgraded "
                "automatically. Choose another `mount`, or upgrade it: bao kv enable-versioning"
            )
        if reply.status != 403:
            raise self.session.failure(reply, None)
        # The reply is the same for a missing mount and for one below which the token has no rights. hvac has no method
        # that reads one mount.
        path = f"sys/mounts/{mount}"
        data = self.read(ApiRequest("GET", target(path)), path)
        if data is None or (data.get("type") == "kv" and (member(data, "options") or {}).get("version") == "2"):
            return data is not None
        raise ConfigurationError(f"mount: {self.session.location} is not a KV version 2 engine. Choose another `mount`")

    def has_method(self, method: str, mount: str) -> bool:
        """Return True if an auth method of this type is at `auth/` and the mount.

        Raises:
            ConfigurationError: an auth method of another type is there.
        """
        path = f"sys/auth/{mount}"  # hvac has no method that reads one auth method
        data = self.read(ApiRequest("GET", target(path)), path)
        if data is not None and data.get("type") != method:
            raise ConfigurationError(f"--auth-mount: auth/{mount} is not an auth method of the type {method}")
        return data is not None

    def perform(self, step: SetupStep) -> None:
        """Perform the step if it is pending.

        Raises:
            StoreError: the server refused it. The same command continues after the steps that were performed.
        """
        if not step.pending:
            return
        with time_limit(_STEP_LIMIT):
            first, *others = step.requests
            reply = self.send(first)
            for request in others:
                if reply.status == 400:
                    reply = self.send(request)
            if reply.status == 400:
                hint = "Another engine may be mounted at that path or below it: choose another `mount`"
                reason = f"{self.session.location} refused {step.name} (HTTP 400)"
                raise StoreError(step.path, reason, hint=hint if step.ready else None)
            if reply.status not in {200, 204}:
                raise self.failure(reply, step.path, changes=True)
            # A new engine answers 400 while it upgrades itself to version 2.
            while step.ready and self.send(step.ready).status == 400 and remaining() > _PAUSE:
                time.sleep(_PAUSE)

    def send(self, request: ApiRequest) -> Reply:
        """Return the reply to a request. Any other status than 403 proves that the server accepts the token."""
        reply = self.session.request(request)
        self._accepted = self._accepted or reply.status != 403
        return reply

    def failure(self, reply: Reply, path: str, *, changes: bool = False) -> StrongroomError:
        """Return the error for a reply that is not the answer. A denial names the source of the token."""
        if reply.status != 403 or not (self._accepted or self.session.token_is_good()):
            return self.session.failure(reply, path, changes=changes)
        return PermissionDeniedError(
            path,
            f"the token's policies do not allow it at {self.session.location}",
            hint=f"Set VAULT_TOKEN to an operator's token; this one comes from {self._origin}",
        )


def target(path: str) -> str:
    """Return the request target of an API path, for a request that hvac has no method for."""
    return f"/v1/{quote(path)}"
