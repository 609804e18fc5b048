"""An application whose configuration requires one secret, and a store that a test puts out of order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom import SecretsManager, StoreUnavailableError, set_default_manager
from support.stores import RemoteStore


@pytest.fixture
def store() -> RemoteStore:
    return RemoteStore({"api-keys/payments": {"key": "sk-4711"}, "auth/app": {"secret": "first"}})


@pytest.fixture
def application(store) -> Iterator[SecretsManager]:
    """The default manager of the process, over that store. It requires two secrets."""
    rows = 'PAYMENTS_KEY = "api-keys/payments#key"\nAPP_SECRET_KEY = "auth/app#secret"\n'
    Path("strongroom.toml").write_text(f"[secrets]\n{rows}", "utf-8")
    with SecretsManager(chain=[store]) as manager:
        before = set_default_manager(manager)
        yield manager
        set_default_manager(before)


@pytest.fixture
def recovering(store) -> Iterator[Callable[[], None]]:
    """Put the store out of order, until the application logs that it waits for it."""

    class Recovery(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            store.fault = None

    messages: list[str] = []
    handler, logger = Recovery(), logging.getLogger("strongroom.readiness")
    logger.addHandler(handler)

    def fail() -> list[str]:
        store.fault = StoreUnavailableError(reason="connection refused")
        return messages

    yield fail
    logger.removeHandler(handler)
