"""Pools of real drivers on a real PostgreSQL, while its credential rotates."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from strongroom.errors import ConfigurationError
from strongroom.integrations import asyncpg as asyncpg_pools
from strongroom.integrations import psycopg_pool as psycopg_pools
from strongroom.integrations import sqlalchemy as engines
from strongroom.rotate.state import RotationState, RotationStep, as_document, pending_path
from support.scenarios.load import wait_until
from support.scenarios.pools import PATH, PROVIDERS


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.__name__)
def open_provider(request, users):
    """A function that opens a pool of four connections. What it returns makes one transaction, and returns its user."""
    opened = []

    def open_(manager, **options):
        opened.append((manager, request.param(manager, 4, **options)))
        return opened[-1][1]

    yield open_
    for manager, provider in opened:
        manager.close()  # ends the watch, and so its drain
        provider.close()


def test_a_refused_credential_is_read_anew(open_provider, users, manager):
    """The cached credential is refused, and the store has a newer one: the caller sees no failure."""
    manager.get_secret(PATH)
    users.rotate()
    users.revoke_previous()
    assert open_provider(manager)() == users.user


def test_a_password_that_is_set_alone_opens_connections_by_the_url(open_provider, users, manager, store):
    """As the loop of the user's guide sets it, on a secret with `url` and `password`."""
    where = f"127.0.0.1:{users.server.port}/postgres"
    store.write(PATH, {"url": f"postgresql://{users.user}:{users.password}@{where}", "password": users.password})
    users.server.run(f"ALTER ROLE {users.user} PASSWORD 'n/e@w'")
    manager.set_secret(PATH, {"password": "n/e@w"})
    assert open_provider(manager)() == users.user


def test_the_pending_credential_is_tried_last(open_provider, users, manager, store):
    """A rotation has applied the new credential, and not stored it as the secret yet."""
    current = users.credential
    users.rotate()
    pending = users.credential
    store.write(PATH, current)
    state = RotationState("r1", "postgres", RotationStep.APPLIED, datetime.now(UTC), datetime.now(UTC))
    store.write(pending_path(PATH), as_document(state, pending))
    users.revoke_previous()
    provider = open_provider(manager)
    assert [provider(), provider()] == [users.user, users.user]
    assert users.connected() == {users.user: 1}


def test_idle_connections_end_after_a_change(open_provider, users, watching_manager):
    """Without a call of the application."""
    provider = open_provider(watching_manager)
    previous = provider()
    assert previous in users.connected()
    users.rotate()
    wait_until(lambda: previous not in users.connected())
    assert provider() == users.user


def test_a_busy_connection_ends_when_it_is_returned(open_provider, users, watching_manager):
    """Its transaction is not disturbed."""
    provider = open_provider(watching_manager)
    provider()
    previous = users.user
    with ThreadPoolExecutor(1) as executor, users.paused() as statement:
        busy = executor.submit(provider, statement)
        wait_until(lambda: users.waiting() == 1)
        users.rotate()
        wait_until(lambda: provider() == users.user)
        assert previous in users.connected()
    assert busy.result() == previous
    wait_until(lambda: previous not in users.connected())


def test_refusals_read_the_store_once_a_second(open_provider, users, manager, openbao, store):
    """However many connections fail at once."""
    provider = open_provider(manager, patience=1.5)  # the pools of psycopg try again for so long
    users.server.run(f"ALTER ROLE {users.user} PASSWORD 'unknown'")
    paths = [f"{store.mount}/data/{PATH}", f"{store.mount}/data/{pending_path(PATH)}"]
    before = [openbao.requests(path) for path in paths]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: failure(provider), range(4)))
    seconds = time.monotonic() - began
    assert all(users.password not in str(error) for error in results)
    for path, count in zip(paths, before, strict=True):
        assert openbao.requests(path) - count <= 1 + seconds


def failure(provider):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each driver has its own
        provider()
    return caught.value


def test_a_secret_without_a_server_needs_an_option(manager, store):
    """A library's default would send the password to an unknown program on this machine."""
    store.write(PATH, {"username": "u", "password": "p"})

    async def open_() -> None:
        await asyncpg_pools.create_pool(PATH, manager=manager, min_size=1)

    for attempt in (lambda: psycopg_pools.create_pool(PATH, manager=manager), lambda: asyncio.run(open_())):
        with pytest.raises(ConfigurationError, match="database/connection names no server: pass"):
            attempt()


def test_an_option_wins_over_the_server_of_the_secret(manager, store, users):
    """User and password are the secret's."""
    address = f"127.0.0.1:{users.server.port}/postgres"
    account = f"{users.user}:{users.password}"
    for url in ({"url": f"postgresql://{account}@db.invalid:1/other"}, {**users.credential, "host": "db.invalid"}):
        store.write(PATH, url)
        manager.invalidate(PATH)
        engine = engines.create_engine(PATH, manager=manager, url=f"postgresql+psycopg://{address}")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT current_user").scalar_one() == users.user
        engine.dispose()
        with psycopg_pools.create_pool(PATH, manager=manager, conninfo=f"postgresql://{address}", min_size=1) as pool:
            pool.wait()
            with pool.connection() as connection:
                assert connection.info.user == users.user

        async def open_() -> str:
            connection = asyncpg_pools.create_pool(PATH, manager=manager, dsn=f"postgresql://{address}", min_size=0)
            async with connection as pool:
                return await pool.fetchval("SELECT current_user")

        assert asyncio.run(open_()) == users.user


def test_the_server_of_an_incomplete_secret_is_used(manager, store, users):
    """Without `name`, which the option gives."""
    store.write(PATH, {key: value for key, value in users.credential.items() if key != "name"})
    connect = psycopg_pools.create_pool(PATH, manager=manager, open=False).connection_class.connect
    with connect(dbname="postgres") as connection:
        assert connection.info.host == "127.0.0.1"
