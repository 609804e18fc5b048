"""A fake of the REST API of Google Secret Manager on loopback, with the documented limits and errors.

It follows https://docs.cloud.google.com/secret-manager/docs/reference/rest, and reads and writes the messages of
Google's own SDK, which works with it too. Two facts are from reports of users: access to a version that is disabled or
destroyed is FAILED_PRECONDITION, and the names in replies have the number of the project, not its ID.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from google.cloud.secretmanager_v1 import types
from google.protobuf.json_format import ParseError

from strongroom_google.store import crc32c

PROJECT_NUMBER = "123456789012"

_STATUSES = {
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "DEADLINE_EXCEEDED": 504,
    "FAILED_PRECONDITION": 400,
    "INTERNAL": 500,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "UNAVAILABLE": 503,
}
"""The HTTP status of each code of Google (google.rpc.Code)."""

_ROUTES = [
    ("ListSecrets", "GET", r"(?P<parent>projects/[^/]+(?:/locations/[^/]+)?)/secrets"),
    ("CreateSecret", "POST", r"(?P<parent>projects/[^/]+(?:/locations/[^/]+)?)/secrets"),
    ("GetSecret", "GET", r"(?P<name>.*/secrets/[^/:]+)"),
    ("UpdateSecret", "PATCH", r"(?P<secret>.*/secrets/[^/:]+)"),
    ("DeleteSecret", "DELETE", r"(?P<name>.*/secrets/[^/:]+)"),
    ("AddSecretVersion", "POST", r"(?P<parent>.*/secrets/[^/:]+):addVersion"),
    ("ListSecretVersions", "GET", r"(?P<parent>.*/secrets/[^/:]+)/versions"),
    ("GetSecretVersion", "GET", r"(?P<name>.*/versions/[^/:]+)"),
    ("AccessSecretVersion", "GET", r"(?P<name>.*/versions/[^/:]+):access"),
    ("EnableSecretVersion", "POST", r"(?P<name>.*/versions/[^/:]+):enable"),
    ("DisableSecretVersion", "POST", r"(?P<name>.*/versions/[^/:]+):disable"),
    ("DestroySecretVersion", "POST", r"(?P<name>.*/versions/[^/:]+):destroy"),
]
"""The methods of the API, with their verbs and the paths of their URLs below `/v1/`."""

MAX_PAYLOAD, MAX_PAGE = 65_536, 25_000
_ID = re.compile(r"[a-zA-Z0-9_-]{1,255}")
_PARENT = re.compile(r"projects/(?P<project>[a-z0-9-]+)(?:/locations/(?P<region>[a-z0-9-]+))?")
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

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class FakeSecretManager:
    """Secret Manager, within a `with` block.

    Attributes:
        url: its address without TLS, for the option `endpoint_url`.
        requests: the name and the request of each call, in order.
        given: the bearer token of each call; empty without one.
        tokens: the accepted bearer tokens; None to accept every caller, as over a connection without TLS.
        intercept: takes the handler of a request, and returns True if it has dealt with it.
        late: seconds by which `latest`, aliases and lists of versions are behind. A version that was just added can be
            read by its number alone: https://docs.cloud.google.com/secret-manager/docs/reference/consistency.
    """

    def __init__(self, *, region: str | None = None, context: ssl.SSLContext | None = None) -> None:
        self._region = region
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Entry]] = {}
        self._faults: list[tuple[str, Callable[[Any], None], list[int]]] = []
        self._reply_faults: list[tuple[str, Callable[[Any], None], list[int]]] = []
        self.requests: list[tuple[str, Any]] = []
        self.given: list[str] = []
        self.tokens: set[str] | None = None
        self.intercept: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
        self.late = 0.0
        self._server = _serve(type("Handler", (_Handler,), {"fake": self}), context)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- for tests ----------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> list[str]:
        """The methods that were called, in order."""
        return [method for method, _ in self.requests]

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

    def fail(self, method: str, code: str, *, reason: str = "", times: int = 1 << 30) -> None:
        """Let a method, or `*`, fail with this code, and a denial with a reason code."""
        self._faults.append((method, _refusing(code, reason), [times]))

    def lose(self, method: str, *, times: int = 1) -> None:
        """Let a method be executed, and its reply be lost."""
        self._reply_faults.append((method, _refusing("UNAVAILABLE"), [times]))

    def deny(self, *methods: str) -> None:
        """Deny these methods for the reason of IAM."""
        for method in methods or ("*",):
            self.fail(method, "PERMISSION_DENIED", reason="IAM_PERMISSION_DENIED")

    def damage(self, method: str) -> None:
        """Let the payload of the method's reply differ from its checksum."""
        self._reply_faults.append((method, lambda reply: setattr(reply.payload, "data_crc32c", 1), [1 << 30]))

    # --- the service --------------------------------------------------------------------------------------------------

    def answer(self, method: str, message: dict[str, Any], headers: Any) -> tuple[int, str]:
        """Return the HTTP status and the body of the reply to a call."""
        operation = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower())
        try:
            request = getattr(types, f"{method}Request").from_json(json.dumps(message))
            self.requests.append((method, request))
            self._authenticate(headers)
            _apply(self._faults, method, None)
            with self._lock:
                reply = operation(request)
            _apply(self._reply_faults, method, reply)
        except ParseError:
            return _refused(RefusedError("INVALID_ARGUMENT"))
        except RefusedError as refused:
            return _refused(refused)
        options = {"always_print_fields_with_no_presence": False, "use_integers_for_enums": False}
        return 200, "{}" if reply is None else type(reply).to_json(reply, **options)

    def _authenticate(self, headers: Any) -> None:
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        self.given.append(token)
        if self.tokens is not None and token not in self.tokens:
            raise RefusedError("UNAUTHENTICATED")

    def _parent(self, parent: str) -> dict[str, Entry]:
        found = _PARENT.fullmatch(parent)
        if found is None or found["region"] != self._region:  # each region has a separate endpoint
            raise RefusedError("INVALID_ARGUMENT")
        return self._entries.setdefault(parent, {})

    def _entry(self, name: str) -> Entry:
        parent, _, identifier = name.partition("/secrets/")
        if not _ID.fullmatch(identifier):
            raise RefusedError("INVALID_ARGUMENT")
        parent = parent.replace(f"projects/{PROJECT_NUMBER}", self._project_of(parent, identifier))
        entry = self._parent(parent).get(identifier)
        if entry is None:
            raise RefusedError("NOT_FOUND")
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
            raise RefusedError("NOT_FOUND")
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
            raise RefusedError("INVALID_ARGUMENT")
        if request.secret_id in entries:
            raise RefusedError("ALREADY_EXISTS")
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
            raise RefusedError("INVALID_ARGUMENT")
        _check_labels(request.secret.labels)
        entry.secret.labels = dict(request.secret.labels)
        return entry.secret

    def _delete_secret(self, request: Any) -> None:
        self._entry(request.name)
        parent, _, identifier = request.name.partition("/secrets/")
        del self._entries[parent][identifier]

    def _add_secret_version(self, request: Any) -> Any:
        payload = request.payload
        entry = self._entry(request.parent)
        damaged = "data_crc32c" in payload and payload.data_crc32c != crc32c(payload.data)
        if not 1 <= len(payload.data) <= MAX_PAYLOAD or damaged:
            raise RefusedError("INVALID_ARGUMENT")
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
            raise RefusedError("FAILED_PRECONDITION")
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
            raise RefusedError("FAILED_PRECONDITION")
        version.state, version.scheduled = state, None
        return self._as_version(entry, version)

    def _destroy_secret_version(self, request: Any) -> Any:
        entry, version = self._version(request.name)
        if version.state is State.DESTROYED:
            raise RefusedError("FAILED_PRECONDITION")
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


def _refusing(code: str, reason: str = "") -> Callable[[Any], None]:
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
            raise RefusedError("INVALID_ARGUMENT")
    if len(labels) > 64:
        raise RefusedError("INVALID_ARGUMENT")


def _refused(refused: RefusedError) -> tuple[int, str]:
    """Return the reply for a refusal. Its message quotes a value, which nobody may show."""
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "iam.googleapis.com"}
        for reason in [refused.reason]
        if reason
    ]
    status, message = _STATUSES[refused.code], "a message that quotes canary-6f1d-value"
    error = {"code": status, "message": message, "status": refused.code, "details": details}
    return status, json.dumps({"error": error})


class _Answering(BaseHTTPRequestHandler):
    """Answers with JSON."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # without a buffer, each answer would wait 40 ms for a delayed acknowledgment

    def send(self, status: int, body: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class _Handler(_Answering):
    fake: FakeSecretManager

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.fake.intercept(self):
            return
        url = urlsplit(self.path)
        for method, verb, pattern in _ROUTES:
            found = re.fullmatch(f"/v1/{pattern}", url.path)
            if found is not None and verb == self.command:
                self.send(*self.fake.answer(method, _message(method, found, url.query, content), self.headers))
                return
        self.send(404, "<!doctype html><title>Error 404 (Not Found)</title>")

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  # http.server's names


def _message(method: str, found: re.Match[str], query: str, content: bytes) -> dict[str, Any]:
    """Return the request of a method from the parts of its URL, its query and its body."""
    parts, body = found.groupdict(), json.loads(content or b"{}")
    query_fields = {name: text for name, text in parse_qsl(query) if not name.startswith("$")}  # `$alt` is the SDK's
    if method == "UpdateSecret":
        return {"secret": {**body, "name": parts["secret"]}, **query_fields}
    return {**parts, **query_fields, **({"secret": body} if method == "CreateSecret" else body)}


def _serve(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    """Return a server at a free port, whose requests daemon threads answer until its `shutdown`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


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

        class Handler(_Answering):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                server.count += 1
                status, body = server.answer
                self.send(status, json.dumps(body))

        self._server = _serve(Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


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
