"""The destinations of a worker, the authority of its session, and the proxy of the company: without mitmproxy."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl

import pytest
from cryptography import x509

from strongroom._config import RuleConfig
from strongroom.agents._proxy.authority import Authority
from strongroom.agents._proxy.network import CompanyProxy, Network, connect_reason
from strongroom.agents._rules.policy import Destinations, is_public, named_hosts
from strongroom.agents._rules.request import Refusal
from strongroom.errors import ConfigurationError
from strongroom.store import in_daemon
from support.agents.company_proxy import CompanyProxy as Refusing


def rule(*hosts):
    return RuleConfig("one", "api-keys/one", "key", "KEY", hosts, (), (), ("header:authorization",), "")


HOSTS = rule("api.example.com", "*.example.org:8443", "10.0.0.7", "[::1]:444")


@pytest.mark.parametrize(
    ("host", "port"), [("api.example.com", 443), ("a.b.example.org", 8443), ("10.0.0.7", 443), ("::1", 444)]
)
def test_host_of_a_rule_is_looked_into(host, port):
    assert Destinations(lambda: [HOSTS], only_rules=True).is_looked_into("https", host, port)


@pytest.mark.parametrize(("scheme", "host", "port"), [("https", "example.net", 443), ("http", "example.net", 80)])
def test_another_public_host_passes(scheme, host, port):
    assert not Destinations(lambda: [HOSTS]).is_looked_into(scheme, host, port)


@pytest.mark.parametrize(
    ("scheme", "host", "port"),
    [
        ("https", "api.example.com", 8443),
        ("https", "a.example.org", 443),
        ("http", "api.example.com", 80),
        ("http", "api.example.com", 443),
        ("http", "api.example.com", 8443),
        ("https", "example.net", 22),
        ("http", "example.net", 8080),
        ("https", "10.0.0.8", 443),
        ("https", "::1", 443),
    ],
)
def test_destination_is_refused(scheme, host, port):
    with pytest.raises(Refusal):
        Destinations(lambda: [HOSTS]).is_looked_into(scheme, host, port)


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1%eth0", "fd00:ec2::254", "ff02::1"),
    *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_address_that_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "example.com"])
def test_public_address(address):
    assert is_public(address)


def test_private_address_needs_a_rule_without_a_wildcard():
    destinations = Destinations(lambda: [HOSTS])
    assert destinations.may_reach("api.example.com", 443, "10.0.0.1")
    assert not destinations.may_reach("a.example.org", 8443, "10.0.0.1")


def test_authority_is_limited_to_the_hosts_of_the_rules():
    authority = Authority([rule("api.example.com", "*.example.org:8443")])
    found = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert found.critical
    assert [name.value for name in found.value.permitted_subtrees] == ["api.example.com", "example.org"]
    assert [str(name.value) for name in found.value.excluded_subtrees] == ["0.0.0.0/0", "::/0"]


def test_authority_for_an_address_excludes_the_others():
    constraints = Authority([HOSTS]).certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    permitted = [name.value for name in constraints.permitted_subtrees]
    assert ipaddress.ip_network("10.0.0.7/32") in permitted
    assert ipaddress.ip_network("::1/128") in permitted
    assert constraints.excluded_subtrees is None


def test_authority_is_valid_now_and_accepted_by_openssl():
    authority = Authority([HOSTS])
    assert ssl.create_default_context(cadata=authority.pem.decode()).get_ca_certs()
    life = authority.certificate.not_valid_after_utc - authority.certificate.not_valid_before_utc
    assert life.days == 7
    assert list(named_hosts([HOSTS])) == ["api.example.com", "*.example.org", "10.0.0.7", "::1"]


def test_proxy_of_the_company_is_read_from_the_variables(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert CompanyProxy.of_environment() is None
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss@proxy.corp:3129")
    monkeypatch.setenv("no_proxy", ".corp, example.net:8443")
    proxy = CompanyProxy.of_environment()
    assert proxy.address == ("proxy.corp", 3129)
    assert proxy.headers == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}
    assert [proxy.carries(*host) for host in (("a.corp", 443), ("example.net", 8443), ("example.net", 443))] == [
        False,
        False,
        True,
    ]
    assert not CompanyProxy("http://proxy", "*").carries("example.com", 443)


def test_a_tunnel_that_the_proxy_of_the_company_refuses_has_a_reason_of_ours():
    """The proxy's own words may tell about the network."""
    with Refusing(0, refuses=True) as server:
        proxy = CompanyProxy(server.url)
        with pytest.raises(OSError, match=r"^Strongroom: the company's proxy refused the tunnel with 407$"):
            proxy.open_tunnel("api.example.com", 443)
    assert server.targets == ["api.example.com:443"]


def test_a_server_that_is_no_proxy_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CompanyProxy(f"127.0.0.1:{listener.getsockname()[1]}")
        answered = in_daemon(lambda: answer_otherwise(listener), "server")
        with pytest.raises(OSError, match="does not answer as a proxy"):
            proxy.open_tunnel("api.example.com", 443)
        answered.result()


def answer_otherwise(listener):
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"220 mail.example.com ESMTP\r\n")


@pytest.mark.parametrize("url", ["socks5://proxy:1080", "https://proxy:3128", "http://", "http://proxy:nothing"])
def test_another_kind_of_proxy_is_refused(url):
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        CompanyProxy(url)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("[Errno 111] Connect call failed ('10.1.2.3', 443)", "Connection refused"),
        ("[Errno -2] Name or service not known", "its name cannot be resolved"),
        ("Strongroom: a.example has no address", "a.example has no address"),
        ("[Errno 13] the proxy of 10.1.2.3 says more", "Permission denied"),
        ("[Errno 123456] text", ""),
        ("Multiple exceptions: [Errno 111] Connect call failed ('10.1.2.3', 443)", ""),
    ],
)
def test_reason_of_a_failed_connection_names_no_address(message, reason):
    """The worker knows the name alone, and may not know the network behind it."""
    assert connect_reason(message) == reason


def test_name_that_resolves_to_a_private_address_is_not_connected():
    asked = []

    def may_reach(*about):
        asked.append(about)
        return False

    async def connect():
        await asyncio.open_connection("localhost", 9)

    with asyncio.Runner(loop_factory=lambda: Network(may_reach)) as runner, pytest.raises(OSError, match="not public"):
        runner.run(connect())
    assert asked[0][:2] == ("localhost", 9)
