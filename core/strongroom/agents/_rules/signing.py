"""Signature Version 4 of AWS: a request that a worker signed with placeholders is signed again with the real keys.

Pure. The region, the service, the date and the signed headers are those of the worker's own signature.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote

from strongroom._credentials import AwsCredential
from strongroom.agents._rules.request import Refusal, RequestHead

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    _ALGORITHM
    + r" +Credential=(?P<key>[^/,\s]+)/(?P<scope>(?P<date>[0-9]{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request),\s*SignedHeaders=(?P<names>[^,\s]+),\s*Signature=[0-9a-f]{64}"
)
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_PLAIN_PATHS = frozenset({"s3", "s3-object-lambda", "s3-outposts", "s3express"})
"""Services that sign a path as it is sent; all others escape it once more."""

_SIGNED_CHUNKS = "STREAMING-AWS4-"
"""How the hash of a body begins whose chunks each have a signature."""

PAYLOAD = "x-amz-content-sha256"


def needs_payload(head: RequestHead) -> bool:
    """Return True if the signature needs the body, since the head has no hash of it."""
    return not head.header(PAYLOAD)


def sign_aws4(head: RequestHead, placeholder: str, credential: AwsCredential, body: bytes = b"") -> RequestHead:
    """Return the head with a signature by the credential.

    Args:
        head: the request that the worker signed.
        placeholder: the worker's access key.
        credential: the real keys.
        body: is hashed if `needs_payload` is True.

    Raises:
        Refusal: the worker's own signature is malformed, or its chunks are signed too.
    """
    found = _AUTHORIZATION.fullmatch(head.header("authorization").strip())
    date = head.header("x-amz-date")
    if found is None or found["key"] != placeholder or not _DATE.fullmatch(date):
        raise Refusal(400, "The signature of the request is malformed, or it has no X-Amz-Date")
    payload = head.header(PAYLOAD) or hashlib.sha256(body).hexdigest()
    if payload.startswith(_SIGNED_CHUNKS):
        raise Refusal(400, "Each chunk of the body is signed, which cannot be repeated: send it unsigned or whole")
    names = set(found["names"].lower().split(";"))
    head = head.without("x-amz-security-token")
    if credential.token:
        head = head.with_header("x-amz-security-token", credential.token.reveal())
        names.add("x-amz-security-token")
    headers = [(name, values) for name in sorted(names) if (values := _values(head, name))]
    signed = ";".join(name for name, _ in headers)
    request = "\n".join(
        (
            head.method,
            head.path if found["service"] in _PLAIN_PATHS else quote(head.path, safe="/~"),
            "&".join(sorted_query(head.query)),
            *(f"{name}:{','.join(values)}" for name, values in headers),
            "",
            signed,
            payload,
        )
    )
    digest = hashlib.sha256(request.encode("latin-1")).hexdigest()
    text = "\n".join((_ALGORITHM, date, found["scope"], digest))
    key = f"AWS4{credential.secret_key.reveal()}".encode()
    for part in (*found["scope"].split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    authorization = (
        f"{_ALGORITHM} Credential={credential.access_key.reveal()}/{found['scope']}, SignedHeaders={signed}, "
        f"Signature={key.hex()}"
    )
    return head.with_header("authorization", authorization)


def _values(head: RequestHead, name: str) -> list[str]:
    """Return the values of a header, each with single spaces."""
    return [" ".join(value.split()) for own, value in head.headers if own.lower() == name]


def sorted_query(query: str) -> list[str]:
    """Return the parameters of a query, by name and value, as the client has escaped them."""
    split = (part.partition("=") for part in query.split("&") if part)
    return [f"{name}={value}" for name, value in sorted((name, value) for name, _, value in split)]
