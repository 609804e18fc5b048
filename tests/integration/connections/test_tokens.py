"""Connections with tokens of RDS: a PostgreSQL has each login checked by a server that knows LDAP.

`nox -s connections` runs ten tokens of three seconds for each library; the suite makes two of four.
"""

import os
import secrets
import time

import pytest
from sqlalchemy import NullPool

from strongroom import SecretsManager
from strongroom.integrations.sqlalchemy import create_engine
from strongroom_aws import rds
from support.scenarios.load import Load, wait_until
from support.scenarios.pools import PATH, AsyncpgPool, AsyncSqlAlchemy, PsycopgPool, SqlAlchemy
from support.services.aws import CREDENTIALS, found_here
from support.services.ldap import binding
from support.services.postgres import of_debian, running_postgres
from support.services.rds import is_valid, token_ends

from .test_rotation_under_load import DjangoConnections

pytestmark = pytest.mark.long

LIFE = int(os.environ.get("TEST_TOKEN_SECONDS", "4"))
"""Seconds for which a token works."""

REPLACED = int(os.environ.get("TEST_TOKENS", "1"))
"""The number of tokens that are replaced."""


class Guarded:
    """A database whose user logs in with tokens.

    Attributes:
        user: its name.
        tokens: each token that was accepted, in order and once.
    """

    def __init__(self, postgres):
        self.postgres = postgres
        self.user = f"token_{secrets.token_hex(4)}"
        self.tokens = {}
        postgres.run(f"CREATE ROLE {self.user} LOGIN")

    def accepts(self, name, password):
        host = f"127.0.0.1:{self.postgres.port}"
        user, key = name.removeprefix("cn="), CREDENTIALS["aws_secret_access_key"]
        right = is_valid(password, key, host=host, user=user, life=LIFE)
        if right:
            self.tokens[password] = None
        return right


@pytest.fixture(scope="module")
def server():
    """Debian's PostgreSQL: the wheel's does not know LDAP."""
    programs = of_debian()
    if programs is None:
        pytest.skip("PostgreSQL of Debian is not installed")
    with running_postgres(programs) as server:
        yield server


@pytest.fixture
def database(server, monkeypatch):
    found_here(monkeypatch)
    monkeypatch.setattr(rds, "LIFE", LIFE)
    guarded = Guarded(server)
    with binding(guarded.accepts) as port:
        server.let_in(guarded.user, f'ldap ldapserver=127.0.0.1 ldapport={port} ldapprefix="cn="')
        yield guarded


@pytest.fixture
def manager(database):
    row = {"host": "127.0.0.1", "port": database.postgres.port, "user": database.user, "name": "postgres"}
    config = {
        "chain": [{"store": "tokens", "watch_interval": 0.1}],
        "stores": {"tokens": {"plugin": "aws-rds", "paths": {PATH: row}}},
    }
    with SecretsManager.from_config(config) as manager:
        yield manager


class WithoutPool(SqlAlchemy):
    """An engine that logs in for each transaction."""

    def __init__(self, manager, size):
        self._engine = create_engine(PATH, manager=manager, drivername="postgresql+psycopg", poolclass=NullPool)


@pytest.mark.parametrize(
    "kind",
    [WithoutPool, SqlAlchemy, AsyncSqlAlchemy, PsycopgPool, AsyncpgPool, DjangoConnections],
    ids=lambda kind: kind.__name__,
)
def test_no_transaction_fails_while_tokens_end(kind, database, manager):
    provider = kind(manager, 4)
    try:
        with Load(provider, 4) as load:
            wait_until(lambda: load.failures or len(database.tokens) > REPLACED)
            load.wait_for(8)
    finally:
        manager.close()
        provider.close()
    assert not load.failures


def test_a_token_is_refused_after_its_end(database, manager):
    token = manager.get_secret(PATH, "password").reveal()
    assert database.postgres.lets_in(database.user, token)
    wait_until(lambda: time.time() >= token_ends(token, LIFE))
    assert not database.postgres.lets_in(database.user, token)
    assert database.postgres.lets_in(database.user, manager.get_secret(PATH, "password").reveal())


def test_a_token_is_for_one_user_and_one_key(database, manager):
    token = manager.get_secret(PATH, "password").reveal()
    host, key = f"127.0.0.1:{database.postgres.port}", CREDENTIALS["aws_secret_access_key"]
    assert is_valid(token, key, host=host, user=database.user)
    assert not is_valid(token, key, host=host, user="other")
    assert not is_valid(token, "another-key", host=host, user=database.user)
