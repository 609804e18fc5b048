"""Fixtures for tests of stores in a manager's chain."""

import pytest

from strongroom import SecretsManager
from strongroom.testing import parts_of


@pytest.fixture
def managed():
    """Return a function that makes a manager whose stores are open."""
    managers = []

    def manage(*stores, **options):
        managers.append(SecretsManager(chain=list(stores), **options))
        for link in parts_of(managers[-1]).chain.links:
            link.connection.open()
        return managers[-1]

    yield manage
    for manager in managers:
        manager.close()
