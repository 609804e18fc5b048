"""What a server has of what it should have, and what the token may do there. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from strongroom.errors import ConfigurationError, PermissionDeniedError
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, is_absent, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_target
from strongroom_vault.setup.steps import Found, Role, Step, Wanted, target
from strongroom_vault.store.mounts import version_in

_CAPABILITIES = "sys/capabilities-self"
_SHOWN = 6


def look(session: Session, wanted: Wanted) -> Found:
    """What the server has of what is wanted, as far as the token may see.

    Raises:
        ConfigurationError: the mount is of another kind, or there is no such namespace.
        VaultAuthenticationError: the token is not good.
        StoreError: there was no answer.
    """
    return _Look(session).found(wanted)


def check_rights(session: Session, steps: Iterable[Step], denied: Iterable[str], *, origin: str) -> None:
    """Refuses steps that the token may not all take, before the first of them is taken.

    Args:
        session: asks.
        steps: what is to be done.
        denied: API paths that it may not even look at.
        origin: where the token comes from, in words.

    Raises:
        PermissionDeniedError: names what the token must be allowed.
        StoreError: there was no answer.
    """
    lacking: dict[str, Iterable[str]] = dict.fromkeys(denied, ("read",))
    rights: dict[str, frozenset[str]] = {}
    for step in steps:
        rights |= step.rights if step.pending else {}
    if rights:
        lacking |= _lacking(session, rights)
    if lacking:
        listed = [f"{' and '.join(sorted(names))} on {path}" for path, names in sorted(lacking.items())]
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        reason = f"the token may not do all of this, and nothing was done: it lacks {', '.join(listed[:_SHOWN])}{more}"
        raise PermissionDeniedError(reason=reason, hint=f"Put one that may into VAULT_TOKEN; this one is from {origin}")


def _lacking(session: Session, rights: Mapping[str, frozenset[str]]) -> dict[str, Iterable[str]]:
    reply = session.request(ApiRequest("POST", target(_CAPABILITIES), {"paths": list(rights)}))
    if reply.status == 403:
        return {_CAPABILITIES: ("update",)}
    if reply.status != 200:
        raise session.failure(reply, None)
    data = member(document(reply), "data") or {}
    lacking: dict[str, Iterable[str]] = {}
    for path, names in rights.items():
        has = data.get(path)
        if not isinstance(has, list):
            raise malformed(None, session.place)
        if "root" not in has and (missing := names - set(map(str, has))):
            lacking[path] = missing
    return lacking


class _Look:
    """One look at a server: it remembers what it was not let see."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._denied: list[str] = []
        self._accepted = False

    def found(self, wanted: Wanted) -> Found:
        mounted = self._mounted(wanted.mount)
        policies = {name: self._read(f"sys/policies/acl/{name}") for name in wanted.policies}
        # Without the engine there is nothing below it, and the server calls that by another name.
        metadata = {path: self._read(wanted.below_mount(path)) for path in (wanted.structure if mounted else ())}
        role, method, configured = wanted.role, None, True
        fields: Mapping[str, Any] | None = None
        if role is not None and (method := self._method(role)) is not None:
            fields = self._read(role.path)
            configured = role.method != "kubernetes" or self._is_configured(role)
        audit = self._audit(must=wanted.audit_file is not None)
        # A token that is refused everything may still be a good one; one that is not refused something is one.
        if not self._accepted and not self._session.token_is_good():
            raise VaultAuthenticationError(reason=f"{self._session.place} does not accept the token")
        return Found(
            mounted=mounted,
            policies={name: str(data.get("policy", "")) for name, data in policies.items() if data is not None},
            structure=frozenset(path for path, data in metadata.items() if data is not None),
            audit=audit,
            method=method,
            role=fields,
            configured=configured if method is not None else (role is None or role.method != "kubernetes"),
            denied=tuple(self._denied),
        )

    def _get(self, path: str) -> Reply:
        reply = self._session.request(ApiRequest("GET", path))
        self._accepted = self._accepted or reply.status != 403
        return reply

    def _mounted(self, mount: str) -> bool:
        """Whether there is an engine of version 2; any other is refused."""
        session = self._session
        reply = self._get(mount_target(mount))
        if reply.status == 200:
            if version_in(reply, session) == 2:
                return True
            raise ConfigurationError(
                f"mount: {session.place} is a key-value engine of version 1, which is not turned into one of version 2 "
                "without a word: name another --mount, or upgrade it yourself: bao kv enable-versioning"
            )
        if reply.status != 403:
            raise session.failure(reply, None)
        # The same answer for what is not there and for what the token has no right below.
        data = self._asked(f"sys/mounts/{mount}", absent=(400, 404))
        if data is None:
            return False
        if data.get("type") == "kv" and (member(data, "options") or {}).get("version") == "2":
            return True
        raise ConfigurationError(f"mount: {session.place} is no key-value engine of version 2: name another --mount")

    def _method(self, role: Role) -> str | None:
        """The type of what is mounted there, if something is; another than the wanted one is refused."""
        data = self._asked(f"sys/auth/{role.mount}", absent=(400, 404))
        if data is None:
            return None
        if data.get("type") != role.method:
            raise ConfigurationError(f"--auth-mount: auth/{role.mount} is of another type than {role.method}")
        return role.method

    def _is_configured(self, role: Role) -> bool:
        """Whether the method is; where the token may not see that, it is whoever set it up who knows."""
        reply = self._get(target(f"auth/{role.mount}/config"))
        return not is_absent(reply)

    def _audit(self, *, must: bool) -> tuple[str, ...] | None:
        reply = self._get(target("sys/audit"))
        if reply.status != 200:
            if must:
                self._refused("sys/audit", reply)
            return None
        devices = (member(document(reply), "data") or {}).values()
        options = [device.get("options") for device in devices if isinstance(device, dict)]
        return tuple(str((each if isinstance(each, dict) else {}).get("file_path", "")) for each in options)

    def _read(self, path: str) -> Mapping[str, Any] | None:
        return self._asked(path, absent=())

    def _asked(self, path: str, *, absent: tuple[int, ...]) -> Mapping[str, Any] | None:
        """What is at the path; None where there is nothing, or where the token may not see it, which is remembered."""
        reply = self._get(target(path))
        if reply.status == 200:
            data = member(document(reply), "data")
            if data is None:
                raise malformed(None, self._session.place)
            return data
        if is_absent(reply) or reply.status in absent:
            return None
        self._refused(path, reply)
        return None

    def _refused(self, path: str, reply: Reply) -> None:
        if reply.status != 403:
            raise self._session.failure(reply, None)
        self._denied.append(path)
