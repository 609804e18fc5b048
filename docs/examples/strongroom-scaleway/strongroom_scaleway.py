"""A store of secrets in Scaleway Secret Manager, through its HTTP API.

https://www.scaleway.com/en/developers/api/secret-manager has the requests and the replies.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from strongroom import Secret, Value, errors
from strongroom.encoding import from_json, to_json
from strongroom.paths import entries_below
from strongroom.store import Option, remaining
from strongroom.store.calls import Caller, Fate, Fault, retry_after

if TYPE_CHECKING:
    import httpx

PAGE = 100
MAX_SIZE = 65_536
"""Bytes of a version."""

_ESCAPED = re.compile(r"_(?=[0-9A-F]{2})|[^\w.-]|^[.-]|[.-]$", re.ASCII)
"""Text that a name cannot hold, or that looks like an escape. `_HH` stands for a byte of the UTF-8 form."""


class ScalewayStore:
    """Secrets of one project in one region. The last part of a path is the name, and the others are its folders.

    A version is a JSON object. Another one, of another program, is read as the key `value`.

    Args:
        client: sends the token to the address of the region.
        project: the ID of the project.
    """

    def __init__(self, client: httpx.Client, project: str) -> None:
        self._client = client
        self._project = project
        self._caller = Caller("Scaleway", lambda: client, fault_of, loggers=("httpx", "httpcore"))

    def read(self, path: str) -> Secret:
        folder, name = location_of(path)
        query = {"project_id": self._project, "secret_path": folder, "secret_name": name}
        found = self._call(path, "GET", "/secrets-by-path/versions/latest/access", query)
        return Secret(path, content_of(found), field(found, "revision", int))

    def list_entries(self, prefix: str) -> Iterator[str]:
        yield from sorted(entries_below(self._paths(), prefix))

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        content = json.dumps(to_json(data)).encode()
        if len(content) > MAX_SIZE:
            raise errors.SecretTooLargeError(path, f"it takes {len(content):,} bytes, the most is {MAX_SIZE:,}")
        secret = f"/secrets/{self._identifier(path) or self._create(path)}"
        body = {"data": base64.b64encode(content).decode(), "data_crc32": str(binascii.crc32(content))}

        def settle() -> object:
            newest = self._call(path, "GET", f"{secret}/versions/latest/access")
            return newest if field(newest, "data", str) == body["data"] else None

        version: int = field(self._call(path, "POST", f"{secret}/versions", body=body, settle=settle), "revision", int)
        return version

    def delete(self, path: str) -> None:
        """Schedule the secret for deletion. Its owner can restore it for seven days."""
        self.read(path)  # a secret without a version is absent

        def settle() -> object:
            return {} if self._identifier(path) is None else None

        self._call(path, "DELETE", f"/secrets/{self._identifier(path)}", settle=settle)

    def close(self) -> None:
        self._client.close()

    # ------------------------------------------------------------------------------------------------------------------

    def _identifier(self, path: str) -> str | None:
        folder, name = location_of(path)
        query = {"project_id": self._project, "path": folder, "name": name}
        found = field(self._call(path, "GET", "/secrets", query), "secrets", list)
        return field(found[0], "id", str) if found else None

    def _create(self, path: str) -> str:
        folder, name = location_of(path)
        body = {"project_id": self._project, "path": folder, "name": name}

        def settle() -> object:
            found = self._identifier(path)
            return found and {"id": found}

        try:
            made = self._call(path, "POST", "/secrets", body=body, settle=settle)
        except errors.ConflictError:  # another client has just created it
            made = settle()
        identifier: str = field(made, "id", str)
        return identifier

    def _paths(self) -> Iterator[str]:
        seen, number = 0, 1
        while True:
            query = {"project_id": self._project, "order_by": "name_asc", "page": str(number), "page_size": str(PAGE)}
            page = self._call(None, "GET", "/secrets", query)
            secrets = field(page, "secrets", list)
            for secret in secrets:
                if field(secret, "version_count", int) and (path := path_of(secret)) is not None:
                    yield path
            seen, number = seen + len(secrets), number + 1
            if not secrets or seen >= field(page, "total_count", int):
                return

    def _call(
        self,
        path: str | None,
        method: str,
        url: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, object] | None = None,
        settle: Callable[[], object] | None = None,
    ) -> object:
        def send(client: httpx.Client) -> object:
            return answer(client.request(method, url, params=query, json=body, timeout=max(0.001, remaining())))

        return self._caller.call(path, send, changes=method != "GET", settle=settle)


_KINDS = {
    400: errors.InvalidDataError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.SecretNotFoundError,
    409: errors.ConflictError,
}


def answer(reply: httpx.Response) -> object:
    """Return the object of a reply, or raise the fault that its status stands for."""
    status = reply.status_code
    if status == 429 or status >= 500:
        fate = Fate.THROTTLED if status == 429 else Fate.FAILED
        raise Fault(errors.StoreUnavailableError(None, f"HTTP {status}"), fate, retry_after(reply.headers))
    try:
        found = reply.json() if reply.content else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not (reply.is_success or "type" in found):  # Scaleway names the type of an error
        raise Fault(odd(), Fate.ODD)
    if not reply.is_success:
        raise Fault(_KINDS.get(status, errors.StoreError)(None, f"HTTP {status}"))
    return found


def fault_of(error: Exception) -> Fault:
    """Translate an exception of httpx."""
    import httpx

    outage = errors.StoreUnavailableError(None, type(error).__name__)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return Fault(outage, Fate.UNSENT)
    if isinstance(error, httpx.TransportError):
        return Fault(outage, Fate.FAILED)
    return Fault(errors.StoreError(None, f"httpx raised {type(error).__name__}"))


def odd() -> errors.StoreUnavailableError:
    return errors.StoreUnavailableError(None, "the server is not Scaleway", hint="Check `api_url` and the proxy")


def field(found: object, name: str, kind: type) -> Any:
    """Return a field of a reply. Its lack is an outage."""
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, kind):
        raise odd()
    return value


def content_of(found: object) -> Mapping[str, Value]:
    """Return the keys of a version."""
    try:
        content = base64.b64decode(field(found, "data", str), validate=True)
    except ValueError:  # its message may hold a value
        raise odd() from None
    try:
        document = from_json(json.loads(content))
    except ValueError:
        document = None
    if isinstance(document, Mapping):
        return document
    try:
        return {"value": content.decode()}
    except UnicodeDecodeError:
        return {"value": content}


def location_of(path: str) -> tuple[str, str]:
    """Return the folder and the name at Scaleway."""
    *folders, name = (_ESCAPED.sub(_escape, part) for part in path.split("/"))
    return "/" + "/".join(folders), name


def path_of(secret: object) -> str | None:
    """Return the path of a listed secret; None if no path has its folder and name."""
    folder, name = field(secret, "path", str), field(secret, "name", str)
    raw = f"{folder.strip('/')}/{name}".lstrip("/").encode()
    try:
        path = re.sub(rb"_([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), raw).decode()
    except UnicodeDecodeError:
        return None
    return path if location_of(path) == (folder, name) else None


def _escape(found: re.Match[str]) -> str:
    return "".join(f"_{byte:02X}" for byte in found[0].encode())


def open_scaleway(
    *,
    project: Annotated[str, Option("the ID of the project", location=True, locates=True)],
    token: Annotated[str, Option("the secret key of an API key", ("SCW_SECRET_KEY",), secret=True, sent_to="api_url")],
    region: Annotated[str, Option("the region", locates=True)] = "fr-par",
    api_url: Annotated[str, Option("the address of the API", address=True)] = "https://api.scaleway.com",
) -> ScalewayStore:
    """Open the store. It connects at the first call."""
    import httpx

    base = f"{api_url.rstrip('/')}/secret-manager/v1beta1/regions/{region}"
    return ScalewayStore(httpx.Client(base_url=base, headers={"X-Auth-Token": token}), project)
