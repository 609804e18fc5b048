"""The store of Google on a fake of Secret Manager."""

import pytest

from strongroom_google.plugin import open_google
from support.cli_fixtures import command  # noqa: F401  # a fixture
from support.services.google import FakeSecretManager, TokenServer, workload_identity


@pytest.fixture
def google():
    """A fake without secrets."""
    with FakeSecretManager() as fake:
        yield fake


@pytest.fixture
def token_server(monkeypatch, tmp_path):
    """A token server, whose credentials the environment names."""
    with TokenServer() as server:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(workload_identity(server.url, tmp_path)))
        yield server


@pytest.fixture
def store(google):
    """The store of project `demo`."""
    opened = open_google(project="demo", endpoint_url=google.url)
    yield opened
    opened.close()


@pytest.fixture
def opened(google):
    """A function that opens the store with further options."""
    stores = []

    def open_(**options):
        stores.append(open_google(**{"project": "demo", "endpoint_url": google.url, **options}))
        return stores[-1]

    yield open_
    for each in stores:
        each.close()
