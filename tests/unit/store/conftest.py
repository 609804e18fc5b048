"""Fixtures for tests of stores in a manager's chain."""

import threading

import pytest

from strongroom import SecretsManager


@pytest.fixture
def managed():
    """Return a function that makes a manager whose stores are open: the opening takes a thread."""
    managers = []

    def manage(*stores, **options):
        managers.append(SecretsManager(chain=list(stores), **options))
        for link in managers[-1]._chain._links:
            link._handle.open()
        return managers[-1]

    yield manage
    for manager in managers:
        manager.close()


@pytest.fixture
def no_threads(monkeypatch):
    """Refuse to start a thread from now on."""

    def refuse():
        def start(thread):
            raise AssertionError(f"{thread.name} was started")

        monkeypatch.setattr(threading.Thread, "start", start)

    yield refuse
    monkeypatch.undo()
