"""The options with which every store of this backend finds, trusts and enters a server: the hints of its opener."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from strongroom.store import Option

Url: TypeAlias = Annotated[
    str | list[str],
    Option("the server's address, or the nodes of one cluster", ("BAO_ADDR", "VAULT_ADDR"), address=True),
]
Token: TypeAlias = Annotated[
    str | None, Option("the client token", ("BAO_TOKEN", "VAULT_TOKEN"), secret=True, sent_to="url")
]
AuthTable: TypeAlias = Annotated[
    dict[str, str] | None,
    Option('how to authenticate, such as { method = "approle", … }', secret=True, sent_to="url"),
]
Namespace: TypeAlias = Annotated[str | None, Option("the namespace", ("BAO_NAMESPACE", "VAULT_NAMESPACE"))]
CaCert: TypeAlias = Annotated[
    Path | None,
    Option("authorities to trust: a PEM file or a folder", ("BAO_CACERT", "VAULT_CACERT"), vouches_for="url"),
]
CaPath: TypeAlias = Annotated[
    Path | None, Option("a folder of authorities to trust", ("BAO_CAPATH", "VAULT_CAPATH"), vouches_for="url")
]
ClientCert: TypeAlias = Annotated[
    Path | None, Option("our certificate, a PEM file", ("BAO_CLIENT_CERT", "VAULT_CLIENT_CERT"))
]
ClientKey: TypeAlias = Annotated[
    Path | None, Option("the key of client_cert, a PEM file", ("BAO_CLIENT_KEY", "VAULT_CLIENT_KEY"))
]
TlsServerName: TypeAlias = Annotated[
    str | None,
    Option("the name in the server's certificate", ("BAO_TLS_SERVER_NAME", "VAULT_TLS_SERVER_NAME"), vouches_for="url"),
]
SkipVerify: TypeAlias = Annotated[
    bool,
    Option("trust any certificate: never in production", ("BAO_SKIP_VERIFY", "VAULT_SKIP_VERIFY"), vouches_for="url"),
]
