"""The rotator `mysql`: the password of a MySQL or MariaDB user, or of two that take turns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Annotated, Any

from strongroom.errors import PermissionDeniedError, StoreUnavailableError, StrongroomError
from strongroom.rotate.spi import read_address
from strongroom.secret import Value
from strongroom.store import Option, remaining
from strongroom_rotators import database_user as shared
from strongroom_rotators.database_user import DatabaseUserRotator, UserLogin

_REFUSED = frozenset({1045, 1698, 1044})
"""Error numbers: access denied."""

_DENIED = frozenset({1227, 1396, 1142, 1410, 1064, 1290, 1819, 3638})
"""Error numbers: no right, no such user, or a password that the server's policy refuses."""

_NO_LOCKS = frozenset({1105, 1235})
"""Error numbers: a Galera cluster has no locks by name."""

UserHost = Annotated[str, Option("the host part of the users' accounts")]


class MySQLServer:
    """MySQL and MariaDB, through PyMySQL."""

    def __init__(
        self, host: str | None, port: int | None, user_host: str, ca_cert: str | None, *, tls: bool | None
    ) -> None:
        import pymysql  # noqa: F401  # raises ImportError before anything is changed

        self._host = host
        self._port = port
        self._user_host = user_host
        self._ca_cert = ca_cert
        self._tls = tls

    def arguments(self, secret: Mapping[str, Value], login: UserLogin) -> dict[str, Any]:
        """Return PyMySQL's arguments. Options of the rotator for TLS replace those of the URL."""
        import pymysql

        found = shared.with_server(read_address(secret, kind="MySQL"), self._host, self._port)
        known = replace(found, name=None).mysql()
        if self._tls is None and self._ca_cert is None and any(key.startswith("ssl_") for key in known):
            if "ssl_disabled" not in known:
                known = {"ssl_verify_cert": True, "ssl_verify_identity": True, **known}
        else:
            known = {key: value for key, value in known.items() if not key.startswith("ssl")}
            if shared.is_encrypted(found.hosts[0], tls=self._tls):
                known["ssl"] = shared.verifying_context(self._ca_cert)
        limit = max(1, int(remaining()))
        known |= dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), limit)
        known |= {"user": login.user, "password": login.password, "autocommit": True}
        shared.check_arguments(pymysql.connect, known)
        return known

    def connect(self, secret: Mapping[str, Value], login: UserLogin) -> AbstractContextManager[Any]:
        """Return a connection: see `Connect`."""
        return self._opened(self.arguments(secret, login))

    @contextmanager
    def _opened(self, arguments: dict[str, Any]) -> Iterator[Any]:
        """Connect, and translate PyMySQL's errors by their numbers: messages may hold the statement."""
        import pymysql

        failure: StrongroomError | None = None
        connection: Any = None
        if (ca_cert := arguments.get("ssl_ca")) is not None:
            shared.verifying_context(ca_cert)
        try:
            connection = pymysql.connect(**arguments)
            with connection:
                yield connection
        except pymysql.MySQLError as error:
            failure = _translated(error, arguments["user"], connecting=connection is None)
        if failure is not None:
            raise failure

    def set_password(self, connection: Any, login: UserLogin, *, own: bool) -> None:
        """Set the password. The server itself masks it in its logs.

        A server executes a statement even if its client was killed while it waited for a lock. So each change holds a
        lock by the user's name until its session ends, and nothing that an earlier process has sent follows this one.
        """
        with connection.cursor() as cursor:
            wait_for_earlier_changes(cursor, login.user)
            if own and "MariaDB" in connection.get_server_info():  # its ALTER USER needs a right for one's own too
                cursor.execute("SET PASSWORD = PASSWORD(%s)", (login.password.reveal(),))
            elif own:
                cursor.execute("ALTER USER CURRENT_USER() IDENTIFIED BY %s", (login.password.reveal(),))
            else:
                cursor.execute(
                    "ALTER USER %s@%s IDENTIFIED BY %s", (login.user, self._user_host, login.password.reveal())
                )


def wait_for_earlier_changes(cursor: Any, user: str) -> None:
    """Return when no other session can change the user's password for a rotation. The lock ends with this session."""
    import pymysql

    limit = max(1, int(remaining()))
    # The session ends by then, even if its process is suspended or killed.
    cursor.execute("SET SESSION lock_wait_timeout = %s, SESSION wait_timeout = %s", (limit, limit))
    name = f"strongroom:{hashlib.sha256(user.encode()).hexdigest()[:32]}"  # it has 64 characters at most
    try:
        cursor.execute("SELECT GET_LOCK(%s, %s)", (name, max(1, limit - 1)))
    except pymysql.MySQLError as error:
        if error.args[0] not in _NO_LOCKS:
            raise
    else:
        if cursor.fetchone() != (1,):
            reason = f"the server has not ended an earlier change of the password of {user}"
            raise StoreUnavailableError(None, reason, hint="Wait until its session ends, or end that")


def _translated(error: Any, user: str, *, connecting: bool) -> StrongroomError:  # pymysql.MySQLError, imported at use
    """Return the error of the tree. The reason has the error's number and nothing of the server's message."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if connecting and number in _REFUSED:
        return shared.login_refused(user)
    if connecting and shared.is_unverified(error):
        return shared.unverified()
    if number in _DENIED or (number in _REFUSED and not connecting):
        reason = f"{user} may not change that user, or there is no such user (error {number})"
        return PermissionDeniedError(None, reason, hint="Create both users, and grant CREATE USER to the administrator")
    return StoreUnavailableError(None, f"the server does not answer (error {number})")


def open_mysql(
    *,
    users: shared.Users = None,
    admin: shared.Admin = None,
    user_key: shared.UserKey = None,
    password_key: shared.PasswordKey = "password",  # noqa: S107  # the name of a key
    host: shared.HostName = None,
    port: shared.Port = None,
    user_host: UserHost = "%",
    ca_cert: shared.CaCert = None,
    tls: shared.Tls = None,
    length: shared.Length = 32,
) -> DatabaseUserRotator:
    """Return a rotator for MySQL and MariaDB. Nothing is connected yet.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: PyMySQL is not installed.
    """
    server = MySQLServer(host, port, user_host, ca_cert, tls=tls)
    return DatabaseUserRotator(
        server, users=users, admin=admin, user_key=user_key, password_key=password_key, length=length
    )
