"""A URL in the place of a path: a provider of connections has the name of another library's function."""

import asyncio
import logging

import pytest

from strongroom import SecretsManager
from strongroom.errors import InvalidPathError
from strongroom.integrations import asyncpg, psycopg_pool, redis, sqlalchemy

CANARY = "canary-4711"


@pytest.mark.parametrize(
    "create",
    [
        sqlalchemy.create_engine,
        sqlalchemy.create_async_engine,
        psycopg_pool.create_pool,
        psycopg_pool.create_async_pool,
        asyncpg.create_pool,
        redis.create_client,
        redis.create_async_client,
    ],
    ids=lambda create: f"{create.__module__.rpartition('.')[2]}.{create.__name__}",
)
def test_its_password_is_neither_shown_nor_logged(create, caplog):
    caplog.set_level(logging.DEBUG)

    async def call():  # asyncpg takes the running loop
        return create(f"postgresql+psycopg://me:{CANARY}@db/shop", manager=manager)

    with SecretsManager(chain=["memory"]) as manager, pytest.raises(InvalidPathError, match="it is a URL") as caught:
        asyncio.run(call())
    assert CANARY not in f"{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}"
