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
    """Refuse to start a thread from now on. Those of other tests may."""
    original, caller = threading.Thread.start, threading.current_thread()

    def refuse():
        def start(thread):
            assert threading.current_thread() is not caller, f"{thread.name} was started"
            original(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    yield refuse
    monkeypatch.undo()
