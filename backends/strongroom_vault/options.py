"""Options that all stores of this backend share: address, credentials, TLS and request settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias, TypedDict

from strongroom.errors import ConfigurationError, did_you_mean
from strongroom.paths import check_option, check_prefix
from strongroom.secret import Value
from strongroom.store import Option
from strongroom.store.option import named_contents


def credential_variables(auth: object) -> tuple[str, ...]:
    """Return the environment variables from which the method of a table `auth` reads credentials."""
    match auth:
        case {"jwt_from": _}:
            from strongroom_vault.auth.github import BEARER

            return (BEARER,)
        case {"method": "aws"}:
            from strongroom_vault.auth.aws import CREDENTIAL_VARIABLES

            return CREDENTIAL_VARIABLES
        case _:
            return ()


METHODS = ("agent", "approle", "aws", "cert", "jwt", "kubernetes", "token", "token-file")
"""The methods that a table `auth` can name: see `strongroom_vault.auth.methods`, whose import takes longer."""


def _auth_fault(auth: object) -> str:
    """Return the fault of a table `auth` without a known method. The text is not shown: a token can stand there."""
    named = auth.get("method") if isinstance(auth, dict) else METHODS[0]
    return "" if named in METHODS else f"method must be one of {', '.join(METHODS)}{did_you_mean(named, METHODS)}"


_TOLD = frozenset({"token", "token-file", "approle", "kubernetes", "cert", "agent"})
"""Methods whose login the options and the files that they name decide alone."""


def _login_contents(auth: object) -> Mapping[str, Value] | None:
    """Return what decides who logs in with a table `auth`, beyond its text."""
    found = named_contents(auth)
    if not isinstance(auth, dict) or auth.get("method") in _TOLD:
        return found
    if auth.get("method") == "aws":
        from strongroom_vault.auth.aws import credential_contents

        ambient = credential_contents()
        return None if ambient is None else {**found, **ambient}
    return found | {name: os.environ.get(name) for name in credential_variables(auth)}


def _both(name: str) -> tuple[str, str]:
    """Return a variable of OpenBao, and that of Vault with the same name, which counts after it."""
    return f"BAO_{name}", f"VAULT_{name}"


Url: TypeAlias = Annotated[
    str | list[str],
    Option(
        "the server's address, or the nodes of one cluster",
        ("BAO_AGENT_ADDR", "VAULT_AGENT_ADDR", "BAO_ADDR", "VAULT_ADDR"),
        address=True,
    ),
]


class VaultOptions(TypedDict, total=False):
    """Credentials, TLS and request settings: the options that all stores of this backend have."""

    token: Annotated[str | None, Option("the client token", _both("TOKEN"), secret=True, sent_to="url")]
    auth: Annotated[
        dict[str, str] | None,
        Option(
            'how to authenticate, such as { method = "approle", … }',
            secret=True,
            sent_to="url",
            credential_variables=credential_variables,
            identity=_login_contents,
            fault=_auth_fault,
        ),
    ]
    namespace: Annotated[str | None, Option("the namespace", _both("NAMESPACE"), locates=True)]
    ca_cert: Annotated[
        Path | None, Option("trusted authorities: a PEM file or a folder", _both("CACERT"), verifies="url")
    ]
    ca_path: Annotated[Path | None, Option("a folder of trusted authorities", _both("CAPATH"), verifies="url")]
    client_cert: Annotated[
        Path | None, Option("the client certificate, a PEM file", _both("CLIENT_CERT"), sent_to="url")
    ]
    client_key: Annotated[Path | None, Option("the key of client_cert, a PEM file", _both("CLIENT_KEY"), sent_to="url")]
    tls_server_name: Annotated[
        str | None, Option("the name in the server's certificate", _both("TLS_SERVER_NAME"), verifies="url")
    ]
    skip_verify: Annotated[
        bool, Option("no TLS verification; never in production", _both("SKIP_VERIFY"), verifies="url")
    ]
    ca_cert_bytes: Annotated[
        str | None, Option("trusted authorities, as PEM text", _both("CACERT_BYTES"), verifies="url")
    ]
    max_retries: Annotated[int | None, Option("how often one request is repeated, at most", _both("MAX_RETRIES"))]
    disable_redirects: Annotated[
        bool, Option("do not follow redirects, not even to another node", _both("DISABLE_REDIRECTS"))
    ]
    client_timeout: Annotated[
        float | str | None, Option("how long one request may take, such as 5 or 90s", _both("CLIENT_TIMEOUT"))
    ]
    headers: Annotated[
        dict[str, str] | None,
        Option("additional headers of every request", _both("HEADERS"), secret=True, sent_to="url"),
    ]
    proxy: Annotated[
        str | None,
        Option(
            "an HTTP proxy for the connections",
            ("BAO_PROXY_ADDR", "VAULT_PROXY_ADDR", "BAO_HTTP_PROXY", "VAULT_HTTP_PROXY"),
            secret=True,
            verifies="url",
        ),
    ]


def check_namespace(text: str, option: str) -> str:
    """Return the namespace without surrounding slashes, `""` for the root.

    Raises:
        ConfigurationError: no header can hold it, or a segment of it is empty, `.` or `..`.
    """
    if not text.isascii() or not text.isprintable():
        raise ConfigurationError(f"{option}: it has a character that no namespace has")
    return check_option(option, str(text).strip("/"), check_prefix)
