"""Django connections on a real PostgreSQL, while its credential rotates."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import ConnectionHandler

from strongroom import set_default_manager
from strongroom.integrations.django import database

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


def test_a_database_without_a_secret_says_what_to_set(connection):
    """The setting is Strongroom's own."""
    connection.settings_dict.pop("SECRET")
    with pytest.raises(ImproperlyConfigured, match="SECRET"):
        user(connection)


def test_only_two_engines_exist():
    with pytest.raises(ValueError, match="postgresql or mysql"):
        database(PATH, engine="oracle")
