"""The rotator `postgres`: the password of a PostgreSQL role, or of two that take turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    PermissionDeniedError,
    StoreUnavailableError,
    StrongroomError,
    did_you_mean,
)
from strongroom.rotate.spi import read_address
from strongroom.secret import Value
from strongroom.store import Option, remaining
from strongroom_rotators import database_user as shared
from strongroom_rotators.database_user import DatabaseUserRotator, UserLogin

if TYPE_CHECKING:
    from psycopg import Connection

_REFUSED = ("28P01", "28000")
"""SQLSTATEs: invalid password, invalid authorization."""

_UNVERIFIED = ("certificate verify failed", "root certificate file", "server certificate for")
"""Parts of libpq's messages about a server that it cannot verify."""

_DENIED = ("42501", "42704")
"""SQLSTATEs: insufficient privilege, undefined object."""

_LATE = ("57014", "55P03")
"""SQLSTATEs: the end of the time for a statement, or for a lock."""

_PASSING = ("08", "25", "40", "53", "55", "57", "XX")
"""Classes of SQLSTATEs that say nothing of rights: an outage, a lock, an end of the time, another's transaction."""

_ATTEMPTS = 10
"""How often a change is repeated while others change the same role."""

_SSL_MODES = ("verify-full", "verify-ca", "require", "prefer", "allow", "disable")
SslMode = Annotated[str | None, Option("libpq's sslmode; by default the key `sslmode` of the secret, or libpq's own")]
SslRootCert = Annotated[
    str | None,
    Option(
        "libpq's sslrootcert: the file of the authority that signed the server's certificate; by default the key "
        "`sslrootcert` of the secret"
    ),
]


class PostgresServer:
    """PostgreSQL, through psycopg."""

    def __init__(
        self, host: str | None, port: int | None, name: str | None, sslmode: str | None, sslrootcert: str | None
    ) -> None:
        import psycopg  # noqa: F401  # raises ImportError before anything is changed

        self._host = host
        self._port = port
        self._chosen = {"dbname": name, "sslmode": sslmode, "sslrootcert": sslrootcert}

    def arguments(self, secret: Mapping[str, Value], login: UserLogin) -> dict[str, Any]:
        """Return keywords of libpq. Of several hosts libpq takes the first one that accepts writes."""
        from psycopg import ProgrammingError, conninfo

        found = shared.with_server(read_address(secret, kind="PostgreSQL"), self._host, self._port)
        several = {"target_session_attrs": "read-write"} if len(found.hosts) > 1 else {}
        settings: dict[str, Any] = {
            "dbname": "postgres",
            **several,
            **found.libpq(),
            **{name: value for name, value in self._chosen.items() if value},
            "user": login.user,
            "password": login.password,
            "connect_timeout": max(2, int(remaining())),
            "application_name": "strongroom rotate",
        }
        with suppress(ProgrammingError):
            conninfo.make_conninfo(**settings)
            return settings
        raise InvalidDataError(None, "libpq does not know an option of the secret's URL")

    def connect(self, secret: Mapping[str, Value], login: UserLogin) -> AbstractContextManager[Connection[Any]]:
        """Return a connection: see `Connect`."""
        return self._opened(self.arguments(secret, login))

    @contextmanager
    def _opened(self, settings: dict[str, Any]) -> Iterator[Connection[Any]]:
        """Connect, and translate psycopg's errors, whose messages may hold the connection string."""
        import psycopg

        user = settings["user"]
        failure: StrongroomError | None = None
        connection: Connection[Any] | None = None
        try:
            connection = psycopg.connect(autocommit=True, **settings)
            with connection:
                limit = max(1, int(remaining() * 900))  # so that the server ends before this call is given up
                # The second setting ends a transaction whose process was suspended in it.
                settle = f"SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}"
                connection.execute(settle.encode())
                yield connection
        except psycopg.Error as error:
            failure = _translated(error, user, connecting=connection is None)
        finally:
            settings.clear()
        if failure is not None:
            raise failure

    def set_password(self, connection: Connection[Any], login: UserLogin, *, own: bool) -> None:
        """Send the verifier that libpq makes of the password, so that the server's log never has the password.

        A server executes a statement even if its client was killed while it waited for a lock. In a transaction it is
        rolled back: the client cannot commit it any more. If the client was killed while it committed, the server holds
        the role's row until that has ended. So nothing that an earlier process has sent follows this change.
        """
        del own  # the same statement
        from psycopg import errors, sql

        verifier = connection.pgconn.encrypt_password(login.password.encode(), login.user.encode()).decode()
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login.user), sql.Literal(verifier))
        for left in reversed(range(_ATTEMPTS)):
            try:
                with connection.transaction():
                    connection.execute(statement)
            except errors.InternalError_:  # "tuple concurrently updated": one that was first has just committed
                if not left:
                    raise
            else:
                return


def _translated(error: Any, user: str, *, connecting: bool) -> StrongroomError:  # psycopg.Error, imported at use
    """Return the error of the tree. The reason has the SQLSTATE and nothing of the server's message."""
    state = error.sqlstate or ""
    message = str(error).lower()
    # libpq gives no SQLSTATE for a connection that fails: https://github.com/psycopg/psycopg/issues/1071
    if state in _REFUSED or (connecting and not state and ("password" in message or "authentication" in message)):
        return shared.login_refused(user)
    if connecting and any(part in message for part in _UNVERIFIED):
        return shared.unverified()
    if state in _DENIED:
        reason = f"{user} may not change that role, or the role does not exist (SQLSTATE {state})"
        return PermissionDeniedError(None, reason, hint="Create both users, and grant CREATEROLE to the administrator")
    if state in _LATE and not connecting:
        reason = (
            f"the statement did not end in time, and another session may hold a lock on the role (SQLSTATE {state})"
        )
        return StoreUnavailableError(None, reason)
    if connecting or state.startswith(_PASSING) or not state:
        return StoreUnavailableError(None, f"the server does not answer{f' (SQLSTATE {state})' if state else ''}")
    return PermissionDeniedError(None, f"the server refuses the statement of {user} (SQLSTATE {state})")


def open_postgres(
    *,
    users: shared.Users = None,
    admin: shared.Admin = None,
    user_key: shared.UserKey = None,
    password_key: shared.PasswordKey = "password",  # noqa: S107  # the name of a key
    host: shared.HostName = None,
    port: shared.Port = None,
    name: shared.Name = None,
    sslmode: SslMode = None,
    sslrootcert: SslRootCert = None,
    length: shared.Length = 32,
) -> DatabaseUserRotator:
    """Return a rotator for PostgreSQL. Nothing is connected yet.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: psycopg is not installed.
    """
    if sslmode is not None and sslmode not in _SSL_MODES:
        near = did_you_mean(sslmode, _SSL_MODES)
        raise ConfigurationError(f"sslmode: must be one of libpq's: {', '.join(_SSL_MODES)}{near}")
    server = PostgresServer(host, port, name, sslmode, sslrootcert)
    return DatabaseUserRotator(
        server, users=users, admin=admin, user_key=user_key, password_key=password_key, length=length
    )
