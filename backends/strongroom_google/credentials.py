"""Google's search for credentials, and its tokens, in bounded time. A separate module: it imports the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import google.auth
import requests
from google.auth import exceptions
from google.auth.credentials import with_scopes_if_required
from google.auth.transport.grpc import AuthMetadataPlugin
from google.auth.transport.requests import Request

from strongroom.errors import StoreUnavailableError
from strongroom.store.calls import Fate, Fault
from strongroom.store.sdk_logging import silenced_logs
from strongroom_google.errors import LOGIN, UNSENT

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


class NoTokenError(Exception):
    """No token could be fetched, so nothing was sent."""


class Tokens(AuthMetadataPlugin):
    """The tokens of a channel, which gRPC fetches in a separate thread.

    Attributes:
        failure: why the last token could not be fetched. gRPC reports it as an outage, with `UNSENT` in its message.
    """

    failure: Exception | None = None

    def __call__(self, context: Any, callback: Any) -> None:
        try:
            with silenced_logs("google", "urllib3"):
                super().__call__(context, callback)  # type: ignore[no-untyped-call]  # as above
        except Exception as error:  # noqa: BLE001  # the call reports it
            self.failure = error
            callback((), NoTokenError(UNSENT))
        else:
            self.failure = None


def find_tokens() -> Tokens:
    """Find the credentials of this machine for a channel.

    Raises:
        google.auth.exceptions.GoogleAuthError, Fault: see `find_credentials`.
    """
    credentials, request = find_credentials([_SCOPE])
    if hasattr(credentials, "with_always_use_jwt_access"):
        credentials = credentials.with_always_use_jwt_access(always_use_jwt_access=True)  # it signs its tokens itself
    return Tokens(credentials, request, default_host=_HOST)  # type: ignore[no-untyped-call]  # as above


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
