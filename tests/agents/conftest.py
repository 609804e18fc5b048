"""Fixtures of the tests with a real proxy. They need the extra `agents`: `nox -s agents`."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest

if find_spec("mitmproxy") is None:
    collect_ignore_glob = ["*"]
else:
    with warnings.catch_warnings():  # its packages use names that others of its packages have deprecated
        warnings.simplefilter("ignore")
        import mitmproxy.master  # noqa: F401

    import trustme

    from support.agents.company_proxy import CompanyProxy
    from support.agents.upstream import Upstream, echo
    from support.agents.workers import Operator, rule

NAMES = ("localhost", "127.0.0.1", "api.example.com", "other.example.com")


INTERNET = (
    *("api.anthropic.com", "api.github.com", "api.openai.com", "files.pythonhosted.org", "github.com", "gitlab.com"),
    *("huggingface.co", "pypi.org", "registry.npmjs.org", "router.huggingface.co", "sqs.eu-west-1.amazonaws.com"),
    *("telemetry.example.com", "upload.pypi.org", "uploads.github.com"),
)


@pytest.fixture(scope="module")
def upstream_authority():
    """The authority of the upstreams."""
    return trustme.CA()


@pytest.fixture(scope="module")
def upstream_file(upstream_authority, tmp_path_factory):
    """The file with the authority of the upstreams."""
    file = tmp_path_factory.mktemp("authority") / "upstreams.pem"
    upstream_authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture(scope="module")
def served(upstream_authority):
    with Upstream(upstream_authority, *NAMES) as server:
        yield server


@pytest.fixture
def upstream(served):
    """A server with TLS, for localhost and names of example.com. It echoes, unless a test sets `answer`."""
    before = served.answer
    served.requests.clear()
    yield served
    served.answer = before


@pytest.fixture(scope="module")
def company(served):
    """A proxy of the company, which leads every tunnel to the upstream."""
    with CompanyProxy(served.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def connected(upstream_authority):
    with Upstream(upstream_authority, *INTERNET, protocols=["http/1.1"]) as server, CompanyProxy(server.port) as proxy:
        server.proxy = proxy.url
        yield server


@pytest.fixture
def internet(connected):
    """A server that is each public service, for workers whose operator has its `proxy`."""
    connected.requests.clear()
    connected.answer = echo
    return connected


@pytest.fixture(scope="module")
def operator(served, upstream_file, tmp_path_factory):
    """Starts `strongroom agent` with a rule for the upstream as localhost, and as api.example.com."""
    made = Operator(tmp_path_factory.mktemp("operator"), upstream_file)
    made.write_rules(rule([f"localhost:{served.port}", "api.example.com"]))
    return made


@pytest.fixture
def operator_of(upstream_file, tmp_path):
    """Returns another operator, with these rules as TOML."""

    def make(rules):
        made = Operator(tmp_path, upstream_file)
        made.write_rules(rules)
        return made

    return make


@pytest.fixture(scope="module")
def door(operator):
    """A running worker, whose proxy the tests of a module share."""
    with operator.worker() as running:
        yield running


@pytest.fixture(scope="module")
def chained(operator, company):
    """A running worker behind the proxy of the company."""
    with operator.worker(environ={"HTTPS_PROXY": company.url, "NO_PROXY": "localhost"}) as running:
        yield running


@pytest.fixture
def agent_run(operator):
    """Runs `agent run` with a command, and returns the completed process."""
    return operator.run
