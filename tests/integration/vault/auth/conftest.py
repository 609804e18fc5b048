"""A login as a session would send it, against a real server or one that answers what it is told; and signed JWTs."""

import secrets
import traceback
from types import SimpleNamespace

import pytest

from strongroom_vault.auth.token import Agent
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.curl_driver import CurlDriver
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.plugin import open_vault
from strongroom_vault.session.session import Session
from support.vault.jwt_issuer import Issuer


class Recorder(CurlDriver):
    """A driver that remembers what it sent."""

    def __init__(self, *args):
        self.sent = []
        super().__init__(*args)

    def _send(self, step):
        self.sent.append(step.request)
        return super()._send(step)


class RecordedSession(Session):
    """What a session gives to `Auth.login`, with the requests that went out as `sent`."""

    def __init__(self, url, tls=None, namespace=None):
        recorder = Recorder((Address.parse(url),), tls or TLSSettings())
        self.sent = recorder.sent
        super().__init__(recorder, Cluster((Address.parse(url),)), Agent(), namespace=namespace, mount="secret")

    def __call__(self, request, **options):
        return self.send(request, **options)


@pytest.fixture
def sender():
    """A function that opens a `RecordedSession`."""
    sessions = []

    def open_(*args, **options):
        sessions.append(RecordedSession(*args, **options))
        return sessions[-1]

    yield open_
    for session in sessions:
        session.close()


@pytest.fixture
def send(sender, openbao):
    """Sends to the shared server."""
    return sender(openbao.url)


@pytest.fixture
def tell(sender, fault_server):
    """Sends to a server that gives these answers."""

    def open_(*answers):
        fault_server.answers[:] = answers
        return sender(fault_server.url)

    return open_


@pytest.fixture
def readable(openbao, kv2):
    """A mount with a secret `app`, and the policy that allows to read it."""
    openbao.put("app", {"password": "hunter2"}, mount=kv2)
    policy = openbao.write_policy({f"{kv2}/data/*": ["read"]})
    return SimpleNamespace(mount=kv2, policy=policy)


@pytest.fixture
def reads(openbao, readable):
    """A function: whether a store with this table `auth` reads that secret."""

    def read(auth, **options):
        store = open_vault(**{"url": openbao.url, "mount": readable.mount, **options}, auth=auth)
        try:
            return store.read("app").data == {"password": "hunter2"}
        finally:
            store.close()

    return read


@pytest.fixture
def enabled(openbao):
    """A function that enables a method under a name of its own on the shared server, and returns the name."""

    def enable(kind):
        name = f"{kind}-{secrets.token_hex(4)}"
        openbao.call("POST", f"sys/auth/{name}", {"type": kind})
        return name

    return enable


@pytest.fixture
def accepted(openbao):
    """A function that returns what the shared server knows of a token; it raises for one that is not good."""

    def look_up(grant):
        return openbao.call("GET", "auth/token/lookup-self", token=str(grant.token))["data"]

    return look_up


@pytest.fixture(scope="session")
def issuer():
    """Making its key takes a moment."""
    return Issuer()


@pytest.fixture
def approle(openbao, enabled):
    """A function that makes a role of AppRole: its mount, its role_id, and a function for secret_ids."""

    def make(**settings):
        mount = enabled("approle")
        openbao.call("POST", f"auth/{mount}/role/app", {"token_ttl": "60s", "token_policies": "default", **settings})
        role_id = openbao.call("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]

        def issue():
            return openbao.call("POST", f"auth/{mount}/role/app/secret-id", {})["data"]["secret_id"]

        return SimpleNamespace(mount=mount, role_id=role_id, issue=issue)

    return make


@pytest.fixture
def exposed():
    """A function: which of the canaries an error shows, its contexts and the frames outside of tests included."""

    def find(error, *canaries):
        parts, seen = [], error
        while seen is not None:
            parts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
            seen = seen.__cause__ or seen.__context__
        trace = error.__traceback__
        while trace is not None and "/tests/" in trace.tb_frame.f_code.co_filename:
            trace = trace.tb_next
        parts += [*traceback.TracebackException(type(error), error, trace, capture_locals=True).format()]
        return [canary for canary in canaries if canary in "".join(parts)]

    return find
