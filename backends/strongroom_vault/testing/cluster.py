"""A real cluster of three nodes on loopback, each of which can be killed, paused, sealed and brought back."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom_vault.dev.server_process import LoopbackServer, configuration, free_port, raft_storage
from strongroom_vault.testing.provisioning import Preparing, audited

_NODES = 3
_READY = 60.0
_AGREEMENT = 10.0
_POLL = 0.05
_MARK = "test-cluster/mark"


class Node(LoopbackServer):
    """One node: a server of its own. Its cluster starts it; `call` asks this node and no other.

    Args:
        name: its name in the cluster.
        token: the cluster's root token.
        folder: where it keeps its data.
        audit: where it writes a line for each request, if it does.
        joins: the nodes that it asks to be taken in.
    """

    called = "node of the test cluster"

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
        """Whether its process runs and is not paused."""
        return self._process is not None and not self.paused

    def start(self) -> None:
        """Starts the process, and returns when it listens: sealed, or not in the cluster yet."""
        self.paused = False
        super().start()

    def pause(self) -> None:
        """Stops the process (SIGSTOP): connections to it are accepted, and nothing answers."""
        super().pause()
        self.paused = True

    def resume(self) -> None:
        """Lets a paused node go on."""
        super().resume()
        self.paused = False

    def is_sealed(self) -> bool:
        """Whether it cannot answer for want of the key, which holds for one that has not joined yet as well."""
        return self.call("GET", "sys/seal-status")["sealed"] is not False

    def leader_url(self) -> str | None:
        """The address of the node that it takes for the leader, its own where it is that itself; None for no one."""
        try:
            said = self.call("GET", "sys/leader")
        except StoreError:
            return None
        return self.url if said.get("is_self") else said.get("leader_address") or None

    def has_mount(self, path: str) -> bool:
        """Whether this node knows a key-value engine there, of which a standby hears later than the leader."""
        status, reply = self._exchange("GET", f"{path}/config", None, self.token)
        return status == 200 or reply == {"errors": []}

    def has_version(self, path: str, version: int) -> bool:
        """Whether this node knows this version of a secret below `secret`, or a later one."""
        status, reply = self._exchange("GET", f"secret/data/{path}", None, self.token)
        return status == 200 and int(reply["data"]["metadata"]["version"]) >= version

    def _configuration(self, binary: Path, port: int) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        storage = raft_storage(self._folder, self.name, [node.url for node in self._joins])
        return configuration(binary, port, self._cluster_port, storage, self._audit)


class TestCluster(Preparing):
    """Three nodes with Raft storage, unsealed, all of them voters, with KV version 2 mounted at `secret`.

    A context manager. No node outlives the process that started it, however that process ends; the data does where
    that process was killed. Starting takes about ten seconds, so that many tests share one: `heal` makes it whole
    again.

    Args:
        folder: where the nodes keep their data; a folder of its own, which `close` removes, where it is None.
        audit: the nodes write a line for each request, which `requests` counts.

    Attributes:
        nodes: the three of them, in the order of their names.
        token: a root token.
    """

    __test__ = False  # its name begins like that of a test class

    def __init__(self, *, folder: Path | None = None, audit: bool = False) -> None:
        self.token = f"test-{secrets.token_urlsafe(24)}"
        self._own_folder = Path(tempfile.mkdtemp(prefix="strongroom-cluster-")) if folder is None else None
        self._unseal_key = ""
        home = folder or self._own_folder or Path()
        # One file for all: a node whose audit device has another path than the cluster's cannot lead it.
        self._audit_file = home / "audit.log" if audit else None
        nodes: list[Node] = []
        for number in range(1, _NODES + 1):
            name = f"n{number}"
            nodes.append(Node(name, self.token, home / name, self._audit_file, tuple(nodes[:1])))
        self.nodes = tuple(nodes)

    def __repr__(self) -> str:
        return f"TestCluster({', '.join(node.url or 'not started' for node in self.nodes)})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def urls(self) -> list[str]:
        """The nodes' addresses, in the order of their names, whoever leads."""
        return [node.url for node in self.nodes]

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts every node, and returns when all of them are voters.

        Raises:
            PluginError: there is no executable, or it does not start.
            StoreUnavailableError: the nodes do not come together in a minute.
        """
        try:
            first, *others = self.nodes
            first.start()
            self._found(first)
            for node in others:
                node.start()
                self.unseal(node)
            self.wait_for_voters()
            self.mount("secret")
        except BaseException:
            self.close()
            raise

    def _found(self, first: Node) -> None:
        """Initialises the first node, which the others join, and gives it the token."""
        born = first.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key, born_token = born["keys_base64"][0], born["root_token"]
        self.unseal(first)
        self._until(lambda: first.leader_url() == first.url, "the first node does not lead")
        grant = {"id": self.token, "policies": ["root"], "no_parent": True}
        first.call("POST", "auth/token/create", grant, token=born_token)
        first.call("POST", "auth/token/revoke-self", token=born_token)
        # A new node is a voter once it has been well for ten seconds, if nothing else is said.
        first.call("POST", "sys/storage/raft/autopilot/configuration", {"server_stabilization_time": "1s"})

    def close(self) -> None:
        """Ends every node at once, and removes the data where the cluster made the folder for it."""
        for node in self.nodes:
            node.kill()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def heal(self) -> None:
        """Makes the cluster whole: restarts and unseals what is not, and returns when every node is in step.

        What tests have written and configured stays.
        """
        for node in self.nodes:
            if not node.answers:
                self._start_anew(node)
        for node in self.nodes:
            self.unseal(node)
        try:
            self.leader(timeout=_AGREEMENT)
        except StoreUnavailableError:
            # OpenBao 2.7.2: a leader that was paused just after its election may take itself for the leader for ever.
            for node in self.nodes:
                self._start_anew(node)
            for node in self.nodes:
                self.unseal(node)
        self.wait_for_voters()
        self.wait_for_standbys()

    def wait_for_standbys(self) -> None:
        """Returns when every node that answers has what was written until now: standbys answer from their own state."""
        mark = self.put(_MARK, {"mark": secrets.token_hex(8)})
        for node in self.nodes:
            if node.answers:
                self._until(partial(node.has_version, _MARK, mark), f"{node.name} stays behind")

    @staticmethod
    def _start_anew(node: Node) -> None:
        node.kill()
        node.start()

    # --- who is who ---------------------------------------------------------------------------------------------------

    def leader(self, *, timeout: float = _READY) -> Node:
        """The node on which every node that answers agrees; waits for it while there is an election.

        Raises:
            StoreUnavailableError: there is none in so many seconds, for example because two nodes are down.
        """
        found: list[Node] = []

        def agreed() -> bool:
            said = {node.leader_url() for node in self.nodes if node.answers and not node.is_sealed()}
            found[:] = [node for node in self.nodes if said == {node.url} and node.answers]
            return bool(found)

        self._until(agreed, "the nodes have no leader", timeout)
        return found[0]

    def standbys(self) -> list[Node]:
        """The nodes that answer and do not lead."""
        leader = self.leader()
        return [node for node in self.nodes if node is not leader and node.answers and not node.is_sealed()]

    def wait_for_voters(self) -> None:
        """Returns when all nodes are voters: before that, the cluster does not survive the loss of one."""
        self._until(self._all_vote, "not every node has become a voter")

    def _all_vote(self) -> bool:
        try:
            config = self.leader().call("GET", "sys/storage/raft/configuration")["data"]["config"]
        except StoreError:  # an election goes on
            return False
        return sum(server["voter"] is True for server in config["servers"]) == len(self.nodes)

    # --- what happens to nodes ----------------------------------------------------------------------------------------

    def kill(self, node: Node) -> None:
        """Ends the node at once, as a crash would."""
        node.kill()

    def pause(self, node: Node) -> None:
        """Stops the node's process (SIGSTOP): connections to it are accepted, and nothing answers."""
        node.pause()

    def resume(self, node: Node) -> None:
        """Lets a paused node go on."""
        node.resume()

    def restart(self, node: Node) -> None:
        """Kills the node, starts it on the same port with its data, and unseals it."""
        self._start_anew(node)
        self.unseal(node)

    def seal(self, node: Node) -> None:
        """Seals the node: it answers 503 until `unseal`. A server lets only the leader be sealed; others restart."""
        if node.leader_url() == node.url:
            node.call("PUT", "sys/seal")
        else:
            self._start_anew(node)

    def unseal(self, node: Node) -> None:
        """Gives the node the key, until it is unsealed. One that is in no cluster yet joins."""

        def unsealed() -> bool:
            try:
                node.call("PUT", "sys/unseal", {"key": self._unseal_key})
                return not node.is_sealed()
            except StoreError:  # it has not heard from the node that it joins
                return False

        self._until(unsealed, f"{node.name} stays sealed")

    def step_down(self) -> None:
        """Lets the leader give up its office, to any node, itself included; returns at once."""
        self.leader().call("PUT", "sys/step-down")

    # --- the API ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """One call of the leader's HTTP API; as `DevServer.call`."""
        return self.leader().call(method, path, body, token=token)

    def mount(self, path: str, *, version: int = 2) -> None:
        """Mounts a key-value engine of this version, and returns when every node that answers can use it."""
        self.leader().mount(path, version=version)
        for node in self.standbys():
            self._until(partial(node.has_mount, path), f"{node.name} has no mount '{path}'")

    def requests(self, path: str, *, operation: str = "read") -> int:
        """How many requests the audit file has for exactly this API path and operation, as `TestVault` has it.

        A request that a standby has forwarded is one of the leader's.
        """
        if self._audit_file is None:
            raise ValueError("TestCluster(audit=True) was not given")
        return audited(self._audit_file, path, operation)

    @staticmethod
    def _until(holds: Callable[[], bool], otherwise: str, timeout: float = _READY) -> None:
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise StoreUnavailableError(None, f"{otherwise}, after {timeout:.0f} seconds")
            time.sleep(_POLL)
