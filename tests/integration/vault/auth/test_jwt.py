"""JWTs of workloads on a real server: from a file, a variable, and GitHub's request URL."""

import logging
import ssl

import pytest
import trustme

from strongroom.errors import ConfigurationError, StoreUnavailableError
from strongroom.store import time_limit
from strongroom_vault.auth import github
from strongroom_vault.auth.workload import JWT
from strongroom_vault.errors import VaultAuthenticationError


@pytest.fixture
def mount(openbao, enabled, issuer):
    """The method with a role `app` for the audience `vault`, which is the default role too."""
    name = enabled("jwt")
    openbao.call("POST", f"auth/{name}/config", {
        "jwt_validation_pubkeys": [issuer.public_pem], "bound_issuer": "https://issuer.test", "default_role": "app",
    })  # fmt: skip
    openbao.call("POST", f"auth/{name}/role/app", {
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_ttl": "40s",
    })  # fmt: skip
    return name


def test_file_is_read_anew(send, mount, issuer, accepted, tmp_path):
    """A platform replaces it before it expires."""
    file = tmp_path / "jwt"
    auth = JWT(role="app", jwt_file=file, mount=mount)
    for subject in ("job-1", "job-2"):
        file.write_text(issuer.sign(sub=subject, aud="vault") + "\n")
        grant = auth.login(send)
        assert accepted(grant)["display_name"] == f"{mount}-{subject}"
        assert (grant.ttl, grant.renewable, grant.revocable) == (40, True, True)
    assert all("X-Vault-Token" not in request.headers for request in send.sent)


def test_variable_is_read_anew_and_the_role_may_be_the_default(send, mount, issuer, accepted, monkeypatch):
    """CI systems set one."""
    auth = JWT(jwt_env="CI_JOB_JWT", mount=mount)
    with pytest.raises(VaultAuthenticationError, match="the environment variable CI_JOB_JWT: it is not set"):
        auth.login(send)
    for subject in ("job-1", "job-2"):
        monkeypatch.setenv("CI_JOB_JWT", f"{issuer.sign(sub=subject, aud='vault')}\n")
        assert accepted(auth.login(send))["display_name"] == f"{mount}-{subject}"
    assert auth.repeatable


def test_store_reads_as_the_job(reads, readable, openbao, mount, issuer, monkeypatch):
    """With the variable that its platform sets."""
    openbao.call("POST", f"auth/{mount}/role/reader", {
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [readable.policy],
    })  # fmt: skip
    monkeypatch.setenv("CI_JOB_JWT", issuer.sign(sub="job", aud="vault"))
    assert reads({"method": "jwt", "role": "reader", "jwt_env": "CI_JOB_JWT", "mount": mount})


@pytest.mark.parametrize(
    "claims", [{"aud": "another"}, {"aud": "vault", "iss": "https://evil.test"}, {"aud": "vault", "lifetime": -600}]
)
def test_refused_jwt_is_not_shown(send, mount, issuer, monkeypatch, exposed, claims):
    """For another audience, of another issuer, expired."""
    token = issuer.sign(**{"sub": "job", **claims})
    monkeypatch.setenv("CI_JOB_JWT", token)
    with pytest.raises(VaultAuthenticationError, match=r"does not accept the JWT.*bound claims") as caught:
        JWT(role="app", jwt_env="CI_JOB_JWT", mount=mount).login(send)
    assert not exposed(caught.value, token)


@pytest.mark.parametrize(("options", "words"), [
    ({}, "one of jwt_file, jwt_env, jwt_from, and none is there"),
    ({"jwt_env": "A", "jwt_from": "github"}, "not jwt_env and jwt_from"),
    ({"jwt_from": "gitlab"}, r"auth\.jwt_from: it must be 'github'"),
    ({"jwt_env": "A", "audience": "vault"}, r"auth\.audience: it needs jwt_from"),
])  # fmt: skip
def test_sources_exclude_each_other(options, words):
    """One JWT, from one place."""
    with pytest.raises(ConfigurationError, match=words):
        JWT(**options)


# --- GitHub Actions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch, start_server):
    """A job of GitHub Actions that may ask for a JWT; its service answers what it is told."""
    service = start_server()
    monkeypatch.setenv(github.URL, f"{service.url}/pipelines/1/idtoken?api-version=2.0")
    monkeypatch.setenv(github.BEARER, "canary-bearer")
    return service


def test_github_is_asked_with_the_audience_and_its_bearer_token(send, mount, issuer, accepted, job, answered):
    """Anew at each login."""
    auth = JWT(role="app", jwt_from="github", audience="https://vault.test/a&b", mount=mount)
    signed = [issuer.sign(sub=subject, aud="vault") for subject in ("job-1", "job-2")]
    job.answers[:] = [answered(200, {"count": 1, "value": token}) for token in signed]
    for subject in ("job-1", "job-2"):
        assert accepted(auth.login(send))["display_name"] == f"{mount}-{subject}"
    asked = job.requests[0]
    assert asked.target == "/pipelines/1/idtoken?api-version=2.0&audience=https%3A%2F%2Fvault.test%2Fa%26b"
    assert asked.headers["authorization"] == "Bearer canary-bearer"
    assert not [request for request in send.sent if "canary-bearer" in f"{request.headers} {request.body}"]


def test_without_an_audience_github_chooses(job, answered):
    """Its default is the URL of the repository's owner."""
    job.answers[:] = [answered(200, {"value": "a.b.c"})]
    assert github.request_token(None) == "a.b.c"
    assert job.requests[0].target == "/pipelines/1/idtoken?api-version=2.0"


@pytest.mark.parametrize("name", [github.URL, github.BEARER])
def test_outside_of_a_job_nothing_is_asked(job, monkeypatch, name):
    """The message names the variable and the permission that a job needs."""
    monkeypatch.delenv(name)
    with pytest.raises(VaultAuthenticationError, match=f"{name}.*id-token: write"):
        github.request_token(None)
    assert not job.requests


@pytest.mark.parametrize(("url", "words"), [
    ("http://actions.example/token", "it is not https"), ("ftp://127.0.0.1/token", "it is not a URL"),
    ("https://canary-user:canary@actions.example/", "it is not a URL"), ("https://[", "it is not a URL"),
    ("token", "it is not a URL"),
])  # fmt: skip
def test_bearer_token_is_sent_in_the_clear_to_nobody(monkeypatch, job, exposed, url, words):
    """Loopback apart."""
    monkeypatch.setenv(github.URL, url)
    with pytest.raises(ConfigurationError, match=f"{github.URL} is wrong: {words}") as caught:
        github.request_token(None)
    assert not exposed(caught.value, "canary")


def test_redirect_is_not_followed(job, answered, start_server, exposed):
    """The bearer token would go with it."""
    thief = start_server()
    thief.answers[:] = [answered(200, {"value": "a.b.c"})]
    for target in (thief.url, job.url):
        job.answers[:] = [answered(307, {}, [f"Location: {target}/canary-elsewhere"])]
        with pytest.raises(StoreUnavailableError, match="HTTP 307") as caught:
            github.request_token(None)
        assert not exposed(caught.value, "canary")
    assert not thief.requests
    assert len(job.requests) == 2


@pytest.mark.parametrize(("answer", "error", "words"), [
    ((401, {"value": "canary"}), VaultAuthenticationError, "HTTP 401.*id-token: write"),
    ((403, b"canary"), VaultAuthenticationError, "HTTP 403"), ((500, b"canary"), StoreUnavailableError, "HTTP 500"),
    ((200, b"canary"), StoreUnavailableError, "no JWT"), ((200, {"value": 7}), StoreUnavailableError, "no JWT"),
    ((200, {"value": ""}), VaultAuthenticationError, "empty"),
    ((200, {"value": "canary\n"}), VaultAuthenticationError, "line end"),
    (None, StoreUnavailableError, "GitHub gave no JWT"),
])  # fmt: skip
def test_failure_shows_neither_token(job, answered, caplog, exposed, answer, error, words):
    """Not in a log either."""
    caplog.set_level(logging.DEBUG)
    job.answers[:] = [answered(*answer) if answer else None]
    with pytest.raises(error, match=words) as caught:
        github.request_token("vault")
    assert not exposed(caught.value, "canary")
    assert not [record for record in caplog.records if "canary" in f"{record.getMessage()} {vars(record)}"]


def test_github_that_does_not_answer_ends_at_the_deadline(job):
    """The login has one deadline."""
    job.answers[:] = [lambda _: job.stopping.wait(30)]
    with time_limit(0.3), pytest.raises(StoreUnavailableError, match=r"no whole reply in time|no time is left"):
        github.request_token(None)


def test_certificate_of_a_stranger_is_not_trusted(monkeypatch, start_server, answered):
    """The system's authorities are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    service = start_server(context)
    service.answers[:] = [answered(200, {"value": "a.b.c"})]
    monkeypatch.setenv(github.URL, service.url)
    monkeypatch.setenv(github.BEARER, "canary-bearer")
    with pytest.raises(StoreUnavailableError, match="certificate is not trusted"):
        github.request_token(None)
    assert not service.requests
