"""Readers of the credentials in a secret: those of AWS, and a certificate.

`database_address` reads the address and login of a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveStr, Value

_AWS_KEYS = {
    "access_key": ("access_key", "aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    "secret_key": ("secret_key", "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    "token": ("security_token", "session_token", "aws_session_token", "AWS_SESSION_TOKEN"),
}
"""Keys of an AWS credential: those of Vault's engine `aws`, then those of AWS's own files and variables."""

CERTIFICATE = ("certificate", "tls.crt", "cert")
CHAIN = ("ca_chain", "issuing_ca")
PRIVATE_KEY = ("private_key", "tls.key", "key")
"""Keys of a certificate: those of Vault's engine `pki`, then of a Kubernetes secret."""


class AwsCredential(NamedTuple):
    """An access key and its secret key. The token is empty if the credential is not a temporary one."""

    access_key: SensitiveStr
    secret_key: SensitiveStr
    token: SensitiveStr


def read_aws_credential(path: str, data: Mapping[str, Value]) -> AwsCredential:
    """Return the credential in a secret's data.

    Raises:
        InvalidDataError: it lacks the access key or the secret key.
    """
    found = {"token": SensitiveStr("")}
    for name, keys in _AWS_KEYS.items():
        present = [key for key in keys if data.get(key)]
        if present:
            found[name] = as_text(data[present[0]], path, present[0])
        elif name not in found:
            raise InvalidDataError(path, f"it has none of the keys {', '.join(keys)}")
    return AwsCredential(**found)


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
