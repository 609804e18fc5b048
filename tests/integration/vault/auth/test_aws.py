"""AWS IAM: what a login says, replayed as Vault would to an STS that checks the signature (moto's)."""

import base64
import contextlib
import datetime as dt
import http.client
import json
import logging
import sys
import threading
import time
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import session as botocore_session
from moto.core.responses import ActionAuthenticatorMixin
from moto.server import ThreadedMotoServer

from strongroom.errors import ConfigurationError, PluginError, StoreUnavailableError
from strongroom.store import time_limit
from strongroom_vault.auth.aws import AWS
from strongroom_vault.errors import VaultAuthenticationError

ROLE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}
ALLOWED = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture(autouse=True)
def no_machine(monkeypatch, tmp_path):
    """No credentials but the test's own: not of a home folder, and not of a machine in the cloud."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


class STS:
    """AWS as Vault sees it: signatures are checked, once its users are made."""

    def __init__(self, url):
        self.host = url.removeprefix("http://")
        given = {
            "endpoint_url": url,
            "region_name": "eu-west-1",
            "aws_access_key_id": "a",
            "aws_secret_access_key": "b",
        }
        iam, sts = boto3.client("iam", **given), boto3.client("sts", **given)
        iam.create_user(UserName="app")
        key = iam.create_access_key(UserName="app")["AccessKey"]
        self.lasting = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        policy = iam.create_policy(PolicyName="all", PolicyDocument=json.dumps(ALLOWED))["Policy"]["Arn"]
        role = iam.create_role(RoleName="task", AssumeRolePolicyDocument=json.dumps(ROLE))["Role"]["Arn"]
        iam.attach_role_policy(RoleName="task", PolicyArn=policy)
        assumed = sts.assume_role(RoleArn=role, RoleSessionName="here")["Credentials"]
        self.temporary = {
            "AWS_ACCESS_KEY_ID": assumed["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"],
            "AWS_SESSION_TOKEN": assumed["SessionToken"],
        }  # fmt: skip

    def replay(self, login, **changed):
        """Sends what the login says, as Vault does; `changed` are headers on the way."""
        headers = {name: values[0] for name, values in _json(login["iam_request_headers"]).items()}
        headers |= {"Host": urlsplit(_text(login["iam_request_url"])).netloc, **changed}
        with contextlib.closing(http.client.HTTPConnection(self.host, timeout=30)) as connection:
            connection.request(login["iam_http_request_method"], "/", _text(login["iam_request_body"]), headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()


def _text(field):
    return base64.b64decode(field).decode()


def _json(field):
    return json.loads(_text(field))


@pytest.fixture(scope="module")
def sts():
    """It stops checking when the tests of this module end: the switch is the whole process's."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    service = STS(f"http://{host}:{port}")
    before = ActionAuthenticatorMixin.request_count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.core.responses.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
        yield service
    ActionAuthenticatorMixin.request_count = before
    server.stop()


@pytest.fixture
def log_in(tell, answered, fault_server):
    """A function that logs in, and returns what was said to Vault."""

    def login(**options):
        send = tell(answered(200, {"auth": {"client_token": "s.aws", "lease_duration": 60, "renewable": True}}))
        grant = AWS(**options).login(send)
        assert (grant.token, grant.ttl, grant.revocable) == ("s.aws", 60, True)
        sent = fault_server.requests[-1]
        assert "x-vault-token" not in sent.headers
        return json.loads(sent.body), sent.target

    return login


def identify(monkeypatch, credentials, region="eu-west-1"):
    for name, value in {**credentials, "AWS_DEFAULT_REGION": region}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("kind", "arn"), [("lasting", "user/app"), ("temporary", "assumed-role/task/here")])
def test_signed_request_tells_sts_who_we_are(sts, log_in, monkeypatch, kind, arn):
    """With a lasting key and with temporary credentials, whose session token goes with it."""
    identify(monkeypatch, getattr(sts, kind))
    login, target = log_in(role="app")
    status, body = sts.replay(login)
    assert status == 200
    assert "GetCallerIdentityResponse" in body
    assert arn in body
    assert (login["role"], target) == ("app", "/v1/auth/aws/login")
    assert _text(login["iam_request_body"]) == "Action=GetCallerIdentity&Version=2011-06-15"


def test_server_id_is_signed(sts, log_in, monkeypatch):
    """A Vault that was logged in to cannot show the request to another one."""
    identify(monkeypatch, sts.lasting)
    login, _ = log_in(server_id="vault.test")
    assert _json(login["iam_request_headers"])["X-Vault-AWS-IAM-Server-ID"] == ["vault.test"]
    assert sts.replay(login)[0] == 200
    assert sts.replay(login, **{"X-Vault-AWS-IAM-Server-ID": "another.test"})[0] == 403
    assert "role" not in login


@pytest.mark.parametrize(("option", "variable", "host"), [
    (None, "eu-central-1", "sts.eu-central-1.amazonaws.com"),
    ("us-west-2", "eu-central-1", "sts.us-west-2.amazonaws.com"),
    (None, "cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
])  # fmt: skip
def test_region_is_the_sessions(sts, log_in, monkeypatch, option, variable, host):
    """Not us-east-1 for everybody: the signature is good at that region's STS alone."""
    identify(monkeypatch, sts.lasting, variable)
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    login, _ = log_in(region=option)
    assert _text(login["iam_request_url"]) == f"https://{host}/"
    assert f"/{option or variable}/sts/aws4_request" in _json(login["iam_request_headers"])["Authorization"][0]
    if not host.endswith(".cn"):  # China has users of its own
        assert sts.replay(login)[0] == 200


def test_profile_of_the_session_is_used(sts, log_in, monkeypatch, tmp_path):
    """Credentials and region are botocore's to find, and are found anew at each login."""
    identity, secret = sts.lasting.values()
    (tmp_path / "config").write_text("[profile work]\nregion = ap-south-1\n")
    (tmp_path / "credentials").write_text(f"[work]\naws_access_key_id = {identity}\naws_secret_access_key = {secret}\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    login, _ = log_in()
    assert sts.replay(login)[0] == 200
    assert _text(login["iam_request_url"]) == "https://sts.ap-south-1.amazonaws.com/"
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = AKIANEW\naws_secret_access_key = another\n")
    assert "Credential=AKIANEW/" in _json(log_in()[0]["iam_request_headers"])["Authorization"][0]


def test_each_login_is_signed_with_the_time_that_it_is(sts, log_in, monkeypatch):
    """STS refuses a signature that is a quarter of an hour old, or of a clock that is wrong."""
    identify(monkeypatch, sts.lasting)
    signed = _json(log_in()[0]["iam_request_headers"])["X-Amz-Date"][0]
    when = dt.datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    assert abs(dt.datetime.now(dt.UTC) - when) < dt.timedelta(minutes=2)


def test_refused_signature_names_the_clock(tell, answered, monkeypatch):
    """Vault says 400 or 403 of all that STS refuses."""
    identify(monkeypatch, {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "canary"})
    refused = {"errors": []}
    for answers in ([answered(400, refused)], [answered(403, refused), answered(405, refused)]):
        with pytest.raises(VaultAuthenticationError, match=r"does not accept the AWS identity.*clock.*STS endpoint"):
            AWS(role="app").login(tell(*answers))


# --- failures ---------------------------------------------------------------------------------------------------------


def test_no_region_and_no_credentials_are_told_apart(tell, answered, monkeypatch):
    """Before anything is sent."""
    send = tell(answered(200, {}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with pytest.raises(ConfigurationError, match=r"^auth\.region: .* AWS_DEFAULT_REGION"):
        AWS().login(send)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(VaultAuthenticationError, match="there are no AWS credentials"):
        AWS(region="eu-west-1").login(send)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="the settings of AWS are wrong: ProfileNotFound"):
        AWS(region="eu-west-1").login(send)
    assert not send.sent


def test_credential_process_that_fails_shows_nothing(tell, answered, monkeypatch, tmp_path, exposed):
    """What it says may hold a credential."""
    (tmp_path / "config").write_text("[default]\ncredential_process = sh -c 'echo canary-secret >&2; exit 1'\n")
    with pytest.raises(VaultAuthenticationError, match="CredentialRetrievalError") as caught:
        AWS(region="eu-west-1").login(tell(answered(200, {})))
    assert not exposed(caught.value, "canary-secret")


def test_service_that_gives_credentials_and_is_down_is_an_outage(tell, answered, monkeypatch, tmp_path):
    """It is no refusal, and is asked again at the next login."""
    (tmp_path / "jwt").write_text("a.b.c")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "jwt"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/task")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreUnavailableError, match="does not answer: EndpointConnectionError"):
        AWS(region="eu-west-1").login(tell(answered(200, {})))


def test_credentials_that_take_too_long_end_at_the_deadline(tell, answered, monkeypatch):
    """botocore waits a minute for a service."""
    let_go, began = threading.Event(), time.monotonic()
    monkeypatch.setattr(botocore_session.Session, "get_credentials", lambda _: let_go.wait(30) and None)
    try:
        with time_limit(0.2), pytest.raises(StoreUnavailableError, match="no AWS credentials in time"):
            AWS(region="eu-west-1").login(tell(answered(200, {})))
        assert time.monotonic() - began < 10
    finally:
        let_go.set()


def test_missing_sdk_names_the_extra(monkeypatch):
    """One line that says what to install, when the store is opened."""
    monkeypatch.setitem(sys.modules, "botocore", None)
    words = r'needs botocore, which is not installed: pip install "strongroom\[aws\]"$'
    with pytest.raises(PluginError, match=words):
        AWS()


def test_log_shows_no_credential(sts, log_in, monkeypatch, caplog):
    """At DEBUG, botocore logs what it signs, the session token in it; what others do with it is logged as ever."""
    identify(monkeypatch, sts.temporary)
    caplog.set_level(logging.DEBUG)
    log_in()
    secret = [sts.temporary["AWS_SESSION_TOKEN"], sts.temporary["AWS_SECRET_ACCESS_KEY"]]
    shown = [
        record for record in caplog.records if any(word in f"{record.getMessage()} {vars(record)}" for word in secret)
    ]
    assert not shown
    logging.getLogger("botocore.auth").debug("somebody else's")
    assert "somebody else's" in caplog.text
