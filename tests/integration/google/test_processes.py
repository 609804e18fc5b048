"""Forks, exits and logs: each process has its own connection, can always end, and logs no value."""

import base64
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport

from strongroom.testing import silent_server
from strongroom_google.credentials import find_tokens
from support.services.google import TokenServer, workload_identity

pytestmark = pytest.mark.long


@pytest.fixture
def clients(monkeypatch):
    """The number of the process in which each client of the SDK was made, in order."""
    made, make = [], SecretManagerServiceClient.__init__

    def init(self, *args, **kwargs):
        made.append(os.getpid())
        make(self, *args, **kwargs)

    monkeypatch.setattr(SecretManagerServiceClient, "__init__", init)
    return made


def test_importing_the_plugin_loads_no_sdk():
    """An opened store needs it, and names the missing module."""
    program = (
        "import sys, strongroom_google.plugin as opening\n"
        "assert not {'google', 'grpc', 'requests', 'urllib3'} & sys.modules.keys()\n"
        "sys.modules['google.cloud.secretmanager_v1'] = None\n"
        "try: opening.open_google(project='demo')\n"
        "except ImportError as error: print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "google.cloud.secretmanager_v1\n"


PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[2])
from strongroom_google.plugin import open_google
from support.forks import forked
store = open_google(project="demo", endpoint_url=sys.argv[1])
"""


def run(program, url, *, go_on=None):
    """The output of a separate program: a fork of this process would have the fake's threads of gRPC.

    Args:
        program: the lines after those that open `store`.
        url: the address of the service.
        go_on: called while it runs; then it reads a line.
    """
    command = [sys.executable, "-c", PROGRAM + program, url, str(Path(__file__).parents[2])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        if go_on is not None:
            go_on()
        output, errors = process.communicate("\n", timeout=100)
    assert process.returncode == 0, errors
    return output


def test_hung_token_server_does_not_keep_the_process(tmp_path, monkeypatch):
    with silent_server() as (host, port):
        file = workload_identity(f"http://{host}:{port}/token", tmp_path)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        program = """
from strongroom.errors import StoreUnavailableError
from strongroom.store import time_limit
from strongroom_google.client import Client
store._client = Client(sys.argv[1].removeprefix("http://"), encrypted=True)
try:
    with time_limit(0.2): store.read("app")
except StoreUnavailableError: print("given up")
"""
        assert run(program, f"http://{host}:{port}") == "given up\n"


def test_closed_store_can_be_closed_and_used_again(google, store, clients):
    google.put("app", b"one")
    store.close()
    store.read("app")
    store.close()
    store.close()
    assert store.read("app").data == {"value": "one"}
    assert clients == [os.getpid()] * 2


def test_threads_share_one_connection(google, store, clients):
    google.put("app", b"one")
    threads = [threading.Thread(target=store.read, args=("app",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert google.asked == ["AccessSecretVersion"] * 8
    assert len(clients) == 1


PAYLOAD = base64.b64encode(b'{"k":"canary-6f1d-value"}').decode()[:20]


def shown(records):
    """Message and attributes of each record."""
    return "".join(f"{record.getMessage()} {vars(record)}" for record in records)


class TestLogs:
    """The SDK logs whole requests and replies at DEBUG, in attributes of the records."""

    @pytest.fixture(autouse=True)
    def debug(self, caplog):
        for name in ("", "google", "google.cloud.secretmanager_v1", "grpc", "urllib3"):
            caplog.set_level(logging.DEBUG, name)

    def test_no_value_is_logged(self, google, store, caplog):
        store.write("app", {"k": "canary-6f1d-value"})
        store.read("app")
        list(store.read_many(["app"] * 3))
        store.write_metadata("app", {"owner": "billing"})
        list(store.walk_labels(""))
        assert "canary" not in shown(caplog.records)
        assert PAYLOAD not in shown(caplog.records)

    def test_first_call_of_a_process_logs_no_value(self, google):
        """It imports modules of the SDK, each with a new logger. Google's own handler writes attributes, too."""
        google.put("app", b'{"k":"canary-6f1d-value"}')
        program = """
import logging
logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)
logging.getLogger().handlers[0].addFilter(lambda record: print(vars(record)) or True)
os.environ["GOOGLE_SDK_PYTHON_LOGGING_SCOPE"] = "google"
store = open_google(project="demo", endpoint_url=sys.argv[1])
assert store.read("app").data["k"] == "canary-6f1d-value"
"""
        output = run(program, google.url)
        assert "canary" not in output
        assert PAYLOAD not in output

    def test_sdk_itself_logs_the_value(self, google, caplog):
        """Otherwise the tests above would show nothing."""
        google.put("app", b'{"k":"canary-6f1d-value"}')
        with grpc.insecure_channel(google.url.removeprefix("http://")) as channel:
            client = SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))
            client.access_secret_version(name="projects/demo/secrets/app/versions/latest")
        assert PAYLOAD in shown(caplog.records)

    def test_no_token_is_logged(self, caplog, monkeypatch, tmp_path):
        """gRPC fetches it in a separate thread, outside the silenced block of the call. Nor is its subject token."""
        with TokenServer() as server:
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(workload_identity(server.url, tmp_path)))
            tokens, given = find_tokens(), []
            context = type("Context", (), {"method_name": "m", "service_url": "https://host"})
            tokens(context, lambda headers, error: given.append((dict(headers), error)))
        assert given == [({"authorization": f"Bearer {TokenServer.TOKEN}"}, None)]
        assert "canary" not in shown(caplog.records)
