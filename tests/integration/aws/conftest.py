"""Stores on moto, through a proxy that counts requests and can answer in moto's place."""

import uuid
from functools import cached_property

import pytest
from boto3.session import Session

from strongroom_aws.plugin import open_parameter_store, open_secrets_manager
from support.services.aws import operation_of
from support.vault.faults import reply
from support.vault.proxy import FaultProxy


class AWS:
    """moto behind a proxy."""

    def __init__(self, moto, proxy):
        self.moto = moto
        self.proxy = proxy
        self.prefix = f"t/{uuid.uuid4().hex[:8]}"

    @cached_property
    def secrets(self):
        """A client of boto3's for Secrets Manager."""
        return self.moto.client("secretsmanager")

    @cached_property
    def ssm(self):
        """A client of boto3's for Parameter Store."""
        return self.moto.client("ssm")

    def name(self, path):
        """What AWS calls a secret of a store with this prefix."""
        return f"{self.prefix}/{path}"

    def open_secrets(self, **options):
        return open_secrets_manager(endpoint_url=self.proxy.url, **{"prefix": self.prefix, **options})

    def open_parameters(self, layout="keys", **options):
        return open_parameter_store(
            endpoint_url=self.proxy.url, layout=layout, **{"prefix": f"/{self.prefix}", **options}
        )

    @property
    def asked(self):
        """The operations that were asked for, in order."""
        return [operation_of(request) for request in self.proxy.requests]

    def forget(self):
        self.proxy.requests.clear()

    def answer(self, operation, status, body, *, times=None):
        """From now on this is what the operation is answered with."""
        content = reply(status, body, ["Content-Type: application/x-amz-json-1.1", "Connection: keep-alive"])
        self.fault(operation, lambda exchange: exchange.send(content), times=times)

    def refuse(self, operation, code, *, status=400, times=None):
        """From now on this is the error that the operation ends with."""
        self.answer(operation, status, {"__type": code, "message": "canary-value"}, times=times)

    def fault(self, operation, fault, *, times=None):
        self.proxy.inject(fault, times=times, when=lambda request: operation in {"*", operation_of(request)})


@pytest.fixture
def aws(moto, monkeypatch):
    moto.use(monkeypatch)
    with FaultProxy(moto.url) as proxy:
        yield AWS(moto, proxy)


@pytest.fixture
def clients(aws, monkeypatch):
    """The clients of boto3's that stores create, in order."""
    create, created = Session.client, []

    def client(session, *args, **kwargs):
        created.append(create(session, *args, **kwargs))
        return created[-1]

    monkeypatch.setattr(Session, "client", client)
    return created
