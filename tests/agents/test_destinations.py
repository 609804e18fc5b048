"""The destinations of a worker: hosts of rules, others as a tunnel, and the proxy of the company between."""

from __future__ import annotations

import ssl

import httpx
import pytest

from support.agents.company_proxy import CompanyProxy
from support.agents.workers import VALUE, read_all, rule


def test_requests_to_the_host_of_a_rule_pass_the_proxy_of_the_company(chained, company, upstream):
    with httpx.Client(proxy=chained.url, verify=chained.tls, timeout=60) as client:
        answer = client.get("https://API.example.com/v1", headers={"authorization": f"Bearer {chained.placeholder}"})
    assert answer.status_code == 200
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    assert company.targets[-1] == "api.example.com:443"


def test_no_proxy_names_hosts_that_are_reached_directly(chained, company, upstream):
    before = len(company.targets)
    with httpx.Client(proxy=chained.url, verify=chained.tls, timeout=60) as client:
        assert client.get(upstream.origin).status_code == 200
    assert len(company.targets) == before


def test_other_hosts_are_a_tunnel_that_is_not_decrypted(chained, upstream, upstream_file):
    connection, status, _ = chained.ask("other.example.com:443")
    assert status == 200
    context = ssl.create_default_context(cafile=upstream_file)  # the session's authority is unknown to it
    with context.wrap_socket(connection, server_hostname="other.example.com") as tunnel:
        tunnel.sendall(
            f"GET / HTTP/1.1\r\nHost: x\r\nX-Key: {chained.placeholder}\r\nConnection: close\r\n\r\n".encode()
        )
        assert b"HTTP/1.1 200" in read_all(tunnel)
    assert upstream.requests[0].header("x-key") == chained.placeholder


def test_other_hosts_may_speak_http2(chained, upstream_file):
    connection, _, _ = chained.ask("other.example.com:443")
    context = ssl.create_default_context(cafile=upstream_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(connection, server_hostname="other.example.com") as tunnel:
        assert tunnel.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("other.example.com:22", "The port 22"),
        ("api.example.com:8443", "The rules name api.example.com with the port"),
        ("127.0.0.1:443", "not a public address"),
        ("10.0.0.1:443", "not a public address"),
        ("169.254.169.254:443", "not a public address"),
        ("[::1]:443", "not a public address"),
        ("[::ffff:127.0.0.1]:443", "not a public address"),
        ("[64:ff9b::7f00:1]:443", "not a public address"),
        ("127.1:443", "neither a name nor an address"),
        ("2130706433:443", "neither a name nor an address"),
        ("0x7f000001:443", "neither a name nor an address"),
    ],
)
def test_tunnel_is_refused_with_a_reason(chained, company, target, reason):
    before = len(company.targets)
    connection, status, text = chained.ask(target)
    connection.close()
    assert (status >= 400, reason in text) == (True, True), text
    assert len(company.targets) == before


def test_name_with_a_private_address_is_refused_unless_a_rule_names_it(operator_of, upstream):
    operator = operator_of(rule(["api.example.com"]))
    with operator.worker() as door:
        connection, status, text = door.ask("localhost:443")
        connection.close()
    assert (status, "not public" in text) == (502, True), text


def test_only_rules_refuses_other_hosts(operator, company):
    with operator.worker("--only-rules", environ={"HTTPS_PROXY": company.url}) as door:
        connection, status, text = door.ask("other.example.com:443")
        connection.close()
        assert (status, "No rule names other.example.com" in text) == (403, True)
        with httpx.Client(proxy=door.url, timeout=60) as client:
            assert client.get("http://other.example.com/").status_code == 403


def test_refusal_of_the_proxy_of_the_company_is_told(operator, upstream):
    with (
        CompanyProxy(upstream.port, refuses=True) as strict,
        operator.worker(environ={"HTTPS_PROXY": strict.url.replace("//", "//me:p%40ss@")}) as door,
    ):
        connection, status, text = door.ask("other.example.com:443")
        connection.close()
    assert (status, "refused the tunnel with 407" in text) == (502, True), text
    assert strict.credentials == ["Basic bWU6cEBzcw=="]


def test_proxy_that_cannot_be_chained_is_refused_before_the_command(agent_run):
    done = agent_run("echo", "started", environ={"HTTPS_PROXY": "socks5://proxy:1080"})
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
