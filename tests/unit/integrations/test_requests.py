"""One TLS context in every client of the page: its authorities stay the same."""

import asyncio
import contextlib
import re
import ssl
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import certifi
import httpx
import pytest
import requests
import trustme

from strongroom.integrations.requests import TLSAdapter
from strongroom.integrations.tls import create_client_context
from strongroom.testing import override
from support.agents.company_proxy import CompanyProxy
from support.scenarios import pages


class Handler(BaseHTTPRequestHandler):
    """Answers with the common name of the client's certificate."""

    def do_GET(self):
        shown = self.connection.getpeercert()
        names = dict(part[0] for part in shown["subject"]) if shown else {}
        body = names.get("commonName", "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that refuses the certificate ends the connection."""

    def get_request(self):
        connection, address = super().get_request()
        return self.tls.wrap_socket(connection, server_side=True), address


@contextlib.contextmanager
def serving(pair, clients):
    """Yield the port of a server that has a pair, and asks for certificates of an authority."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair.configure_cert(server.tls)
        clients.configure_trust(server.tls)
        server.tls.verify_mode = ssl.CERT_OPTIONAL
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def port(authority):
    with serving(authority.issue_cert("127.0.0.1", "shop.example.com"), authority) as port:
        yield port


@pytest.fixture
def url(port):
    return f"https://127.0.0.1:{port}/"


@pytest.fixture
def context(authority, tmp_path):
    """The context of a client that trusts one private authority."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    pair = authority.issue_cert(common_name="client")
    secret = {
        "certificate": pair.cert_chain_pems[0].bytes().decode(),
        "private_key": pair.private_key_pem.bytes().decode(),
    }
    with override({"tls/client": secret}):
        yield create_client_context("tls/client", server_ca=file)


def trust(context):
    """Return all that decides which servers a context accepts."""
    found = context.get_ca_certs(binary_form=True)
    return context.cert_store_stats(), found, context.verify_mode, context.check_hostname, context.verify_flags


@pytest.fixture
def session(context):
    with requests.Session() as session:
        session.mount("https://", TLSAdapter(context))
        yield session


def with_httpx(url, context):
    return httpx.get(url, verify=context).text


def with_aiohttp(url, context):
    async def get():
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
            return await response.text()

    return asyncio.run(get())


def with_urllib(url, context):
    with urllib.request.urlopen(url, context=context) as response:
        return response.read().decode()


def with_requests(url, context):
    with requests.Session() as session:
        session.mount("https://", TLSAdapter(context))
        return session.get(url).text


CLIENTS = {"httpx": with_httpx, "aiohttp": with_aiohttp, "urllib": with_urllib, "requests": with_requests}


def test_every_client_of_the_page_is_tested():
    """The rows of its table that pass the context `client` on."""
    text = pages.page("integrations/connections.md").read_text("utf-8")
    assert set(re.findall(r"^\| (\w+)[^|]*\|.*\bclient\b.*`.*\|$", text, re.MULTILINE)) == set(CLIENTS)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_request_leaves_the_authorities_of_the_context(url, context, name):
    """The client shows its certificate, and trusts one authority before and after, not the public ones too."""
    before = trust(context)
    assert before[0]["x509_ca"] == 1
    assert CLIENTS[name](url, context) == "client"
    assert trust(context) == before


@pytest.mark.parametrize("verify", ["argument", "session", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_no_setting_of_requests_adds_authorities(url, context, session, monkeypatch, verify):
    """Also none of the environment, which requests passes on as the argument `verify`."""
    before = trust(context)
    options = {"verify": certifi.where()} if verify == "argument" else {}
    if verify == "session":
        session.verify = certifi.where()
    elif verify.isupper():
        monkeypatch.setenv(verify, certifi.where())
    assert session.get(url, **options).text == "client"
    assert trust(context) == before


def test_a_request_through_a_proxy_uses_the_context(port, context, session):
    """Inside of the tunnel."""
    before = trust(context)
    with CompanyProxy(port) as proxy:
        answer = session.get("https://shop.example.com/", proxies={"https": proxy.url})
        assert proxy.targets == ["shop.example.com:443"]
    assert answer.text == "client"
    assert trust(context) == before


def test_a_server_of_another_authority_is_refused(authority, session, tmp_path):
    """Also if `verify` names the file of that authority."""
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    with serving(other.issue_cert("127.0.0.1"), authority) as port:
        for verify in (True, str(tmp_path / "other.pem")):
            with pytest.raises(requests.exceptions.SSLError, match="certificate verify failed"):
                session.get(f"https://127.0.0.1:{port}/", verify=verify)


@pytest.mark.parametrize(
    ("options", "message"), [({"verify": False}, "verify=False"), ({"cert": "client.pem"}, "cert: the context")]
)
def test_what_would_change_the_context_is_refused(url, context, session, options, message):
    """urllib3 would end the verification, or replace the certificate, for each client that has the context."""
    before = trust(context)
    with pytest.raises(ValueError, match=message) as raised:
        session.get(url, **options)
    assert not isinstance(raised.value, requests.RequestException)  # the program is wrong, not the request
    assert trust(context) == before
    assert session.get(url).text == "client"
