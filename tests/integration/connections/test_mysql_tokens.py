"""Tokens of RDS for MySQL, which a server asks for in clear: they are sent through verified TLS only."""

import ssl

import pymysql
import pytest
import trustme
from django.db.utils import ConnectionHandler

from strongroom import SecretsManager, set_default_manager
from strongroom.errors import ConfigurationError
from strongroom.integrations.database import check_mysql_tls
from strongroom.integrations.django import database
from strongroom.integrations.sqlalchemy import create_engine
from support.scenarios.pools import PATH
from support.services.aws import CREDENTIALS, found_here
from support.services.clear_mysql import asking_in_clear
from support.services.rds import is_valid

TOKEN = "db:3306/?Action=connect&X-Amz-Signature=00"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def server(authority, monkeypatch):
    found_here(monkeypatch)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    def accepts(token):
        key = CREDENTIALS["aws_secret_access_key"]
        return is_valid(token, key, host=f"localhost:{server.port}", user="app")

    with asking_in_clear(accepts, context) as server:
        yield server


@pytest.fixture
def manager(server):
    row = {"host": "localhost", "port": server.port, "user": "app", "name": "shop"}
    config = {"chain": ["tokens"], "stores": {"tokens": {"plugin": "aws-rds", "paths": {PATH: row}}}}
    with SecretsManager.from_config(config) as manager:
        before = set_default_manager(manager)
        yield manager
        set_default_manager(before)


def test_pymysql_logs_in_through_verified_tls(server, manager, ca_file):
    secret = manager.get_secret(PATH)
    tls = {"ssl_ca": ca_file, "ssl_verify_identity": True}
    where = {"host": secret["host"].reveal(), "port": server.port, "user": secret["user"].reveal()}
    with pymysql.connect(password=secret["password"].reveal(), **where, **tls) as connection:
        assert connection.open
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        pymysql.connect(password="wrong", **where, **tls)


def test_pymysql_sends_no_token_to_another_certificate(server, manager, tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    secret = manager.get_secret(PATH)
    with pytest.raises(pymysql.OperationalError):
        pymysql.connect(
            host="localhost",
            port=server.port,
            user="app",
            password=secret["password"].reveal(),
            ssl_ca=str(tmp_path / "other.pem"),
            ssl_verify_identity=True,
        )
    assert server.received == []


@pytest.mark.parametrize("tls", [{}, {"ssl_ca": "CA"}, {"ssl": {"ca": "CA", "check_hostname": False}}], ids=str)
def test_sqlalchemy_sends_no_token_without_verified_tls(server, manager, ca_file, tls):
    words = {key: ca_file if value == "CA" else {**value, "ca": ca_file} for key, value in tls.items()}
    engine = create_engine(PATH, manager=manager, drivername="mysql+pymysql", connect_args=words)
    with pytest.raises(ConfigurationError, match="verified TLS only"):
        engine.connect()
    engine.dispose()
    assert server.received == []


def test_sqlalchemy_sends_the_token_through_verified_tls(server, manager, ca_file):
    """The server answers only with OK, so the first question of the dialect fails."""
    tls = {"ssl_ca": ca_file, "ssl_verify_identity": True}
    engine = create_engine(PATH, manager=manager, drivername="mysql+pymysql", connect_args=tls)
    with pytest.raises(Exception):  # noqa: B017, PT011
        engine.connect()
    engine.dispose()
    assert len(server.received) == 1


def test_django_sends_no_token_without_verified_tls(server, manager):
    pymysql.install_as_MySQLdb()
    connection = ConnectionHandler({"default": database(PATH, engine="mysql")})["default"]
    with pytest.raises(ConfigurationError, match="verified TLS only"):
        connection.connect()
    assert server.received == []


def verifying():
    return ssl.create_default_context()


def lenient():
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({}, False),
        ({"ssl_ca": "ca", "ssl_verify_identity": True}, True),
        ({"ssl_ca": "ca", "ssl_verify_cert": True}, False),
        ({"ssl_verify_identity": True}, False),
        ({"ssl_disabled": True, "ssl": verifying()}, False),
        ({"ssl": verifying()}, True),
        ({"ssl": verifying(), "ssl_cert": "c"}, False),
        ({"ssl": lenient()}, False),
        ({"ssl": True}, False),
        ({"ssl": {"ca": "ca"}}, True),
        ({"ssl": {"cert": "c"}}, False),
        ({"ssl": {"ca": "ca", "verify_mode": False}}, False),
        ({"ssl": {"ca": "ca", "check_hostname": False}}, False),
        ({"ssl": {"ca": "ca"}, "ssl_mode": "REQUIRED"}, False),
        ({"ssl": {"ca": "ca"}, "ssl_mode": "VERIFY_IDENTITY"}, True),
    ],
)
def test_arguments_that_verify_the_server(arguments, right):
    check_mysql_tls({"password": "a password", **arguments})
    if right:
        check_mysql_tls({"password": TOKEN, **arguments})
    else:
        with pytest.raises(ConfigurationError):
            check_mysql_tls({"passwd": TOKEN, **arguments})
