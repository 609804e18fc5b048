"""Connections and credentials of a secret in the forms that drivers take.

One rule for every library: server and database come from the secret, an option of the library wins, and user and
password are the secret's. If neither names a server, no connection is opened: a library's default would send the
password to an unknown program on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ssl import CERT_REQUIRED
from typing import Any
from urllib.parse import urlencode

from strongroom._credentials.database_address import WANTED, DatabaseAddress, Kind, read_address
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.integrations.credentials import ServerLogin

_ACCESS_DENIED = frozenset({1044, 1045, 1698, 3118, 3159, 4151})
"""MySQL's and MariaDB's error numbers for a refused login: unknown user, wrong password, locked account."""


_SERVER_OPTIONS = (
    *("host", "hostaddr", "service", "unix_socket", "unix_socket_path", "connection_pool"),
    *("conninfo", "dsn", "url"),
)
"""The options of libraries that name a server."""

_SIGNED = "X-Amz-Signature="
"""A part of each token of AWS."""

IN_DSN_OF_ASYNCPG = frozenset({
    *("sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("application_name", "client_encoding", "options"),
})  # fmt: skip
"""The options of libpq that asyncpg takes in a DSN alone. The last three are settings of the server for it."""

OPTIONS_OF_ASYNCPG = IN_DSN_OF_ASYNCPG | {"passfile", "sslmode", "target_session_attrs", "krbsrvname", "gsslib"}
"""The options of libpq that asyncpg knows. It sends any other one to the server, as a setting, with the login."""

_TLS_WORDS = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")


def address(login: ServerLogin, option: str, options: Mapping[str, Any], kind: Kind | None = None) -> DatabaseAddress:
    """Return the address and the login of a secret, without the server if an option names one.

    Args:
        login: the secret.
        option: the library's name of an option for the server, for messages.
        options: the options of the library.
        kind: see `read_address`.

    Raises:
        ConfigurationError: neither the secret nor an option names a server. A URL without one means the driver's own.
        InvalidDataError: see `read_address`; or it has neither a `url` nor a user and password.
    """
    found = read_address(login.data, login.path, kind=kind)
    has_url = bool(login.data.get("url"))
    if not has_url and not (found.user and found.password):
        raise InvalidDataError(login.path, f"it has no {WANTED}; nor user and password")
    if names_server(options):
        return replace(found, hosts=())
    if not has_url and not any(host.name for host in found.hosts):
        raise ConfigurationError(f"The secret {login.path} names no server: pass {option}")
    return found


def names_server(options: Mapping[str, Any]) -> bool:
    """Return True if an option of a library names a server."""
    return any(options.get(key) for key in _SERVER_OPTIONS)


def asyncpg_dsn(options: Sequence[tuple[str, str]]) -> str | None:
    """Return a DSN with nothing but these options."""
    return f"postgresql://?{urlencode(options)}" if options else None


def check_mysql_tls(arguments: Mapping[str, Any]) -> None:
    """Refuse to send a token of AWS to a MySQL server that is not verified. Drivers send it to any that asks for it.

    Args:
        arguments: those of the driver: PyMySQL's, or mysqlclient's.

    Raises:
        ConfigurationError: the password is a token, and the arguments do not demand verified TLS.
    """
    password = next((arguments[key] for key in ("password", "passwd") if arguments.get(key)), "")
    if _SIGNED in password and not _is_verified(arguments):
        raise ConfigurationError(
            "A token of AWS is sent to MySQL through verified TLS only: pass ssl_ca and ssl_verify_identity=True, or "
            "an ssl context that verifies the server"
        )


def _is_verified(arguments: Mapping[str, Any]) -> bool:
    if arguments.get("ssl_disabled"):
        return False
    if any(arguments.get(key) for key in _TLS_WORDS):  # PyMySQL then ignores `ssl`
        return bool(arguments.get("ssl_ca") and arguments.get("ssl_verify_identity"))
    tls = arguments.get("ssl")
    if isinstance(tls, Mapping):
        if not (tls.get("ca") or tls.get("capath")):
            return False
        if "ssl_mode" in arguments:  # mysqlclient
            return bool(arguments["ssl_mode"] == "VERIFY_IDENTITY")
        return tls.get("check_hostname", True) is True and tls.get("verify_mode") in {None, True}
    return getattr(tls, "verify_mode", None) == CERT_REQUIRED and bool(getattr(tls, "check_hostname", False))


def is_refusal(error: Exception) -> bool:
    """Return True if this failure to connect may be a refused login.

    SQLSTATE class 28 says so, and the numbers of MySQL. psycopg has no SQLSTATE for a failure to connect, and says
    "connection is bad" of each: its failures may be refusals unless the socket never connected.
    """
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith("28")
    if isinstance(error, OSError):
        return False
    number = error.args[0] if error.args else None
    if isinstance(number, int):
        return number in _ACCESS_DENIED
    cause = error.__cause__
    return is_refusal(cause) if isinstance(cause, Exception) else type(error).__name__ == "OperationalError"
