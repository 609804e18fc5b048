"""Which engine answers at a mount, by the mount's own metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote

from strongroom.errors import ConfigurationError, PermissionDeniedError, StrongroomError
from strongroom_vault.errors import VaultAuthenticationError, VaultConnectionError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, is_absent, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_target
from strongroom_vault.store.health import with_checks

KVVersion: TypeAlias = Literal[1, 2]

_R = TypeVar("_R")


def find_version(session: Session) -> KVVersion:
    """The version of the key-value engine at the session's mount.

    `sys/internal/ui/mounts` tells every token that has any right below the mount. It is 403 for a token that is not
    good, for one that has no right there, and for a mount that does not exist: each has its own answer here, as far as
    the server lets us tell them apart.

    Raises:
        ConfigurationError: there is no such namespace or mount, or it is not a key-value engine.
        VaultAuthenticationError: the token is not good.
        PermissionDeniedError: the token has no right below the mount, or there is no mount.
        StoreUnavailableError: there was no answer.
    """
    return _told(session, version_in)


def check_engine(session: Session, engine: str) -> None:
    """Returns when an engine of this type, such as `database`, is at the session's mount.

    Raises:
        ConfigurationError: there is no such namespace or mount, or another engine is there.
        StoreError: as `find_version` does.
    """

    def check(reply: Reply, session: Session) -> None:
        mounted = member(document(reply), "data")
        path = None if mounted is None else mounted.get("path")
        if mounted is None or not isinstance(path, str):
            raise malformed(None, session.place)
        if mounted.get("type") != engine:
            raise ConfigurationError(f"mount: {session.place} is not a {engine} engine")
        if path.strip("/") != session.mount:
            raise ConfigurationError(f"mount: {session.place} is below the mount '{path}': name that one")

    _told(session, check)


def _told(session: Session, conclude: Callable[[Reply, Session], _R]) -> _R:
    """What is concluded from the server's answer about the session's mount."""
    try:
        return conclude(_answer(session), session)
    except VaultConnectionError:
        raise
    except StrongroomError as error:
        failure = error
    # It says what answered: a store that does not open cannot be asked how its server is.
    raise with_checks(failure, session)


def _answer(session: Session) -> Reply:
    reply = session.request(ApiRequest("GET", mount_target(session.mount)))
    if reply.status == 403:
        raise _refusal(session)
    if reply.status != 200:
        raise session.failure(reply, None)
    return reply


def version_in(reply: Reply, session: Session) -> KVVersion:
    """The version that the server's answer about the session's mount says.

    Raises:
        ConfigurationError: it is about another mount, or that is not a key-value engine.
        StoreUnavailableError: it is no such answer.
    """
    mounted = member(document(reply), "data")
    path = None if mounted is None else mounted.get("path")
    if mounted is None or not isinstance(path, str):
        raise malformed(None, session.place)
    if mounted.get("type") not in {"kv", "generic"}:
        raise ConfigurationError(f"mount: {session.place} is not a key-value engine")
    if path.strip("/") != session.mount:
        rest = session.mount.removeprefix(path)
        raise ConfigurationError(f"mount: {session.place} is below the mount '{path}': add `prefix` '{rest}'")
    return 2 if (member(mounted, "options") or {}).get("version") == "2" else 1


def _refusal(session: Session) -> Exception:
    if not session.token_is_good():
        return VaultAuthenticationError(reason=f"{session.place} does not accept the token")
    # A token that may read there is told that nothing is; one that may not is refused here as well.
    reply = session.request(ApiRequest("GET", f"/v1/{quote(session.mount)}/config"))
    if reply.status == 404 and not is_absent(reply):
        return ConfigurationError(f"mount: there is no {session.place}")
    return PermissionDeniedError(
        reason=f"the token has no rights below {session.place}, or there is no such mount",
        hint="Give the token a policy for what is below the mount, or correct `mount`",
    )
