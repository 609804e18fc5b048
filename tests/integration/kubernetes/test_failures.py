"""Absent, denied and unavailable are told apart, and nothing shows a value or a token."""

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3
from kubernetes.client import ApiException
from kubernetes.config import ConfigException

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store.calls import Fate
from strongroom_kubernetes.api_server import fault_of
from strongroom_kubernetes.objects import open_kubernetes_api
from support.vault.faults import reply

pytestmark = pytest.mark.long

TOKEN = "canary-token"


def test_a_server_without_tls_gets_no_token(cluster):
    """kubectl sends none either: anybody on the way could read it."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        store = cluster.open(token=TOKEN, url=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(AuthenticationError):
            store.read("db")
        server.shutdown()
    assert set(seen) == {None}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, StoreError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, SecretNotFoundError),
        (405, StoreError),
        (409, ConflictError),
        (413, SecretTooLargeError),
        (422, InvalidDataError),
    ],
)
def test_each_status_is_one_kind_of_error(cluster, status, kind):
    store = cluster.open()
    version = store.write("db", {"key": "v"})
    cluster.api.failures = [status]
    with pytest.raises(kind) as caught:
        store.read("db")
    assert type(caught.value) is kind
    cluster.api.failures = [0, status]
    with pytest.raises(kind) as caught:
        store.write_if("db", {"key": "w"}, version)
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [500, 503, 504])
def test_write_that_failed_once_is_sent_again(cluster, status):
    """A first write and a merge: the name or the resourceVersion lets only one of the attempts change anything."""
    store = cluster.open()
    for expected in (None, "the newest"):
        cluster.api.failures = [0, status]
        store.write_if("db", {"key": str(expected)}, expected and store.read("db").version)
        assert store.read("db").data == {"key": str(expected)}


@pytest.mark.parametrize(
    ("error", "kind", "fate"),
    [
        (ApiException(status=0, reason="SSLError"), StoreUnavailableError, Fate.UNSENT),
        (urllib3.exceptions.NewConnectionError(None, ""), StoreUnavailableError, Fate.UNSENT),
        (urllib3.exceptions.ProxyError("", ConnectionResetError(104, "")), StoreUnavailableError, Fate.FAILED),
        (urllib3.exceptions.ProtocolError(), StoreUnavailableError, Fate.FAILED),
        (OSError(), StoreUnavailableError, Fate.UNSENT),
        (ConfigException(), AuthenticationError, Fate.ANSWERED),
        (ZeroDivisionError(), StoreError, Fate.ANSWERED),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_each_exception_of_the_client_is_one_kind_of_error(error, kind, fate):
    """A lost reply is an unknown outcome of a write; a connection that never was is not."""
    fault = fault_of(error)
    assert (type(fault.error), fault.fate) == (kind, fate)


@pytest.mark.parametrize(
    "answer",
    [
        reply(404, b"<html>Not here</html>"),
        reply(404, b"404 page not found"),
        reply(200, b"<html>Log in</html>"),
        reply(200, b"[]"),
        reply(200, b"{}"),
        reply(200, {"metadata": {"name": "db"}, "data": {"key": "dg=="}}),
        reply(302, b"", ["Location: https://127.0.0.1:1/login"]),
    ],
)
def test_what_is_no_api_server_is_an_outage(cluster, answer):
    """A load balancer confirms no absence, and a redirection is not followed: it would get the token."""
    store = cluster.open()
    cluster.api.failures = [answer]
    with pytest.raises(StoreUnavailableError):
        store.read("db")


def test_refused_credentials_cost_one_request(cluster):
    """They are loaded again, and sent again only if they differ."""
    store = cluster.open(token="unknown")
    with pytest.raises(AuthenticationError):
        store.read("db")
    assert len(cluster.api.requests) == 1


def test_a_server_that_nobody_vouches_for_is_an_outage(cluster, tmp_path):
    """Its certificate is of another authority."""
    file = cluster.kubeconfig()
    other = tmp_path / "other.pem"
    import trustme

    trustme.CA().cert_pem.write_to_path(str(other))
    file.write_text(file.read_text().replace(str(cluster.api.ca), str(other)))
    store = open_kubernetes_api(kubeconfig=file)
    cluster.opened.append(store)
    with pytest.raises(StoreUnavailableError):
        store.read("db")


@pytest.mark.parametrize(
    "content", [None, "", "[]", "apiVersion: v1\n", f"users: [{{name: {TOKEN}", f"current-context: {TOKEN}\n"]
)
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path, content):
    """Without its text, which has credentials."""
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match="kubeconfig") as caught:
        open_kubernetes_api(kubeconfig=file)
    assert TOKEN not in f"{caught.value} {caught.value!r}"


def test_without_a_kubeconfig_and_a_service_account_the_options_are_named():
    """Nothing is sent anywhere."""
    with pytest.raises(ConfigurationError, match="neither a kubeconfig nor a pod's token"):
        open_kubernetes_api()


def test_opening_a_store_leaves_the_levels_of_loggers_alone(cluster, caplog):
    """The client sets that of urllib3 to WARNING, for the whole process."""
    caplog.set_level(logging.ERROR, "urllib3")
    cluster.open().probe()
    assert logging.getLogger("urllib3").level == logging.ERROR
