"""The opener of the store `azure-keyvault`."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from strongroom.errors import ConfigurationError
from strongroom.paths import check_option, check_prefix
from strongroom.store import Option, checked_by
from strongroom.store.one_value import FoldOption
from strongroom_azure.store import KeyVaultStore

_VAULT = re.compile(r"[A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z]")


def check_key_vault(*, vault: str | None = None, vault_url: str | None = None, prefix: str = "", **_: object) -> None:
    """Check the options of `open_key_vault` without the SDK.

    Raises:
        ConfigurationError: an option is wrong.
    """
    check_option("prefix", prefix, check_prefix)
    if (vault is None) == (vault_url is None):
        raise ConfigurationError("vault: name the vault with either `vault` or `vault_url`")
    if vault is not None and not _VAULT.fullmatch(vault):
        raise ConfigurationError("vault: the name of a vault has 3 to 24 letters, digits and hyphens")
    if vault_url is not None:
        url = urlsplit(vault_url)
        if url.scheme != "https" or not url.hostname or url.path.strip("/") or url.query or url.username:
            raise ConfigurationError("vault_url: write it as https://HOST, such as https://shop.vault.azure.cn")


@checked_by(check_key_vault)
def open_key_vault(
    *,
    vault: Annotated[
        str | None, Option("the name of the vault, as in https://NAME.vault.azure.net", location=True, locates=True)
    ] = None,
    vault_url: Annotated[
        str | None, Option("the address of a vault elsewhere, such as in another cloud", address=True, locates=True)
    ] = None,
    prefix: Annotated[str, Option("the prefix of every path", location=True)] = "",
    fold: Annotated[
        FoldOption,
        Option("how a secret of the single key `value` is written: as it was, as plain text, or as JSON"),
    ] = "keep",
    restore: Annotated[bool, Option("a write to a deleted secret recovers it first, with its old versions")] = False,
) -> KeyVaultStore:
    """Secrets in Azure Key Vault.

    The SDK finds the identity: AZURE_* variables, a workload or managed identity, or a login of `az`, `azd` or
    PowerShell.

    Raises:
        ConfigurationError: an option or a variable is wrong.
        ImportError: the SDK is not installed. Strongroom names the extra that brings it.
    """
    check_key_vault(vault=vault, vault_url=vault_url, prefix=prefix)
    from strongroom_azure.client import vault_client

    url = f"https://{vault}.vault.azure.net" if vault_url is None else vault_url
    below = check_option("prefix", prefix, check_prefix)
    return KeyVaultStore(vault_client(url), vault or url, below, fold, restore=restore)
