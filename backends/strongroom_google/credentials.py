"""Google's search for credentials, and its tokens, in bounded time. A separate module: it imports the SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import google.auth
import requests
from google.auth import exceptions
from google.auth.credentials import with_scopes_if_required
from google.auth.transport.requests import AuthorizedSession, Request
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from strongroom.errors import StoreUnavailableError
from strongroom.store.calls import Fate, Fault
from strongroom_google.errors import LOGIN

LIMIT = 5.0
"""Seconds that a request for a token may wait, where Google's SDK waits for 120."""

_HOST = "secretmanager.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class _BoundedRequest(Request):
    """A request for a token or to the metadata server. An outage ends Google's own repetitions, which take minutes."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = LIMIT,
        **more: Any,
    ) -> Any:
        try:
            reply = super().__call__(url, method, body, headers, min(timeout or LIMIT, LIMIT), **more)  # type: ignore[no-untyped-call]  # google-auth is typed in part
        except exceptions.TransportError as error:
            if not isinstance(error.__cause__, requests.exceptions.Timeout):
                raise
        else:
            if reply.status < 500:
                return reply
        reason = "the metadata server or token server of Google did not answer, or failed"
        hint = f"Try again. {LOGIN}, if this machine is not at Google"
        raise Fault(StoreUnavailableError(reason=reason, hint=hint), Fate.FAILED)


def open_session(url: str) -> tuple[requests.Session, Callable[[], None]]:
    """Return a session for this address, and a function that fetches a token if the session has no valid one.

    Raises:
        google.auth.exceptions.GoogleAuthError, Fault: see `find_credentials`.
    """
    if url.startswith("http:"):
        session, refresh = requests.Session(), lambda: None
    else:
        credentials, request = find_credentials([_SCOPE])
        session = AuthorizedSession(credentials, auth_request=request, default_host=_HOST)  # type: ignore[no-untyped-call]  # as above

        def refresh() -> None:
            if not credentials.valid:
                credentials.refresh(request)

    session.mount(url, HTTPAdapter(max_retries=Retry(total=False)))  # `Caller` repeats requests
    return session, refresh


def find_credentials(scopes: list[str]) -> tuple[Any, Request]:
    """Find the credentials of this machine, as every client of Google does (Application Default Credentials).

    Returns:
        the credentials, and what sends their requests.

    Raises:
        google.auth.exceptions.GoogleAuthError: no credentials were found, or their file is malformed.
        Fault: the metadata server of a machine at Google did not answer.
    """
    request = _BoundedRequest()
    # With scopes, the SDK would ask another service for the project of a federated identity.
    found, _ = google.auth.default(request=request)
    return with_scopes_if_required(found, None, default_scopes=scopes), request  # type: ignore[no-untyped-call]  # as above
