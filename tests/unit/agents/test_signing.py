"""Signatures of AWS, beside those of botocore."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from strongroom._credentials import AwsCredential
from strongroom.agents._rules.request import Refusal, RequestHead
from strongroom.agents._rules.signing import needs_payload, sign_aws4
from strongroom.secret import SensitiveStr

HELD = "AKIA-placeholder_0123456789"
KEYS = ("AKIAREALREALREALREAL", "real/secret+key0123456789", "real-token//" + "x" * 40)
DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    at = dt.datetime(2026, 11, 29, 12, 0, 0, tzinfo=dt.UTC)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_: at)


def credential(token: bool = True) -> AwsCredential:
    return AwsCredential(*map(SensitiveStr, KEYS if token else (*KEYS[:2], "")))


def signed_by_botocore(credentials, signer, service, method, url, body, headers) -> RequestHead:
    """A request as a client of boto3 sends it."""
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    signer(credentials, service, "eu-west-1").add_auth(request)
    target = urlsplit(request.url)
    sent = (("Host", target.netloc), *request.headers.items())
    return RequestHead(method, "https", target.hostname, target.port or 443, target.path, target.query, sent)


CASES = {
    "s3 get": (auth.S3SigV4Auth, "s3", "GET", "https://b.s3.eu-west-1.amazonaws.com/a%20b/%C5%BE/..//x~y", b"", {}),
    "s3 list": (
        auth.S3SigV4Auth,
        "s3",
        "GET",
        "https://s3.eu-west-1.amazonaws.com/b?prefix=a%2Fb&list-type=2&acl",
        b"",
        {},
    ),
    "s3 put": (
        auth.S3SigV4Auth,
        "s3",
        "PUT",
        "https://b.s3.amazonaws.com/k",
        b"content",
        {"x-amz-meta-a": "  two   words "},
    ),
    "dynamodb": (
        auth.SigV4Auth,
        "dynamodb",
        "POST",
        "https://dynamodb.eu-west-1.amazonaws.com/",
        b'{"TableName": "t"}',
        {"X-Amz-Target": "DynamoDB_20120810.GetItem", "Content-Type": "application/x-amz-json-1.0"},
    ),
    "lambda": (
        auth.SigV4Auth,
        "lambda",
        "POST",
        "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda/invocations?Qualifier=%24LATEST",
        b"{}",
        {"X-Amz-Invocation-Type": "Event"},
    ),
    "a port": (auth.SigV4Auth, "execute-api", "GET", "https://localhost:8443/prod/x?b=2&a=1&b=1", b"", {}),
}


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_request_is_signed_as_botocore_signs_it(case, token):
    """A client with the placeholders, signed again, sends what a client with the real keys sends."""
    held = signed_by_botocore(Credentials(HELD, "worthless"), *case)
    expected = signed_by_botocore(Credentials(*KEYS[: 3 if token else 2]), *case)
    sent = sign_aws4(held, HELD, credential(token), case[4])
    assert {name.lower(): value for name, value in sent.headers} == {
        name.lower(): value for name, value in expected.headers
    }
    assert not any(HELD in value for _, value in sent.headers)


def test_the_own_token_of_a_worker_is_replaced():
    case = CASES["dynamodb"]
    held = signed_by_botocore(Credentials(HELD, "worthless", "worker's token"), *case)
    for token in (True, False):
        sent = sign_aws4(held, HELD, credential(token), case[4])
        expected = signed_by_botocore(Credentials(*KEYS[: 3 if token else 2]), *case)
        assert sent.header("authorization") == expected.header("authorization")
        assert sent.header("x-amz-security-token") == (KEYS[2] if token else "")


def head(**headers: str) -> RequestHead:
    names = {
        "host": "b.s3.amazonaws.com",
        "authorization": f"AWS4-HMAC-SHA256 Credential={HELD}/20261129/eu-west-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={DIGEST}",
        "x-amz-date": "20261129T120000Z",
    }
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("PUT", "https", "b.s3.amazonaws.com", 443, "/k", "", tuple(names.items()))


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", DIGEST])
def test_a_given_hash_of_the_body_is_used(payload):
    """So that a body of any size passes."""
    asked = head(x_amz_content_sha256=payload)
    assert not needs_payload(asked)
    assert sign_aws4(asked, HELD, credential(), b"one") == sign_aws4(asked, HELD, credential(), b"two")


def test_without_a_hash_the_body_is_needed():
    assert needs_payload(head())
    assert sign_aws4(head(), HELD, credential(), b"one") != sign_aws4(head(), HELD, credential(), b"two")


def test_a_removed_header_is_not_signed():
    authorization = head().header("authorization").replace("host;", "host;range;")
    asked = head(authorization=authorization, range="bytes=0-5")
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in (
        sign_aws4(asked.without("range"), HELD, credential()).header("authorization")
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"x_amz_content_sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "Each chunk of the body is signed"),
        ({"x_amz_content_sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}, "Each chunk of the body is signed"),
        ({"x_amz_date": ""}, "no X-Amz-Date"),
        ({"x_amz_date": "20261129T120000Z\n"}, "malformed"),
        ({"authorization": f"AWS4-HMAC-SHA256 Credential={HELD}"}, "malformed"),
        ({"authorization": head().header("authorization").replace(HELD, "x" + HELD)}, "malformed"),
        ({"authorization": head().header("authorization") + ", x"}, "malformed"),
    ],
)
def test_what_cannot_be_signed_again_is_refused(changed, reason):
    with pytest.raises(Refusal, match=reason) as refused:
        sign_aws4(head(**changed), HELD, credential())
    assert refused.value.status == 400
