"""The engine at a mount, according to the metadata of the mount."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from strongroom.errors import ConfigurationError, PermissionDeniedError, StrongroomError
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, is_absent, malformed, member
from strongroom_vault.session.token_check import mount_request

if TYPE_CHECKING:
    from strongroom_vault.session.session import Session

KVVersion: TypeAlias = Literal[1, 2]

_R = TypeVar("_R")

_KEY_VALUE = frozenset({"kv", "generic"})


def find_version(session: Session) -> KVVersion:
    """Return the version of the key-value engine at the session's mount.

    `sys/internal/ui/mounts` answers every token that has any right below the mount. Status 403 stands for a bad token,
    for one without a right there, and for a missing mount. They raise different errors as far as the server tells them
    apart.

    Raises:
        ConfigurationError: there is no such namespace or mount, or it is not a key-value engine.
        VaultAuthenticationError: the server does not accept the token.
        PermissionDeniedError: the token has no right below the mount, or there is no such mount.
        StoreUnavailableError: the server did not answer.
    """
    return _parsed(session, kv_version)


def check_engine(session: Session) -> None:
    """Return if an engine that makes credentials is at the session's mount.

    Raises:
        ConfigurationError: there is no such namespace or mount, or a key-value engine is there.
        StoreError: as `find_version` does.
    """

    def check(reply: Reply, session: Session) -> None:
        mounted, path = _mounted(reply, session)
        if mounted.get("type") in _KEY_VALUE:
            raise ConfigurationError(f"mount: {session.location} is a key-value engine: use the store `vault`")
        if path.strip("/") != session.mount:
            raise ConfigurationError(f"mount: {session.location} is below the mount '{path}': name that one")

    _parsed(session, check)


def _parsed(session: Session, parse: Callable[[Reply, Session], _R]) -> _R:
    """Return the parsed answer about the session's mount. An error carries checks of the server."""
    try:
        return parse(_answer(session), session)
    except VaultConnectionError:
        raise
    except StrongroomError as error:
        failure = error
    from strongroom_vault.store.health import with_checks  # a mount that is found needs none of it

    raise with_checks(failure, session)


def _answer(session: Session) -> Reply:
    reply = session.request(mount_request(session.mount))
    if reply.status == 403:
        raise _refusal(reply, session)
    if reply.status != 200:
        raise session.failure(reply, None)
    return reply


def kv_version(reply: Reply, session: Session) -> KVVersion:
    """Return the version in the answer about the session's mount.

    Raises:
        ConfigurationError: the answer is about another mount, or about another engine.
        StoreUnavailableError: the reply is malformed.
    """
    mounted, path = _mounted(reply, session)
    if mounted.get("type") not in _KEY_VALUE:
        raise ConfigurationError(f"mount: {session.location} is not a key-value engine")
    if path.strip("/") != session.mount:
        rest = session.mount.removeprefix(path)
        raise ConfigurationError(f"mount: {session.location} is below the mount '{path}': add `prefix` '{rest}'")
    return 2 if (member(mounted, "options") or {}).get("version") == "2" else 1


def _mounted(reply: Reply, session: Session) -> tuple[Mapping[str, Any], str]:
    """Return the mount in the answer about it, with its path."""
    mounted = member(document(reply), "data") or {}
    if not isinstance(path := mounted.get("path"), str):
        raise malformed(None, session.location)
    return mounted, path


def _refusal(reply: Reply, session: Session) -> Exception:
    if not session.token_is_good():
        return session.failure(reply, None)
    # With the right to read it, the configuration of a missing mount is 404. Without that right, it is 403 too.
    reply = session.request(requests().kv2.read_configuration(mount_point=session.mount))
    if reply.status == 404 and not is_absent(reply):
        return ConfigurationError(f"mount: there is no {session.location}")
    return PermissionDeniedError(
        reason=f"the token has no rights below {session.location}, or there is no such mount",
        hint="Give the token a policy for paths below the mount, or correct `mount`",
    )
