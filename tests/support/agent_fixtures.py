"""Fixtures: an API behind TLS, and a chain whose configuration has a rule for it."""

import pytest
import trustme

from support.scenarios.agent_rules import manager_with_rule
from support.services.fake_api import fake_api, server_context


@pytest.fixture(scope="session")
def authority():
    """The authority that signs the API's certificates."""
    return trustme.CA()


@pytest.fixture(scope="session")
def trust(authority, tmp_path_factory):
    """The file of this authority alone."""
    file = tmp_path_factory.mktemp("authority") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture(scope="session")
def context(authority):
    """The TLS of the APIs."""
    return server_context(authority)


@pytest.fixture
def api(context):
    """The API of the rule."""
    with fake_api(context) as server:
        yield server


@pytest.fixture
def other(context):
    """An API without a rule."""
    with fake_api(context) as server:
        yield server


@pytest.fixture
def manager(api):
    """Makes a manager with a rule for the API."""
    opened = []

    def make(**rule):
        opened.append(manager_with_rule(api.host, **rule))
        return opened[-1]

    yield make
    for secrets in opened:
        secrets.close()
