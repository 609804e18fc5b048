"""A cluster whose nodes are in separate network namespaces, so that the connection between any two can be cut."""

import os
import shutil
import subprocess

from support.vault.cluster import TestCluster

_NET = f"10.213.{os.getpid() % 250}"
_BRIDGE = f"srb{os.getpid()}"


def why_not():
    """Return why there can be no namespaces here, or None."""
    if shutil.which("ip") is None:
        return "needs the program ip (iproute2)"
    tried = subprocess.run(["ip", "netns", "add", f"{_BRIDGE}t"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"cannot make a network namespace: {tried.stderr.strip()}"
    _ip("netns", "del", f"{_BRIDGE}t")
    return None


class PartitionableCluster(TestCluster):
    """Three nodes on a bridge, each in a namespace. The test itself reaches all of them.

    The bridge has a namespace too, because a machine with Docker drops packets on a bridge of the host.
    """

    def start(self):
        _ip("netns", "add", _BRIDGE)
        _ip("-n", _BRIDGE, "link", "add", "bridge", "type", "bridge")
        _ip("-n", _BRIDGE, "link", "set", "bridge", "up")
        _ip("link", "add", _BRIDGE, "type", "veth", "peer", "name", "outside", "netns", _BRIDGE)
        _ip("-n", _BRIDGE, "link", "set", "outside", "master", "bridge", "up")
        _ip("addr", "add", f"{_NET}.254/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        for number, node in enumerate(self.nodes, 1):
            space, outer = f"{_BRIDGE}n{number}", f"node{number}"
            _ip("netns", "add", space)
            _ip("-n", _BRIDGE, "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", _BRIDGE, "link", "set", outer, "master", "bridge", "up")
            _ip("-n", space, "addr", "add", f"{_NET}.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            node.host, node.space, node.launcher = f"{_NET}.{number}", space, ("ip", "netns", "exec", space)
        super().start()

    def close(self):
        super().close()
        # A namespace ends in the background, and its end of the link with it. The next cluster needs the link's name.
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True, check=False)
        for space in (_BRIDGE, *(f"{_BRIDGE}n{number}" for number in range(1, len(self.nodes) + 1))):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def cut(self, one, other):
        """Let no packet pass between two nodes."""
        self._routes("add", one, other)

    def mend(self, one, other):
        """Let packets pass again."""
        self._routes("del", one, other)

    @staticmethod
    def _routes(verb, one, other):
        for here, there in ((one, other), (other, one)):
            _ip("-n", here.space, "route", verb, "blackhole", f"{there.host}/32")


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
