"""Retries without their pauses, which are not the subject of these tests."""

import pytest

from strongroom.migrate._execution import parallel


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """As many retries as users have, at once."""
    monkeypatch.setattr(parallel, "RETRY_DELAYS", (0.0,) * len(parallel.RETRY_DELAYS))
