"""The AWS credential in a secret: one reader for the botocore integration and for the signatures of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveStr, Value

_NAMES = {
    "access_key": ("access_key", "aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    "secret_key": ("secret_key", "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    "token": ("security_token", "session_token", "aws_session_token", "AWS_SESSION_TOKEN"),
}
"""The keys of a secret: those of Vault's engine `aws`, then those of AWS's own files and variables."""


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
    for name, keys in _NAMES.items():
        present = [key for key in keys if data.get(key)]
        if present:
            found[name] = as_text(data[present[0]], path, present[0])
        elif name not in found:
            raise InvalidDataError(path, f"it has none of the keys {', '.join(keys)}")
    return AwsCredential(**found)
