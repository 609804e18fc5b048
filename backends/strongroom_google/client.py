"""Calls of the REST API of Google Secret Manager, within the deadline, unlogged, and with Strongroom's errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from strongroom.store import remaining
from strongroom.store.calls import Caller
from strongroom.store.sdk_logging import silence_new_loggers
from strongroom_google.errors import fault_of, refusal

if TYPE_CHECKING:
    from requests import Session

_SDK = ("google", "urllib3")

_METHODS = {
    "AccessSecretVersion": ("GET", ":access"),
    "AddSecretVersion": ("POST", ":addVersion"),
    "CreateSecret": ("POST", "/secrets"),
    "DeleteSecret": ("DELETE", ""),
    "DestroySecretVersion": ("POST", ":destroy"),
    "EnableSecretVersion": ("POST", ":enable"),
    "GetSecret": ("GET", ""),
    "GetSecretVersion": ("GET", ""),
    "ListSecretVersions": ("GET", "/versions"),
    "ListSecrets": ("GET", "/secrets"),
    "UpdateSecret": ("PATCH", ""),
}
"""The verb and the end of the URL of each method: https://docs.cloud.google.com/secret-manager/docs/reference/rest."""

_R = TypeVar("_R")


class Client:
    """Secret Manager at one address. A server without TLS, which is an emulator, gets no credentials."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()  # a forked child opens another store
        self._opened: tuple[Session, Callable[[], None]] | None = None
        self._caller = Caller("Google", self._session, fault_of, loggers=_SDK)

    def __repr__(self) -> str:
        return f"Client({self.url})"

    def call(
        self,
        method: str,
        resource: str,
        path: str | None,
        /,
        parse: Callable[[Any], _R],
        *,
        changes: bool = False,
        settle: Callable[[], _R | None] | None = None,
        body: Mapping[str, Any] | None = None,
        **query: str | int,
    ) -> _R:
        """Call a method of the API, and return its parsed reply. For the rest, see `Caller.call`.

        Args:
            method: the method's name.
            resource: the name of the secret, its version, or their parent.
            path: the path of the secret, for errors.
            parse: takes the reply. A reply for which it raises a LookupError, TypeError or ValueError is not Google's.
            changes: the method writes.
            settle: looks up what became of a change whose reply was lost. Without it, the change is sent again.
            body: the request's body.
            query: the fields of its query.
        """
        verb, end = _METHODS[method]

        def send(session: Session) -> _R:
            reply = session.request(
                verb,
                f"{self.url}/v1/{resource}{end}",
                params=query,
                json=body,
                timeout=max(remaining(), 0.001),
                allow_redirects=False,  # the host of the redirection would get a new value
            )
            if reply.status_code != 200:
                raise refusal(reply.status_code, reply.content, reply.headers, method)
            return parse(json.loads(reply.content))

        return self._caller.call(path, send, changes=changes, settle=settle, repeatable=settle is None)

    def pages(
        self, method: str, resource: str, path: str | None, /, parse: Callable[[Any], list[_R]], size: int
    ) -> Iterator[_R]:
        """Yield the parsed entries of each page of a listing."""
        token = ""
        while True:
            entries, token = self.call(
                method,
                resource,
                path,
                lambda page: (parse(page), page.get("nextPageToken", "")),
                pageSize=size,
                pageToken=token,
            )
            yield from entries
            if not token:
                return

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()

    def _session(self) -> Session:
        """Return the session, with a valid token. Callers of one moment share the search for credentials."""
        with self._lock:
            if self._opened is None:
                from strongroom_google.credentials import open_session

                self._opened = open_session(self.url)
                silence_new_loggers(*_SDK)
            session, refresh = self._opened
            refresh()
            return session


def url_of(region: str | None, endpoint_url: str | None) -> str:
    """Return the address of the service.

    Google's SDK finds the credentials of the machine, so no other host than Google's gets them: a configuration file in
    a foreign folder could name one.

    Raises:
        ValueError: the endpoint is neither an https URL of a host below googleapis.com, nor an http URL of a host.
    """
    if endpoint_url is None:
        return (
            f"https://secretmanager.{region}.rep.googleapis.com" if region else "https://secretmanager.googleapis.com"
        )
    parts = urlsplit(endpoint_url)
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.scheme not in {"http", "https"}:
        raise ValueError
    if parts.scheme == "https" and not parts.hostname.endswith(".googleapis.com"):
        raise ValueError
    return f"{parts.scheme}://{parts.netloc}"
