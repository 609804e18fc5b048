"""The address of a rotated user: the driver's arguments, and the refusals before a rotation stores anything."""

import socket
import ssl

import psycopg
import pymysql
import pytest

from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.rotate.spi import CredentialPair
from strongroom.secret import SensitiveDict, protect_data
from strongroom_rotators.database_user import UserLogin, administrator_of
from strongroom_rotators.mysql import MySQLServer, open_mysql
from strongroom_rotators.postgres import PostgresServer, open_postgres
from strongroom_rotators.redis_acl import RedisServer, open_redis_acl

LOGIN = UserLogin("u", protect_data({"password": "p"})["password"])
ROTATORS = {"postgresql": open_postgres, "mysql": open_mysql, "redis": open_redis_acl}


def arguments(server, url, **parts):
    """Return the driver's arguments for a secret with this URL, without those of each connection."""
    found = server.arguments(protect_data({"url": url, **parts}), LOGIN)
    own = ("application_name", "autocommit", "retry", "user", "username", "password")
    return {key: value for key, value in found.items() if key not in own and "timeout" not in key}


def test_a_wrong_secret_of_the_administrator_is_named():
    credentials = CredentialPair(
        "app", SensitiveDict(), SensitiveDict(), {"admin": SensitiveDict(user="a")}.__getitem__
    )
    message = r"^Invalid data: admin \(the key 'password' of the secret is missing\)\. Its keys are user$"
    with pytest.raises(ConfigurationError, match=message):
        administrator_of(credentials, "admin")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@[::1]:5433/n", {"host": "::1", "port": "5433", "dbname": "n"}),
        ("postgresql://u:p@%2Frun%2Fpg", {"host": "/run/pg", "dbname": "postgres"}),
        ("postgresql://u:p@/n?host=db&port=5433", {"host": "db", "port": "5433", "dbname": "n"}),
        ("postgresql://u:p@db/n?sslmode=verify-full", {"host": "db", "dbname": "n", "sslmode": "verify-full"}),
        (
            "postgresql://u:p@a,b:2/n",
            {"host": "a,b", "port": "5432,2", "dbname": "n", "target_session_attrs": "read-write"},
        ),
    ],
)
def test_postgresql_gets_the_whole_address(url, expected):
    """Of several hosts it takes one that accepts writes."""
    assert arguments(PostgresServer(None, None, None, None, None), url) == expected


def test_options_of_a_rotator_win_over_the_address():
    server = PostgresServer("other", None, "m", "require", None)
    found = arguments(server, "postgresql://u:p@db:5433/n?sslmode=disable")
    assert found == {"host": "other", "port": "5433", "dbname": "m", "sslmode": "require"}


def test_keys_of_the_secret_count_beside_a_url():
    server = PostgresServer(None, None, None, None, None)
    keys = {"sslmode": "verify-ca", "sslrootcert": "/ca", "port": "5433"}
    assert arguments(server, "postgresql://u:p@db/n", **keys) == {"host": "db", "dbname": "n", **keys}


def test_mysql_gets_the_whole_address():
    """TLS is verified, unless the server is on this machine or an option of the URL or the rotator says more."""
    server = MySQLServer(None, None, "%", None, tls=None)
    assert arguments(server, "mysql://u:p@localhost/n?unix_socket=/run/x") == {"unix_socket": "/run/x"}
    assert arguments(server, "mysql://u:p@[::1]:3307/n?charset=utf8") == {
        "host": "::1",
        "port": 3307,
        "charset": "utf8",
    }
    found = arguments(server, "mysql://u:p@db/n")
    assert found["ssl"].verify_mode == ssl.CERT_REQUIRED
    found = arguments(server, "mysql://u:p@db/n?ssl_ca=/ca.pem")
    assert found == {"host": "db", "ssl_ca": "/ca.pem", "ssl_verify_cert": True, "ssl_verify_identity": True}
    found = arguments(MySQLServer(None, None, "%", None, tls=False), "mysql://u:p@db/n?ssl_ca=/ca.pem")
    assert found == {"host": "db"}


def test_redis_gets_the_whole_address():
    """It uses TLS, unless the server is on this machine and its URL is without."""
    server = RedisServer(None, None, None, tls=None)
    assert arguments(server, "unix://u:p@/run/x?db=2") == {"unix_socket_path": "/run/x", "db": 2, "ssl": False}
    found = arguments(server, "rediss://u:p@[::1]:7?ssl_ca_certs=/ca.pem")
    assert found == {"host": "::1", "port": 7, "ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert arguments(server, "redis://u:p@cache")["ssl"] is True
    found = arguments(RedisServer(None, None, None, tls=False), "rediss://u:p@cache?ssl_ca_certs=/ca.pem")
    assert found == {"host": "cache"}


def unverified(*_, **__):
    raise ssl.SSLCertVerificationError(1, "certificate verify failed")


def with_postgresql(monkeypatch):
    def connect(**_):
        raise psycopg.OperationalError('connection to server at "::1" failed: SSL error: certificate verify failed')

    monkeypatch.setattr(psycopg, "connect", connect)
    return PostgresServer(None, None, None, None, None), "postgresql://u:p@db/n"


def with_mysql(monkeypatch):
    def connect(**_):
        error = pymysql.OperationalError(2003, "Can't connect")
        error.original_exception = ssl.SSLCertVerificationError()
        raise error

    monkeypatch.setattr(pymysql, "connect", connect)
    return MySQLServer(None, None, "%", None, tls=None), "mysql://u:p@db/n"


def with_redis(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", unverified)
    return RedisServer(None, None, None, tls=None), "redis://u:p@db"


@pytest.mark.parametrize("prepare", [with_postgresql, with_mysql, with_redis])
def test_a_server_that_cannot_be_verified_is_a_wrong_configuration(monkeypatch, prepare):
    """It answers, and is not sent anything."""
    server, url = prepare(monkeypatch)
    connection = server.connect(protect_data({"url": url}), LOGIN)
    with pytest.raises(ConfigurationError, match="certificate cannot be verified"), connection:
        pass


@pytest.mark.parametrize("scheme", ["mysql", "redis"])
def test_a_missing_file_of_an_authority_is_a_wrong_configuration(tmp_path, scheme):
    option, server = {
        "mysql": ("ssl_ca", MySQLServer(None, None, "%", None, tls=None)),
        "redis": ("ssl_ca_certs", RedisServer(None, None, None, tls=None)),
    }[scheme]
    url = f"{scheme}{'s' * (scheme == 'redis')}://u:p@127.0.0.1:1/0?{option}={tmp_path}/ca.pem"
    with pytest.raises(ConfigurationError, match=r"ca\.pem"), server.connect(protect_data({"url": url}), LOGIN):
        pass


@pytest.mark.parametrize("scheme", ROTATORS)
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{}://u:p@host/0?foo=bar", "does not know an option of the secret's URL"),
        ("{}://u:p@/0", "key 'host' of the secret is missing"),
        ("{}://u:p@:x/0", "is not a valid URL"),
        ("sqlite:///x?{}", "is not a valid URL"),
        ("sqlite://u:p@host/{}", "is not a URL of"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_the_first_step(scheme, url, reason):
    """A rotation then has stored nothing that a later step would have to undo."""
    with pytest.raises(InvalidDataError, match=reason):
        ROTATORS[scheme]().create(protect_data({"url": url.format(scheme), "user": "u", "password": "p"}))


def test_a_rotator_of_redis_refuses_tls_that_is_an_option_of_the_url():
    with pytest.raises(InvalidDataError, match="options of TLS without TLS"):
        open_redis_acl().create(protect_data({"url": "redis://u:p@localhost?ssl=true"}))


@pytest.mark.parametrize("scheme", ["mysql", "redis"])
def test_several_hosts_are_refused_at_the_first_step(scheme):
    with pytest.raises(InvalidDataError, match="several hosts"):
        ROTATORS[scheme]().create(protect_data({"user": "u", "password": "p", "host": "a,b"}))


def test_a_url_with_the_login_in_its_query_is_rotated():
    """Both users take turns in it."""
    rotator = open_postgres(users=["a", "b"], admin="database/admin")
    made = rotator.create(protect_data({"url": "postgresql://db/n?user=a&password=old"}))
    assert made.keys() == {"url"}
    assert made["url"].startswith("postgresql://db/n?user=b&password=")
    assert "old" not in made["url"]
