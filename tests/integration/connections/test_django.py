"""Django connections on a real PostgreSQL, while its credential rotates."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import ConnectionHandler

from strongroom import set_default_manager
from strongroom.errors import ConfigurationError
from strongroom.integrations.django import database
from strongroom.integrations.django.postgresql.base import DatabaseWrapper
from support.scenarios.load import LIMIT, wait_until

PATH = "database/connection"


@pytest.fixture
def connection(manager, users):
    """A persistent connection, as `CONN_MAX_AGE` of None gives."""
    before = set_default_manager(manager)
    connection = ConnectionHandler({"default": database(PATH, CONN_MAX_AGE=None)})["default"]
    yield connection
    connection.close()
    set_default_manager(before)


def user(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return cursor.fetchone()[0]


def test_a_refused_credential_is_read_anew(connection, users, manager):
    """The cached credential is refused, and the store has a newer one."""
    manager.get_secret(PATH)
    users.rotate()
    users.revoke_previous()
    assert user(connection) == users.user


def test_a_connection_ends_after_the_request_in_which_its_credential_was_replaced(connection, users, manager):
    """Django closes obsolete connections between requests."""
    assert user(connection) == users.user
    users.rotate()
    manager.invalidate(PATH)
    connection.source.current()
    assert user(connection) != users.user
    connection.close_if_unusable_or_obsolete()
    assert user(connection) == users.user


def test_host_and_port_of_the_settings_win(manager, users, store):
    store.write(PATH, {**users.credential, "host": "db.invalid", "port": 1})
    before = set_default_manager(manager)
    try:
        settings = database(PATH, HOST="127.0.0.1", PORT=str(users.server.port))
        connection = ConnectionHandler({"default": settings})["default"]
        assert user(connection) == users.user
        connection.close()
    finally:
        set_default_manager(before)


def test_a_secret_without_a_server_needs_the_setting_host(manager, store):
    """The driver's default would send the password to an unknown program on this machine."""
    store.write(PATH, {"username": "u", "password": "p"})
    before = set_default_manager(manager)
    try:
        connection = ConnectionHandler({"default": database(PATH, NAME="app")})["default"]
        with pytest.raises(ConfigurationError, match="database/connection names no server: pass HOST in DATABASES"):
            connection.ensure_connection()
    finally:
        set_default_manager(before)


@pytest.fixture
def open_watched(watching_manager, users):
    """A function that takes settings, and returns the connections of an application that notices changes."""
    before = set_default_manager(watching_manager)
    yield lambda **options: ConnectionHandler({"default": database(PATH, CONN_MAX_AGE=None, **options)})
    watching_manager.close()  # ends the watch
    set_default_manager(before)


class Worker:
    """A thread that serves requests, with its own connection."""

    def __init__(self, connections, executor):
        self._connections = connections
        self._executor = executor

    def request(self):
        """Serve a request, and return the user of its connection."""
        return self._executor.submit(self._request).result(LIMIT)

    def end(self):
        """Close the connection."""
        self._executor.submit(self._connections.close_all).result(LIMIT)

    def _request(self):
        connection = self._connections["default"]
        try:
            return user(connection)
        finally:
            connection.close_if_unusable_or_obsolete()


@pytest.fixture
def worker(open_watched):
    with ThreadPoolExecutor(1) as executor:
        worker = Worker(open_watched(), executor)
        yield worker
        worker.end()


def test_an_idle_connection_ends_without_a_further_request(worker, users):
    """The next request of its thread opens one with the new credential."""
    previous = worker.request()
    assert previous in users.connected()
    users.rotate()
    wait_until(lambda: previous not in users.connected())
    assert worker.request() == users.user


@pytest.mark.parametrize("in_transaction", [False, True], ids=["in a request", "in a transaction"])
def test_a_connection_in_use_is_left_to_its_thread(open_watched, worker, users, in_transaction):
    """It ends with the request, while that of another thread, which is idle, ends at once."""
    connection = open_watched(AUTOCOMMIT=not in_transaction)["default"]
    previous = user(connection)
    if in_transaction:
        connection.close_if_unusable_or_obsolete()  # the request ends without a commit
    assert worker.request() == previous
    assert users.connected() == {previous: 2}
    users.rotate()
    wait_until(lambda: users.connected().get(previous) == 1)
    assert user(connection) == previous
    connection.close_if_unusable_or_obsolete()
    wait_until(lambda: previous not in users.connected())
    connection.close()


def test_a_request_waits_until_the_watch_has_closed_its_connection(open_watched, users, monkeypatch):
    """It begins in the middle of that, and gets a new connection."""
    connection = open_watched()["default"]
    assert user(connection) == users.user
    connection.close_if_unusable_or_obsolete()
    began, asked = threading.Event(), threading.Event()
    close, claim = DatabaseWrapper._close, DatabaseWrapper._claim  # no public call is one of these two steps

    def close_slowly(wrapper):
        began.set()
        assert asked.wait(LIMIT)
        close(wrapper)

    def claim_aloud(wrapper):
        asked.set()
        claim(wrapper)

    monkeypatch.setattr(DatabaseWrapper, "_close", close_slowly)
    users.rotate()
    assert began.wait(LIMIT)
    monkeypatch.setattr(DatabaseWrapper, "_claim", claim_aloud)
    assert user(connection) == users.user
    connection.close()


def test_a_database_without_a_secret_says_what_to_set(connection):
    """The setting is Strongroom's own."""
    connection.settings_dict.pop("SECRET")
    with pytest.raises(ImproperlyConfigured, match="SECRET"):
        user(connection)


def test_only_two_engines_exist():
    with pytest.raises(ValueError, match="postgresql or mysql"):
        database(PATH, engine="oracle")
