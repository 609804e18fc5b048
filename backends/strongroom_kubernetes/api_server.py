"""The API server: its address and credentials, found by the official client, its connections, and its errors.

No text of a reply, or of an exception of the client, is shown.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.secret import SensitiveDict, protect
from strongroom.store import remaining
from strongroom.store.calls import Caller, Fate, Fault, is_unsent, retry_after

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE = 500
"""Objects in one reply of a list, as kubectl asks for them."""

_WHOLE = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class _Connection(NamedTuple):
    """A client of the official package, and the namespace of its context or of its service account."""

    client: Any
    namespace: str


class ApiServer:
    """An API server, as kubectl finds it: a kubeconfig, or the service account of the pod.

    The official client of Kubernetes finds address, credentials, authorities and proxy, and renews tokens. Its models
    drop fields that they do not know, so objects are sent and returned as JSON.

    Args:
        kubeconfig: a kubeconfig; None takes those of KUBECONFIG or `~/.kube/config`, or else the service account.
        context: the context of the kubeconfig; None takes the current one.
    """

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._lock = threading.Lock()  # a forked child opens another store
        self._connection: _Connection | None = None
        # Releases before 37 log the bodies of replies.
        self._caller = Caller("The API server", self._connected, fault_of, loggers=("kubernetes",))

    @property
    def namespace(self) -> str:
        """The namespace of the context or of the service account."""
        return self._connected().namespace

    @property
    def address(self) -> str:
        return str(self._connected().client.configuration.host)

    def request(
        self,
        method: str,
        url: str,
        path: str | None,
        body: Mapping[str, Any] | None = None,
        *,
        accept: str = _WHOLE,
        settle: Callable[[], Mapping[str, Any] | None] | None = None,
    ) -> Mapping[str, Any]:
        """Return the object of a reply. A token that the server does not accept is loaded once more.

        Args:
            method: GET, POST, PUT or DELETE.
            url: the path of the resource below the server's address, with the query.
            path: the path of the secret, for errors.
            body: the object to send.
            accept: the representation of the reply.
            settle: looks up the object after a change whose reply was lost; None if the change was not made.
        """
        connection, changes = self._connected(), method != "GET" and path is not None
        repeatable = method in {"POST", "PUT"}  # the first attempt takes the name or the resourceVersion of the second

        def send(connection: _Connection) -> Mapping[str, Any]:
            return _send(connection.client, method, url, body, accept, changes=changes)

        try:
            return self._caller.call(path, send, changes=changes, settle=settle, repeatable=repeatable)
        except AuthenticationError as error:
            refused = error
        self._drop(connection)
        if _token(self._connected().client) == _token(connection.client):
            raise refused.copy()
        return self._caller.call(path, send, changes=changes, settle=settle, repeatable=repeatable)

    def metadata(self, url: str, path: str) -> Mapping[str, Any]:
        """Return the metadata of an object, without its data."""
        return member(self.request("GET", url, path, accept=_METADATA), "metadata", path)

    def metadata_below(self, url: str) -> list[Mapping[str, Any]]:
        """Return the metadata of all objects of a list. If the list expires between two pages, list again, in one."""
        with suppress(ExpiredListError):
            return list(self._pages(url, PAGE))
        return list(self._pages(url, 0))

    def _pages(self, url: str, limit: int) -> Iterator[Mapping[str, Any]]:
        query = {"limit": str(limit)}
        while True:
            page = self.request("GET", f"{url}?{urlencode(query)}", None, accept=METADATA_LIST)
            items = page.get("items")
            if not isinstance(items, list):
                raise malformed(None)
            yield from (member(item, "metadata", None) for item in items)
            query["continue"] = str(member(page, "metadata", None).get("continue") or "")
            if not query["continue"]:
                return

    def close(self) -> None:
        """Close the connections."""
        if (connection := self._connection) is not None:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        connection.client.rest_client.pool_manager.clear()  # `ApiClient.close` does it since release 37 only

    def _connected(self) -> _Connection:
        if (connection := self._connection) is not None:
            return connection
        with self._lock:
            if self._connection is None:
                self._connection = _connect(self._kubeconfig, self._context)
            return self._connection


def member(found: object, name: str, path: str | None) -> Mapping[str, Any]:
    """Return the object in a field of a reply."""
    inner = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(inner, Mapping):
        raise malformed(path)
    return inner


def _send(
    client: Any, method: str, url: str, body: Mapping[str, Any] | None, accept: str, *, changes: bool
) -> Mapping[str, Any]:
    """Send a request, and return the object of the reply, with redacted values."""
    from kubernetes.client import ApiException

    headers = {"Accept": accept, "Content-Type": "application/json", "User-Agent": "strongroom"}
    content: bytes | str | None
    if token := _token(client):
        headers["authorization"] = token
    try:
        reply = client.rest_client.request(
            method, f"{client.configuration.host}{url}", headers=headers, body=body, _request_timeout=remaining()
        )
        status, content = reply.status, reply.read() if reply.data is None else reply.data
    except ApiException as error:  # releases before 37 raise it for each status that is not 2xx
        if not error.status:
            raise
        reply, status, content = error, error.status, error.body
    try:
        found = protect(json.loads(content or ""))
    except (ValueError, RecursionError):
        found = None
    if not 200 <= status < 300:
        raise _refusal(status, found, reply.headers, changes=changes)
    if not isinstance(found, SensitiveDict):
        raise Fault(malformed(None), Fate.ODD)
    return found


def _token(client: Any) -> str | None:
    """Return the header with the token, which the client reads again when it is old; None with a client certificate.

    A server without TLS gets none, as from kubectl: anybody on the way could read it.
    """
    if urlsplit(str(client.configuration.host)).scheme != "https":
        return None
    setting = client.configuration.auth_settings().get("BearerToken")
    return setting["value"] if setting else None


def _connect(kubeconfig: Path | None, context: str | None) -> _Connection:
    """Return a client for the kubeconfig or the service account.

    Raises:
        ConfigurationError: neither can be read.
    """
    from kubernetes import client, config

    levels = {name: logging.getLogger(name).level for name in ("client", "urllib3")}
    settings = client.Configuration()
    for name, level in levels.items():  # it sets them to WARNING, for the whole process
        logging.getLogger(name).setLevel(level)
    files = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    given = kubeconfig is not None or context is not None or any(map(os.path.exists, files.split(os.pathsep)))
    fault = namespace = ""
    try:
        if given:
            config.load_kube_config(files, context, settings, persist_config=False)
            namespace = _namespace_of(config.list_kube_config_contexts(files), context)
        else:
            config.load_incluster_config(settings)
            namespace = (SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip()
    except Exception as error:  # noqa: BLE001  # YAML's text may quote a credential
        fault = type(error).__name__
    if fault:
        found = f"The kubeconfig {files} cannot be used" if given else "There is neither a kubeconfig nor a pod's token"
        raise ConfigurationError(f"{found} ({fault}). Check the options `kubeconfig` and `context`, and KUBECONFIG")
    settings.retries = False  # a repeated write would meet its own first attempt
    return _Connection(client.ApiClient(settings), namespace or "default")


def _namespace_of(listed: Any, context: str | None) -> str:
    """Return the namespace of a context, or of the current one, from all contexts and the current one."""
    contexts, current = listed
    chosen = next(each for each in contexts if each["name"] == (context or current["name"]))
    return str(chosen["context"].get("namespace") or "")


# --- errors -----------------------------------------------------------------------------------------------------------

_LOGIN = "Run `kubectl auth whoami` with the same kubeconfig, and log in again if it fails"
_REACH = "Check the address, the proxy, the certificate authority, and that the network reaches it"


class ExpiredListError(StoreError):
    """The API server has dropped the state at which a list began (410 Gone): list again."""


_KINDS: Mapping[int, tuple[type[StoreError], str, str]] = {
    401: (AuthenticationError, "the API server does not accept the credentials", _LOGIN),
    403: (PermissionDeniedError, "HTTP 403", "Grant it with a Role; `kubectl auth can-i --list` shows the rights"),
    409: (ConflictError, "another writer has changed it", ""),
    410: (ExpiredListError, "the list has expired", "Try again"),
    413: (SecretTooLargeError, "Kubernetes does not accept a request of this size", ""),
    422: (
        InvalidDataError,
        "Kubernetes refuses it",
        "Give it the keys that the type of the Secret requires",
    ),
    429: (StoreUnavailableError, "the API server throttles these requests", "Send fewer requests"),
}
"""HTTP statuses with the class, the reason and the hint of the error that they become. Others are in `refusal`."""


def _refusal(status: int, reply: Any, headers: Mapping[str, str] | None, *, changes: bool) -> Fault:
    """Return the fault for a reply that is not 2xx.

    Args:
        status: the HTTP status.
        reply: the parsed body: an object of the kind Status, unless a proxy has sent it.
        headers: the headers of the reply.
        changes: the request writes.
    """
    if status == 404 and isinstance(reply, Mapping) and reply.get("reason") == "NotFound":
        details = reply.get("details")
        if changes and isinstance(details, Mapping) and details.get("kind") == "namespaces":
            hint = "Create it, or correct the option `namespace`"
            return Fault(StoreError(None, "the namespace does not exist", hint=hint))
        return Fault(SecretNotFoundError())
    kind, reason, hint = _KINDS.get(status, (StoreError, f"the API server refused the request (HTTP {status})", ""))
    if status >= 500:
        error = StoreUnavailableError(None, f"the API server failed (HTTP {status})")
        return Fault(error, Fate.FAILED, retry_after(headers))
    if status == 404 or status < 400:
        return Fault(malformed(None), Fate.ODD)
    return Fault(
        kind(None, reason, hint=hint), Fate.THROTTLED if status == 429 else Fate.ANSWERED, retry_after(headers)
    )


def fault_of(error: Exception) -> Fault:
    """Translate an exception of urllib3, or one that the client raises without a reply."""
    from kubernetes.config import ConfigException
    from urllib3 import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.HTTPError | OSError) or getattr(error, "status", None) == 0:
        is_sent = isinstance(error, exceptions.HTTPError) and not is_unsent(error)
        reason = f"the API server cannot be reached ({kind})"
        return Fault(StoreUnavailableError(None, reason, hint=_REACH), Fate.FAILED if is_sent else Fate.UNSENT)
    if isinstance(error, ConfigException):
        return Fault(AuthenticationError(None, "the file of the token is empty", hint=_LOGIN))
    return Fault(
        StoreError(None, f"the client of Kubernetes raised {kind}", hint="This is a bug in the store's plugin")
    )


def malformed(path: str | None) -> StoreUnavailableError:
    """Return the error for a reply of another server."""
    return StoreUnavailableError(path, "the reply is not that of an API server of Kubernetes", hint=_REACH)
