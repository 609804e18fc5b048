"""An API server of Kubernetes with Secrets, ConfigMaps and namespaces: TLS on loopback, in a thread of this process.

Debian's kubectl and the official client work with it: `tests/integration/kubernetes/test_fake.py`. It enforces what
Kubernetes documents: names, keys, sizes, types, immutability, resourceVersions, preconditions, roles, expired lists.

- https://kubernetes.io/docs/reference/using-api/api-concepts/ has lists, tables, watches and resourceVersions;
- https://kubernetes.io/docs/concepts/configuration/secret/ has the rules of Secrets;
- https://github.com/kubernetes/api/blob/master/core/v1/generated.proto has the numbers of the protobuf fields.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import trustme
import yaml

KINDS = {"secrets": "Secret", "configmaps": "ConfigMap", "namespaces": "Namespace"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_REQUIRED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_MOST_DATA = 1 << 20
_MOST_ANNOTATIONS = 1 << 18
_MOST_REQUEST = 3 << 20
_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed",
    406: "NotAcceptable", 409: "Conflict", 410: "Expired", 413: "RequestEntityTooLarge", 415: "UnsupportedMediaType",
    422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip


class RefusalError(Exception):
    """A reply that is not 2xx, as the object Status that it sends."""

    def __init__(self, status: int, message: str, *, reason: str = "", kind: str = "", name: str = "") -> None:
        super().__init__(message)
        details = {key: value for key, value in {"name": name, "kind": kind}.items() if value}
        self.status = status
        self.body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason or _REASONS.get(status, "Unknown"), "details": details, "code": status,
        }  # fmt: skip


class Request(NamedTuple):
    """A request that the server got."""

    method: str
    path: str
    query: Mapping[str, str]
    accept: str


class FakeKubernetes:
    """The server.

    Attributes:
        url: its address.
        ca: the PEM file of its certificate authority.
        rights: what each token may do, as patterns of `VERB RESOURCE/NAME`. `admin` may do everything.
        failures: the answers to the next requests: a status, bytes that are sent as they are, or 0 for the right one.
        requests: every request.
        expire_lists: True if it has dropped the state of every unfinished list (410).
        intercept: takes the handler of a request, and returns True if it has dealt with it.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self.calm()
        self._changed = threading.Condition()
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._version = 100
        self._oldest = 0
        self._server = _Server(self, context)
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self.url = f"https://127.0.0.1:{self.address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.add_namespace("default")

    def close(self) -> None:
        """End it, with its connections."""
        self._server.shutdown()
        self._server.server_close()
        self._server.drop()
        self._thread.join()

    # --- for the tests ------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Forget the requests and the instructions of a test."""
        self.rights: dict[str, list[str]] = {"admin": ["* *"], "nobody": []}
        self.failures: list[int | bytes] = []
        self.requests: list[Request] = []
        self.expire_lists = False
        self.intercept: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False

    def add_namespace(self, name: str) -> str:
        self.create("namespaces", "", {"metadata": {"name": name}})
        return name

    def fresh_namespace(self) -> str:
        return self.add_namespace(f"t-{uuid.uuid4().hex[:8]}")

    def kubeconfig(self, file: Path, *, token: str = "admin", namespace: str = "default", url: str = "") -> Path:
        """Write a kubeconfig for this server, or for another address of it."""
        user = {"tokenFile": token} if token.startswith("/") else {"token": token}
        context = {"cluster": "fake", "user": "me", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "fake", "cluster": {"server": url or self.url, "certificate-authority": str(self.ca)}}
            ],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "here", "context": context}],
            "current-context": "here",
        }
        file.write_text(yaml.safe_dump(config))
        return file

    def put(self, namespace: str, name: str, data: Mapping[str, bytes], resource: str = "secrets", **more: Any) -> Any:
        """Create an object as another program would."""
        metadata = {"name": name, **more.pop("metadata", {})}
        if resource == "configmaps":
            more["data"] = {key: content.decode() for key, content in data.items()}
        else:
            more["data"] = {key: base64.b64encode(content).decode() for key, content in data.items()}
        return self.create(resource, namespace, {"metadata": metadata, **more})

    def stored(self, namespace: str, name: str, resource: str = "secrets") -> dict[str, Any]:
        """Return an object as it is stored."""
        with self._changed:
            return copy.deepcopy(self._objects[resource, namespace, name])

    def forget_history(self) -> None:
        """Forget all events: a watch that begins before now has expired."""
        with self._changed:
            self._events.clear()
            self._oldest = self._version

    def is_allowed(self, token: str, verb: str, resource: str, name: str) -> bool:
        asked = f"{verb} {resource}/{name}"
        return any(fnmatchcase(asked, right) for right in self.rights[token])

    # --- objects ------------------------------------------------------------------------------------------------------

    def create(self, resource: str, namespace: str, body: Mapping[str, Any], *, dry: bool = False) -> dict[str, Any]:
        with self._changed:
            new = self._admitted(resource, namespace, body, None)
            name = new["metadata"]["name"]
            if namespace and ("namespaces", "", namespace) not in self._objects:
                raise RefusalError(404, f'namespaces "{namespace}" not found', kind="namespaces", name=namespace)
            if (resource, namespace, name) in self._objects:
                raise RefusalError(409, "it exists", reason="AlreadyExists", kind=resource, name=name)
            now = _now()
            new["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
            return self._save("ADDED", resource, namespace, new, dry=dry)

    def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        with self._changed:
            if (resource, namespace, name) not in self._objects:
                raise RefusalError(404, f'{resource} "{name}" not found', kind=resource, name=name)
            return self._objects[resource, namespace, name]

    def update(
        self, resource: str, namespace: str, name: str, body: Mapping[str, Any], *, dry: bool = False
    ) -> dict[str, Any]:
        with self._changed:
            before = self.get(resource, namespace, name)
            given = body.get("metadata", {})
            for field in ("resourceVersion", "uid"):
                if given.get(field) and given[field] != before["metadata"][field]:
                    raise RefusalError(409, "the object has been modified", kind=resource, name=name)
            new = self._admitted(resource, namespace, body, before)
            kept = {field: before["metadata"][field] for field in ("uid", "creationTimestamp", "resourceVersion")}
            new["metadata"] |= {**kept, "managedFields": before["metadata"]["managedFields"]}
            return before if new == before else self._save("MODIFIED", resource, namespace, new, dry=dry)

    def delete(self, resource: str, namespace: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            before = self.get(resource, namespace, name)
            for field, wanted in (options.get("preconditions") or {}).items():
                if wanted != before["metadata"][field]:
                    raise RefusalError(409, "the precondition does not hold", kind=resource, name=name)
            if not options.get("dryRun"):
                del self._objects[resource, namespace, name]
                self._note("DELETED", before)
            details = {"name": name, "kind": resource, "uid": before["metadata"]["uid"]}
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def listed(self, resource: str, namespace: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a list, or one page of it."""
        with self._changed:
            found = sorted(
                (key, found)
                for key, found in self._objects.items()
                if key[0] == resource and namespace in {"", key[1]} and _is_selected(found, query)
            )
            metadata = {"resourceVersion": str(self._version)}
            if after := query.get("continue"):
                if self.expire_lists:
                    raise RefusalError(410, "The provided continue parameter is too old")
                found = [(key, item) for key, item in found if "/".join(key) > after]
            if (limit := int(query.get("limit") or 0)) and len(found) > limit:
                found = found[:limit]
                metadata["continue"] = "/".join(found[-1][0])
            items = [copy.deepcopy(item) for _, item in found]
        return {"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": items}

    def watched(self, resource: str, namespace: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the events since a resourceVersion, until the time of the watch is over."""
        ends = time.monotonic() + float(query.get("timeoutSeconds") or 300)
        since = query.get("resourceVersion") or "0"
        if since == "0":
            for item in self.listed(resource, namespace, query)["items"]:
                yield {"type": "ADDED", "object": item}
            since = str(self._version)
        seen = int(since)
        if seen < self._oldest:
            yield {"type": "ERROR", "object": RefusalError(410, f"too old resource version: {seen}").body}
            return
        while (left := ends - time.monotonic()) > 0 and not self._server.ended:
            with self._changed:
                self._changed.wait_for(lambda: self._version > seen or self._server.ended, min(left, 0.2))  # noqa: B023
                events = [event for event in self._events if event[0] > seen]
                seen = self._version
            for _, kind, found in events:
                matches = found["kind"] == KINDS[resource] and namespace in {"", found["metadata"].get("namespace")}
                if matches and _is_selected(found, query):
                    yield {"type": kind, "object": copy.deepcopy(found)}

    def _save(self, event: str, resource: str, namespace: str, new: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        if dry:
            return new
        new["metadata"]["resourceVersion"] = str(self._version + 1)
        manager = {"manager": "fake", "operation": "Update", "apiVersion": "v1", "time": _now()}
        new["metadata"]["managedFields"] = [{**manager, "fieldsType": "FieldsV1", "fieldsV1": {}}]
        self._objects[resource, namespace, new["metadata"]["name"]] = new
        self._note(event, new)
        return new

    def _note(self, event: str, found: dict[str, Any]) -> None:
        self._version += 1
        if event == "DELETED":
            found = {**found, "metadata": {**found["metadata"], "resourceVersion": str(self._version)}}
        self._events.append((self._version, event, found))
        self._changed.notify_all()

    def _admitted(
        self, resource: str, namespace: str, body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the object as it would be stored, or raise the refusal of Kubernetes."""
        new = copy.deepcopy(dict(body))
        kind = KINDS[resource]
        metadata = {name: value for name, value in new.get("metadata", {}).items() if value}
        if new.get("kind", kind) != kind or metadata.get("namespace", namespace) != namespace:
            raise RefusalError(400, "the object does not match the request")
        if before is not None and metadata.get("name") != before["metadata"]["name"]:
            raise RefusalError(400, "the name of the object does not match the name on the URL")
        if namespace:
            metadata["namespace"] = namespace
        new |= {"kind": kind, "apiVersion": "v1", "metadata": metadata}
        if resource == "secrets":
            texts = new.pop("stringData", None) or {}
            new.setdefault("type", "Opaque")
            encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
            new["data"] = {**(new.get("data") or {}), **encoded}
        for field in ("data", "binaryData"):
            if not new.get(field):
                new.pop(field, None)
        if fault := _fault_of(new) or _fault_of_change(before, new):
            name = str(metadata.get("name"))
            raise RefusalError(422, f'{kind} "{name}" is invalid: {fault}', kind=kind, name=name)
        return new


def _fault_of(new: Mapping[str, Any]) -> str:
    """Return the rule of Kubernetes that an object breaks, or nothing."""
    metadata, data, more = new["metadata"], new.get("data", {}), new.get("binaryData", {})
    name = metadata.get("name", "")
    if len(name) > 253 or not _NAME.fullmatch(name):
        return "metadata.name: a lowercase RFC 1123 subdomain"
    if sum(len(key) + len(text) for key, text in metadata.get("annotations", {}).items()) > _MOST_ANNOTATIONS:
        return "metadata.annotations: Too long"
    contents = [*map(_from_base64, more.values())]
    contents += [_from_base64(text) if new["kind"] == "Secret" else text.encode() for text in data.values()]
    for key in (*data, *more):
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            return f"data[{key}]: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    if sum(map(len, contents)) > _MOST_DATA:
        return f"data: Too long: must have at most {_MOST_DATA} bytes"
    missing = [key for key in _REQUIRED.get(new.get("type", ""), ()) if key not in data]
    return f"data[{missing[0]}]: Required value" if missing else ""


def _fault_of_change(before: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """Return the rule that a change of an object breaks, or nothing."""
    if before is None:
        return ""
    if before.get("type") != new.get("type"):
        return "type: field is immutable"
    changed = [field for field in ("data", "binaryData", "immutable") if before.get(field) != new.get(field)]
    return "data: field is immutable when `immutable` is set" if before.get("immutable") and changed else ""


def _from_base64(text: str) -> bytes:
    with suppress(binascii.Error, TypeError):
        return base64.b64decode(text, validate=True)
    raise RefusalError(400, "illegal base64 data")


# --- HTTP -------------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fake: FakeKubernetes, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake
        self.ended = False
        self._open: set[socket.socket] = set()
        # Each connection shakes hands in its own thread, when it is first read.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop(self) -> None:
        """Close the connections."""
        self.ended = True
        for connection in list(self._open):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that leave."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for each reply: else delayed acknowledgments take 40 ms
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer a request."""
        fake, parts = self.server.fake, urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        accept = self.headers.get("Accept", "")
        fake.requests.append(Request(self.command, parts.path, query, accept))
        if fake.intercept(self):
            return
        failure = fake.failures.pop(0) if fake.failures else 0
        if isinstance(failure, bytes):
            self.wfile.write(failure)
            self.close_connection = True
            return
        try:
            self._check(length, failure)
            found = self._handled(parts.path, query, content)
        except RefusalError as refusal:
            self._send(refusal.status, refusal.body)
            return
        if isinstance(found, Iterator):
            self._stream(found, accept)
        else:
            self._send(201 if self.command == "POST" else 200, _as_accepted(found, accept))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # the names of http.server

    def _check(self, length: int, status: int) -> None:
        if status:
            raise RefusalError(status, "it fails, as it was told to")
        if length > _MOST_REQUEST:
            raise RefusalError(413, "the request is too large")

    def _handled(self, path: str, query: Mapping[str, str], content: bytes) -> Any:
        token = self.headers.get("Authorization", "").partition(" ")[2]
        if path in _DISCOVERY:
            return _DISCOVERY[path]
        if token not in self.server.fake.rights:
            raise RefusalError(401, "Unauthorized")
        if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            return self._reviewed(token, json.loads(content))
        parts = path.split("/")[1:]
        if parts[:2] != ["api", "v1"]:
            raise RefusalError(404, "the server could not find the requested resource", reason="")
        parts = parts[2:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        if parts[0] not in KINDS:
            raise RefusalError(404, "the server could not find the requested resource")
        return self._on_resource(token, namespace, parts[0], parts[1] if parts[1:] else "", query, content)

    def _on_resource(
        self, token: str, namespace: str, resource: str, name: str, query: Mapping[str, str], content: bytes
    ) -> Any:
        fake = self.server.fake
        verbs = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        verb = verbs[self.command] if name or self.command == "POST" else "list"
        if verb == "list" and query.get("watch") in {"1", "true"}:
            verb = "watch"
        if not fake.is_allowed(token, verb, resource, name):
            what = f'{resource} "{name}" is forbidden: User "{token}" cannot {verb} resource "{resource}"'
            raise RefusalError(403, what, kind=resource, name=name)
        dry = query.get("dryRun") == "All"
        match verb:
            case "get":
                found: Any = fake.get(resource, namespace, name)
            case "list":
                found = fake.listed(resource, namespace, query)
            case "watch":
                found = fake.watched(resource, namespace, query)
            case "create":
                found = fake.create(resource, namespace, self._object(resource, content), dry=dry)
            case "update":
                found = fake.update(resource, namespace, name, self._object(resource, content), dry=dry)
            case "patch":
                before = copy.deepcopy(fake.get(resource, namespace, name))
                before["metadata"].pop("resourceVersion")
                found = fake.update(resource, namespace, name, self._patched(before, content), dry=dry)
            case _:
                found = fake.delete(resource, namespace, name, json.loads(content) if content else {})
        return found

    def _object(self, resource: str, content: bytes) -> Mapping[str, Any]:
        if self.headers.get("Content-Type", "").startswith("application/vnd.kubernetes.protobuf"):
            return _from_protobuf(resource, content)
        try:
            return json.loads(content)
        except ValueError:
            raise RefusalError(400, "the body is not JSON") from None

    def _patched(self, before: dict[str, Any], content: bytes) -> dict[str, Any]:
        kind = self.headers.get("Content-Type", "")
        if kind not in {"application/merge-patch+json", "application/strategic-merge-patch+json"}:
            raise RefusalError(415, f"this server has no patch of the type {kind}")
        return _merged(before, json.loads(content))

    def _reviewed(self, token: str, review: dict[str, Any]) -> dict[str, Any]:
        asked = review["spec"]["resourceAttributes"]
        is_allowed = self.server.fake.is_allowed(token, asked["verb"], asked["resource"], asked.get("name", ""))
        return {**review, "status": {"allowed": is_allowed}}

    def _send(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: Iterator[dict[str, Any]], accept: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for event in events:
            shown = event["object"] if event["type"] == "ERROR" else _as_accepted(event["object"], accept)
            line = json.dumps({**event, "object": shown}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


# --- representations --------------------------------------------------------------------------------------------------


def _as_accepted(found: dict[str, Any], accept: str) -> dict[str, Any]:
    """Return the object, or its table or its metadata if the client asks for that first."""
    first = accept.partition(",")[0]
    kind = str(found.get("kind", ""))
    if kind.removesuffix("List") not in KINDS.values():
        return found
    items = found.get("items")
    if "as=Table" in first:
        shown = [found] if items is None else items
        meta = {"apiVersion": "meta.k8s.io/v1", "kind": "Table"}
        return {
            **meta,
            "metadata": found["metadata"] if items is not None else {"resourceVersion": _version(found)},
            "columnDefinitions": [
                {"name": name, "type": "string", "format": "name" if name == "Name" else "", "priority": 0}
                for name in _cells(kind.removesuffix("List"), None)
            ],
            "rows": [{"cells": list(_cells(item["kind"], item).values()), "object": _metadata(item)} for item in shown],
        }
    if "as=PartialObjectMetadataList" in first:
        return {**_META, "kind": "PartialObjectMetadataList", "metadata": found["metadata"],
                "items": [_metadata(item) for item in items or ()]}  # fmt: skip
    if "as=PartialObjectMetadata" in first:
        return _metadata(found)
    if "json" not in accept and "*/*" not in accept:
        raise RefusalError(406, "only JSON")
    return found


_META = {"apiVersion": "meta.k8s.io/v1"}


def _metadata(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**_META, "kind": "PartialObjectMetadata", "metadata": found["metadata"]}


def _version(found: Mapping[str, Any]) -> str:
    return str(found["metadata"].get("resourceVersion", ""))


def _cells(kind: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the columns of a table, for one object."""
    shown = found or {"metadata": {}}
    cells = {"Name": shown["metadata"].get("name")}
    if kind == "Namespace":
        return cells | {"Status": "Active", "Age": "1s"}
    if kind == "Secret":
        cells["Type"] = shown.get("type")
    return cells | {"Data": len(shown.get("data", ())) + len(shown.get("binaryData", ())), "Age": "1s"}


def _is_selected(found: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Return True for an object that the selectors of fields and labels name, each by equality."""
    labels = found["metadata"].get("labels") or {}
    fields = {"metadata.name": found["metadata"]["name"], "type": found.get("type", "")}
    for selector, values in (("fieldSelector", fields), ("labelSelector", labels)):
        for part in filter(None, query.get(selector, "").split(",")):
            name, _, wanted = part.replace("==", "=").partition("=")
            if values.get(name) != wanted:
                return False
    return True


def _merged(before: Any, patch: Any) -> Any:
    """Return the result of a merge patch (RFC 7386). A strategic one of maps is the same, but for its directives."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- protobuf ---------------------------------------------------------------------------------------------------------


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field of a message: a number, or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        shift = value = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(content):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            size = varint()
            yield tag >> 3, content[at : at + size]
            at += size
        else:
            raise RefusalError(400, "the body has a protobuf field of an unknown kind")


def _mapping(entries: Iterable[bytes]) -> dict[str, bytes]:
    pairs = (dict(_fields(entry)) for entry in entries)
    return {pair.get(1, b"").decode(): pair.get(2, b"") for pair in pairs}


def _from_protobuf(resource: str, content: bytes) -> dict[str, Any]:
    """Return the object that `kubectl create` sends: only the fields that it sets."""
    if not content.startswith(b"k8s\x00"):
        raise RefusalError(400, "the body is not protobuf")
    envelope = dict(_fields(content[4:]))
    fields: dict[int, list[Any]] = {}
    for number, value in _fields(envelope[2]):
        fields.setdefault(number, []).append(value)
    about: dict[int, list[Any]] = {}
    for number, value in _fields(fields[1][0]):
        about.setdefault(number, []).append(value)
    texts = {name: _mapping(about.get(number, ())) for name, number in (("labels", 11), ("annotations", 12))}
    metadata: dict[str, Any] = {
        name: {key: text.decode() for key, text in entries.items()} for name, entries in texts.items()
    }
    metadata["name"] = about[1][0].decode()
    found: dict[str, Any] = {"metadata": metadata}
    if resource == "namespaces":
        return found
    data, second = _mapping(fields.get(2, ())), _mapping(fields.get(4 if resource == "secrets" else 3, ()))
    if resource == "secrets":
        found["data"] = {key: base64.b64encode(value).decode() for key, value in data.items()}
        found["stringData"] = {key: value.decode() for key, value in second.items()}
        found["type"] = fields.get(3, [b"Opaque"])[0].decode() or "Opaque"
    else:
        found["data"] = {key: value.decode() for key, value in data.items()}
        found["binaryData"] = {key: base64.b64encode(value).decode() for key, value in second.items()}
    if fields.get(5 if resource == "secrets" else 4, [0])[0]:
        found["immutable"] = True
    return found


# --- discovery --------------------------------------------------------------------------------------------------------


def _resources() -> Iterator[dict[str, Any]]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    for name, kind in KINDS.items():
        short = {"configmaps": ["cm"], "namespaces": ["ns"]}.get(name, [])
        yield {
            "name": name, "singularName": kind.lower(), "namespaced": name != "namespaces", "kind": kind,
            "verbs": verbs, "shortNames": short,
        }  # fmt: skip


def _paths() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the operations by which kubectl finds that the server validates fields and has dry runs."""
    for name, kind in KINDS.items():
        below = "" if name == "namespaces" else "/namespaces/{namespace}"
        parameters = [
            {"name": option, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for option in ("dryRun", "fieldManager", "fieldValidation")
        ]
        about = {"group": "", "version": "v1", "kind": kind}
        patch = {"x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": about, "parameters": parameters}
        yield f"/api/v1{below}/{name}/{{name}}", {"patch": {**patch, "responses": {}}}


_DISCOVERY: Mapping[str, Any] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.3"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": list(_resources())},
    "/openapi/v3": {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"}}},
    "/openapi/v3/api/v1": {
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.32.3"}, "paths": dict(_paths()),
    },
}  # fmt: skip
