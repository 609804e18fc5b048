"""The store `azure-token`: access tokens of the identity that Azure's SDK finds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from strongroom.store import Option, Traits, checked_by
from strongroom.store.issuer import Issued, IssuingStore, read_texts
from strongroom_azure.store import CREDENTIAL_VARIABLES

if TYPE_CHECKING:
    from azure.identity import DefaultAzureCredential

    from strongroom_azure.client import Client


def check_azure_token(*, paths: Mapping[str, Any]) -> None:
    """Check the options of `open_azure_token` without the SDK."""
    read_texts(paths, "a scope")


@checked_by(check_azure_token)
def open_azure_token(
    *,
    paths: Annotated[
        dict[str, Any],
        Option("path -> the scope of the token, such as https://storage.azure.com/.default", locates=True),
    ],
) -> AzureTokens:
    """Access tokens of Microsoft Entra, for the APIs and databases of Azure.

    The SDK finds the identity: AZURE_* variables, a workload or managed identity, or a login of `az`, `azd` or
    PowerShell.

    Raises:
        ConfigurationError: an option or a variable is wrong.
        ImportError: the SDK is not installed. Strongroom names the extra that brings it.
    """
    rows = read_texts(paths, "a scope")
    from strongroom_azure.client import token_client

    return AzureTokens(token_client(), rows)


class AzureTokens(IssuingStore[str]):
    """Secrets with the key `token`. A row is the scope."""

    traits = Traits(credential_variables=CREDENTIAL_VARIABLES, lasting=True)

    def __init__(self, client: Client[DefaultAzureCredential], rows: Mapping[str, str]) -> None:
        super().__init__(rows)
        self._client = client

    def issue(self, path: str, row: str) -> Issued:
        found = self._client.call(path, lambda credential: credential.get_token(row))
        return Issued({"token": found.token}, found.expires_on - time.time())

    def close(self) -> None:
        super().close()
        self._client.close()
