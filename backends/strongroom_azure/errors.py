"""Translation of failures of Azure's SDK, by status, code and class. Their text is never used: it may quote a value.

Codes: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes. Key Vault tells what happened in
`error.code`, and in `error.innererror.code` for a 403 or 409.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store.calls import Fate, Fault, is_unsent, retry_after

_LOGIN = "Check the AZURE_* variables, or the managed identity of this machine, or run `az login`"
_GRANT = "Grant the identity the role Key Vault Secrets User (reads) or Key Vault Secrets Officer, or an access policy"
_ENABLE = "Enable it with `undelete`, or with `az keyvault secret set-attributes --enabled true`"
_TAKEN = (
    "Restore it with `undelete`, set the option `restore`, or purge it: `destroy` its deleted version, or "
    "`az keyvault secret purge`"
)
_NETWORK = "Allow this network in the firewall of the vault, or use its private endpoint"
_REACH = "Check the name of the vault, the proxy, the certificate authority, and that the network reaches the vault"

_DENIALS = frozenset({"AccessDenied", "ForbiddenByPolicy", "ForbiddenByRbac"})
_NETWORKS = frozenset({"ForbiddenByConnection", "ForbiddenByFirewall"})
DELETED = "ObjectIsDeletedButRecoverable"
RECOVERING = "ObjectIsBeingRecovered"
_MOVES = {
    RECOVERING: "it is being recovered",
    "ObjectIsBeingDeleted": "it is being deleted",
    "ObjectIsBeingPurged": "it is being purged",
}
_REFUSALS = frozenset({"BadParameter", "Conflict", "NotSupported", "Unauthorized"})


class DisabledError(PermissionDeniedError):
    """The version is disabled in Key Vault."""


class NameTakenError(ConflictError):
    """The secret is deleted and can be recovered, or is on its way from one state to the other.

    Attributes:
        state: the code of Key Vault for that state.
    """

    state: str = DELETED


def fault_of(error: Exception, *, outage: bool) -> Fault:
    """Translate an exception of the SDK.

    Args:
        error: the exception.
        outage: the login failed or did not answer, which the SDK reports as a refusal of all credentials.
    """
    from azure.core import exceptions as known

    kind = type(error).__name__
    if isinstance(error, known.ClientAuthenticationError):
        return Fault(_unaccepted(error, outage=outage), Fate.UNSENT if outage else Fate.ANSWERED)
    if isinstance(error, known.HttpResponseError) and error.response is not None:
        return _refusal(error.status_code or 0, *_codes(error), getattr(error.response, "headers", {}))
    if isinstance(error, known.AzureError | OSError):
        is_sent = isinstance(error, known.AzureError) and not is_unsent(error.inner_exception or error)
        reason = f"Key Vault or Microsoft Entra cannot be reached ({kind})"
        return Fault(StoreUnavailableError(None, reason, hint=_REACH), Fate.FAILED if is_sent else Fate.UNSENT)
    if isinstance(error, ValueError | TypeError | AttributeError | LookupError):
        return Fault(malformed(None), Fate.ODD)  # the challenge is for another host, or the reply has other types
    return Fault(StoreError(None, f"the Azure SDK raised {kind}", hint="This is a bug in the store's plugin"))


def _unaccepted(error: Exception, *, outage: bool) -> StoreError:
    """Return the error for a token that Key Vault refused, or that no credential could get."""
    if outage:
        return StoreUnavailableError(None, "Microsoft Entra, or the managed identity, does not answer", hint=_REACH)
    # The number of an error of Entra is the one part of its text that cannot be a value.
    number = re.search(r"\bAADSTS\d{4,9}\b", str(error))
    reason = f" ({number[0]})" if number else ""
    return AuthenticationError(None, f"no Azure credentials were accepted{reason}", hint=_LOGIN)


def malformed(path: str | None) -> StoreUnavailableError:
    """Return the error for a reply that Key Vault would not give."""
    return StoreUnavailableError(path, "the server is not Key Vault, by its reply", hint=_REACH)


def _refusal(status: int, code: str, inner: str, headers: Mapping[str, str]) -> Fault:
    """Return the fault for a reply with this status. An unknown code is not shown: any server may choose it."""
    if status < 400:
        return Fault(malformed(None), Fate.ODD)
    if status >= 500:
        error = StoreUnavailableError(None, f"Key Vault failed (HTTP {status})")
        return Fault(error, Fate.FAILED, retry_after(headers))
    if status == 429:
        error = StoreUnavailableError(None, "Key Vault throttles these requests", hint="Send fewer requests")
        return Fault(error, Fate.THROTTLED, retry_after(headers))
    known = {403: _denial, 404: _absence, 409: _conflict}.get(status)
    failure = known(code, inner) if known is not None else None
    named = code if code in _REFUSALS else "an unknown error"
    return Fault(failure or StoreError(None, f"Key Vault refused the request: {named} (HTTP {status})"))


def _denial(_code: str, inner: str) -> StoreError:
    """Return the error for a 403. A firewall refuses the network and says nothing about the secret or the identity."""
    if inner == "SecretDisabled":
        return DisabledError(None, "it is disabled", hint=_ENABLE)
    if inner in _NETWORKS:
        return StoreUnavailableError(None, f"the vault refuses this network ({inner})", hint=_NETWORK)
    return PermissionDeniedError(None, inner if inner in _DENIALS else "HTTP 403", hint=_GRANT)


def _absence(code: str, _inner: str) -> StoreError:
    """Return the error for a 404. The secret is absent only if the vault exists."""
    if code == "SecretNotFound":
        return SecretNotFoundError()
    reason = "there is no such vault" if code == "VaultNotFound" else "the server is not Key Vault (HTTP 404)"
    return StoreUnavailableError(None, reason, hint=_REACH)


def _conflict(_code: str, inner: str) -> StoreError | None:
    if inner == DELETED:
        return NameTakenError(None, "it is deleted, and keeps its name until it is purged", hint=_TAKEN)
    if inner not in _MOVES:
        return None
    return NameTakenError(None, _MOVES[inner], hint="Try again in some seconds").copy(state=inner)


def _codes(error: Any) -> tuple[str, str]:
    """Return the code and the inner code of a reply, or empty text for a missing one."""
    try:
        said = json.loads(error.response.text())["error"]
        inner = said.get("innererror") or said.get("innerError") or {}
        return str(said.get("code", "")), str(inner.get("code", ""))
    except Exception:  # noqa: BLE001  # the body may be anything
        return "", ""
