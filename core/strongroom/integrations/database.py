"""Connections and credentials of a secret in the forms that drivers take.

One rule for every library: server and database come from the secret, an option of the library wins, and user and
password are the secret's. If neither names a server, no connection is opened: a library's default would send the
password to an unknown program on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ssl import CERT_REQUIRED
from typing import Any
from urllib.parse import unquote, urlsplit

from strongroom._chain.answer import Missing
from strongroom._database_url import WANTED, database_url, user_key_of
from strongroom.encoding import as_unicode
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.integrations.credentials import ServerLogin
from strongroom.secret import SensitiveStr

_ACCESS_DENIED = frozenset({1044, 1045, 1698, 3118, 3159, 4151})
"""MySQL's and MariaDB's error numbers for a refused login: unknown user, wrong password, locked account."""


_SERVER_OPTIONS = ("host", "hostaddr", "service", "unix_socket", "unix_socket_path", "connection_pool")
"""The options of libraries that name a server."""

_SIGNED = "X-Amz-Signature="
"""A part of each token of AWS."""

_TLS_WORDS = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:(?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<rest>[/?#].*)?", re.DOTALL)
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:,\s]*)(?::[0-9]*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")


def url(login: ServerLogin, scheme: str | None = None) -> SensitiveStr | None:
    """Return the secret's `url`, or one composed of its parts: see `SecretsManager.get_database_url`.

    None means that it holds only an account: see `account`.

    Raises:
        InvalidDataError: the URL is malformed. A driver's message would quote it: mostly, its password has special
            characters that were not encoded.
    """
    found = database_url(login.data, scheme, login.path)
    if isinstance(found, Missing):
        return None
    if "://" in found and not _is_well_formed(found):
        del found
        hint = "Encode special characters of user and password, such as @ as %40"
        raise InvalidDataError(login.path, "key 'url' is not a valid URL", hint=hint)
    return found


def _is_well_formed(whole: str) -> bool:
    """Return True if every driver finds the same user and password in a URL."""
    parts = _URL.fullmatch(whole)
    if parts is None or not _HOSTS.fullmatch(parts["hosts"]) or not whole.isprintable():
        return False
    user, rest = parts["user"], parts["rest"] or ""
    if user is None:
        return "@" not in rest
    return not re.search(r"[@\s\[\]]", user) and not re.search(r"%(?![0-9A-Fa-f]{2})", whole)


def account(login: ServerLogin) -> dict[str, str]:
    """Return `user` and `password` of a secret, for a server that it does not name or that an option replaces.

    Raises:
        InvalidDataError: it has neither such keys nor a `url` with them.
    """
    if whole := None if not login.data.get("url") else url(login):
        found = url_parts(whole)
        return {key: found[key] for key in ("user", "password") if found[key] is not None}
    name = user_key_of(login.data)
    if not (login.data.get(name) and login.data.get("password")):
        raise InvalidDataError(login.path, f"it has no {WANTED}; nor user and password")
    user, password = (as_unicode(login.data[key], login.path, key).reveal() for key in (name, "password"))
    return {"user": user, "password": password}


def names_server(options: Mapping[str, Any]) -> bool:
    """Return True if an option of a library names a server."""
    return any(options.get(key) for key in _SERVER_OPTIONS)


def server(login: ServerLogin, option: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `host` and `port` that the secret has; nothing if an option names the server.

    Args:
        login: a secret without a whole URL.
        option: the library's name of an option for the server, for messages.
        options: the options of the library.

    Raises:
        ConfigurationError: neither the secret nor an option names a server.
    """
    if names_server(options):
        return {}
    found: dict[str, Any] = {
        key: as_unicode(login.data[key], login.path, key).reveal() for key in ("host", "port") if login.data.get(key)
    }
    if "port" in found:
        if not (found["port"].isascii() and found["port"].isdecimal()):
            raise InvalidDataError(login.path, "key 'port' does not hold a number")
        found["port"] = int(found["port"])
    if "host" not in found:
        raise ConfigurationError(f"The secret {login.path} names no server: pass {option}")
    return found


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


def url_parts(whole: SensitiveStr) -> dict[str, Any]:
    """Return `host`, `port`, `user`, `password` and `name` of a URL that `url` has returned. A missing part is None."""
    parts = urlsplit(whole.reveal())
    found = {"host": parts.hostname, "user": parts.username, "password": parts.password}
    decoded = {key: None if value is None else unquote(value) for key, value in found.items()}
    return {**decoded, "port": parts.port, "name": unquote(parts.path.removeprefix("/"))}


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
