"""The protocol of kubectl's credential plugins, `ExecCredential`. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from strongroom._cli.helper.text import as_json, as_utc, text_of
from strongroom._credentials.certificate import CERTIFICATE, CHAIN, PRIVATE_KEY, read_pem
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import read_json

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution

VARIABLE = "KUBERNETES_EXEC_INFO"
"""The variable with the request. kubectl sets it."""

_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")


def wanted_version(request: str) -> str:
    """Return the version that the answer must have: that of the request, or v1 without a request.

    Raises:
        InvalidDataError: the request is malformed, or wants another version.
    """
    if not request:
        return _VERSIONS[0]
    try:
        document = read_json(request)
    except InvalidDataError:
        document = None
    version = document.get("apiVersion") if isinstance(document, dict) else None
    if version in _VERSIONS:
        return str(version)
    hint = f"Set apiVersion of the user's exec to {_VERSIONS[0]}"
    raise InvalidDataError(None, f"{VARIABLE} asks for none of {', '.join(_VERSIONS)}", hint=hint)


def answer(found: Resolution, version: str) -> bytes:
    """Return the token that the value of a key is, or the client certificate in a whole secret.

    Raises:
        InvalidDataError: the value is not text, or the secret lacks the certificate or its private key.
    """
    status: dict[str, object]
    if found.key is not None:
        status = {"token": text_of(found)}
    else:
        data = found.value if isinstance(found.value, Mapping) else {}
        chain = read_pem(found.path, data, CHAIN, required=False)
        certificate = read_pem(found.path, data, CERTIFICATE)
        status = {
            "clientCertificateData": f"{certificate.rstrip()}\n{chain}",
            "clientKeyData": read_pem(found.path, data, PRIVATE_KEY),
        }
    if found.ends is not None:
        status["expirationTimestamp"] = as_utc(found.ends)
    return as_json({"apiVersion": version, "kind": "ExecCredential", "status": status})
