"""Connections of users that a database engine leases: none outlives its lease."""

import secrets
import threading

import pytest

from strongroom import SecretsManager
from strongroom.integrations.psycopg_pool import create_pool
from strongroom.integrations.sqlalchemy import create_engine
from support.scenarios.load import Load, wait_until

pytestmark = pytest.mark.long

PATH = "database/app"
CREATION = ["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"]
TTL = 15
"""Seconds. The last tenth or more of a lease is the time to replace its connections, on a busy machine too."""


@pytest.fixture
def leases(openbao, postgres, monkeypatch):
    """A database engine whose users live for some seconds, and are not renewed."""
    mount = f"database-{secrets.token_hex(4)}"
    openbao.call("POST", f"sys/mounts/{mount}", {"type": "database"})
    connection = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "*",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{postgres.port}/postgres",
        "username": "postgres",
        "password": postgres.password,
    }
    openbao.call("POST", f"{mount}/config/main", connection)
    role = {"db_name": "main", "creation_statements": CREATION, "default_ttl": TTL, "max_ttl": TTL}
    openbao.call("POST", f"{mount}/roles/app", role)
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_DYNAMIC_MOUNT", mount)
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_DYNAMIC_PATHS", f'{{"{PATH}": "creds/app"}}')
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_DYNAMIC_URL", openbao.url)
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_DYNAMIC_TOKEN", openbao.token)
    yield mount
    openbao.call("PUT", f"sys/leases/revoke-prefix/{mount}", {"sync": True})
    openbao.call("DELETE", f"sys/mounts/{mount}")


@pytest.fixture
def manager(leases):
    with SecretsManager(chain=[{"store": "vault-dynamic", "watch_interval": 0.1}]) as manager:
        yield manager


def overdue(postgres):
    """Return the connections of users whose lease has ended."""
    with postgres.connect("postgres", postgres.password) as connection:
        return connection.execute(
            "SELECT usename, rolvaliduntil - now() FROM pg_stat_activity JOIN pg_roles ON rolname = usename"
            " WHERE rolvaliduntil < now()"
        ).fetchall()


def test_no_connection_outlives_its_lease(manager, postgres):
    """Whether it is idle or in use, in the pool of psycopg and in that of SQLAlchemy."""
    address = f"127.0.0.1:{postgres.port}/postgres"
    pool = create_pool(PATH, manager=manager, conninfo=f"postgresql://{address}", min_size=4, max_size=8)
    engine = create_engine(PATH, manager=manager, url=f"postgresql+psycopg://{address}", pool_size=8)
    pause, of_pool, of_engine, late = threading.Event(), set(), set(), []

    def by_pool():
        with pool.connection() as connection:
            of_pool.add(connection.execute("SELECT current_user").fetchone()[0])
        pause.wait(0.05)

    def by_engine():
        with engine.connect() as connection:
            of_engine.add(connection.exec_driver_sql("SELECT current_user").scalar_one())
        pause.wait(0.05)

    with Load(by_pool, 2) as one, Load(by_engine, 2) as other:
        wait_until(
            lambda: (
                one.failures
                or other.failures
                or len(of_pool & of_engine) >= 2
                or late.extend(overdue(postgres))
                or pause.wait(0.1)
            )
        )
    manager.close()
    pool.close()
    engine.dispose()
    assert not one.failures
    assert not other.failures
    assert late == []
