"""The protocol `credential_process` of the AWS command line and the SDKs. Pure.

Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sourcing-external.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from strongroom._cli.helper.text import as_json, as_utc
from strongroom._credentials.aws import read_aws_credential

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution


def answer(found: Resolution) -> bytes:
    """Return the credential of a whole secret. Without `Expiration`, the program asks once.

    Raises:
        InvalidDataError: the secret lacks the access key or the secret key.
    """
    data = found.value if isinstance(found.value, Mapping) else {}
    credential = read_aws_credential(found.path, data)
    document: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": credential.access_key.reveal(),
        "SecretAccessKey": credential.secret_key.reveal(),
    }
    if credential.token:
        document["SessionToken"] = credential.token.reveal()
    if found.ends is not None:
        document["Expiration"] = as_utc(found.ends)
    return as_json(document)
