"""Encrypted columns on real servers: PostgreSQL by psycopg and asyncpg, and MariaDB."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, select, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from strongroom import SecretsManager, set_default_manager
from strongroom.encryption import load
from strongroom.integrations.sqlalchemy import (
    EncryptedBytes,
    EncryptedJSON,
    EncryptedString,
    key_usage,
    render_item,
    rewrap,
)
from strongroom.integrations.sqlalchemy._keys import BATCH, _Texts
from strongroom.store.memory import MemoryStore

PATH = "columns/customer"
KEYS = {"primary": "48291", "48291": "k" * 43}
LATER = {**KEYS, "primary": "61332", "61332": "o" * 43}
LARGE = "ü" * 500_000
VALUES = [
    {"id": 1, "iban": "Zoë 🦉", "profile": {"a": [1, None]}, "scan": b"\xff\x00"},
    {"id": 2, "iban": "", "profile": [], "scan": b""},
    {"id": 3, "iban": None, "profile": None, "scan": None},
    {"id": 4, "iban": LARGE, "profile": "x", "scan": bytes(1_000_000)},
]


@pytest.fixture(autouse=True)
def store():
    store = MemoryStore()
    store.write(PATH, KEYS)
    with SecretsManager(chain=[store]) as manager:
        before = set_default_manager(manager)
        yield store
        set_default_manager(before)


@pytest.fixture
def table():
    return Table(
        "encrypted_customer",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("iban", EncryptedString(PATH)),
        Column("profile", EncryptedJSON(PATH)),
        Column("scan", EncryptedBytes(PATH)),
    )


@pytest.fixture
def postgres_url(postgres):
    where = {"host": "127.0.0.1", "port": postgres.port, "database": "postgres"}
    return URL.create("postgresql+psycopg", username="postgres", password=postgres.password, **where)


def check(engine, table, store):
    """Values are read back, rewrapped by a lock for each row, and Alembic finds no difference."""
    table.create(engine)
    try:
        with engine.begin() as connection:
            connection.execute(insert(table), VALUES)
            wanted = [tuple(row.values()) for row in VALUES]
            assert [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))] == wanted
            shown = connection.execute(text("SELECT iban, profile, scan FROM encrypted_customer WHERE id = 1")).one()
            assert all(value.startswith("sr1.48291.") for value in shown)
        with engine.connect() as connection:
            options = {
                "compare_type": True,
                "render_item": render_item,
                "include_name": lambda name, kind, _: kind != "table" or name == table.name,
            }
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, table.metadata) == []
        store.write(PATH, LATER)
        with engine.begin() as locking:
            locking.execute(text("SELECT id FROM encrypted_customer WHERE id = 2 FOR UPDATE"))
            load(PATH, fresh=True)
            assert sum(_Texts(table.c.iban, BATCH).rewrapped(engine)) == 2
        for column in (table.c.iban, table.c.profile, table.c.scan):
            rewrap(engine, column)
        assert key_usage(engine, table.metadata, PATH) == {"48291": 0, "61332": 9, "": 0}
        with engine.connect() as connection:
            assert [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))] == wanted
    finally:
        table.drop(engine)
        engine.dispose()


def test_postgresql(postgres_url, table, store):
    check(create_engine(postgres_url), table, store)


@pytest.mark.long
def test_mariadb(mariadb, table, store):
    """A column of TEXT would end at 64 KiB."""
    mariadb.run("CREATE DATABASE IF NOT EXISTS columns_test CHARACTER SET utf8mb4")
    url = URL.create(
        "mysql+pymysql", username="admin", password=mariadb.password, host="127.0.0.1", database="columns_test"
    ).set(port=mariadb.port)
    check(create_engine(url), table, store)


def test_asyncpg(postgres_url, table):
    async def run():
        engine = create_async_engine(postgres_url.set(drivername="postgresql+asyncpg"))
        async with engine.begin() as connection:
            await connection.run_sync(table.create)
            await connection.execute(insert(table), VALUES)
            found = (await connection.execute(select(table).order_by(table.c.id))).all()
            await connection.run_sync(table.drop)
        await engine.dispose()
        return found

    assert [tuple(row) for row in asyncio.run(run())] == [tuple(row.values()) for row in VALUES]
