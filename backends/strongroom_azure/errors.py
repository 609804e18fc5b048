"""Translation of failures of Azure's SDK, by status, code and class. Their text is never used: it may quote a value.

Codes: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes. Key Vault tells what happened in
`error.code`, and in `error.innererror.code` for a 403 or 409.
"""

from __future__ import annotations

import json
import re
from ssl import SSLCertVerificationError
from typing import Any

from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    WriteOutcomeUnknownError,
)

_LOGIN = "Check the AZURE_* variables, or the managed identity of this machine, or run `az login`"
_GRANT = "Grant the identity the role Key Vault Secrets User (reads) or Key Vault Secrets Officer, or an access policy"
_ENABLE = "Enable it with `undelete`, or with `az keyvault secret set-attributes --enabled true`"
_TAKEN = (
    "Restore it with `undelete`, set the option `restore`, or purge it: `destroy` its deleted version, or "
    "`az keyvault secret purge`"
)
_NETWORK = "Allow this network in the firewall of the vault, or use its private endpoint"
_REACH = "Check the name of the vault, the proxy, the certificate authority, and that the network reaches the vault"

NO_TIME = "no time is left"
"""The text of an error for a request that was not sent after the deadline."""

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


def translate(error: Exception, path: str | None, *, changes: bool, outage: bool) -> StrongroomError:
    """Translate an exception of the SDK.

    Args:
        error: the exception.
        path: the path of the secret.
        changes: the operation writes, so that a lost reply is a `WriteOutcomeUnknownError`.
        outage: the login failed or did not answer, which the SDK reports as a refusal of all credentials.
    """
    from azure.core import exceptions as known

    kind = type(error).__name__
    if isinstance(error, StrongroomError):
        failure = error
    elif isinstance(error, known.ClientAuthenticationError):
        failure = _unaccepted(error, path, outage=outage)
    elif isinstance(error, known.HttpResponseError) and error.response is not None:
        failure = _refusal(error.status_code or 0, *_codes(error), path, changes=changes)
    elif isinstance(error, known.AzureError) and changes and not _is_unsent(error):
        failure = WriteOutcomeUnknownError(path, f"the reply of Key Vault was lost ({kind})")
    elif isinstance(error, known.AzureError | OSError):
        failure = StoreUnavailableError(path, f"Key Vault or Microsoft Entra cannot be reached ({kind})", hint=_REACH)
    elif isinstance(error, ValueError | TypeError | AttributeError | LookupError):
        failure = malformed(path)  # the challenge is for another host, or the reply has other types
    else:
        failure = StoreError(path, f"the Azure SDK raised {kind}", hint="This is a bug in the store's plugin")
    return failure


def _unaccepted(error: Exception, path: str | None, *, outage: bool) -> StoreError:
    """Return the error for a token that Key Vault refused, or that no credential could get."""
    if outage:
        return StoreUnavailableError(path, "Microsoft Entra, or the managed identity, does not answer", hint=_REACH)
    # The number of an error of Entra is the one part of its text that cannot be a value.
    number = re.search(r"\bAADSTS\d{4,9}\b", str(error))
    reason = f" ({number[0]})" if number else ""
    return AuthenticationError(path, f"no Azure credentials were accepted{reason}", hint=_LOGIN)


def malformed(path: str | None) -> StoreUnavailableError:
    """Return the error for a reply that Key Vault would not give."""
    return StoreUnavailableError(path, "the server is not Key Vault, by its reply", hint=_REACH)


def _refusal(status: int, code: str, inner: str, path: str | None, *, changes: bool) -> StoreError:
    """Return the error for a reply with this status. An unknown code is not repeated: any server may choose it."""
    if status < 400:
        return WriteOutcomeUnknownError(path, "the reply is unreadable") if changes else malformed(path)
    if status >= 500:
        kind = WriteOutcomeUnknownError if changes else StoreUnavailableError
        return kind(path, f"Key Vault failed (HTTP {status})")
    known = {403: _denial, 404: _absence, 409: _conflict, 429: _throttling}.get(status)
    failure = known(code, inner, path) if known is not None else None
    named = code if code in _REFUSALS else "an unknown error"
    return failure or StoreError(path, f"Key Vault refused the request: {named} (HTTP {status})")


def _denial(_code: str, inner: str, path: str | None) -> StoreError:
    """Return the error for a 403. A firewall refuses the network and says nothing about the secret or the identity."""
    if inner == "SecretDisabled":
        return DisabledError(path, "it is disabled", hint=_ENABLE)
    if inner in _NETWORKS:
        return StoreUnavailableError(path, f"the vault refuses this network ({inner})", hint=_NETWORK)
    return PermissionDeniedError(path, inner if inner in _DENIALS else "HTTP 403", hint=_GRANT)


def _absence(code: str, _inner: str, path: str | None) -> StoreError:
    """Return the error for a 404. The secret is absent only if the vault exists."""
    if code == "SecretNotFound":
        return SecretNotFoundError(path)
    reason = "there is no such vault" if code == "VaultNotFound" else "the server is not Key Vault (HTTP 404)"
    return StoreUnavailableError(path, reason, hint=_REACH)


def _conflict(_code: str, inner: str, path: str | None) -> StoreError | None:
    if inner == DELETED:
        return NameTakenError(path, "it is deleted, and keeps its name until it is purged", hint=_TAKEN)
    if inner not in _MOVES:
        return None
    return NameTakenError(path, _MOVES[inner], hint="Try again in some seconds").copy(state=inner)


def _throttling(_code: str, _inner: str, path: str | None) -> StoreError:
    return StoreUnavailableError(path, "Key Vault throttles these requests", hint="Send fewer requests")


def _codes(error: Any) -> tuple[str, str]:
    """Return the code and the inner code of a reply, or empty text for a missing one."""
    try:
        said = json.loads(error.response.text())["error"]
        inner = said.get("innererror") or said.get("innerError") or {}
        return str(said.get("code", "")), str(inner.get("code", ""))
    except Exception:  # noqa: BLE001  # the body may be anything
        return "", ""


def _is_unsent(error: BaseException) -> bool:
    """Return True if the request had no connection, so that Key Vault cannot have executed it.

    The SDK's class does not tell: urllib3 reports a lost reply through a proxy as a failure to connect to the proxy.
    """
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    unconnected = (NewConnectionError, ConnectTimeoutError, SSLCertVerificationError)
    if isinstance(error, unconnected) or error.args == (NO_TIME,):
        return True
    if type(error) is OSError and error.errno is None:  # the proxy refused the tunnel
        return True
    causes = (*error.args, getattr(error, "inner_exception", None))
    return any(_is_unsent(cause) for cause in causes if isinstance(cause, BaseException))
