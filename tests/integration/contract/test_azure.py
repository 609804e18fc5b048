"""The store of Azure Key Vault keeps the contract, on a fake with Microsoft's documented limits and errors."""

from typing import ClassVar

import pytest

from strongroom.errors import UnsupportedOperationError
from strongroom.testing import PluginContract, StoreContract
from strongroom.testing.store_contract.base import PATH, fails, holds, secret_data
from strongroom_azure.plugin import open_key_vault
from support.services.azure import dripping, silent


class TestKeyVaultPlugin(PluginContract):
    """The plugin `azure-keyvault`, which imports the SDK when it is opened."""

    plugin = "azure-keyvault"
    options: ClassVar = {"vault": "shop"}
    refused: ClassVar = [
        {"vault": "shop", "vault_url": "https://shop.vault.azure.cn"},
        {"vault": "no_name"},
        {"vault_url": "http://shop.vault.azure.net"},
        {"vault": "shop", "prefix": "a//b"},
    ]
    lazy = frozenset({"azure", "msal", "requests"})


@pytest.mark.long
class TestKeyVault(StoreContract):
    """With `restore`, a write recovers a secret that is deleted."""

    capabilities = frozenset({"listable", "writable", "versioned", "bulk", "probed"})
    cannot_hold = frozenset({"64 KiB", "long segment"})
    many = 26  # names of two pages
    page_size = 25

    @pytest.fixture
    def store(self, azure):
        return open_key_vault(vault=azure.fresh_vault(), restore=True)

    @pytest.fixture
    def denied(self, azure, monkeypatch):
        """The store of an identity without any permission."""
        monkeypatch.setenv("AZURE_CLIENT_ID", "nobody")
        return open_key_vault(vault=azure.fresh_vault())

    @pytest.fixture
    def unreachable(self, azure):
        vault = azure.fresh_vault()
        with azure.fault(silent, lambda _, url: vault in url):
            yield open_key_vault(vault=vault)

    @pytest.fixture
    def dripping(self, azure):
        vault = azure.fresh_vault()
        with azure.fault(dripping, lambda _, url: vault in url):
            yield open_key_vault(vault=vault)

    @pytest.fixture
    def restarted(self, azure, store):
        def fill(contents):
            for path, data in contents.items():
                store.write(path, data)
            return store, azure.drop

        return fill

    def test_history_names_what_is_deleted(self, opened):
        """Key Vault deletes and recovers a whole secret: a write makes all versions readable again."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.delete(PATH)
        guarded.write(PATH, secret_data(own="1"))
        oldest, newest = guarded.versions(PATH)
        assert (oldest.deleted, newest.deleted) == (False, False)
        assert guarded.read_version(PATH, oldest.version).data["own"] == "0"
        holds(guarded, "1", newest.version)

    def test_destroyed_version_is_gone(self, opened):
        """Key Vault cannot destroy a single version: the operation is refused, and nothing changes."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.write(PATH, secret_data(own="1"))
        oldest, newest = (info.version for info in guarded.versions(PATH))
        for version in (oldest, newest):
            with fails(UnsupportedOperationError):
                guarded.destroy(PATH, version)
        assert guarded.read_version(PATH, oldest).data["own"] == "0"
        holds(guarded, "1", newest)
