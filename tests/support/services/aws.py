"""moto as a server on loopback, in a separate process."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.session
from botocore import hooks
from botocore.config import Config

from strongroom_vault.dev.server import free_port
from support.services import guarded

_PROGRAM = Path(__file__).parents[2] / "integration" / "aws" / "server.py"
REGION = "eu-west-1"


CREDENTIALS = {"aws_access_key_id": "AKIDCANARY", "aws_secret_access_key": "canary-secret-key"}


_read_once = functools.cache(botocore.session.create_loader)
_accepts_kwargs = functools.cache(hooks.accepts_kwargs)
_aliases = hooks.EventAliaser(None)


def found_here(monkeypatch):
    """What boto3 finds: these credentials and this region, and none of a machine in the cloud.

    Clients share the descriptions of AWS's services, and what botocore computes for its 130 event handlers: both took
    most of the time to create a client.
    """
    monkeypatch.setattr(botocore.session, "create_loader", _read_once)
    monkeypatch.setattr(hooks, "accepts_kwargs", _accepts_kwargs)
    monkeypatch.setattr(hooks.EventAliaser, "_alias_event_name", _aliases._alias_event_name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for name, text in CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), text)
    _load_service_models()


@functools.cache
def _load_service_models():
    """Load the service models now, so that no test does it within its deadline."""
    for service in ("secretsmanager", "ssm", "sts"):
        boto3.Session().client(service)


class Moto:
    """A moto server in a separate process."""

    def __init__(self) -> None:
        port = free_port()  # no ephemeral one, which a client or another server may get before moto listens
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
        self.url = f"http://127.0.0.1:{port}"
        self.process = guarded.start([sys.executable, str(_PROGRAM), str(port)], environment=environment)
        try:
            self._wait()
            self._load_backends()
        except BaseException:
            self.close()
            raise

    def _wait(self):
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, "moto ended before it answered"
            assert time.monotonic() < deadline, "moto did not answer within a minute"
            time.sleep(0.05)

    def _load_backends(self):
        """Have moto load each service now.

        It does so at the first request to it, which on a busy machine takes longer than the ten seconds that a store's
        call may take: the first test of a session failed with "AWS did not answer in time".
        """
        patient = Config(read_timeout=120, retries={"total_max_attempts": 1})
        self.client("secretsmanager", config=patient).list_secrets()
        self.client("ssm", config=patient).describe_parameters()
        self.client("sts", config=patient).get_caller_identity()

    def client(self, service, **options):
        """A client of boto3's, for what a test does without Strongroom."""
        given = {"endpoint_url": self.url, "region_name": REGION, **CREDENTIALS, **options}
        return boto3.client(service, **given)

    def use(self, monkeypatch):
        """Makes it the AWS that boto3 finds, and nothing of this machine's."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.url)
        found_here(monkeypatch)

    def reset(self) -> None:
        """Forget all data."""
        self._control("reset")

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Check the signatures and policies of all requests of the block."""
        self._control("reset-auth", "0")
        try:
            yield
        finally:
            self._control("reset-auth", "inf")

    def _control(self, action: str, body: str = "") -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.url}/moto-api/{action}", body.encode(), headers)
        urllib.request.urlopen(request, timeout=60).close()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5) as answer:
            return answer.status == 200
        return False

    def close(self) -> None:
        guarded.end(self.process)


def operation_of(request):
    """The operation that a request is for."""
    return request.headers.get("x-amz-target", "").rpartition(".")[2]


def body_of(request):
    """The operation's parameters."""
    return json.loads(request.body)
