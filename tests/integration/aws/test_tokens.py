"""The stores of short-lived credentials: `aws-rds`, which signs by itself, and `aws-sts` on moto."""

import json
import logging
from pathlib import Path

import boto3
import pytest

from strongroom import SecretsManager
from strongroom.errors import AuthenticationError, ConfigurationError, PermissionDeniedError, StoreUnavailableError
from strongroom.integrations.botocore import create_session
from strongroom.store import time_limit
from strongroom_aws.rds import open_rds
from strongroom_aws.sts import open_sts
from support.cli_fixtures import command  # noqa: F401  # a fixture
from support.forks import forked
from support.services.aws import CREDENTIALS, REGION, found_here
from support.services.rds import is_valid
from support.vault.faults import hang, reply

pytestmark = pytest.mark.long

ROW = {"host": "db.example", "port": 5432, "user": "app", "name": "shop"}
ROLE = "arn:aws:iam::123456789012:role/reader"


@pytest.fixture
def alone(monkeypatch):
    """No service of AWS, and credentials in variables."""
    found_here(monkeypatch)


def password(store, path="db/app"):
    return store.read(path).data["password"]


# --- aws-rds ----------------------------------------------------------------------------------------------------------


def test_token_is_signed_for_the_row(alone):
    store = open_rds(paths={"db/app": ROW})
    found = store.read("db/app")
    assert {key: found.data[key] for key in ROW} == ROW
    key = CREDENTIALS["aws_secret_access_key"]
    assert is_valid(password(store), key, host="db.example:5432", user="app")
    assert 590 < found.ttl < 600
    assert password(store) == password(store)


def test_token_is_that_of_boto3(alone):
    token = password(open_rds(paths={"db/app": ROW}))
    theirs = boto3.client("rds").generate_db_auth_token("db.example", 5432, "app")
    assert token.partition("&X-Amz-Date")[0] == theirs.partition("&X-Amz-Date")[0]
    assert token.partition("&X-Amz-Expires")[2][:40] == theirs.partition("&X-Amz-Expires")[2][:40]


def test_region_of_a_row_is_preferred(alone):
    store = open_rds(paths={"db/app": ROW, "db/far": {**ROW, "region": "us-east-2"}})
    assert f"%2F{REGION}%2Frds-db%2F" in password(store)
    assert "%2Fus-east-2%2Frds-db%2F" in password(store, "db/far")


def test_without_credentials_or_region(alone, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigurationError, match="NoRegionError"):
        open_rds(paths={"db/app": ROW})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_rds(paths={"db/app": ROW}, region=REGION)
    with pytest.raises(AuthenticationError, match="no AWS credentials"):
        store.read("db/app")
    with pytest.raises(AuthenticationError, match="no AWS credentials"):
        store.probe()


def test_wrong_settings_are_those_of_the_store(configured, command, monkeypatch):  # noqa: F811
    """As of the other stores of AWS: the message names it, since a chain may have several."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    done = command("get", "db/app", "password")
    assert (done.code, "[stores.tokens]: The settings of AWS are wrong (NoRegionError)" in done.err) == (7, True)


@pytest.mark.parametrize("host", ["::1", "db:5432", "http://db.example"])
def test_host_that_is_no_name_is_a_wrong_row(host):
    with pytest.raises(ConfigurationError, match="paths: 'db/app': 'host' must be the name of a host"):
        open_rds(paths={"db/app": {**ROW, "host": host}})


def test_no_token_is_in_a_log(alone, caplog):
    caplog.set_level(logging.DEBUG)
    token = password(open_rds(paths={"db/app": ROW}))
    signature = token.rpartition("=")[2]
    for record in caplog.records:
        shown = f"{record.getMessage()} {vars(record)}"
        assert signature not in shown, record.name
        assert CREDENTIALS["aws_secret_access_key"] not in shown, record.name


@pytest.fixture
def configured(alone):
    Path("strongroom.toml").write_text(
        'chain = ["tokens"]\n[stores.tokens]\nplugin = "aws-rds"\n'
        '[stores.tokens.paths]\n"db/app" = { host = "db.example", port = 5432, user = "app", name = "shop" }\n'
        '[secrets]\nDB_PASSWORD = "db/app#password"\n',
        "utf-8",
    )


def test_command_line_signs_a_token_for_get(configured, command):  # noqa: F811
    """It outlasts the command."""
    assert "AWS credentials were found" in command("doctor").out.decode()
    assert command("check").code == 0
    token = command("get", "db/app", "password").out.decode().strip()
    assert is_valid(token, CREDENTIALS["aws_secret_access_key"], host="db.example:5432", user="app")
    [link] = json.loads(command("status", "--json").out)["chain"]
    assert (link["plugin"], link["state"]) == ("aws-rds", "ok")


def test_child_of_a_fork_signs_its_own_token(configured):
    with SecretsManager() as secrets:
        own = secrets.get_secret("db/app", "password").reveal()
        other = forked(lambda: secrets.get_secret("db/app", "password").reveal())
    key = CREDENTIALS["aws_secret_access_key"]
    assert all(is_valid(token, key, host="db.example:5432", user="app") for token in (own, other))


# --- aws-sts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def roles(aws):
    store = open_sts(paths={"aws/reader": {"role": ROLE, "external_id": "shop-1"}}, endpoint_url=aws.proxy.url)
    yield store
    store.close()


def test_credentials_of_a_role(roles, aws):
    found = roles.read("aws/reader")
    assert set(found.data) == {"access_key", "secret_key", "security_token"}
    assert 2300 < found.ttl < 2400
    assert roles.read("aws/reader").data == found.data
    client = aws.moto.client(
        "sts",
        aws_access_key_id=found.data["access_key"],
        aws_secret_access_key=found.data["secret_key"],
        aws_session_token=found.data["security_token"],
    )
    assert client.get_caller_identity()["Arn"].endswith("assumed-role/reader/strongroom")


def test_session_of_boto3_takes_them(aws):
    config = {
        "chain": ["roles"],
        "stores": {"roles": {"plugin": "aws-sts", "paths": {"aws/reader": {"role": ROLE, "session": "shop"}}}},
    }
    with SecretsManager.from_config(config) as secrets:
        session = boto3.Session(botocore_session=create_session("aws/reader", manager=secrets))
        assert session.client("sts").get_caller_identity()["Arn"].endswith("assumed-role/reader/shop")


def test_probe_shows_the_identity(roles):
    health = roles.probe()
    assert health.ok
    assert "arn:aws" in health.facts["identity"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", PermissionDeniedError),
        (403, "InvalidClientTokenId", AuthenticationError),
        (403, "ExpiredToken", AuthenticationError),
        (503, "ServiceUnavailable", StoreUnavailableError),
        (400, "Throttling", StoreUnavailableError),
    ],
)
def test_answers_of_sts(roles, aws, status, code, kind):
    text = f"<ErrorResponse><Error><Code>{code}</Code><Message>canary</Message></Error></ErrorResponse>"
    content = reply(status, text.encode(), ["Content-Type: text/xml", "Connection: keep-alive"])
    aws.proxy.inject(lambda exchange: exchange.send(content), times=None)
    with time_limit(4), pytest.raises(kind) as caught:
        roles.read("aws/reader")
    assert "canary" not in str(caught.value)


def test_silent_sts_is_an_outage_in_time(roles, aws):
    aws.proxy.inject(hang(), times=None)
    with time_limit(0.2), pytest.raises(StoreUnavailableError):
        roles.read("aws/reader")


def test_no_credentials_of_a_role_are_in_a_log(roles, caplog):
    caplog.set_level(logging.DEBUG)
    found = roles.read("aws/reader").data
    for record in caplog.records:
        shown = f"{record.getMessage()} {vars(record)}"
        assert found["secret_key"] not in shown, record.name
        assert found["security_token"] not in shown, record.name
