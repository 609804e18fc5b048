"""Servers whose credentials rotate, and an application's manager that learns of it only from its store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import django
import pytest
from django.conf import settings

from strongroom import SecretsManager
from strongroom.secret import Value
from strongroom_vault.testing import TestVault
from support.services.postgres import Postgres

PATH = "database/connection"


@pytest.fixture(scope="session", autouse=True)
def django_settings() -> None:
    """Configure Django, once in a process."""
    if not settings.configured:
        settings.configure(USE_TZ=True)
        django.setup()


class RemoteStore:
    """A mount of a real OpenBao, which a rotation writes to behind the application's back."""

    def __init__(self, server: TestVault) -> None:
        self.server = server
        self.mount = server.fresh_mount()

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Write a secret without the application's manager."""
        self.server.put(path, data, mount=self.mount)


@pytest.fixture
def store(openbao) -> RemoteStore:
    return RemoteStore(openbao)


@pytest.fixture
def open_manager(store, monkeypatch) -> Callable[[float], SecretsManager]:
    """A function that returns an application's manager, whose cache keeps secrets for longer than the test."""
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", store.mount)

    def open_(watch_interval: float) -> SecretsManager:
        chain = [{"store": "vault", "watch_interval": watch_interval}]
        return SecretsManager(store.server.url, store.server.token, cache_ttl=3600, chain=chain)

    return open_


@pytest.fixture
def manager(open_manager) -> Iterator[SecretsManager]:
    """A manager that does not notice a change by itself: its next look is an hour away."""
    with open_manager(3600) as manager:
        yield manager


@pytest.fixture
def watching_manager(open_manager) -> Iterator[SecretsManager]:
    """A manager that notices a change within a fraction of a second."""
    with open_manager(0.1) as manager:
        yield manager


class RotatedUsers:
    """Two users of PostgreSQL that take turns, as a rotation without a failed transaction needs them."""

    def __init__(self, server: Postgres, store: RemoteStore) -> None:
        self.server = server
        self._store = store
        self._suffix = secrets.token_hex(4)
        self._turn = 0
        for number in (0, 1):
            server.run(f"CREATE ROLE app_{number}_{self._suffix} LOGIN PASSWORD '{secrets.token_hex(8)}'")
        self.password = ""
        self.rotate()

    @property
    def user(self) -> str:
        """The user whose turn it is."""
        return f"app_{self._turn}_{self._suffix}"

    def rotate(self) -> None:
        """Give the other user a new password, and store its credential. The previous user's password works on."""
        self._turn = 1 - self._turn
        self.password = secrets.token_hex(8)
        self.server.run(f"ALTER ROLE {self.user} PASSWORD '{self.password}'")
        self._store.write(PATH, self.credential)

    @property
    def credential(self) -> dict[str, str | int]:
        """The secret of the user whose turn it is."""
        where = {"host": "127.0.0.1", "port": self.server.port, "name": "postgres"}
        return {**where, "user": self.user, "password": self.password}

    def revoke_previous(self) -> None:
        """End the password of the previous user. Its open connections go on."""
        self.server.run(f"ALTER ROLE app_{1 - self._turn}_{self._suffix} PASSWORD '{secrets.token_hex(8)}'")

    @contextmanager
    def paused(self) -> Iterator[str]:
        """Yield a statement that returns the name of its user when the block has ended."""
        key = secrets.randbits(31)
        with self.server.connect("postgres", self.server.password) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [key])
            yield f"SELECT current_user FROM (SELECT pg_advisory_xact_lock({key})) AS lock"

    def waiting(self) -> int:
        """Return the number of connections that wait in such a statement."""
        with self.server.connect("postgres", self.server.password) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ).fetchone()
            return row[0] if row else 0

    def connected(self) -> dict[str, int]:
        """Return user -> number of connections, of both users."""
        with self.server.connect("postgres", self.server.password) as connection:
            rows = connection.execute(
                "SELECT usename, count(*) FROM pg_stat_activity WHERE usename LIKE %s GROUP BY 1",
                [f"app_%{self._suffix}"],
            )
            return dict(rows.fetchall())


@pytest.fixture
def users(postgres, store) -> RotatedUsers:
    return RotatedUsers(postgres, store)
