"""botocore clients whose access key rotates.

A small server stands in for AWS, which cannot run here; moto accepts every key. It accepts one, and answers others as
AWS STS does.
"""

import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import ClientError

from strongroom.integrations.botocore import create_session

PATH = "aws/app"

IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/{0}</Arn><UserId>{0}</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.</Message>
</Error></ErrorResponse>"""


class Server(ThreadingHTTPServer):
    """Accepts the access key `accepted`, and counts the requests."""

    accepted = ""
    requests = 0


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        status, body = (200, IDENTITY.format(key)) if key == self.server.accepted else (403, REFUSAL)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def aws():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def rotate(aws, store):
    """A function that stores a new access key, which replaces the one before."""

    def rotate():
        aws.accepted = f"AKIA{secrets.token_hex(8).upper()}"
        store.write(PATH, {"access_key": aws.accepted, "secret_key": secrets.token_hex(20)})

    return rotate


@pytest.fixture
def sts(aws, rotate, manager):
    rotate()
    session = create_session(PATH, manager=manager)
    url = f"http://127.0.0.1:{aws.server_port}"
    client = session.create_client("sts", region_name="eu-west-1", endpoint_url=url)
    yield client
    client.close()


def test_a_refused_access_key_is_read_anew(aws, sts, rotate):
    """The request is signed again with the new key, and the caller sees no failure."""
    assert sts.get_caller_identity()["UserId"] == aws.accepted
    rotate()
    assert sts.get_caller_identity()["UserId"] == aws.accepted
    assert aws.requests == 3


def test_a_key_that_is_refused_again_is_an_error(aws, sts):
    """AWS's own, after one request: the store has no other key."""
    aws.accepted = "none"
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        sts.get_caller_identity()
    assert aws.requests == 1
