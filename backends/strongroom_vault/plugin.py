"""Openers of the `vault` store, for a KV engine of version 1 or 2, and of sessions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from strongroom.config.durations import parse_duration
from strongroom.errors import ConfigurationError, StrongroomError, shown
from strongroom.paths import check_option, check_prefix
from strongroom.secret import SensitiveStr
from strongroom.store import Option, checked_by
from strongroom_vault import options as opt
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


def check_vault(*, prefix: str = "", token: str | None = None, **options: Any) -> None:  # those of `open_vault`
    """Check the options of `open_vault`. Nothing is sent, and a token is not required.

    Raises:
        ConfigurationError, ImportError, PluginError: as `open_vault` does without asking the server.
    """
    check_option("prefix", prefix, check_prefix)
    # The token may be available only to the running application.
    open_session(token=token or "none", **options).close()


@checked_by(check_vault)
def open_vault(
    *,
    url: opt.Url,
    token: opt.Token = None,
    auth: opt.AuthTable = None,
    shared_token_file: opt.SharedTokenFile = None,
    namespace: opt.Namespace = None,
    mount: Annotated[str, Option("the mount path of the key-value engine", location=True)] = "secret",
    prefix: Annotated[str, Option("the folder of all paths", location=True)] = "",
    ca_cert: opt.CaCert = None,
    ca_path: opt.CaPath = None,
    client_cert: opt.ClientCert = None,
    client_key: opt.ClientKey = None,
    tls_server_name: opt.TlsServerName = None,
    skip_verify: opt.SkipVerify = False,
    ca_cert_bytes: opt.CaCertBytes = None,
    max_retries: opt.MaxRetries = None,
    disable_redirects: opt.DisableRedirects = False,
    client_timeout: opt.ClientTimeout = None,
    rate_limit: opt.RateLimit = None,
    headers: opt.Headers = None,
    proxy: opt.Proxy = None,
) -> VaultKV1 | VaultKV2:
    """Open a store on a key-value engine of HashiCorp Vault or OpenBao.

    The server is asked once for the version of the engine. A wrong option would make secrets look absent, because the
    answer to a version 2 path on a version 1 mount is that of an absent secret. Every setting is an argument: nothing
    is read from the environment or a home folder, except the sources that the table `auth` names.

    Raises:
        ConfigurationError: an option is wrong, or the server has no such namespace, mount or key-value engine.
        ImportError: hvac, or both pycurl and urllib3, are not installed. Strongroom names the extra that brings it.
        PluginError: a package that the auth method needs is not installed.
        StoreError: as a read does, for example `VaultConnectionError` and `VaultAuthenticationError`.
    """
    from strongroom_vault.http.tls import TLSSettings

    try:
        tls = TLSSettings(ca_cert, ca_path, client_cert, client_key, tls_server_name, skip_verify, ca_cert_bytes)
        cluster = _cluster(url, max_retries, disable_redirects, client_timeout, rate_limit, headers)
        prefix = check_option("prefix", prefix, check_prefix)
        session = _session(cluster, _auth(token, auth, tls), namespace, mount, tls, _proxy(proxy), shared_token_file)
        return _open(session, prefix)
    except StrongroomError as error:
        failure = error
    # A copy has no frames that held the token.
    token = auth = headers = None
    raise failure.copy()


def open_session(
    *,
    url: str | Sequence[str],
    token: str | None = None,
    auth: dict[str, str] | None = None,
    shared_token_file: Path | None = None,
    namespace: str | None = None,
    mount: str = "secret",
    ca_cert: Path | None = None,
    ca_path: Path | None = None,
    client_cert: Path | None = None,
    client_key: Path | None = None,
    tls_server_name: str | None = None,
    skip_verify: bool = False,
    ca_cert_bytes: str | None = None,
    max_retries: int | None = None,
    disable_redirects: bool = False,
    client_timeout: float | str | None = None,
    rate_limit: str | None = None,
    headers: dict[str, str] | None = None,
    proxy: str | None = None,
) -> Session:
    """Open a session with the options of `open_vault`, for any engine at the mount. Nothing is sent yet.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError, PluginError: as `open_vault` does.
    """
    from strongroom_vault.http.tls import TLSSettings

    try:
        tls = TLSSettings(ca_cert, ca_path, client_cert, client_key, tls_server_name, skip_verify, ca_cert_bytes)
        cluster = _cluster(url, max_retries, disable_redirects, client_timeout, rate_limit, headers)
        return _session(cluster, _auth(token, auth, tls), namespace, mount, tls, _proxy(proxy), shared_token_file)
    except StrongroomError as error:
        failure = error
    token = auth = headers = None
    raise failure.copy()


def _session(  # noqa: PLR0917  # the options, checked and not
    cluster: Cluster,
    auth: Auth,
    namespace: str | None,
    mount: str,
    tls: TLSSettings,
    proxy: Address | None,
    shared_token_file: Path | None,
) -> Session:
    from strongroom_vault.auth.methods import check_namespace
    from strongroom_vault.http.drivers import new_driver
    from strongroom_vault.session.session import Session

    if proxy is not None and any(address.socket is not None for address in cluster):
        raise ConfigurationError("proxy: no proxy connects to a Unix socket. Leave it out, or use another `url`")
    encrypted = any(address.scheme == "https" for address in cluster)
    namespace = check_namespace(namespace or "", "namespace") or None
    if shared_token_file is not None:
        from strongroom_vault.session.shared_token import share

        auth = share(auth, shared_token_file, cluster, namespace, tls)
    session = Session(
        new_driver(cluster, tls, proxy),
        cluster,
        auth,
        namespace=namespace,
        mount=check_option("mount", mount.strip("/")),
        verified=not (encrypted and tls.skip_verify),
    )
    if not session.verified:
        logger.warning("TLS verification is disabled (skip_verify) for %s", session.location)
    return session


def _open(session: Session, prefix: str) -> VaultKV1 | VaultKV2:
    from strongroom_vault.http.hvac_adapter import requests
    from strongroom_vault.store.mounts import find_version

    try:
        api = requests()  # raises ImportError before anything is sent
        if find_version(session) == 2:
            return VaultKV2(session, api.kv2, prefix)
        return VaultKV1(session, api.kv1, prefix)
    except BaseException:
        session.close()
        raise


def _cluster(  # noqa: PLR0917  # the options as they were given
    url: str | Sequence[str],
    max_retries: int | None,
    disable_redirects: bool,  # noqa: FBT001  # as above
    client_timeout: float | str | None,
    rate_limit: str | None,
    headers: Mapping[str, str] | None,
) -> Cluster:
    from strongroom_vault.http.address import Address
    from strongroom_vault.http.nodes import Cluster
    from strongroom_vault.http.rate_limit import RequestRate

    addresses = list(map(Address.parse, [url] if isinstance(url, str) else url))
    if not addresses:
        raise ConfigurationError("url: it names no address")
    if max_retries is not None and max_retries < 0:
        raise ConfigurationError("max_retries: it must not be below zero")
    return Cluster(
        addresses,
        retries=max_retries,
        redirects=not disable_redirects,
        timeout=None if client_timeout is None else _client_timeout(client_timeout),
        headers=_checked_headers(headers or {}),
        rate=None if rate_limit is None else RequestRate.parse(rate_limit),
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
    from strongroom_vault.auth.methods import read_auth
    from strongroom_vault.auth.token import StaticToken
    from strongroom_vault.auth.workload import Certificate

    if table is None:
        return StaticToken(token or "")
    auth = read_auth({"token": token or "", **table} if table.get("method") == "token" else table)
    if isinstance(auth, Certificate) and tls.client_cert is None:
        raise ConfigurationError("auth.method: the method 'cert' needs the option client_cert beside it")
    return auth
