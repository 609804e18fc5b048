"""Fixtures for tests of stores in a manager's chain."""

import pytest

from strongroom import SecretsManager


@pytest.fixture
def managed():
    """Return a function that makes a manager whose stores are open."""
    managers = []

    def manage(*stores, **options):
        managers.append(SecretsManager(chain=list(stores), **options))
        for link in managers[-1]._chain._links:
            link.connection.open()
        return managers[-1]

    yield manage
    for manager in managers:
        manager.close()
