"""A server that is set up: its present state, the rights of the operator's token, and the steps performed on it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from strongroom.errors import ConfigurationError, PermissionDeniedError, PluginError, StoreError
from strongroom.store import remaining, time_limit
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_request
from strongroom_vault.store.mounts import kv_version

_LISTED = 6
"""How many missing rights an error lists."""

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


class State(StrEnum):
    """The present state of the thing that a step creates."""

    EXISTS = "exists"
    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True)
class Role:
    """A role of an auth method.

    Attributes:
        method: the type of the auth method, `approle` or `kubernetes`.
        mount: the mount of the auth method, below `auth/`.
        name: the name of the role.
        fields: the fields of the role as the server returns them: seconds and lists.
    """

    method: str
    mount: str
    name: str
    fields: Mapping[str, Any]

    @property
    def path(self) -> str:
        """API path of the role."""
        return f"auth/{self.mount}/role/{self.name}"


@dataclass(frozen=True)
class Step:
    """One thing that the server shall have.

    Attributes:
        name: the thing, for messages.
        state: its present state.
        detail: how it differs, or a hint, in one line.
        difference: the difference line by line, for a text.
        requests: the requests that create it. If the server refuses one with HTTP 400, the next is tried.
        rights: API path -> the capabilities that the step needs.
        ready: a request that an engine answers with HTTP 400 until it can be used.
    """

    name: str
    state: State
    detail: str = ""
    difference: tuple[str, ...] = ()
    requests: tuple[ApiRequest, ...] = field(default=(), repr=False)
    rights: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    ready: ApiRequest | None = None

    @property
    def pending(self) -> bool:
        """True if the step changes the server."""
        return self.state is not State.EXISTS


class Server:
    """A server, as the operator's token sees it.

    Args:
        session: has the operator's token.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._denied: list[str] = []
        self._accepted = False

    def read(self, request: ApiRequest, path: str) -> Mapping[str, Any] | None:
        """Return the data at an API path; None if it is missing, or if the token may not read it, which is recorded.

        Raises:
            StoreError: the server did not answer.
        """
        reply = self._send(request)
        if reply.status == 200:
            if (data := member(document(reply), "data")) is None:
                raise malformed(None, self.session.location)
            return data
        if reply.status == 403:
            self._denied.append(path)
        elif reply.status not in {400, 404}:  # a missing engine or auth method is 400 on some servers
            raise self.session.failure(reply, None)
        return None

    def has_engine(self, mount: str) -> bool:
        """Return True if a KV version 2 engine is at the mount.

        Raises:
            ConfigurationError: something else is mounted there, or the namespace does not exist.
        """
        reply = self._send(mount_request(mount))
        if reply.status == 200:
            if kv_version(reply, self.session) == 2:
                return True
            raise ConfigurationError(
                f"mount: {self.session.location} is a key-value engine of version 1, which is not upgraded "
                "automatically. Choose another --mount, or upgrade it: bao kv enable-versioning"
            )
        if reply.status != 403:
            raise self.session.failure(reply, None)
        # The reply is the same for a missing mount and for one below which the token has no rights. hvac has no method
        # that reads one mount.
        path = f"sys/mounts/{mount}"
        data = self.read(ApiRequest("GET", target(path)), path)
        if data is None or (data.get("type") == "kv" and (member(data, "options") or {}).get("version") == "2"):
            return data is not None
        raise ConfigurationError(f"mount: {self.session.location} is not a KV version 2 engine. Choose another --mount")

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

    def check_rights(self, steps: Iterable[Step], *, origin: str) -> None:
        """Check that the token may perform all steps, before the first of them.

        Args:
            steps: the steps; those that are not pending need no rights.
            origin: the source of the token, for the message.

        Raises:
            VaultAuthenticationError: the server does not accept the token.
            PermissionDeniedError: lists the missing capabilities.
            StoreError: the server did not answer.
        """
        # A token that was allowed a single read is valid. One that was denied every read may be valid too.
        if not self._accepted and not self.session.token_is_good():
            raise VaultAuthenticationError(reason=f"{self.session.location} does not accept the token")
        missing: dict[str, AbstractSet[str]] = {path: {"read"} for path in self._denied}
        rights: dict[str, AbstractSet[str]] = {}
        for step in steps:
            rights |= step.rights if step.pending else {}
        missing |= self._lacking(rights) if rights else {}
        if missing:
            listed = [f"{' and '.join(sorted(names))} on {path}" for path, names in sorted(missing.items())]
            more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            raise PermissionDeniedError(
                reason=f"nothing was changed. The token lacks {', '.join(listed[:_LISTED])}{more}",
                hint=f"Set VAULT_TOKEN to an operator's token; this one comes from {origin}",
            )

    def perform(self, step: Step) -> None:
        """Perform the step if it is pending.

        Raises:
            StoreError: the server refused it. The same command continues after the steps that were performed.
        """
        if not step.pending:
            return
        with time_limit(_STEP_LIMIT):
            reply = self._first_accepted(step.requests)
            if reply.status not in {200, 204}:
                raise self._refusal(step, reply)
            # A new engine answers 400 while it upgrades itself to version 2.
            while step.ready and self.session.request(step.ready).status == 400 and remaining() > _PAUSE:
                time.sleep(_PAUSE)

    def _send(self, request: ApiRequest) -> Reply:
        reply = self.session.request(request)
        self._accepted = self._accepted or reply.status != 403
        return reply

    def _lacking(self, rights: Mapping[str, AbstractSet[str]]) -> dict[str, AbstractSet[str]]:
        reply = self.session.request(requests().system.get_capabilities(list(rights)))
        if reply.status == 403:
            return {"sys/capabilities-self": {"update"}}
        if reply.status != 200:
            raise self.session.failure(reply, None)
        data = member(document(reply), "data") or {}
        lacking: dict[str, AbstractSet[str]] = {}
        for path, needed in rights.items():
            if not isinstance(granted := data.get(path), list):
                raise malformed(None, self.session.location)
            if "root" not in granted and (names := needed - set(map(str, granted))):
                lacking[path] = names
        return lacking

    def _first_accepted(self, choices: tuple[ApiRequest, ...]) -> Reply:
        """Return the reply to the first request that is not refused with HTTP 400, or to the last one."""
        *first, last = choices
        for request in first:
            if (reply := self.session.request(request)).status != 400:
                return reply
        return self.session.request(last)

    def _refusal(self, step: Step, reply: Reply) -> Exception:
        path, location = next(iter(step.rights)), self.session.location
        if reply.status == 404:
            return ConfigurationError(f"{location} has no {path}, so {step.name} cannot be created (HTTP 404)")
        if reply.status == 400:
            hint = "Another engine may be mounted at that path or below it: choose another --mount"
            return StoreError(path, f"{location} refused {step.name} (HTTP 400)", hint=hint if step.ready else None)
        return self.session.failure(reply, path, changes=True)


def target(path: str) -> str:
    """Return the request target of an API path, for a request that hvac has no method for."""
    return f"/v1/{quote(path)}"
