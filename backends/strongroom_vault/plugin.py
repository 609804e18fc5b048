"""Openers of the `vault` store, for a KV engine of version 1 or 2, and of sessions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from strongroom.errors import ConfigurationError, StrongroomError, shown
from strongroom.formats.durations import parse_duration
from strongroom.paths import check_option, check_prefix
from strongroom.secret import SensitiveStr
from strongroom.store import Option, checked_by
from strongroom_vault.options import Url, VaultOptions, check_namespace
from strongroom_vault.store.kv1 import VaultKV1
from strongroom_vault.store.kv2 import VaultKV2

if TYPE_CHECKING:
    # A process that finds its secrets in the disk cache reads the options, and opens nothing.
    from strongroom_vault.auth import Auth
    from strongroom_vault.http.address import Address
    from strongroom_vault.http.nodes import Cluster
    from strongroom_vault.http.tls import TLSSettings
    from strongroom_vault.session.session import Session

logger = logging.getLogger("strongroom.vault")

_OWN_HEADERS = frozenset({
    "host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding",
})  # fmt: skip


def check_vault(
    *,
    url: str | Sequence[str],
    mount: str = "secret",
    prefix: str = "",
    version: Literal[1, 2] = 2,
    **connection: Unpack[VaultOptions],
) -> None:
    """Check the options of `open_vault`. Nothing is sent, and a token is not required.

    Raises:
        ConfigurationError, ImportError, PluginError: as `open_vault` does without asking the server.
    """
    check_option("prefix", prefix, check_prefix)
    _check_version(version)
    # The token may be available only to the running application.
    connection["token"] = connection.get("token") or "none"
    open_session(url=url, mount=mount, **connection).close()


@checked_by(
    check_vault,
    removed={
        "rate_limit": "limit the rate at the server, with a quota: sys/quotas/rate-limit",
        "shared_token_file": 'share a token through the sink of an agent: auth = { method = "token-file" }',
    },
)
def open_vault(
    *,
    url: Url,
    mount: Annotated[str, Option("the mount path of the key-value engine", location=True)] = "secret",
    prefix: Annotated[str, Option("the folder of all paths", location=True)] = "",
    version: Annotated[
        Literal[1, 2], Option("the version of the engine to try first; version 1 saves two requests of a process")
    ] = 2,
    **connection: Unpack[VaultOptions],
) -> VaultKV1 | VaultKV2:
    """Open a store on a key-value engine of HashiCorp Vault or OpenBao.

    A read that opens the store is sent as that of `version` at once, and a secret in the reply proves the version.
    Otherwise the server is asked for the version of the engine: the answer to a version 2 path on a version 1 mount is
    that of an absent secret. Every setting is an argument: nothing is read from the environment or a home folder,
    except the sources that the table `auth` names.

    Raises:
        ConfigurationError: an option is wrong, or the server has no such namespace, mount or key-value engine.
        ImportError: hvac, or both pycurl and urllib3, are not installed. Strongroom names the extra that brings it.
        PluginError: a package that the auth method needs is not installed.
        StoreError: as a read does, for example `VaultConnectionError` and `VaultAuthenticationError`.
    """
    try:
        prefix = check_option("prefix", prefix, check_prefix)
        _check_version(version)
        return _open(open_session(url=url, mount=mount, **connection), prefix, version)
    except StrongroomError as error:
        failure = error
    # A copy has no frames that held the token.
    del connection
    raise failure.copy()


def open_session(*, url: str | Sequence[str], mount: str = "secret", **connection: Unpack[VaultOptions]) -> Session:
    """Open a session with the options of `open_vault`, for any engine at the mount. Nothing is sent yet.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError, PluginError: as `open_vault` does.
    """
    if unknown := connection.keys() - VaultOptions.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    try:
        return _session(url, mount, connection)
    except StrongroomError as error:
        failure = error
    del connection
    raise failure.copy()


def _session(url: str | Sequence[str], mount: str, options: VaultOptions) -> Session:
    from strongroom_vault.http.drivers import new_driver
    from strongroom_vault.http.tls import TLSSettings
    from strongroom_vault.session.session import Session

    tls = TLSSettings(
        ca_cert=options.get("ca_cert"),
        ca_path=options.get("ca_path"),
        client_cert=options.get("client_cert"),
        client_key=options.get("client_key"),
        server_name=options.get("tls_server_name"),
        skip_verify=options.get("skip_verify", False),
        ca_cert_bytes=options.get("ca_cert_bytes"),
    )
    cluster = _cluster(url, options)
    auth = _auth(options.get("token"), options.get("auth"), tls)
    proxy = _proxy(options.get("proxy"))
    if proxy is not None and any(address.socket is not None for address in cluster.addresses):
        raise ConfigurationError("proxy: no proxy connects to a Unix socket. Leave it out, or use another `url`")
    encrypted = any(address.scheme == "https" for address in cluster.addresses)
    namespace = check_namespace(options.get("namespace") or "", "namespace") or None
    session = Session(
        new_driver(cluster.addresses, tls, proxy),
        cluster,
        auth,
        namespace=namespace,
        mount=check_option("mount", mount.strip("/")),
        tls=tls,
        verified=not (encrypted and tls.skip_verify),
    )
    if not session.verified:
        logger.warning("TLS verification is disabled (skip_verify) for %s", session.location)
    return session


def _check_version(version: int) -> None:
    if version not in {1, 2}:
        raise ConfigurationError("version: it must be 1 or 2, a version of the key-value engine")


def _open(session: Session, prefix: str, version: int) -> VaultKV1 | VaultKV2:
    from strongroom_vault.http.hvac_adapter import requests

    try:
        api = requests()  # raises ImportError before anything is sent

        def store_of(version: int) -> VaultKV1 | VaultKV2:
            return VaultKV1(session, api.kv1, prefix) if version == 1 else VaultKV2(session, api.kv2, prefix)

        store = store_of(version)
        if store.answers_first_read():
            return store
        from strongroom_vault.store.mounts import find_version

        found = find_version(session)
        return store if found == version else store_of(found)
    except BaseException:
        session.close()
        raise


def _cluster(url: str | Sequence[str], options: VaultOptions) -> Cluster:
    from strongroom_vault.http.address import Address
    from strongroom_vault.http.nodes import Cluster

    addresses = list(map(Address.parse, [url] if isinstance(url, str) else url))
    if not addresses:
        raise ConfigurationError("url: it names no address")
    retries, timeout = options.get("max_retries"), options.get("client_timeout")
    if retries is not None and retries < 0:
        raise ConfigurationError("max_retries: it must not be below zero")
    return Cluster(
        addresses,
        retries=retries,
        redirects=not options.get("disable_redirects", False),
        timeout=None if timeout is None else _client_timeout(timeout),
        headers=_checked_headers(options.get("headers") or {}),
    )


def _client_timeout(value: float | str) -> float:
    """Return the timeout in seconds."""
    if not (duration := parse_duration(value)):
        raise ConfigurationError("client_timeout: it must be a time above zero, such as 30 or 90s")
    return duration


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers if no name is reserved and no value has a line end. No value is shown."""
    for name, value in headers.items():
        if name.lower().startswith("x-vault-") or name.lower() in _OWN_HEADERS:
            raise ConfigurationError(f"headers: {shown(name)} is set by the store itself")
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"headers: {shown(name)} is not the name of a header")
        if not value.isascii() or not value.isprintable():
            raise ConfigurationError(f"headers: the value of {shown(name)} has a character that headers do not allow")
    return {name: SensitiveStr(value) for name, value in headers.items()}


def _proxy(url: str | None) -> Address | None:
    """Return the address of the proxy, if there is one. Its URL is not shown: it may hold a password."""
    if url is None:
        return None
    from strongroom_vault.http.address import Address

    try:
        address = Address.parse(url)
    except ConfigurationError:
        address = None
    if address is not None and address.scheme == "http" and not address.base and address.socket is None:
        return address
    raise ConfigurationError("proxy: it must be like http://proxy.example:3128, without a user or a password")


def _auth(token: str | None, table: dict[str, str] | None, tls: TLSSettings) -> Auth:
    """Return the method of the table `auth`, or of the option `token` without a table."""
    if table is None:
        from strongroom_vault.auth.token import StaticToken

        return StaticToken(token or "")
    from strongroom_vault.auth.methods import read_auth
    from strongroom_vault.auth.workload import Certificate

    auth = read_auth({"token": token or "", **table} if table.get("method") == "token" else table)
    if isinstance(auth, Certificate) and tls.client_cert is None:
        raise ConfigurationError("auth.method: the method 'cert' needs the option client_cert beside it")
    return auth
