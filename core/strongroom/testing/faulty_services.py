"""Services on loopback that fail as real ones do. Separate from the contracts: they need no pytest."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeAlias

from strongroom.secret import Value

ServiceFault: TypeAlias = Literal[
    "throttled", "failed", "odd", "misdirected", "redirected", "rejected", "denied", "lost", "silent"
]
"""A fault of a service, which meets one request: see `FaultyService`."""

Requests: TypeAlias = Literal["reads", "changes", "logins"]

_PAUSE = 0.05
_CHUNK = 1 << 16
_LONGEST_SILENCE = 120.0


@contextmanager
def silent_server() -> Iterator[tuple[str, int]]:
    """Yield host and port of a listener on loopback that accepts every connection and never answers.

    It simulates a hung service. A refused connection would fail at once and prove no deadline.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel completes the handshake, nobody accepts
        yield listener.getsockname()[:2]


@contextmanager
def dripping_server(beginning: bytes = b"HTTP/1.1 200 OK\r\nX-Drip: ") -> Iterator[tuple[str, int]]:
    """Yield host and port of a listener on loopback that answers every connection with a byte now and then, for ever.

    No timeout of a single socket operation ends such an answer. Only a deadline of the whole call does.

    Args:
        beginning: sent at once, so that a client goes on reading. By default it begins a header of HTTP.
    """
    with _Listener() as listener:

        def drip(client: socket.socket) -> None:
            client.sendall(beginning)
            while not listener.ended.wait(_PAUSE):
                client.sendall(b"a")

        yield listener.serve(drip)


@contextmanager
def recording_server() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of an HTTP server on loopback to which no store may send anything, and all that it receives."""
    received: list[bytes] = []

    def record(client: socket.socket) -> None:
        received.append(client.recv(_CHUNK))
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    with _Listener() as listener:
        host, port = listener.serve(record)
        yield f"http://{host}:{port}", received


@contextmanager
def untrusted_server(folder: Path) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Yield host and port of a TLS server on loopback whose certificate nobody has signed, and all that it receives.

    Args:
        folder: for the certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_write_certificate(folder / "untrusted.pem"))
    received: list[bytes] = []

    def record(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secure:
            received.append(secure.recv(_CHUNK))

    with _Listener() as listener:
        yield listener.serve(record), received


def _write_certificate(file: Path) -> Path:
    """Write a key and its certificate for 127.0.0.1, signed by itself. Return the file."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "strongroom.testing")])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    return file


class DroppingProxy:
    """A proxy to a service on loopback that can close its connections while they are idle.

    Attributes:
        address: host and port of the proxy.
    """

    def __init__(self, listener: _Listener, service: tuple[str, int]) -> None:
        self._listener = listener
        self._service = service
        self.address = listener.serve(self._forward)

    def drop(self) -> int:
        """Close every connection, as a server or a load balancer does after an idle time. Return how many."""
        return self._listener.drop()

    def _forward(self, client: socket.socket) -> None:
        with socket.create_connection(self._service) as service:
            self._listener.add(service)
            back = threading.Thread(target=_copy, args=(service, client), daemon=True)
            back.start()
            _copy(client, service)
            back.join()


@contextmanager
def dropping_proxy(host: str, port: int) -> Iterator[DroppingProxy]:
    """Yield a `DroppingProxy` to the service at this host and port."""
    with _Listener() as listener:
        yield DroppingProxy(listener, (host, port))


class _Listener:
    """A listener on loopback with a daemon thread for each connection."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        self.drop()

    def serve(self, answer: Callable[[socket.socket], None]) -> tuple[str, int]:
        """Call `answer` with each connection, in a thread of its own. Return host and port."""

        def accept() -> None:
            while True:
                try:
                    client, _ = self._socket.accept()
                except OSError:
                    return
                self.add(client)
                threading.Thread(target=handle, args=(client,), daemon=True).start()

        def handle(client: socket.socket) -> None:
            with suppress(OSError), client:  # the client may be gone, or have refused the handshake
                answer(client)
            with self._lock:
                self._connections.discard(client)

        threading.Thread(target=accept, daemon=True).start()
        host, port = self._socket.getsockname()[:2]
        return host, port

    def add(self, connection: socket.socket) -> None:
        """Let `drop` close this connection, too."""
        with self._lock:
            self._connections.add(connection)
        if self.ended.is_set():
            self.drop()

    def drop(self) -> int:
        """Close every connection. Return how many."""
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # `close` alone does not end a `recv` of another thread
        return len(connections)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side is closed, and close both."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@dataclass
class _Rule:
    """A fault, the requests that it applies to, how many pass before it, how often it applies, and the next fault."""

    fault: ServiceFault
    only: Requests | None = None
    after: int = 0
    times: int | None = None
    then: ServiceFault | None = None


class FaultyService(ABC):
    """The driver of `ServiceContract`: a service on loopback, real or fake, that fails on request.

    A subclass tells the options of a store of this service. The server of the fake, or a proxy before a real service,
    calls `next_fault` once for each request about secrets, and if it returns a fault, does this:

    - `throttled`: refuse the request, since there were too many, as with HTTP 429, and do not carry it out.
    - `failed`: fail for the moment, as with HTTP 503, and do not carry it out.
    - `odd`: answer as no service of this kind does, such as with a login page and HTTP 200, and do not carry it out.
    - `misdirected`: answer as another server that knows no such address, such as with a page and HTTP 404, and do not
      carry it out.
    - `redirected`: send the client to `location`, as with HTTP 307, and do not carry it out.
    - `rejected`: refuse the credentials, as with HTTP 401, and do not carry it out.
    - `denied`: refuse the request for lack of permission, as with HTTP 403, and do not carry it out.
    - `lost`: carry the request out, and close the connection without a reply.
    - `silent`: call `wait_healed`, and then close the connection without a reply.

    A request that exchanges credentials for a token passes `login=True`; override `revoke_tokens` too. It counts as a
    login, and not as a request. Let its refusal quote the credentials, as some services do: no error and no log may
    show them. Other requests that are not about secrets do not count. The methods are thread-safe.

    Each credential in the options has the text `strongroom.testing.CANARY`, so that the contract finds it in a log.

    Attributes:
        requests: the number of requests so far.
        arrivals: when each of them came, in seconds of `time.monotonic`.
        changes: the number of changes so far that were carried out, and would be carried out again.
        logins: the number of requests so far that exchange credentials for a token.
        faults: the number of requests so far that met a fault.
        location: the URL of the server to which a redirected client is sent.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.arrivals: list[float] = []
        self.changes = 0
        self.logins = 0
        self.faults = 0
        self.location = ""
        self._changed = threading.Condition()
        self._rules: list[_Rule] = []
        self._before_change: Callable[[], object] | None = None

    @abstractmethod
    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        """Return the table of a store of this service in a configuration: its `plugin`, and its options.

        Args:
            address: host and port on loopback that take the place of the service's own: something that never answers,
                or a port that nobody listens at.
        """

    def put(self, path: str, data: Mapping[str, Value]) -> None:
        """Hold a secret. Override it if Strongroom cannot write to the service; by default the store writes."""
        raise NotImplementedError

    def delay(self, seconds: float) -> bool:  # noqa: ARG002  # for subclasses
        """Show changes to readers only after this time, if the service is eventually consistent.

        Reads that such a service documents as consistent, such as those of a version by its number, are not late.

        Returns:
            False if the service is never late, as by default.
        """
        return False

    def ask_for_pause(self, seconds: int) -> bool:  # noqa: ARG002  # for subclasses
        """Ask in each throttled reply for no further request within this time, as with the header Retry-After.

        Returns:
            False if the service never does, as by default.
        """
        return False

    def revoke_tokens(self) -> bool:
        """Accept no token any more that was issued before, if the store exchanges its credentials for a token.

        Returns:
            False if the store has no login, as by default.
        """
        return False

    # --- for the contract ---------------------------------------------------------------------------------------------

    def inject(
        self,
        fault: ServiceFault,
        *,
        times: int | None = None,
        only: Requests | None = None,
        after: int = 0,
        then: ServiceFault | None = None,
    ) -> None:
        """Let the next requests meet a fault.

        Args:
            fault: the fault.
            times: the number of requests that meet it; None for all until `heal`.
            only: "reads" or "changes", if it concerns only requests that leave secrets alone, or that change one;
                "logins" for those that exchange credentials for a token, which meet no other fault.
            after: the number of such requests that pass before it.
            then: the fault that every request meets afterwards, with `times`.
        """
        with self._changed:
            self._rules.append(_Rule(fault, only, after, times, then))

    def heal(self) -> None:
        """End all faults, and let the silent connections end."""
        with self._changed:
            self._rules.clear()
            self._changed.notify_all()

    def before_change(self, call: Callable[[], object]) -> None:
        """Let another client come first: make this call, once, before the next change of a secret is carried out."""
        with self._changed:
            self._before_change = call

    # --- for the server -----------------------------------------------------------------------------------------------

    def next_fault(self, *, changes: bool, repeatable: bool = False, login: bool = False) -> ServiceFault | None:
        """Return the fault that the present request meets, or None.

        Args:
            changes: the request changes a secret.
            repeatable: the same request, sent once more, would change nothing: it sets the same whole value, creates
                what exists then, deletes, or has a condition such as a version.
            login: the request exchanges credentials for a token, and is not about secrets.
        """
        with self._changed:
            before, self._before_change = self._before_change, None if changes else self._before_change
        if changes and before is not None:
            before()
        with self._changed:
            fault = self._met("logins" if login else "changes" if changes else "reads")
            self.faults += fault is not None
            if changes and not repeatable and fault in {None, "lost"}:
                self.changes += 1
            return fault

    def _met(self, kind: Requests) -> ServiceFault | None:
        if kind == "logins":
            self.logins += 1
        else:
            self.requests += 1
            self.arrivals.append(time.monotonic())
        self._changed.notify_all()
        for rule in self._rules:
            if rule.only != kind and (rule.only is not None or kind == "logins"):
                continue
            if rule.after > 0:
                rule.after -= 1
            elif rule.times is None:
                return rule.fault
            elif rule.times > 0:
                rule.times -= 1
                if rule.times == 0 and rule.then is not None:
                    self._rules.append(_Rule(rule.then))
                return rule.fault
        return None

    def wait_healed(self) -> None:
        """Wait until `heal`, for at most two minutes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._rules, _LONGEST_SILENCE)

    def wait_for_requests(self, number: int, seconds: float) -> bool:
        """Wait until there were this many requests. Return False if there were fewer after these seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.requests >= number, seconds)
