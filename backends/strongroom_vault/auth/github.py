"""Asks GitHub Actions for the JWT of the job that is running.

https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, quote, urlsplit

from strongroom.errors import ConfigurationError, StoreUnavailableError
from strongroom.secret import SensitiveStr, protect_data
from strongroom.store import remaining
from strongroom_vault.auth.credential import checked, from_variable
from strongroom_vault.auth.token import is_token
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.address import Address
from strongroom_vault.http.request_policy import Fault, Reply, Request, Send, Steps
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.http.urllib3_driver import Transport
from strongroom_vault.responses import document

URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
BEARER = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"

_HINT = "Give the job the permission `id-token: write`"


def request_token(audience: str | None) -> SensitiveStr:
    """A JWT for this audience, signed just now. The bearer token goes to the URL that GitHub gave, and nowhere else.

    Raises:
        VaultAuthenticationError: this is no job of GitHub Actions, or it may not ask for a JWT.
        ConfigurationError: the URL is none, or not https.
        StoreUnavailableError: there was no answer.
    """
    address, target = _endpoint(from_variable(URL, "jwt_from", _HINT), audience)
    bearer = from_variable(BEARER, "jwt_from", _HINT)
    if not is_token(bearer):
        raise VaultAuthenticationError(reason=f"{BEARER} holds no token", hint=_HINT)
    authorization = SensitiveStr(f"Bearer {bearer}")
    request = Request("GET", target, {"Authorization": authorization, "Accept": "application/json"})
    transport = Transport((address,), TLSSettings().context() if address.scheme == "https" else None, None)
    try:
        reply = transport.run(_once(request, address))
    finally:
        transport.close()
    return _token(reply)


def _endpoint(url: SensitiveStr, audience: str | None) -> tuple[Address, SensitiveStr]:
    """The URL's address, and the path and query to ask for there."""
    parts, origin = _taken_apart(url)
    if origin is None:
        raise ConfigurationError(f"The environment variable {URL} is wrong: it is no URL")
    if origin.scheme != "https" and not _is_loopback(origin.host):
        raise ConfigurationError(f"The environment variable {URL} is wrong: it is not https")
    query = [parts.query] if parts.query else []
    query += [f"audience={quote(audience, safe='')}"] if audience is not None else []
    path = quote(parts.path or "/", safe="/%")
    return origin, SensitiveStr(f"{path}?{'&'.join(query)}" if query else path)


def _taken_apart(url: SensitiveStr) -> tuple[SplitResult, Address | None]:
    try:
        parts = urlsplit(str(url))
        return parts, Address.parse(f"{parts.scheme}://{parts.netloc}")
    except (ValueError, ConfigurationError):
        return SplitResult("", "", "", "", ""), None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _once(request: Request, address: Address) -> Steps:
    """The request, sent once. A redirect is an answer like another: it is not followed."""
    came = yield Send(request, address, remaining())
    if isinstance(came, Fault):
        raise StoreUnavailableError(reason=f"GitHub gave no JWT: {address}: {came.reason}", hint="Try again")
    assert came is not None, "a Send is answered with a Reply or a Fault"  # noqa: S101  # the driver's contract
    return came


def _token(reply: Reply) -> SensitiveStr:
    if reply.status in {400, 401, 403, 404}:
        raise VaultAuthenticationError(reason=f"GitHub refuses to give a JWT (HTTP {reply.status})", hint=_HINT)
    answer = protect_data(document(reply) or {}) if reply.status == 200 else {}
    value = answer.get("value")
    if not isinstance(value, SensitiveStr):
        raise StoreUnavailableError(reason=f"GitHub gave no JWT (HTTP {reply.status})", hint="Try again")
    return checked(value, "auth.jwt_from: GitHub's answer")
