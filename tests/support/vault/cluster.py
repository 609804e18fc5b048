"""A real cluster of three nodes on loopback, each of which can be killed, paused, sealed and restarted."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom_vault.dev.server import LoopbackServer, configuration, free_port
from strongroom_vault.testing import Provisioning
from support.vault.recorded_vault import RequestCounts, audit_device, raft_storage

_NODES = 3
_READY = 60.0
_AGREEMENT = 10.0
_POLL = 0.05
_MARK = "test-cluster/mark"


class Node(LoopbackServer):
    """One node, started by its cluster. `call` sends to this node only."""

    title = "node of the test cluster"

    def __init__(self, name: str, token: str, folder: Path, audit: Path | None, joins: tuple[Node, ...]) -> None:
        super().__init__(token)
        self.name = name
        self._audit = audit
        self.paused = False
        self._folder = folder
        self._joins = joins
        self._cluster_port = free_port()

    def __repr__(self) -> str:
        return f"Node({self.name} at {self.url or 'no address yet'})"

    @property
    def answers(self) -> bool:
        """True if its process runs and is not paused."""
        return self._process is not None and not self.paused

    def start(self) -> None:
        """Start the process, and wait until it listens. It is sealed, or not in the cluster yet."""
        self.paused = False
        super().start()

    def pause(self) -> None:
        """Stop the process (SIGSTOP): it accepts connections and answers nothing."""
        super().pause()
        self.paused = True

    def resume(self) -> None:
        """Continue a paused node."""
        super().resume()
        self.paused = False

    def is_sealed(self) -> bool:
        """Return True if it needs the unseal key, as a node that has not joined yet does."""
        return self.call("GET", "sys/seal-status")["sealed"] is not False

    def leader_url(self) -> str | None:
        """Return the address of the leader that this node knows, possibly its own, or None."""
        try:
            status = self.call("GET", "sys/leader")
        except StoreError:
            return None
        return self.url if status.get("is_self") else status.get("leader_address") or None

    def status(self, method: str, path: str, body: object = None, *, token: str) -> int:
        """Return the HTTP status of the reply to a request."""
        return self._exchange(method, path, body, token)[0]

    def has_mount(self, path: str) -> bool:
        """Return True if this node knows a key-value engine there. A standby learns of it later than the leader."""
        status, reply = self._exchange("GET", f"{path}/config", None, self.token)
        return status == 200 or reply == {"errors": []}

    def has_version(self, path: str, version: int) -> bool:
        """Return True if this node has this version of a secret in the mount `secret`, or a later one."""
        status, reply = self._exchange("GET", f"secret/data/{path}", None, self.token)
        return status == 200 and int(reply["data"]["metadata"]["version"]) >= version

    def _configuration(self, binary: Path, port: int) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        storage = raft_storage(self._folder, self.name, [node.url for node in self._joins])
        device = "" if self._audit is None else audit_device(self._audit)
        return configuration(binary, port, self._cluster_port, storage, host=self.host) + device


class TestCluster(Provisioning):
    """Three unsealed nodes with Raft storage, all of them voters, with KV version 2 mounted at `secret`.

    A context manager. The nodes end with the process that started them, even if it is killed; the data stays in that
    case. The start takes about ten seconds, so tests share one cluster and call `heal` in between.

    Args:
        folder: data of the nodes. With None it is a temporary folder, which `close` removes.
        audit: enable an audit device, which `requests` reads.

    Attributes:
        nodes: the nodes, sorted by name.
        token: a root token.
    """

    __test__ = False  # not a class of tests, despite its name

    def __init__(self, *, folder: Path | None = None, audit: bool = False) -> None:
        self.token = f"test-{secrets.token_urlsafe(24)}"
        self._own_folder = Path(tempfile.mkdtemp(prefix="strongroom-cluster-")) if folder is None else None
        self._unseal_key = ""
        data = folder or self._own_folder or Path()
        # One file for all nodes: a node whose audit device has another path cannot become the leader.
        audit_file = data / "audit.log" if audit else None
        self._counts = None if audit_file is None else RequestCounts(audit_file)
        nodes: list[Node] = []
        for number in range(1, _NODES + 1):
            name = f"n{number}"
            nodes.append(Node(name, self.token, data / name, audit_file, tuple(nodes[:1])))
        self.nodes = tuple(nodes)

    def __repr__(self) -> str:
        return f"TestCluster({', '.join(node.url or 'not started' for node in self.nodes)})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def urls(self) -> list[str]:
        """Addresses of the nodes, sorted by name."""
        return [node.url for node in self.nodes]

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all nodes, and wait until all of them are voters.

        Raises:
            PluginError: no server is installed, or it does not start.
            StoreUnavailableError: the nodes do not form a cluster within a minute.
        """
        try:
            first, *others = self.nodes
            first.start()
            self._initialize(first)
            for node in others:
                node.start()
                self.unseal(node)
            self.wait_for_voters()
            self.mount("secret")
        except BaseException:
            self.close()
            raise

    def _initialize(self, first: Node) -> None:
        """Initialize the first node, which the others join, and create the root token."""
        init = first.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key, first_token = init["keys_base64"][0], init["root_token"]
        self.unseal(first)
        self._until(lambda: first.leader_url() == first.url, "the first node does not lead")
        grant = {"id": self.token, "policies": ["root"], "no_parent": True}
        first.call("POST", "auth/token/create", grant, token=first_token)
        first.call("POST", "auth/token/revoke-self", token=first_token)
        # By default, a new node becomes a voter after ten healthy seconds.
        first.call("POST", "sys/storage/raft/autopilot/configuration", {"server_stabilization_time": "1s"})

    def close(self) -> None:
        """Kill all nodes, and remove the temporary folder."""
        for node in self.nodes:
            node.kill()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def heal(self) -> None:
        """Repair the cluster: restart and unseal nodes where necessary, and wait until all nodes are in sync.

        The data and settings of earlier tests stay.
        """
        for node in self.nodes:
            if not node.answers:
                self._restart_process(node)
        for node in self.nodes:
            self.unseal(node)
        try:
            self.leader(timeout=_AGREEMENT)
            self._mark(timeout=_AGREEMENT)
        except StoreUnavailableError:
            # OpenBao 2.7.2: a leader that is paused just after its election may consider itself the leader for good,
            # and one that was sealed may redirect writes to itself.
            for node in self.nodes:
                self._restart_process(node)
            for node in self.nodes:
                self.unseal(node)
        self.wait_for_voters()
        self.wait_for_standbys()

    def wait_for_standbys(self) -> None:
        """Wait until all running nodes have all writes so far: a standby answers from its own state."""
        mark = self._mark()
        for node in self.nodes:
            if node.answers:
                self._until(partial(node.has_version, _MARK, mark), f"{node.name} does not catch up")

    def _mark(self, *, timeout: float = _READY) -> int:
        """Write a secret, and return its version. Another election may begin meanwhile."""
        versions: list[int] = []

        def is_written() -> bool:
            with contextlib.suppress(StoreError):
                versions.append(self.put(_MARK, {"mark": secrets.token_hex(8)}))
            return bool(versions)

        self._until(is_written, "the leader takes no write", timeout)
        return versions[0]

    @staticmethod
    def _restart_process(node: Node) -> None:
        node.kill()
        node.start()

    # --- roles of nodes -----------------------------------------------------------------------------------------------

    def leader(self, *, timeout: float = _READY) -> Node:
        """Return the leader on which all running nodes agree, after an election if necessary.

        Raises:
            StoreUnavailableError: there is none within `timeout` seconds, for example because two nodes are down.
        """
        found: list[Node] = []

        def agreed() -> bool:
            leaders = {node.leader_url() for node in self.nodes if node.answers and not node.is_sealed()}
            found[:] = [node for node in self.nodes if leaders == {node.url} and node.answers]
            return bool(found)

        self._until(agreed, "the nodes have no leader", timeout)
        return found[0]

    def standbys(self) -> list[Node]:
        """Return the running nodes that are not the leader."""
        leader = self.leader()
        return [node for node in self.nodes if node is not leader and node.answers and not node.is_sealed()]

    def wait_for_voters(self) -> None:
        """Wait until all nodes are voters: before that, the cluster does not survive the loss of one."""
        self._until(self._all_vote, "not every node has become a voter")

    def _all_vote(self) -> bool:
        try:
            config = self.leader().call("GET", "sys/storage/raft/configuration")["data"]["config"]
        except StoreError:  # during an election
            return False
        return sum(server["voter"] is True for server in config["servers"]) == len(self.nodes)

    # --- faults -------------------------------------------------------------------------------------------------------

    def kill(self, node: Node) -> None:
        """Kill the node, as a crash would."""
        node.kill()

    def pause(self, node: Node) -> None:
        """Stop the node's process (SIGSTOP): it accepts connections and answers nothing."""
        node.pause()

    def resume(self, node: Node) -> None:
        """Continue a paused node."""
        node.resume()

    def restart(self, node: Node) -> None:
        """Kill the node, start it on the same port with its data, and unseal it."""
        self._restart_process(node)
        self.unseal(node)

    def seal(self, node: Node) -> None:
        """Seal the node, which answers 503 until `unseal`. Only a leader can be sealed; a standby is restarted."""
        if node.leader_url() == node.url:
            node.call("PUT", "sys/seal")
        else:
            self._restart_process(node)

    def unseal(self, node: Node) -> None:
        """Send the key until the node is unsealed. A node that is in no cluster yet joins."""

        def unsealed() -> bool:
            try:
                node.call("PUT", "sys/unseal", {"key": self._unseal_key})
                return not node.is_sealed()
            except StoreError:  # it has not reached the node that it joins yet
                return False

        self._until(unsealed, f"{node.name} stays sealed")

    def step_down(self) -> None:
        """Make the leader step down; any node can win the election, itself included. Returns at once."""
        self.leader().call("PUT", "sys/step-down")

    # --- the API ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """Call the leader's HTTP API; see `DevServer.call`."""
        return self.leader().call(method, path, body, token=token)

    def mount(self, path: str, *, version: int = 2) -> None:
        """Mount a key-value engine of this version, and wait until all running nodes can use it."""
        self.leader().mount(path, version=version)
        for node in self.standbys():
            self._until(partial(node.has_mount, path), f"{node.name} has no mount '{path}'")

    def requests(self, path: str, *, operation: str = "read") -> int:
        """Return the number of requests in the audit file for exactly this API path and operation.

        A request that a standby forwards counts as a request to the leader.
        """
        if self._counts is None:
            raise ValueError("requests() needs TestCluster(audit=True)")
        return self._counts.of(path, operation)

    @staticmethod
    def _until(condition: Callable[[], bool], fault: str, timeout: float = _READY) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise StoreUnavailableError(None, f"{fault}, after {timeout:.0f} seconds")
            time.sleep(_POLL)
