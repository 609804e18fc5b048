"""A fake of Google Secret Manager for Google's own SDK: gRPC on loopback, with the documented limits and errors.

It follows https://docs.cloud.google.com/secret-manager/docs/reference/rpc/google.cloud.secretmanager.v1. Two facts
are from reports of users: access to a version that is disabled or destroyed is FAILED_PRECONDITION, and the names in
replies have the number of the project, not its ID.
"""

from __future__ import annotations

import json
import re
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import grpc
from google.cloud.secretmanager_v1 import types
from google.protobuf import any_pb2, empty_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from strongroom_google.store import crc32c

PROJECT_NUMBER = "123456789012"
SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"

_THREADS = 16
"""Calls at a time. A call that hangs has a thread until `close`."""

MAX_PAYLOAD, MAX_PAGE = 65_536, 25_000
_ID = re.compile(r"[a-zA-Z0-9_-]{1,255}")
_PARENT = re.compile(r"projects/(?P<project>[a-z0-9-]+)(?:/locations/(?P<region>[a-z0-9-]+))?")
_EMPTY = empty_pb2.Empty
State = types.SecretVersion.State


@dataclass
class Version:
    """A version, whose payload is None once it is destroyed."""

    number: int
    payload: bytes | None
    created: datetime
    state: State = State.ENABLED
    destroyed: datetime | None = None
    scheduled: datetime | None = None


@dataclass
class Entry:
    """A secret with its versions."""

    secret: types.Secret
    versions: list[Version] = field(default_factory=list)


class RefusedError(Exception):
    """A refusal with its status code and, for a denial, a reason code."""

    def __init__(self, code: grpc.StatusCode, reason: str = "") -> None:
        super().__init__(code.name)
        self.code = code
        self.reason = reason


class FakeSecretManager:
    """Secret Manager, started by `with` or `start`.

    Attributes:
        url: its address without TLS, for the option `endpoint_url`.
        requests: the name and the request of each call, in order.
        given: the bearer token of each call; empty without one.
        tokens: the accepted bearer tokens; None to accept every caller, as over a connection without TLS.
        intercept: takes the name of each call and a function that carries it out, and returns the reply.
        late: seconds by which `latest`, aliases and lists of versions are behind. A version that was just added can be
            read by its number alone: https://docs.cloud.google.com/secret-manager/docs/reference/consistency.
    """

    def __init__(self, *, region: str | None = None, credentials: grpc.ServerCredentials | None = None) -> None:
        self._region = region
        self._credentials = credentials
        self._lock = threading.Lock()
        self._called = threading.Condition(self._lock)
        self._entries: dict[str, dict[str, Entry]] = {}
        self._faults: list[tuple[str, Callable[[Any], None], list[int]]] = []
        self._reply_faults: list[tuple[str, Callable[[Any], None], list[int]]] = []
        self._released = threading.Event()
        self.requests: list[tuple[str, Any]] = []
        self.given: list[str] = []
        self.tokens: set[str] | None = None
        self.intercept: Callable[[str, Callable[[], Any]], Any] = lambda _, carry_out: carry_out()
        self.late = 0.0

    def start(self) -> Self:
        """Start it at a free port."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="fake of Google")
        started = threading.Barrier(_THREADS)
        list(self._threads.map(lambda _: started.wait(60), range(_THREADS)))  # so that no test takes them for a store's
        self._server = grpc.server(self._threads, options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        if self._credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", self._credentials)
        self.url = f"http://127.0.0.1:{self.port}"
        self._server.start()
        return self

    def close(self) -> None:
        self._released.set()
        self._server.stop(None).wait(30)
        self._threads.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- for tests ----------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> list[str]:
        """The methods that were called, in order."""
        return [method for method, _ in self.requests]

    def wait_for(self, method: str) -> None:
        """Wait until the method is called."""
        with self._called:
            assert self._called.wait_for(lambda: method in self.asked, 60)

    def put(self, name: str, *payloads: bytes, project: str = "demo", region: str = "", **fields: Any) -> Entry:
        """Have a secret of this name with these versions, as another program of Google's would leave it."""
        parent = f"projects/{project}" + (f"/locations/{region}" if region else "")
        entry = Entry(types.Secret(name=self._named(parent, name), create_time=datetime.now(UTC), **fields))
        for payload in payloads:
            self.add(entry, payload)
        self._entries.setdefault(parent, {})[name] = entry
        return entry

    def payload(self, name: str, project: str = "demo", region: str = "") -> bytes | None:
        """The payload of the newest version of a secret."""
        parent = f"projects/{project}" + (f"/locations/{region}" if region else "")
        return self._entries[parent][name].versions[-1].payload

    def fail(self, method: str, code: grpc.StatusCode, *, reason: str = "", times: int = 1 << 30) -> None:
        """Let a method, or `*`, fail with this code, and a denial with a reason code."""
        self._faults.append((method, _refusing(code, reason), [times]))

    def lose(self, method: str, *, times: int = 1) -> None:
        """Let a method be executed, and its reply be lost."""
        self._reply_faults.append((method, _refusing(grpc.StatusCode.UNAVAILABLE), [times]))

    def deny(self, *methods: str) -> None:
        """Deny these methods for the reason of IAM."""
        for method in methods or ("*",):
            self.fail(method, grpc.StatusCode.PERMISSION_DENIED, reason="IAM_PERMISSION_DENIED")

    def hang(self, method: str, *, times: int = 1 << 30) -> None:
        """Let a method hang, or `*`, until `close`."""
        self._faults.append((method, lambda _: self._released.wait(), [times]))  # type: ignore[func-returns-value]

    def damage(self, method: str) -> None:
        """Let the payload of the method's reply differ from its checksum."""
        self._reply_faults.append((method, lambda reply: setattr(reply.payload, "data_crc32c", 1), [1 << 30]))

    def heal(self) -> None:
        """End all faults."""
        self._faults.clear()
        self._reply_faults.clear()

    # --- the service --------------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        names = {
            "ListSecrets": types.ListSecretsResponse,
            "CreateSecret": types.Secret,
            "GetSecret": types.Secret,
            "UpdateSecret": types.Secret,
            "DeleteSecret": _EMPTY,
            "AddSecretVersion": types.SecretVersion,
            "GetSecretVersion": types.SecretVersion,
            "AccessSecretVersion": types.AccessSecretVersionResponse,
            "ListSecretVersions": types.ListSecretVersionsResponse,
            "EnableSecretVersion": types.SecretVersion,
            "DisableSecretVersion": types.SecretVersion,
            "DestroySecretVersion": types.SecretVersion,
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                self._handler(name),
                request_deserializer=getattr(types, f"{name}Request").deserialize,
                response_serializer=_EMPTY.SerializeToString if reply is _EMPTY else reply.serialize,
            )
            for name, reply in names.items()
        }

    def _handler(self, name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        operation = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            with self._called:
                self.requests.append((name, request))
                self._called.notify_all()
            try:
                self._authenticate(context)
                _apply(self._faults, name, None)
                reply = self.intercept(name, lambda: self._carry_out(operation, request))
                _apply(self._reply_faults, name, reply)
            except RefusedError as refused:
                _abort(context, refused)
            return reply

        return handle

    def _carry_out(self, operation: Callable[[Any], Any], request: Any) -> Any:
        with self._lock:
            return operation(request)

    def _authenticate(self, context: grpc.ServicerContext) -> None:
        token = str(dict(context.invocation_metadata()).get("authorization", "")).removeprefix("Bearer ")
        self.given.append(token)
        if self.tokens is not None and token not in self.tokens:
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED)

    def _parent(self, parent: str) -> dict[str, Entry]:
        found = _PARENT.fullmatch(parent)
        if found is None or found["region"] != self._region:  # each region has a separate endpoint
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        return self._entries.setdefault(parent, {})

    def _entry(self, name: str) -> Entry:
        parent, _, identifier = name.partition("/secrets/")
        if not _ID.fullmatch(identifier):
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        parent = parent.replace(f"projects/{PROJECT_NUMBER}", self._project_of(parent, identifier))
        entry = self._parent(parent).get(identifier)
        if entry is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND)
        return entry

    def _project_of(self, parent: str, identifier: str) -> str:
        """A name with the number of the project is one of a reply: the last project that has it."""
        for known, entries in self._entries.items():
            if identifier in entries and known.partition("/locations")[2] == parent.partition("/locations")[2]:
                return known.partition("/locations")[0]
        return f"projects/{PROJECT_NUMBER}"

    def _version(self, name: str) -> tuple[Entry, Version]:
        secret, _, which = name.rpartition("/versions/")
        entry = self._entry(secret)
        number = len(self._visible(entry)) if which == "latest" else entry.secret.version_aliases.get(which, 0)
        number = int(which) if which.isdigit() else number
        if not 1 <= number <= len(entry.versions):
            raise RefusedError(grpc.StatusCode.NOT_FOUND)
        return entry, entry.versions[number - 1]

    def _visible(self, entry: Entry) -> list[Version]:
        """The versions that others than their readers by number see by now."""
        until = datetime.now(UTC) - timedelta(seconds=self.late)
        return [version for version in entry.versions if version.created <= until]

    def _named(self, parent: str, identifier: str) -> str:
        return re.sub(r"^projects/[^/]+", f"projects/{PROJECT_NUMBER}", parent) + f"/secrets/{identifier}"

    def _list_secrets(self, request: Any) -> Any:
        entries = self._parent(request.parent)
        page, token = _page([entries[name].secret for name in sorted(entries)], request)
        return types.ListSecretsResponse(secrets=page, next_page_token=token, total_size=len(entries))

    def _create_secret(self, request: Any) -> Any:
        entries = self._parent(request.parent)
        is_global = self._region is None
        if not _ID.fullmatch(request.secret_id) or ("replication" in request.secret) is not is_global:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        if request.secret_id in entries:
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS)
        _check_labels(request.secret.labels)
        request.secret.name = self._named(request.parent, request.secret_id)
        request.secret.create_time = datetime.now(UTC)
        entries[request.secret_id] = Entry(request.secret)
        return request.secret

    def _get_secret(self, request: Any) -> Any:
        return self._entry(request.name).secret

    def _update_secret(self, request: Any) -> Any:
        entry = self._entry(request.secret.name)
        if list(request.update_mask.paths) != ["labels"]:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        _check_labels(request.secret.labels)
        entry.secret.labels = dict(request.secret.labels)
        return entry.secret

    def _delete_secret(self, request: Any) -> Any:
        self._entry(request.name)
        parent, _, identifier = request.name.partition("/secrets/")
        del self._entries[parent][identifier]
        return _EMPTY()

    def _add_secret_version(self, request: Any) -> Any:
        payload = request.payload
        entry = self._entry(request.parent)
        damaged = "data_crc32c" in payload and payload.data_crc32c != crc32c(payload.data)
        if not 1 <= len(payload.data) <= MAX_PAYLOAD or damaged:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        return self._as_version(entry, self.add(entry, payload.data))

    def add(self, entry: Entry, payload: bytes) -> Version:
        """Add a version to a secret."""
        entry.versions.append(Version(len(entry.versions) + 1, payload, datetime.now(UTC)))
        return entry.versions[-1]

    def _get_secret_version(self, request: Any) -> Any:
        return self._as_version(*self._version(request.name))

    def _access_secret_version(self, request: Any) -> Any:
        entry, version = self._version(request.name)
        if version.state is not State.ENABLED or version.payload is None:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION)
        payload = types.SecretPayload(data=version.payload, data_crc32c=crc32c(version.payload))
        return types.AccessSecretVersionResponse(name=self._as_version(entry, version).name, payload=payload)

    def _list_secret_versions(self, request: Any) -> Any:
        entry = self._entry(request.parent)
        newest_first = [self._as_version(entry, version) for version in reversed(self._visible(entry))]
        page, token = _page(newest_first, request)
        return types.ListSecretVersionsResponse(versions=page, next_page_token=token, total_size=len(newest_first))

    def _enable_secret_version(self, request: Any) -> Any:
        return self._set_state(request.name, State.ENABLED)

    def _disable_secret_version(self, request: Any) -> Any:
        return self._set_state(request.name, State.DISABLED)

    def _set_state(self, name: str, state: State) -> Any:
        entry, version = self._version(name)
        if version.state is State.DESTROYED:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION)
        version.state, version.scheduled = state, None
        return self._as_version(entry, version)

    def _destroy_secret_version(self, request: Any) -> Any:
        entry, version = self._version(request.name)
        if version.state is State.DESTROYED:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION)
        if delay := entry.secret.version_destroy_ttl:
            version.state, version.scheduled = State.DISABLED, datetime.now(UTC) + delay
        else:
            version.state, version.destroyed, version.payload = State.DESTROYED, datetime.now(UTC), None
        return self._as_version(entry, version)

    def _as_version(self, entry: Entry, version: Version) -> types.SecretVersion:
        return types.SecretVersion(
            name=f"{entry.secret.name}/versions/{version.number}",
            create_time=version.created,
            state=version.state,
            destroy_time=version.destroyed,
            scheduled_destroy_time=version.scheduled,
        )


def delayed(**seconds: int) -> timedelta:
    """The option `version_destroy_ttl` of a secret."""
    return timedelta(**seconds)


def _refusing(code: grpc.StatusCode, reason: str = "") -> Callable[[Any], None]:
    def refuse(_: Any) -> None:
        raise RefusedError(code, reason)

    return refuse


def _apply(faults: list[tuple[str, Callable[[Any], None], list[int]]], name: str, reply: Any) -> None:
    """Apply the faults of a method that are not used up."""
    for method, fault, times in faults:
        if method in {"*", name} and times[0] > 0:
            times[0] -= 1
            fault(reply)


def _page(found: list[Any], request: Any) -> tuple[list[Any], str]:
    """A page of a listing, and the token of the next one."""
    start, size = int(request.page_token or 0), min(request.page_size or MAX_PAGE, MAX_PAGE)
    return found[start : start + size], str(start + size) if start + size < len(found) else ""


def _check_labels(labels: Any) -> None:
    for name, text in labels.items():
        kinds = [unicodedata.category(one) for one in name + text if one not in "_-"]
        fits = 1 <= len(name) <= 63 and len(text) <= 63 and unicodedata.category(name[0]) in {"Ll", "Lo"}
        if not fits or any(kind not in {"Ll", "Lo"} and kind[0] != "N" for kind in kinds):
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
    if len(labels) > 64:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)


def _abort(context: grpc.ServicerContext, refused: RefusedError) -> None:
    """End the call with a status of Google. Its message quotes a value, which nobody may show."""
    from grpc_status import rpc_status

    details = []
    if refused.reason:
        details.append(any_pb2.Any())
        details[0].Pack(error_details_pb2.ErrorInfo(reason=refused.reason, domain="iam.googleapis.com"))
    code = code_pb2.Code.Value(refused.code.name)
    message = "a message that quotes canary-6f1d-value"
    context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=code, message=message, details=details)))


# Empty settings, and the header of a frame of an unknown type, whose 16,384 bytes a client awaits and ignores.
DRIPPING = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x40\x00\xfa\x00\x00\x00\x00\x00"
"""The beginning of a service of HTTP/2 that drips, for `dripping_server`."""


class TokenServer:
    """A token server of Google's Security Token Service, on loopback. It counts requests, and answers with `answer`.

    Attributes:
        answer: the status and the body of each reply.
        count: how many requests came.
    """

    TOKEN = "canary-6f1d-token"

    def __init__(self) -> None:
        self.count = 0
        self.answer: tuple[int, dict[str, Any]] = (
            200,
            {
                "access_token": self.TOKEN,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": 3600,
            },
        )
        server = self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                server.count += 1
                status, body = server.answer
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)


def workload_identity(token_url: str, folder: Path) -> Path:
    """Write a credentials file whose tokens this server gives, for GOOGLE_APPLICATION_CREDENTIALS."""
    (folder / "subject").write_text("canary-6f1d-subject", "utf-8")
    file = folder / "workload.json"
    content = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": str(folder / "subject")},
    }
    file.write_text(json.dumps(content), "utf-8")
    return file
