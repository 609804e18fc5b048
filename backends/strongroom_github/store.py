"""The store `github-app`: tokens of the installations of a GitHub App, for `git`, the API and packages.

The API is described at
https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.store import Health, Option, Traits, checked_by, remaining
from strongroom.store.calls import Caller, Fate, Fault, retry_after
from strongroom.store.issuer import Issued, IssuingStore, read_rows

if TYPE_CHECKING:
    import httpx

_SKEW, _SIGNED_LIFE = 60, 540
"""Seconds by which this machine's clock may be ahead, and for which a signature is valid. GitHub allows 600.

A clock that differs by more is corrected by GitHub's own.
"""

_LIMITED = 60.0
"""Seconds to leave GitHub alone if it limits requests and does not say for how long.

Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api.
"""

_KEY = "Check `app` and `private_key`"
_REACH = "Check `url`, the proxy, and that the network reaches it"


class Installation(NamedTuple):
    """One row of `paths`: an installation, and the restrictions of its tokens."""

    number: int
    body: Mapping[str, Any]


def read_installations(paths: Mapping[str, Any]) -> dict[str, Installation]:
    """Return the rows of the option `paths`.

    Raises:
        ConfigurationError: the option is empty, or a row is malformed.
    """
    rows: dict[str, Installation] = {}
    for path, row in read_rows(paths, ("installation",), ("repositories", "permissions")).items():
        where = f"paths: {path!r}"
        if type(row["installation"]) is not int:
            raise ConfigurationError(f"{where}: 'installation' must be the number of an installation")
        names, rights = row.get("repositories", []), row.get("permissions", {})
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(f"{where}: 'repositories' must be a list of names, without their owner")
        if not isinstance(rights, Mapping) or not all(isinstance(level, str) for level in rights.values()):
            raise ConfigurationError(f"{where}: 'permissions' must be a table such as {{ contents = \"read\" }}")
        body = {key: row[key] for key in ("repositories", "permissions") if row.get(key)}
        rows[path] = Installation(row["installation"], body)
    return rows


def check_github(*, paths: Mapping[str, Any], url: str = "", **_: object) -> None:
    """Check the options of `open_github` without a request."""
    read_installations(paths)
    if url and (urlsplit(url).query or urlsplit(url).fragment):
        raise ConfigurationError("url: write it as https://HOST/api/v3")


@checked_by(check_github)
def open_github(
    *,
    app: Annotated[str, Option("the client ID of the app, or its number")],
    private_key: Annotated[
        str, Option("the app's private key in PEM: { file = PATH } or { env = NAME }", secret=True, sent_to="url")
    ],
    paths: Annotated[
        dict[str, Any],
        Option("path -> { installation, its number }, and perhaps repositories and permissions", locates=True),
    ],
    url: Annotated[
        str, Option("the address of the API; of GitHub Enterprise Server it is https://HOST/api/v3", address=True)
    ] = "https://api.github.com",
) -> GitHubTokens:
    """Tokens of the installations of a GitHub App.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: httpx is not installed. Strongroom names the extra that brings it.
    """
    import httpx  # noqa: F401  # fail now if it is not installed

    check_github(paths=paths, url=url)
    return GitHubTokens(url.rstrip("/"), app, _read_key(private_key), read_installations(paths))


def _read_key(pem: str) -> Any:
    """Return the private key.

    Raises:
        ConfigurationError: it is not a key of RSA, the kind that GitHub makes. The library could show a part of it.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: Any = load_pem_private_key(pem.encode(), None)
    except Exception:  # noqa: BLE001  # ValueError, TypeError, UnsupportedAlgorithm
        key = None
    del pem
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError("private_key: it is not a private key of RSA in PEM, as GitHub makes it")
    return key


class GitHubTokens(IssuingStore[Installation]):
    """Secrets with the key `token`.

    Args:
        url: the address of the API, without a slash at the end.
        app: the client ID of the app, or its number.
        key: its private key.
        rows: path -> installation.
    """

    traits = Traits(lasting=True)

    def __init__(self, url: str, app: str, key: Any, rows: Mapping[str, Installation]) -> None:
        import httpx

        super().__init__(rows)
        self._app = app
        self._key = key
        self._ahead = 0.0  # seconds by which this machine's clock is ahead of GitHub's
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        self._client = httpx.Client(base_url=url, headers=headers)
        self._caller = Caller("GitHub", lambda: self._client, _fault_of, loggers=("httpx", "httpcore"))

    def issue(self, path: str, row: Installation) -> Issued:
        reply = self._send("POST", f"/app/installations/{row.number}/access_tokens", path, row.body)
        token, ends = reply.get("token"), reply.get("expires_at")
        try:
            left = datetime.fromisoformat(str(ends)).timestamp() - self._now()
        except ValueError:
            left = 0.0
        if not (isinstance(token, str) and token and left > 0):
            raise StoreUnavailableError(path, "the server is not GitHub: its reply lacks a token", hint=_REACH)
        return Issued({"token": token}, left)

    def probe(self) -> Health:
        """Return whether GitHub accepts the app's signature. No token is issued."""
        name = str(self._send("GET", "/app", None).get("slug", "unknown"))
        return Health(ok=True, detail=f"open: GitHub App {name}", facts={"app": name})

    def close(self) -> None:
        super().close()
        self._client.close()

    def _send(self, method: str, place: str, path: str | None, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the object of a reply. A refused signature is made again if this machine's clock is the reason.

        httpx has a timeout for each operation of a socket. A server that drips is left to Strongroom's deadline.
        """

        def send(client: httpx.Client) -> dict[str, Any]:
            reply, ahead = self._exchange(client, method, place, body), self._ahead
            self._note_clock(reply.headers)
            if reply.status_code == 401 and abs(self._ahead - ahead) > _SKEW / 2:
                reply = self._exchange(client, method, place, body)
            if not reply.is_success:
                raise _refusal(reply.status_code, reply.headers, path)
            try:
                found = reply.json()
            except ValueError:
                found = None
            return found if isinstance(found, dict) else {}

        return self._caller.call(path, send)

    def _exchange(
        self, client: httpx.Client, method: str, place: str, body: Mapping[str, Any] | None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._signed()}"}
        return client.request(method, place, json=body, headers=headers, timeout=max(0.001, remaining()))

    def _note_clock(self, headers: Mapping[str, str]) -> None:
        """Note the difference of the clocks, from a reply."""
        with suppress(TypeError, ValueError):
            self._ahead = time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()

    def _now(self) -> float:
        """Return the Unix time by GitHub's clock."""
        return time.time() - self._ahead

    def _signed(self) -> str:
        """Return a JSON Web Token with which the app proves its identity.

        Source: https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app.
        """
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        now = int(self._now())
        claims = {"iat": now - _SKEW, "exp": now + _SIGNED_LIFE, "iss": self._app}
        content = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        signature = self._key.sign(content.encode(), PKCS1v15(), SHA256())
        return f"{content}.{_base64(signature)}"


def _encoded(part: Mapping[str, Any]) -> str:
    return _base64(json.dumps(part).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _fault_of(error: Exception) -> Fault:
    import httpx

    kind = type(error).__name__
    if not isinstance(error, httpx.HTTPError):
        return Fault(StoreError(None, f"httpx raised {kind}", hint="This is a bug in the store's plugin"))
    failure = StoreUnavailableError(None, f"GitHub cannot be reached ({kind})", hint=_REACH)
    return Fault(failure, Fate.UNSENT if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else Fate.FAILED)


def _refusal(status: int, headers: Mapping[str, str], path: str | None) -> Fault:
    """Return the fault for a status. No text of the reply is used."""
    fate, after = Fate.ANSWERED, retry_after(headers)
    error: StrongroomError
    if status == 429 or (status == 403 and (after is not None or headers.get("x-ratelimit-remaining") == "0")):
        fate, after = Fate.THROTTLED, _LIMITED if after is None else after
        error = StoreUnavailableError(path, f"GitHub limits these requests (HTTP {status})", hint="Send fewer requests")
    elif status == 401:
        error = AuthenticationError(path, "GitHub does not accept the app's signature (HTTP 401)", hint=_KEY)
    elif status == 403:
        error = PermissionDeniedError(path, "HTTP 403", hint="Check if the installation is suspended")
    elif status == 404:
        error = ConfigurationError(f"The app has no such installation for {path}, or GitHub no such app (HTTP 404)")
    elif status == 422:
        error = ConfigurationError(
            f"GitHub refuses `repositories` or `permissions` of {path}: the installation lacks one (HTTP 422)"
        )
    else:
        fate = Fate.FAILED if status >= 500 else Fate.ODD
        error = StoreUnavailableError(path, f"GitHub failed (HTTP {status})", hint=_REACH)
    return Fault(error, fate, after)
