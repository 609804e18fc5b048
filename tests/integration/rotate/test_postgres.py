"""Rotations of real PostgreSQL users whose secret is in a real OpenBao."""

import asyncio
import logging
import secrets

import pytest
from sqlalchemy import NullPool, text

from strongroom._manager import SecretsManager
from strongroom.errors import RotationError
from strongroom.integrations.sqlalchemy import create_engine
from strongroom.rotate.state import pending_path
from support.scenarios.load import wait_until
from support.scenarios.rotate_settings import BY_ADMIN, OWN_PASSWORD, PATH, TWO_USERS

SETTINGS = pytest.mark.parametrize("settings", [TWO_USERS, BY_ADMIN, OWN_PASSWORD], ids=["two users", "admin", "own"])


@SETTINGS
def test_a_rotation_ends_with_one_credential_that_works(configured, settings):
    there = configured(settings)
    before = there.read(PATH)
    with SecretsManager.from_config(there.config) as manager:
        assert manager.get_secret(PATH) == before
        status = asyncio.run(manager.rotate(PATH))
        after = manager.get_secret(PATH)
    assert status.state == "done"
    assert after == there.read(PATH)
    assert there.works(after)
    assert not there.works(before)
    assert (after["user"] == before["user"]) is (settings != TWO_USERS)


@SETTINGS
def test_a_rotation_that_is_done_can_be_undone(configured, settings):
    """The old password comes from the store's versions."""
    there = configured(settings)
    before = there.read(PATH)
    with SecretsManager.from_config(there.config) as manager:
        manager.rotations.rotate(PATH)
        rotated = there.read(PATH)
        assert manager.rotations.undo(PATH).state == "undone"
        assert manager.get_secret(PATH) == before
    assert there.read(PATH) == before
    assert there.works(before)
    assert not there.works(rotated)


def test_two_users_take_turns(configured):
    there = configured(TWO_USERS)
    with SecretsManager.from_config(there.config) as manager:
        turns = []
        for _ in range(3):
            manager.rotations.rotate(PATH)
            turns.append(manager.get_secret(PATH, "user"))
            assert there.works(there.read(PATH))
    first, second = there.users
    assert turns == [second, first, second]


def test_connections_of_the_old_user_stay_open(configured):
    there = configured(TWO_USERS)
    with (
        there.postgres.connect(there.users[0], "first") as connection,
        SecretsManager.from_config(there.config) as manager,
    ):
        manager.rotations.rotate(PATH)
        assert connection.execute("SELECT current_user").fetchone() == (there.users[0],)


@pytest.mark.parametrize("key", ["user", "username"])
def test_connections_take_a_rotated_secret_as_it_is(configured, key):
    """Both read the server from `host`, `port` and `name`, so that no URL is needed."""
    there = configured(TWO_USERS)
    database = f"shop_{secrets.token_hex(4)}"
    there.postgres.run(f"CREATE DATABASE {database}")
    secret = there.read(PATH)
    there.write(PATH, {key: secret.pop("user"), "name": database, **secret})
    with SecretsManager.from_config(there.config) as manager:
        engine = create_engine(PATH, manager=manager, drivername="postgresql+psycopg", poolclass=NullPool)
        for user in reversed(there.users):
            assert manager.rotations.rotate(PATH).state == "done"
            with engine.connect() as connection:
                found = connection.execute(text("SELECT current_user, current_database()")).one()
            assert tuple(found) == (user, database)


def test_labels_say_when_it_was_and_when_it_will_be(configured):
    there = configured(TWO_USERS + 'every = "30d"\n')
    with SecretsManager.from_config(there.config) as manager:
        manager.versions.set_metadata(PATH, {"owner": "payments"})
        status = manager.rotations.rotate(PATH)
        labels = manager.versions.metadata(PATH)
        [version] = manager.rotations.history(PATH)
    assert labels == {
        "owner": "payments",
        "rotated-at": status.last_success.isoformat(timespec="seconds"),
        "rotate-by": status.due.isoformat(timespec="seconds"),
    }
    assert (status.due - status.last_success).days == 30
    assert (version.version, version.keys) == (2, ("password", "user"))


def test_a_policy_for_data_alone_is_enough(configured):
    """Neither labels nor the list of versions are needed to rotate, and to undo that."""
    there = configured(TWO_USERS)
    before = there.read(PATH)
    rights = {
        f"{there.mount}/data/{PATH}": ["read", "update"],
        f"{there.mount}/data/{pending_path(PATH)}": ["read", "create", "update"],
        f"{there.mount}/data/database/admin": ["read"],
    }
    token = there.openbao.issue_token(rights)
    there.config.write_text(there.config.read_text().replace(there.openbao.token, token))
    with SecretsManager.from_config(there.config) as manager:
        manager.rotations.rotate(PATH)
        assert there.works(there.read(PATH))
        manager.rotations.undo(PATH)
    assert there.read(PATH) == before
    assert there.works(before)


def test_an_administrator_without_the_right_changes_nothing(configured):
    there = configured(TWO_USERS)
    there.write("database/admin", {"user": there.users[0], "password": "first"})
    before = there.read(PATH)
    with SecretsManager.from_config(there.config) as manager, pytest.raises(RotationError) as caught:
        manager.rotations.rotate(PATH)
    assert "at step apply" in str(caught.value)
    assert "SQLSTATE 42501" in str(caught.value)
    assert there.read(PATH) == before
    assert there.works(before)


def test_no_password_is_in_a_log_of_ours_or_of_the_server(configured, caplog):
    """The statement has a verifier, so that a server that logs statements does not log the password."""
    there = configured(TWO_USERS)
    there.postgres.run("ALTER SYSTEM SET log_statement = 'all'")
    there.postgres.run("SELECT pg_reload_conf()")
    wait_until(lambda: setting_of(there.postgres, "log_statement") == "all")
    caplog.set_level(logging.DEBUG)
    try:
        with SecretsManager.from_config(there.config) as manager:
            manager.rotations.rotate(PATH)
    finally:
        there.postgres.run("ALTER SYSTEM RESET log_statement")
        there.postgres.run("SELECT pg_reload_conf()")
    password = there.read(PATH)["password"]
    logged = there.postgres.log()
    assert f'ALTER ROLE "{there.users[1]}" PASSWORD' in logged
    assert "SCRAM-SHA-256$" in logged
    assert password not in logged
    assert password not in caplog.text


def setting_of(postgres, name):
    """The setting of a new connection: the server takes a changed one up some time after the signal."""
    with postgres.connect("postgres", postgres.password) as connection:
        return connection.execute(f"SHOW {name}").fetchone()[0]
