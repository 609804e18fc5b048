"""Reading a server's present state, and the rights of a token there. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from strongroom.errors import ConfigurationError, PermissionDeniedError
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, is_absent, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_request
from strongroom_vault.setup.steps import Goal, Role, ServerState, Step, target
from strongroom_vault.store.mounts import kv_version

_LISTED = 6
"""How many missing rights an error lists."""


def inspect(session: Session, goal: Goal) -> ServerState:
    """Return the present state of the server, as far as the token may read it and the goal depends on it.

    Raises:
        ConfigurationError: the mount has another type, or the namespace does not exist.
        VaultAuthenticationError: the server does not accept the token.
        StoreError: the server did not answer.
    """
    return _Inspection(session).run(goal)


def check_rights(session: Session, steps: Iterable[Step], denied: Iterable[str], *, origin: str) -> None:
    """Check that the token may perform all steps, before the first of them.

    Args:
        session: asks the server.
        steps: the steps; those that are not pending need no rights.
        denied: API paths that the inspection could not read.
        origin: the source of the token, for the message.

    Raises:
        PermissionDeniedError: lists the missing capabilities.
        StoreError: the server did not answer.
    """
    missing: dict[str, AbstractSet[str]] = {path: {"read"} for path in denied}
    rights: dict[str, AbstractSet[str]] = {}
    for step in steps:
        rights |= step.rights if step.pending else {}
    if rights:
        missing |= _missing(session, rights)
    if missing:
        listed = [f"{' and '.join(sorted(names))} on {path}" for path, names in sorted(missing.items())]
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        reason = f"nothing was changed. The token lacks {', '.join(listed[:_LISTED])}{more}"
        raise PermissionDeniedError(
            reason=reason, hint=f"Set VAULT_TOKEN to an operator's token; this one comes from {origin}"
        )


def _missing(session: Session, rights: Mapping[str, AbstractSet[str]]) -> dict[str, AbstractSet[str]]:
    reply = session.request(requests().system.get_capabilities(list(rights)))
    if reply.status == 403:
        return {"sys/capabilities-self": {"update"}}
    if reply.status != 200:
        raise session.failure(reply, None)
    data = member(document(reply), "data") or {}
    missing: dict[str, AbstractSet[str]] = {}
    for path, needed in rights.items():
        granted = data.get(path)
        if not isinstance(granted, list):
            raise malformed(None, session.location)
        if "root" not in granted and (lacking := needed - set(map(str, granted))):
            missing[path] = lacking
    return missing


class _Inspection:
    """One inspection of a server. It collects the API paths that the token was not allowed to read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._denied: list[str] = []
        self._accepted = False

    def run(self, goal: Goal) -> ServerState:
        api = requests()
        mounted = self._is_mounted(goal.mount)
        policies = {
            name: self._read(api.system.read_acl_policy(name), f"sys/policies/acl/{name}") for name in goal.policies
        }
        # A path of an engine that is not mounted is another kind of 404 than a path without a secret.
        metadata = {
            path: self._read(
                api.kv2.read_secret_metadata(goal.below_mount(path), mount_point=goal.mount), goal.metadata_path(path)
            )
            for path in (goal.structure if mounted else ())
        }
        role, method, configured = goal.role, None, True
        fields: Mapping[str, Any] | None = None
        if role is not None and (method := self._method(role)) is not None:
            # Both methods keep a role at the same path, and hvac's Kubernetes class cannot be used for reading.
            fields = self._read(api.approle.read_role(role.name, mount_point=role.mount), role.path)
            configured = role.method != "kubernetes" or self._is_configured(role)
        audit = self._audit(required=goal.audit_file is not None)
        # A token that was allowed a single read is valid. One that was denied every read may be valid too.
        if not self._accepted and not self._session.token_is_good():
            raise VaultAuthenticationError(reason=f"{self._session.location} does not accept the token")
        return ServerState(
            mounted=mounted,
            policies={name: str(data.get("policy", "")) for name, data in policies.items() if data is not None},
            structure=frozenset(path for path, data in metadata.items() if data is not None),
            audit=audit,
            method=method,
            role=fields,
            configured=configured if method is not None else (role is None or role.method != "kubernetes"),
            denied=tuple(self._denied),
        )

    def _send(self, request: ApiRequest) -> Reply:
        reply = self._session.request(request)
        self._accepted = self._accepted or reply.status != 403
        return reply

    def _is_mounted(self, mount: str) -> bool:
        """Return True if an engine of version 2 is at the mount, and raise if something else is."""
        session = self._session
        reply = self._send(mount_request(mount))
        if reply.status == 200:
            if kv_version(reply, session) == 2:
                return True
            raise ConfigurationError(
                f"mount: {session.location} is a key-value engine of version 1, which is not upgraded automatically. "
                "Choose another --mount, or upgrade it: bao kv enable-versioning"
            )
        if reply.status != 403:
            raise session.failure(reply, None)
        # The reply is the same for a missing mount and for one below which the token has no rights. hvac has no method
        # that reads one mount.
        path = f"sys/mounts/{mount}"
        data = self._read(ApiRequest("GET", target(path)), path, absent=(400, 404))
        if data is None:
            return False
        if data.get("type") == "kv" and (member(data, "options") or {}).get("version") == "2":
            return True
        raise ConfigurationError(f"mount: {session.location} is not a KV version 2 engine. Choose another --mount")

    def _method(self, role: Role) -> str | None:
        """Return the type of the auth method at the role's mount, or None, and raise if it is another."""
        path = f"sys/auth/{role.mount}"  # hvac has no method that reads one auth method
        data = self._read(ApiRequest("GET", target(path)), path, absent=(400, 404))
        if data is None:
            return None
        if data.get("type") != role.method:
            raise ConfigurationError(f"--auth-mount: auth/{role.mount} is not an auth method of the type {role.method}")
        return role.method

    def _is_configured(self, role: Role) -> bool:
        """Return False if the auth method has no configuration; True also if the token may not read it."""
        # hvac's Kubernetes class evaluates the reply itself.
        return not is_absent(self._send(ApiRequest("GET", target(f"auth/{role.mount}/config"))))

    def _audit(self, *, required: bool) -> tuple[str, ...] | None:
        reply = self._send(requests().system.list_enabled_audit_devices())
        if reply.status != 200:
            if required:
                self._record_denial("sys/audit", reply)
            return None
        devices = (member(document(reply), "data") or {}).values()
        options = [device.get("options") for device in devices if isinstance(device, dict)]
        return tuple(str((each if isinstance(each, dict) else {}).get("file_path", "")) for each in options)

    def _read(self, request: ApiRequest, path: str, *, absent: tuple[int, ...] = ()) -> Mapping[str, Any] | None:
        """Return the data of the reply; None if it is missing, or if the token may not read it, which is recorded."""
        reply = self._send(request)
        if reply.status == 200:
            data = member(document(reply), "data")
            if data is None:
                raise malformed(None, self._session.location)
            return data
        if not is_absent(reply) and reply.status not in absent:
            self._record_denial(path, reply)
        return None

    def _record_denial(self, path: str, reply: Reply) -> None:
        if reply.status != 403:
            raise self._session.failure(reply, None)
        self._denied.append(path)
