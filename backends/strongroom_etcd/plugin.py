"""The opener of the store `etcd`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from strongroom.errors import ConfigurationError
from strongroom.paths import check_option, check_prefix
from strongroom.store import Option, checked_by
from strongroom_etcd.gateway import Gateway
from strongroom_etcd.store import EtcdStore


def check_etcd(
    *,
    endpoints: list[str],
    username: str | None = None,
    ca_cert: Path | None = None,
    client_cert: Path | None = None,
    client_key: Path | None = None,
    prefix: str = "strongroom",
    **_: object,  # the password has no rule
) -> None:
    """Check the options without connecting.

    Raises:
        ConfigurationError: one of them is wrong. The message begins with its name.
    """
    if not endpoints:
        raise ConfigurationError("endpoints: it is empty")
    for endpoint in endpoints:
        _check_endpoint(endpoint)
    if ":" in (username or ""):
        raise ConfigurationError("username: it has a colon. Give the password as `password`")
    if client_key is not None and client_cert is None:
        raise ConfigurationError("client_key: it needs `client_cert`")
    for name, file in {"ca_cert": ca_cert, "client_cert": client_cert}.items():
        if file is not None and not any(endpoint.startswith("https:") for endpoint in endpoints):
            raise ConfigurationError(f"{name}: it needs `endpoints` that begin with https://")
    _beginning(prefix)


@checked_by(check_etcd)
def open_etcd(
    *,
    endpoints: Annotated[
        list[str], Option("the servers' addresses, with https", ("ETCDCTL_ENDPOINTS",), address=True, locates=True)
    ],
    username: Annotated[str | None, Option("the user, if etcd has authentication enabled", sent_to="endpoints")] = None,
    password: Annotated[
        str | None, Option("its password", ("ETCDCTL_PASSWORD",), secret=True, sent_to="endpoints")
    ] = None,
    ca_cert: Annotated[
        Path | None, Option("trusted authorities, a PEM file; defaults to the system's", verifies="endpoints")
    ] = None,
    client_cert: Annotated[Path | None, Option("the client certificate, a PEM file", sent_to="endpoints")] = None,
    client_key: Annotated[
        Path | None, Option("the key of client_cert, a PEM file; not needed if client_cert has it", sent_to="endpoints")
    ] = None,
    prefix: Annotated[str, Option("the folder of all keys, such as /app; / alone is a slash", location=True)] = (
        "strongroom"
    ),
) -> EtcdStore:
    """Secrets in etcd, one key for each. It connects at the first call.

    Raises:
        ConfigurationError: an option is wrong, or a file cannot be used.
        ImportError: httpx is not installed. Strongroom names the extra that brings it.
    """
    check_etcd(
        endpoints=endpoints,
        username=username,
        ca_cert=ca_cert,
        client_cert=client_cert,
        client_key=client_key,
        prefix=prefix,
    )
    is_secure = any(endpoint.startswith("https:") for endpoint in endpoints)
    context = _context(ca_cert, client_cert, client_key, is_secure=is_secure)
    return EtcdStore(Gateway(endpoints, username, password, context), _beginning(prefix))


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
        is_plain = endpoint.rstrip("/") == f"{scheme}://{parts.netloc}" and "@" not in parts.netloc
    except ValueError:
        scheme, host, is_plain = "", None, False
    del endpoint  # it may have a password
    if scheme not in {"http", "https"} or not host or not is_plain:
        raise ConfigurationError("endpoints: each is like https://etcd-1.example:2379, without a user or a path")


def _beginning(prefix: str) -> str:
    """Return the beginning of all keys: the prefix with one slash at its end."""
    if not prefix:
        raise ConfigurationError("prefix: it is empty. Write / for keys that begin with a slash")
    slash = "/" if prefix.startswith("/") else ""
    below = check_option("prefix", prefix.removeprefix("/"), check_prefix)
    return f"{slash}{below}/" if below else slash


def _context(
    ca_cert: Path | None, client_cert: Path | None, client_key: Path | None, *, is_secure: bool
) -> ssl.SSLContext:
    """Return a TLS context, without the key log of SSLKEYLOGFILE that Python's default one would write."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if is_secure and ca_cert is None:
        context.load_default_certs()
    option, reason = "ca_cert", None
    try:
        if ca_cert is not None:
            context.load_verify_locations(ca_cert)
        if client_cert is not None:
            option = "client_cert"
            # Without a password, OpenSSL would prompt for one on the terminal.
            context.load_cert_chain(client_cert, client_key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        named = isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror
        reason = named or "not in PEM form, or the key has a passphrase or belongs to another certificate"
    if reason is not None:
        raise ConfigurationError(f"{option}: {ca_cert if option == 'ca_cert' else client_cert}: {reason}")
    return context
