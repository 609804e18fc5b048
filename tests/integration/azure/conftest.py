"""Stores of one fresh vault, on the fake of Azure."""

import pytest

from strongroom_azure.plugin import open_key_vault
from support.cli_fixtures import command  # noqa: F401  # a fixture
from support.services.azure import FakeAzure, Vault


class KeyVault:
    """A vault that is empty at first, and functions that open stores of it."""

    def __init__(self, azure: FakeAzure) -> None:
        self.azure = azure
        self.name = azure.fresh_vault()
        self.stores: list = []

    @property
    def vault(self) -> Vault:
        return self.azure.vaults[self.name]

    def open(self, **options):
        self.stores.append(open_key_vault(vault=self.name, **options))
        return self.stores[-1]

    def fault(self, fault, method=""):
        """Let this apply to the requests to this vault, or to those of one method."""
        return self.azure.fault(fault, lambda used, url: self.name in url and method in {"", used})

    @property
    def asked(self):
        """The methods and paths of the requests to this vault."""
        host = f"https://{self.name}.vault.azure.net"
        found = [(method, url) for method, url in self.azure.requests if url.startswith(host)]
        return [f"{method} {url.removeprefix(host).partition('?')[0]}" for method, url in found]


@pytest.fixture
def key_vault(azure):
    made = KeyVault(azure)
    yield made
    for store in made.stores:
        store.close()
