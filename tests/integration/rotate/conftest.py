"""A configuration that rotates its users from a KV version 2 mount."""

from __future__ import annotations

import secrets

import pytest

from strongroom.errors import StoreError
from support.scenarios.rotate_settings import PATH


class Configured:
    """A mount with the secret of a user of PostgreSQL, and the configuration of its rotation.

    Attributes:
        config: the configuration file.
        users: the two users, of which the first one's password is stored.
    """

    rotator = "postgres"
    admin = "postgres"

    def __init__(self, openbao, server, mount, folder, settings):
        self.postgres = self.server = server
        self.openbao = openbao
        self.mount = mount
        name = f"app_{secrets.token_hex(4)}"
        self.users = [f"{name}_a", f"{name}_b"]
        for user, password in zip(self.users, ("first", "another"), strict=True):
            self.create(user, password)
        self.config = folder / "strongroom.toml"
        self.config.write_text(
            f'chain = ["vault"]\n[stores.vault]\nurl = "{openbao.url}"\ntoken = "{openbao.token}"\nmount = "{mount}"\n'
            f'[rotation."{PATH}"]\nrotator = "{self.rotator}"\n' + settings.format(users=self.users)
        )
        self.write("database/admin", {"user": self.admin, "password": server.password})
        self.write(PATH, {"user": self.users[0], "password": "first", "host": "127.0.0.1", "port": server.port})

    def create(self, user, password):
        """Create a user."""
        self.server.run(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")

    def write(self, path, data):
        """Write a secret, as an operator does."""
        self.openbao.call("POST", f"{self.mount}/data/{path}", {"data": data})

    def read(self, path):
        """Return a secret's data, or an empty mapping if there is none."""
        try:
            return self.openbao.call("GET", f"{self.mount}/data/{path}")["data"]["data"]
        except StoreError as error:
            if "HTTP 404" in str(error):
                return {}
            raise

    def works(self, secret):
        """Return True if the server lets this secret's user in."""
        return "password" in secret and self.server.lets_in(secret["user"], secret["password"])


class ConfiguredMariaDB(Configured):
    """The same for a user of MariaDB."""

    rotator = "mysql"
    admin = "admin"

    def create(self, user, password):
        self.server.run("CREATE USER %s@'%%' IDENTIFIED BY %s", user, password)


@pytest.fixture
def configured(openbao, postgres, tmp_path):
    """Return a function that takes the rotator's settings and returns what they configure."""

    def configure(settings):
        return Configured(openbao, postgres, openbao.fresh_mount(version=2), tmp_path, settings)

    return configure


@pytest.fixture
def configured_mariadb(openbao, mariadb, tmp_path):
    """Return the same function for MariaDB."""
    return lambda settings: ConfiguredMariaDB(openbao, mariadb, openbao.fresh_mount(version=2), tmp_path, settings)
