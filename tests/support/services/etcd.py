"""Real etcd servers on loopback: one member, one with users and TLS, or three that can be killed and paused."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import trustme

from strongroom_vault.dev.server import free_port
from support.programs import require
from support.services import guarded

_READY = 60.0
_ATTEMPTS = 5
ROOT, APP, DENIED = "root", "app", "denied"
"""Users of a server with authentication: all rights, readwrite on the keys below `strongroom/`, and no right."""
PASSWORD = "canary-password"


class Node:
    """One member. Its process ends with the process that started it.

    Attributes:
        url: where clients reach it.
        peer: where members reach it.
    """

    def __init__(self, name: str, folder: Path, options: tuple[str, ...] = (), *, secure: bool = False) -> None:
        self.name = name
        self._folder = folder
        self._options = options
        self.url = f"http{'s' if secure else ''}://127.0.0.1:{free_port()}"
        self.peer = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, members: str = "") -> None:
        """Start the process. `ready` waits until it answers."""
        command = [
            "etcd", "--name", self.name, "--data-dir", str(self._folder / self.name), "--log-level", "error",
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer,
            "--initial-cluster", members or f"{self.name}={self.peer}",
            "--unsafe-no-fsync", "--bcrypt-cost", "4", *self._options,
        ]  # fmt: skip
        self._process = guarded.start(command)

    @property
    def runs(self) -> bool:
        """True if the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self._process is not None:
            guarded.end(self._process)

    def pause(self) -> None:
        """Stop the process (SIGSTOP): it accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a paused process."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def call(self, operation: str, body: object = None, *, token: str = "", timeout: float = 10.0) -> dict[str, Any]:
        """Return the reply to a call of the JSON gateway. Raise OSError if it fails."""
        headers = {"Authorization": token} if token else {}
        content = json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.url}/v3/{operation}", content, headers)
        with urllib.request.urlopen(request, timeout=timeout, context=self._context()) as reply:
            answer: dict[str, Any] = json.load(reply)
            return answer

    def _context(self) -> ssl.SSLContext | None:
        return None

    def is_ready(self) -> bool:
        """Return True if it answers a linearizable read, or refuses it for a missing user."""
        try:
            self.call("kv/range", {"key": "YQ=="}, timeout=2)
        except urllib.error.HTTPError as error:
            return error.code == 400
        except OSError:
            return False
        return True

    def ready(self) -> bool:
        """Wait until it is ready. Return False if it has ended, perhaps since another program took a port."""
        ends = time.monotonic() + _READY
        while self.runs and time.monotonic() < ends:
            if self.is_ready():
                return True
            time.sleep(0.05)
        return False

    def put(self, key: str, value: bytes) -> int:
        """Write a key as another program does. Return its revision."""
        body = {"key": b64(key.encode()), "value": b64(value)}
        return int(self.call("kv/put", body)["header"]["revision"])

    def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None if it does not exist."""
        found = self.call("kv/range", {"key": b64(key.encode())}).get("kvs", [])
        return base64.b64decode(found[0].get("value", "")) if found else None


class SecureNode(Node):
    """A member with TLS, required client certificates, and users.

    Attributes:
        ca_cert, client_cert, client_key: PEM files for clients.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_cert, self.client_cert, self.client_key = (folder / f"{name}.pem" for name in ("ca", "client", "key"))
        server_cert, server_key = folder / "server.pem", folder / "server-key.pem"
        authority.cert_pem.write_to_path(self.ca_cert)
        # The gateway connects to its own server with the server's certificate.
        for certificate, cert, key in (
            (authority.issue_cert("127.0.0.1"), server_cert, server_key),
            (authority.issue_cert("client.example"), self.client_cert, self.client_key),
        ):
            certificate.cert_chain_pems[0].write_to_path(cert)
            certificate.private_key_pem.write_to_path(key)
        files = ("--cert-file", server_cert, "--key-file", server_key, "--trusted-ca-file", self.ca_cert)
        super().__init__("secure", folder, (*map(str, files), "--client-cert-auth"), secure=True)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_cert))
        context.load_cert_chain(self.client_cert, self.client_key)
        return context

    @property
    def options(self) -> dict[str, Any]:
        """The options of a store for the user `app`."""
        files = {"ca_cert": self.ca_cert, "client_cert": self.client_cert, "client_key": self.client_key}
        return {"endpoints": [self.url], "username": APP, "password": PASSWORD, **files}

    def administer(self, operation: str, **body: object) -> dict[str, Any]:
        """Call as root."""
        token = self.call("auth/authenticate", {"name": ROOT, "password": PASSWORD})["token"]
        return self.call(operation, body, token=token)

    def create_users(self) -> None:
        """Create the users, and enable authentication."""
        for user in (ROOT, APP, DENIED):
            self.call("auth/user/add", {"name": user, "password": PASSWORD})
            self.call("auth/role/add", {"name": user})
            self.call("auth/user/grant", {"user": user, "role": user})
        self.call("auth/role/grant", {"name": APP, "perm": permission("strongroom/")})
        self.call("auth/enable")


class Cluster:
    """Three members, each of which can be killed, paused and started again.

    Attributes:
        members: their names and addresses, for `Node.start`.
    """

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(f"n{number}", folder) for number in range(3)]
        self.members = ",".join(f"{node.name}={node.peer}" for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start(self.members)
            assert all(node.ready() for node in self.nodes), "the cluster does not start"
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all members."""
        for node in self.nodes:
            node.kill()

    @property
    def urls(self) -> list[str]:
        """The endpoints of all members."""
        return [node.url for node in self.nodes]

    def leader(self) -> Node:
        """Return the leader, when all running members agree on it."""
        ends = time.monotonic() + _READY
        while time.monotonic() < ends:
            status = {}
            for node in self.nodes:
                with contextlib.suppress(OSError):
                    status[node.name] = node.call("maintenance/status", timeout=2)
            leaders = {answer.get("leader", "0") for answer in status.values()}
            found = [n for n in self.nodes if n.name in status and status[n.name]["header"]["member_id"] in leaders]
            if len(leaders) == 1 and found:
                return found[0]
            time.sleep(0.05)
        raise AssertionError("the cluster elects no leader")

    def restart(self, node: Node) -> None:
        """Start a killed member again, and wait until it is ready."""
        node.start(self.members)
        assert node.ready(), "the member does not start"


def permission(prefix: str) -> dict[str, str]:
    """Return readwrite on the keys below a prefix, which ends in a slash."""
    start = prefix.encode()
    return {"permType": "READWRITE", "key": b64(start), "range_end": b64(start[:-1] + b"0")}


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@contextlib.contextmanager
def running_etcd(*, secure: bool = False) -> Iterator[Any]:
    """Yield one member, or skip the test if etcd is not installed."""
    require("etcd")
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix="etcd-"))
        node = SecureNode(folder) if secure else Node("alone", folder)
        try:
            node.start()
            if node.ready():
                if isinstance(node, SecureNode):
                    node.create_users()
                yield node
                return
        finally:
            node.kill()
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("etcd does not start")
