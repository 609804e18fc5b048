"""Sixteen connections work while the credential of their server rotates: no transaction fails.

`nox -s connections` runs this for a minute with ten rotations; the suite makes two.
"""

import time

import psycopg
import pytest
from django.db.utils import ConnectionHandler

from strongroom import set_default_manager
from strongroom.integrations.django import database
from support.scenarios.load import ROTATIONS, SECONDS, WORKERS, Load, wait_until
from support.scenarios.pools import PATH, PROVIDERS, SqlAlchemy

pytestmark = pytest.mark.long


class DjangoConnections:
    """A persistent connection for each thread, as a server with threads has."""

    def __init__(self, manager, size):
        self._before = set_default_manager(manager)
        self._connections = ConnectionHandler({"default": database(PATH, CONN_MAX_AGE=None)})

    def __call__(self, statement="SELECT current_user"):
        connection = self._connections["default"]
        connection.close_if_unusable_or_obsolete()  # as at the start of a request
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

    def end_thread(self):
        self._connections.close_all()

    def close(self):
        set_default_manager(self._before)


@pytest.mark.parametrize("kind", [*PROVIDERS, DjangoConnections], ids=lambda kind: kind.__name__)
def test_no_transaction_fails_while_two_users_take_turns(kind, users, watching_manager):
    """Each rotation gives the other user a new password, and then ends the previous one's."""
    provider = kind(watching_manager, WORKERS)
    try:
        with Load(provider) as load:
            for _ in range(ROTATIONS):
                load.wait_for(2 * WORKERS)
                previous = users.user
                users.rotate()
                wait_until(lambda previous=previous: load.failures or previous not in users.connected())
                users.revoke_previous()
                load.wait_for(2 * WORKERS)
                time.sleep(SECONDS)
    finally:
        watching_manager.close()  # ends the watch, and so its drain
        provider.close()
    assert not load.failures


def test_a_password_that_is_read_once_fails(users, watching_manager):
    """The control: the same load with the password of the start."""
    credential = users.credential

    def transaction():
        where = {"host": credential["host"], "port": credential["port"], "dbname": "postgres"}
        with psycopg.connect(user=credential["user"], password=credential["password"], **where) as connection:
            connection.execute("SELECT 1")

    provider = SqlAlchemy(watching_manager, 1)
    with Load(transaction, 1) as naive, Load(provider, 1) as load:
        naive.wait_for(1)
        users.rotate()
        users.revoke_previous()
        users.rotate()
        users.revoke_previous()
        wait_until(lambda: naive.failures)
        load.wait_for(5)
    watching_manager.close()
    provider.close()
    assert not load.failures
