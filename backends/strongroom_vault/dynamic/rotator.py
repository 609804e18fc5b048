"""The rotator `vault-database`: a database engine rotates a static role, or the root credential of a connection."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NoReturn

from strongroom.errors import ConfigurationError, UnsupportedOperationError
from strongroom.store import Option, SecretStore
from strongroom_vault.dynamic.dynamic_store import VaultDynamic
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, member
from strongroom_vault.session.session import Session
from strongroom_vault.store.kv import VaultKV


class VaultDatabaseRotator:
    """Asks the engine to rotate. The engine changes the password in the database, and holds the new one alone.

    Args:
        role: a static role; None if `root` is given.
        root: a connection whose root credential is rotated.
        mount: the mount path of the database engine.
    """

    starts_once = False  # the engine rotates again at each request

    def __init__(self, role: str | None, root: str | None, mount: str) -> None:
        self._role = role
        self._root = root
        self._mount = mount

    def start(self, store: SecretStore, path: str) -> None:
        """Rotate, and return when the engine has done it."""
        session = _session(store, path)
        reply = session.request(self._rotation())
        if reply.status not in {200, 204}:
            self._fail(session, reply, path)

    def finished(self, store: SecretStore, path: str) -> bool:
        """Return True: the engine answers when it has rotated."""
        del store, path
        return True

    def last_rotation(self, store: SecretStore, path: str) -> datetime | None:
        """Return the time of a static role's last rotation. The engine has none for a root credential."""
        if self._role is None:
            return None
        session = _session(store, path)
        reply = session.request(requests().database.read_static_role(self._role, mount_point=self._mount))
        data = member(document(reply), "data") if reply.status == 200 else None
        if data is None:
            self._fail(session, reply, path)
        found = data.get("last_vault_rotation")
        try:
            return datetime.fromisoformat(found) if isinstance(found, str) and found else None
        except ValueError:
            return None

    def close(self) -> None:
        pass  # the store closes its session

    def _rotation(self) -> ApiRequest:
        database = requests().database
        if self._role is not None:
            return database.rotate_static_role_credentials(self._role, mount_point=self._mount)
        return database.rotate_root_credentials(self._root, mount_point=self._mount)

    def _fail(self, session: Session, reply: Reply, path: str) -> NoReturn:
        if reply.status in {400, 404}:
            named = f"static role {self._role!r}" if self._role is not None else f"connection {self._root!r}"
            raise ConfigurationError(
                f"The rotation of {path}: {named} does not exist at {session.location}, mount {self._mount!r} "
                f"(HTTP {reply.status}). Make it, or correct the configuration"
            )
        raise session.failure(reply, path, changes=True)


def _session(store: SecretStore, path: str) -> Session:
    if isinstance(store, VaultDynamic | VaultKV):
        return store.session
    reason = "the rotator 'vault-database' works with a store of Vault alone"
    raise UnsupportedOperationError(path, reason, hint="Name one with `store` in the table of the rotation")


def open_vault_database(
    *,
    role: Annotated[str | None, Option("the static role whose password is rotated")] = None,
    root: Annotated[
        str | None, Option("the connection whose root credential is rotated, in the place of `role`")
    ] = None,
    mount: Annotated[str, Option("the mount path of the database engine")] = "database",
) -> VaultDatabaseRotator:
    """Return a rotator of a database engine of HashiCorp Vault or OpenBao.

    Raises:
        ConfigurationError: neither or both of `role` and `root` are given.
    """
    if (role is None) == (root is None):
        raise ConfigurationError("role: give either `role` or `root`")
    return VaultDatabaseRotator(role, root, mount)
