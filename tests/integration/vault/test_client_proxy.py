"""A store whose connections go through an HTTP proxy, as VAULT_PROXY_ADDR has it."""

import http.client
import socket
import ssl
import threading
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import trustme

from strongroom._boundary.guard import GuardedStore
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.plugin import open_vault
from support.vault.proxy import FaultProxy


class Handler(BaseHTTPRequestHandler):
    """Tunnels, and passes on what comes with a whole URL."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self):
        self.server.seen.append(self.requestline)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=pipe, args=(upstream, self.connection))
            back.start()
            pipe(self.connection, upstream)
            back.join()
        self.close_connection = True

    def do_GET(self):
        self.server.seen.append(self.requestline)
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with closing(http.client.HTTPConnection(parts.netloc)) as upstream:
            upstream.request(self.command, parts.path + ("?" + parts.query if parts.query else ""), body, self.headers)
            reply = upstream.getresponse()
            content = reply.read()
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_LIST = do_GET  # noqa: N815  # http.server's names

    def log_message(self, *_):
        pass


def pipe(source, sink):
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def web_proxy():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen, server.daemon_threads = [], True
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_is_encrypted_goes_through_a_tunnel(openbao, kv2, web_proxy, tmp_path):
    """The proxy sees the server's name and nothing else; reads, writes and batches alike."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {"token": openbao.token, "mount": kv2, "ca_cert": tmp_path / "ca.pem", "proxy": web_proxy.url}
    with (
        FaultProxy(openbao.url, context=context) as server,
        closing(GuardedStore(open_vault(url=server.url, **options), "vault")) as front,
    ):
        front.write("app", {"k": "v"})
        assert front.read("app").data == {"k": "v"}
        assert dict(front.read_many(["app"]))["app"].data == {"k": "v"}
    assert web_proxy.seen
    assert {line.split()[0] for line in web_proxy.seen} == {"CONNECT"}


def test_what_is_not_encrypted_is_passed_on(openbao, kv2, web_proxy):
    """With the whole URL in the request line."""
    options = {"token": openbao.token, "mount": kv2, "proxy": web_proxy.url}
    with closing(GuardedStore(open_vault(url=openbao.url, **options), "vault")) as front:
        front.write("app", {"k": "v"})
        assert front.read("app").data == {"k": "v"}
        assert list(front.list_entries("")) == ["app"]
        assert dict(front.read_many(["app"]))["app"].data == {"k": "v"}
    assert {line.split()[0] for line in web_proxy.seen} == {"GET", "POST", "LIST"}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_an_outage(scheme, closed_port):
    """No store goes around it."""
    with pytest.raises(VaultConnectionError, match="proxy"):
        open_vault(url=f"{scheme}://vault.example:8200", token="t", proxy=f"http://127.0.0.1:{closed_port}")
