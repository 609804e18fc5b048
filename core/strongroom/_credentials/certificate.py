"""The certificate in a secret: one reader for TLS contexts and for kubectl."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError
from strongroom.secret import Value

CERTIFICATE = ("certificate", "tls.crt", "cert")
CHAIN = ("ca_chain", "issuing_ca")
PRIVATE_KEY = ("private_key", "tls.key", "key")
"""Keys of a secret: those of Vault's engine `pki`, then of a Kubernetes secret."""


def read_pem(path: str, data: Mapping[str, Value], keys: tuple[str, ...], *, required: bool = True) -> str:
    """Return the PEM under the first of these keys that the secret has.

    Raises:
        InvalidDataError: it is required, and the secret has none of the keys.
    """
    for key in keys:
        value = data.get(key)
        if isinstance(value, list):
            return "\n".join(map(str, value))
        if value:
            return as_text(value, path, key).reveal()
    if required:
        raise InvalidDataError(path, f"it has none of the keys {', '.join(keys)}")
    return ""
