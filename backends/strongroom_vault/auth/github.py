"""The JWT of the running job, from GitHub Actions.

https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
"""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urlsplit

from strongroom.errors import ConfigurationError, StoreUnavailableError
from strongroom.secret import SensitiveStr, protect_data
from strongroom.store import remaining
from strongroom.store.option import is_loopback
from strongroom_vault.auth.credential import checked, from_variable
from strongroom_vault.auth.token import is_token
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.messages import HttpFault, HttpRequest, Reply, SendStep, Steps
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.responses import document

URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
BEARER = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"

_HINT = "Give the job the permission `id-token: write`"


def request_token(audience: str | None) -> SensitiveStr:
    """Return a new JWT for this audience. The bearer token goes to the URL that GitHub gave, and nowhere else.

    Raises:
        VaultAuthenticationError: this is not a job of GitHub Actions, or it lacks the permission `id-token: write`.
        ConfigurationError: the URL is malformed, or not https.
        StoreUnavailableError: the server did not answer.
    """
    address, target = _endpoint(from_variable(URL, "jwt_from", _HINT), audience)
    bearer = from_variable(BEARER, "jwt_from", _HINT)
    if not is_token(bearer):
        raise VaultAuthenticationError(reason=f"{BEARER} holds no token", hint=_HINT)
    authorization = SensitiveStr(f"Bearer {bearer}")
    request = HttpRequest("GET", target, {"Authorization": authorization, "Accept": "application/json"})
    driver = new_driver((address,), TLSSettings())
    try:
        reply = driver.run(_once(request, address))
    finally:
        driver.close()
    return _token(reply)


def _endpoint(url: SensitiveStr, audience: str | None) -> tuple[Address, SensitiveStr]:
    """Return the URL's address, and its path and query."""
    parts, origin = _split(url)
    if origin is None:
        raise ConfigurationError(f"The environment variable {URL} is wrong: it is not a URL")
    if origin.scheme != "https" and not is_loopback(origin.host):
        raise ConfigurationError(f"The environment variable {URL} is wrong: it is not https")
    query = [parts.query] if parts.query else []
    query += [f"audience={quote(audience, safe='')}"] if audience is not None else []
    path = quote(parts.path or "/", safe="/%")
    return origin, SensitiveStr(f"{path}?{'&'.join(query)}" if query else path)


def _split(url: SensitiveStr) -> tuple[SplitResult, Address | None]:
    try:
        parts = urlsplit(str(url))
        return parts, Address.parse(f"{parts.scheme}://{parts.netloc}")
    except (ValueError, ConfigurationError):
        return SplitResult("", "", "", "", ""), None


def _once(request: HttpRequest, address: Address) -> Steps:
    """Send the request once. A redirect is not followed."""
    result = yield SendStep(request, address, remaining())
    if isinstance(result, HttpFault):
        raise StoreUnavailableError(reason=f"GitHub gave no JWT: {address}: {result.reason}", hint="Try again")
    assert result is not None, "a SendStep is answered with a Reply or an HttpFault"  # noqa: S101  # the driver's contract
    return result


def _token(reply: Reply) -> SensitiveStr:
    if reply.status in {400, 401, 403, 404}:
        raise VaultAuthenticationError(reason=f"GitHub refuses to give a JWT (HTTP {reply.status})", hint=_HINT)
    answer = protect_data(document(reply) or {}) if reply.status == 200 else {}
    value = answer.get("value")
    if not isinstance(value, SensitiveStr):
        raise StoreUnavailableError(reason=f"GitHub gave no JWT (HTTP {reply.status})", hint="Try again")
    return checked(value, "auth.jwt_from: GitHub's answer")
