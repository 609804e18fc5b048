"""`agent check` and the proxy, which answer alike: over random requests to the hosts of every preset, and near them."""

from __future__ import annotations

import socket
import tomllib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strongroom._config import discovery
from strongroom._config.agents_table import presets
from strongroom.agents._rules.policy import verdict
from support.agents.workers import VALUE, Operator, read_all

AWS = "sqs.eu-west-1.amazonaws.com"
STORE = f"""
chain = ["memory"]
[stores.memory.secrets]
"api-keys/openai" = {{ key = "{VALUE}" }}
"cloud/queue" = {{ aws_access_key_id = "AKIA0123456789ABCDEF", aws_secret_access_key = "{"s" * 40}" }}
"""
RULES = (
    "".join(
        f'[agents.rules.{name}]\npreset = "{name}"\nsecret = "api-keys/openai#key"\n'
        for name in presets()
        if name != "aws"
    )
    + """
[agents.rules.aws]
preset = "aws"
secret = "cloud/queue"
hosts = ["sqs.eu-west-1.amazonaws.com"]
[agents.rules.models]
secret = "api-keys/openai#key"
variable = "MODELS_KEY"
hosts = ["api.openai.com"]
methods = ["GET"]
paths = ["/v1/models*"]
[agents.rules.upload]
hosts = ["upload.pypi.org:8443"]
"""
)
HOSTS = sorted({host for preset in presets().values() for host in preset.get("hosts", ())} | {AWS})
NEAR = [*(host.upper() for host in HOSTS), *(f"{host}." for host in HOSTS), "telemetry.example.com"]
PATHS = ["/", "/v1/models", "/v1/%6dodels?limit=1", "/v1/../admin", "/v1//models", "/v1/a%2Fb", "/v1/x?_method=PUT"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"]

UNTOLD = "refused"
"""The reason of a refused HEAD, whose answer has no body."""

asked = st.tuples(
    st.sampled_from(METHODS),
    st.sampled_from(["https", "https", "https", "http"]),
    st.sampled_from(HOSTS) | st.sampled_from([*HOSTS, *NEAR, "127.0.0.1", "127.1"]),
    st.sampled_from(["", "", "", ":443", ":80", ":8443"]),
    st.sampled_from(PATHS),
)


@pytest.fixture(scope="module")
def rules():
    return tuple(discovery.load(document=tomllib.loads(STORE + RULES)).agents.rules.values())


@pytest.fixture(scope="module", params=[False, True], ids=["", "only-rules"])
def only_rules(request):
    return request.param


@pytest.fixture(scope="module")
def door(connected, only_rules, upstream_file, tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("check"), upstream_file)
    operator.config.write_text(STORE + RULES)
    options = ["--only-rules"] if only_rules else []
    with operator.worker(*options, environ={"HTTPS_PROXY": connected.proxy}) as running:
        yield running


def sent(door, trust, request, header=""):
    """Send a request by the proxy. Return the reason of a refusal, or an empty string."""
    method, scheme, host, port, path = request
    lines = f"Host: {host}{port}\r\nConnection: close\r\nContent-Length: 0\r\n{header}\r\n"
    if scheme == "http":
        with socket.create_connection(door.address, timeout=30) as connection:
            connection.sendall(f"{method} http://{host}{port}{path} HTTP/1.1\r\n{lines}".encode())
            return reason(read_all(connection))
    connection, status, text = door.ask(f"{host}{port or ':443'}")
    with connection:
        if status != 200:
            return reason(text.encode())
        with trust.wrap_socket(connection, server_hostname=host.lower().removesuffix(".")) as tunnel:
            tunnel.sendall(f"{method} {path} HTTP/1.1\r\n{lines}".encode())
            return reason(read_all(tunnel))


def reason(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return (body.decode().rstrip("\n") or UNTOLD) if head.split()[1] in {b"400", b"403"} else ""


def test_check_says_what_the_proxy_does(door, connected, rules, only_rules, upstream_file):
    trust = door.tls
    trust.check_hostname = False
    trust.load_verify_locations(upstream_file)  # of a host that no rule names

    @settings(max_examples=60, deadline=None)
    @given(asked)
    def agree(request):
        method, scheme, host, port, path = request
        assume(scheme == "https" or not host.endswith("example.com"))  # the server speaks TLS alone
        found = verdict(rules, method, f"{scheme}://{host}{port}{path}", only_rules=only_rules)
        expected = {found.refusal, UNTOLD} if found.refusal and method == "HEAD" else {found.refusal}
        assert sent(door, trust, request) in expected
        for rule in found.allowing:
            if rule.variable:
                place = rule.where[0].removeprefix("header:")
                assert not sent(door, trust, request, f"{place}: {door.environ[rule.variable]}\r\n")
                assert connected.requests[-1].header(place) == VALUE

    agree()
