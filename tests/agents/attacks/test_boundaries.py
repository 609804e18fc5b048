"""Other hosts, addresses and certificates: the value goes to the host of the rule, and nowhere else."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import ssl
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest

from strongroom.agents._proxy.authority import Authority
from strongroom.agents._proxy.network import Network
from support.agents.upstream import Answer, Upstream
from support.agents.workers import VALUE, read_all, rule


@pytest.fixture
def client(door):
    with httpx.Client(proxy=door.url, verify=door.tls, timeout=30) as made:
        made.headers["authorization"] = f"Bearer {door.placeholder}"
        yield made


def test_a_redirect_to_another_host_brings_no_value(chained, upstream, upstream_file):
    """The client follows, and sends its header to the other host in a tunnel that is not looked into."""
    upstream.answer = lambda request: (
        Answer(307, [("location", "https://other.example.com/")]) if len(upstream.requests) == 1 else Answer()
    )
    context = chained.tls
    context.load_verify_locations(upstream_file)
    with httpx.Client(proxy=chained.url, verify=context, timeout=30) as client:
        first = client.get("https://api.example.com/", headers={"x-api-key": chained.placeholder})
        client.send(client.build_request("GET", first.headers["location"], headers={"x-api-key": chained.placeholder}))
    assert [request.header("x-api-key") for request in upstream.requests] == [VALUE, chained.placeholder]


@pytest.mark.parametrize(
    "target",
    [
        "0177.0.0.1:443",
        "0x7f.0.0.1:443",
        "017700000001:443",
        "127.0.0.1.:443",
        "[::]:443",
        "[::ffff:7f00:1]:443",
        "[2002:7f00:1::]:443",
        "[fe80::1%25lo]:443",
        "0.0.0.0:443",
        "100.64.0.1:443",
        "224.0.0.1:443",
        "localhost.:443",
        "LOCALHOST:443",
        "api.example.com.:8443",
        "API.EXAMPLE.COM:80",
        "api%2eexample.com:443",
        "api.example.com@other.example.com:443",
        "api.example.com:443:443",
        "api.example.com:0",
        "api.example.com:99999",
        "api。example.com:443",
        "xn--a:443",
        "a..example.com:443",
        ":443",
    ],
)
def test_no_tunnel_is_opened(operator_door, upstream, target):
    before = upstream.connections
    connection, status, text = operator_door.ask(target)
    connection.close()
    assert status >= 400, text
    assert upstream.connections == before


@pytest.fixture(scope="module")
def operator_door(operator):
    with operator.worker() as running:
        yield running


def test_a_name_that_turns_private_after_the_check_is_refused():
    """The check is at the resolution that the connection uses, so that a second answer is no way around."""
    network = Network(lambda host, port, address: False)
    try:
        for host in ("localhost", "127.1", "2130706433", "0x7f000001"):
            with pytest.raises(OSError, match="not public"):
                network.run_until_complete(network.create_connection(lambda: None, host, 443))
    finally:
        network.close()


@pytest.mark.parametrize("fault", ["expired", "another name"])
def test_an_upstream_with_a_wrong_certificate_gets_no_request(operator_of, upstream_authority, fault):
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    names = ("localhost",) if fault == "expired" else ("other.example.com",)
    certificate = upstream_authority.issue_cert(*names, not_after=past if fault == "expired" else None)
    with Upstream(upstream_authority, certificate=certificate) as stranger:
        operator = operator_of(rule([f"localhost:{stranger.port}"]))
        with operator.worker() as door, httpx.Client(proxy=door.url, verify=door.tls, timeout=30) as client:
            answer = client.get(stranger.origin, headers={"authorization": door.placeholder})
        assert answer.status_code == 502
        assert stranger.requests == []


def test_a_client_that_does_not_trust_the_authority_sends_nothing(door, upstream, upstream_file):
    context = ssl.create_default_context(cafile=upstream_file)
    with httpx.Client(proxy=door.url, verify=context, timeout=30) as client, pytest.raises(httpx.ConnectError):
        client.get(upstream.origin, headers={"authorization": door.placeholder})
    assert upstream.requests == []


def test_a_certificate_for_a_host_outside_the_rules_is_refused_by_clients(operator, tmp_path):
    """Whoever had the key of the authority could not use it for other hosts."""
    from cryptography import x509
    from mitmproxy.certs import Cert, CertStore

    from strongroom._config import discovery

    authority = Authority(discovery.load(config_file=operator.config, environment=None).agents.rules.values())
    store = CertStore(authority.key, Cert(authority.certificate), None, b"", None)
    for name, expected in (("localhost", "accepted"), ("bank.test", "permitted subtree")):
        assert expected in outcome(store.get_cert(name, [x509.DNSName(name)]), authority, name, tmp_path)


@pytest.mark.parametrize("hosts", [["127.0.0.1:9443", "localhost:9446"], ["127.0.0.1"], ["localhost", "[::1]"]])
def test_a_certificate_is_accepted_for_each_host_of_the_rules(hosts, tmp_path):
    """A name and an address may stand in one session."""
    from strongroom._config import RuleConfig
    from strongroom.agents._proxy.layers import Tls

    authority = Authority([RuleConfig("openai", "api-keys/openai", "key", "KEY", tuple(hosts))])
    for host in hosts:
        name = urlsplit(f"//{host}").hostname
        entry = Tls([authority]).get_cert(SimpleNamespace(server=SimpleNamespace(address=(name, 443))))
        assert outcome(entry, authority, name, tmp_path) == "accepted", host


def outcome(entry, authority, name, folder):
    """Return how a client of Python answers a server with this certificate, if it asks for this name."""
    from cryptography.hazmat.primitives import serialization

    file = folder / f"{name}.pem"
    key = entry.privatekey.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(entry.cert.to_pem() + key)
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server, client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return "accepted"


@pytest.mark.parametrize("kind", ["compressed", "multipart"])
def test_a_body_that_is_not_looked_into_keeps_the_placeholder(client, door, upstream, kind):
    key = door.placeholder.encode()
    if kind == "compressed":
        answer = client.post(upstream.origin, content=gzip.compress(key), headers={"content-encoding": "gzip"})
        assert gzip.decompress(upstream.requests[0].body) == key
    else:
        answer = client.post(upstream.origin, files={"file": key}, data={"key": key.decode()})
        assert upstream.requests[0].body.count(key) == 2
    assert answer.status_code == 200
    assert VALUE.encode() not in upstream.requests[0].body


def test_nothing_is_sent_by_a_connect_within_a_tunnel(door, upstream):
    target = f"localhost:{upstream.port}"
    with door.tunnel(target) as tunnel:
        tunnel.sendall(b"CONNECT other.example.com:443 HTTP/1.1\r\nHost: other.example.com:443\r\n\r\n")
        tunnel.settimeout(10)
        answer = read_all(tunnel)
    assert not answer.startswith(b"HTTP/1.1 200"), answer
    assert upstream.requests == []
