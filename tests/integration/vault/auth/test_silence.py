"""No credential of a login is anywhere that somebody else can see, whatever the server makes of it."""

import json
import logging
from pathlib import Path

import pytest

from strongroom.errors import StrongroomError
from strongroom.store import time_limit
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.auth.aws import AWS
from strongroom_vault.auth.methods import read_auth
from strongroom_vault.auth.workload import JWT, Kubernetes
from strongroom_vault.http import request_policy
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.plugin import open_vault
from support.clock import LONG
from support.representatives import some

CANARIES = (
    "canary-id",
    "canary-secret",
    "canary-wrapping",
    "canary-jwt",
    "canary-key",
    "canary-session",
    "canary-token",
)


@pytest.fixture(autouse=True)
def quiet_log(caplog):
    """Every logger at DEBUG, botocore's too."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in [*caplog.get_records("setup"), *caplog.get_records("call")]:
        assert not [canary for canary in CANARIES if canary in f"{record.getMessage()} {vars(record)}"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """A refusal that a server may take back is met again soon."""
    monkeypatch.setattr(request_policy, "_LIMIT_PAUSE", 0.0)


@pytest.fixture
def echo(fault_server, answered):
    """A function: what answers with this status, and with all that it was sent, in several places."""

    def make(status, *, lookup=True):
        def answer(connection):
            asked = fault_server.requests[-1]
            sent = json.loads(asked.body or b"{}")
            told = json.dumps({**sent, "canaries": CANARIES})
            if lookup and asked.target.endswith("/lookup"):
                connection.sendall(answered(200, {"data": {"creation_path": "auth/approle/role/app/secret-id"}}))
            else:
                auth = {"client_token": f"canary-token {told}", "lease_duration": told}
                body = {"errors": [told], "data": {"secret_id": {"canary-secret": told}}, "auth": auth}
                connection.sendall(answered(status, body, [f"Location: http://127.0.0.1:1/{json.dumps(told)}"]))

        return answer

    return make


@pytest.fixture(params=["secret_id", "secret_id_file", "wrapping_token", "jwt_file", "jwt_env", "kubernetes", "aws"])
def auth(request, tmp_path, monkeypatch):
    """A method whose credentials are canaries."""
    file = tmp_path / "credential"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name, value in {
        "JWT_OF_THE_JOB": "canary-jwt", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "canary-key",
        "AWS_SESSION_TOKEN": "canary-session",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    file.write_text("canary-secret" if request.param == "secret_id_file" else "canary-jwt")
    return {
        "secret_id": lambda: AppRole(role_id="canary-id", secret_id="canary-secret"),
        "secret_id_file": lambda: AppRole(role_id="canary-id", secret_id_file=file),
        "wrapping_token": lambda: AppRole(role_id="canary-id", wrapping_token="canary-wrapping"),
        "jwt_file": lambda: JWT(jwt_file=file),
        "jwt_env": lambda: JWT(jwt_env="JWT_OF_THE_JOB"),
        "kubernetes": lambda: Kubernetes(role="app", token_file=file),
        "aws": lambda: AWS(role="app"),
    }[request.param]()


@pytest.mark.parametrize(
    "status", some([200, 204, 307, 400, 401, 403, 404, 405, 413, 418, 500, 503], {200, 307, 400, 403, 503}.__contains__)
)
def test_failed_login_shows_nothing(tell, echo, auth, status, exposed):
    """The server says all that it was told, in each place that it has."""
    assert not [canary for canary in CANARIES if canary in repr(auth)]
    send = tell(echo(status), echo(400))  # the second answer ends the attempts, so that no time limit has to
    with time_limit(LONG), pytest.raises(StrongroomError) as caught:
        auth.login(send)
    assert not exposed(caught.value, *CANARIES)
    assert send.sent


def test_broken_reply_shows_nothing(tell, answered, auth, exposed):
    """Nor one that is cut off, or is no HTTP."""
    for answer in (None, b"HTTP/1.1 canary-token\r\n\r\n", answered(200, b'{"auth": {"client_token": "canary-token"')):
        send = tell(answer)
        with time_limit(0.5), pytest.raises(StrongroomError) as caught:
            auth.login(send)
        assert not exposed(caught.value, *CANARIES)


@pytest.mark.parametrize("status", [200, 400, 403, 503])
def test_store_that_cannot_log_in_shows_nothing(fault_server, echo, status, exposed, tmp_path):
    """The frames of the session, too."""
    (tmp_path / "jwt").write_text("canary-jwt")
    for table in (
        {"method": "approle", "role_id": "canary-id", "secret_id": "canary-secret"},
        {"method": "approle", "role_id": "canary-id", "wrapping_token": "canary-wrapping"},
        {"method": "kubernetes", "role": "app", "token_file": str(tmp_path / "jwt")},
    ):
        fault_server.answers[:] = [echo(status)]
        with time_limit(0.5), pytest.raises(StrongroomError) as caught:
            open_vault(url=fault_server.url, auth=table)
        assert not exposed(caught.value, *CANARIES)


def test_granted_token_is_not_shown(tell, answered):
    """Nor what the method remembers."""
    send = tell(answered(200, {"auth": {"client_token": "s.canary-token", "lease_duration": 60}}))
    auth = read_auth({"method": "approle", "role_id": "canary-id", "secret_id": "canary-secret"})
    grant = auth.login(send)
    assert grant.token == "s.canary-token"
    assert not [canary for canary in CANARIES if canary in f"{grant!r} {auth!r}"]


def test_file_that_may_not_be_read_is_named_and_asked_for_nothing(tell, answered, monkeypatch):
    """A test that runs as root can read every file: the system's refusal is made up."""
    send = tell(answered(200, {}))
    send(ApiRequest("GET", "/v1/sys/health"))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("strongroom_vault.auth.credential.os.open", refuse)
    with pytest.raises(StrongroomError, match=r"token_file: the file /x: Permission denied"):
        Kubernetes(role="app", token_file=Path("/x")).login(send)
