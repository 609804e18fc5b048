"""SQLAlchemy and Django on a real MariaDB, while the password of their user rotates."""

import secrets

import pymysql
import pytest
from django.db.utils import ConnectionHandler
from sqlalchemy import text

from strongroom import set_default_manager
from strongroom.integrations.django import database
from strongroom.integrations.sqlalchemy import create_engine
from support.scenarios.load import wait_until

PATH = "database/connection"


@pytest.fixture
def account(mariadb, store):
    return Account(mariadb, store)


class Account:
    """A user of the server whose password rotates."""

    def __init__(self, server, store):
        self.name = f"app_{secrets.token_hex(4)}"
        self._server = server
        self._store = store
        server.run(f"CREATE USER {self.name} IDENTIFIED BY '{secrets.token_hex(8)}'")
        self.rotate()

    def rotate(self):
        """Give the user a new password in the place of the one it has, and store it."""
        self.password = secrets.token_hex(8)
        self._server.run(f"SET PASSWORD FOR {self.name} = PASSWORD('{self.password}')")
        url = f"mysql://{self.name}:{self.password}@localhost/information_schema?unix_socket={self._server.socket}"
        self._store.write(PATH, {"url": url})


def test_a_refused_password_is_read_anew(account, manager):
    """The pool opens its first connection after a rotation that the cache has not seen."""
    engine = create_engine(PATH, manager=manager, drivername="mysql+pymysql")
    account.rotate()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT user()")).scalar_one() == f"{account.name}@localhost"
    engine.dispose()


@pytest.fixture
def open_django(mariadb):
    """A function that returns a connection, with PyMySQL in the place of mysqlclient, as Django's users install it."""
    pymysql.install_as_MySQLdb()
    opened = []

    def open_(manager):
        opened.append(set_default_manager(manager))
        settings = database(PATH, engine="mysql", CONN_MAX_AGE=None, OPTIONS={"unix_socket": mariadb.socket})
        opened.append(ConnectionHandler({"default": settings})["default"])
        return opened[-1]

    yield open_
    before, connection = opened
    connection.close()
    set_default_manager(before)


def user(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT user()")
        return cursor.fetchone()[0]


def test_django_reads_a_refused_password_anew(account, manager, mariadb, open_django):
    connection = open_django(manager)
    manager.get_secret(PATH)
    first = account.password
    account.rotate()
    assert user(connection) == f"{account.name}@localhost"
    assert not mariadb.lets_in(account.name, first)


def test_an_idle_connection_of_django_ends_after_a_change(account, watching_manager, open_django):
    """Another thread closes it, and the next request opens a new one."""
    connection = open_django(watching_manager)
    assert user(connection) == f"{account.name}@localhost"
    connection.close_if_unusable_or_obsolete()
    account.rotate()
    wait_until(lambda: connection.connection is None)
    assert user(connection) == f"{account.name}@localhost"
