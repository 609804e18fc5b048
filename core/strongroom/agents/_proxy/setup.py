"""The parts of one proxy, which its command makes before mitmproxy is imported, and its thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future

from strongroom._config import AgentsConfig
from strongroom._manager import SecretsManager
from strongroom.agents._proxy.authority import Authority
from strongroom.agents._proxy.network import CompanyProxy, Network
from strongroom.agents._proxy.worker import WorkerFolder, operator_authorities, worker_environment
from strongroom.agents._rules.policy import Destinations, named_hosts
from strongroom.agents.session import AgentSession, SessionEnd

_END = 10.0
"""Seconds that the proxy may take to end after the command, and to start if the command has ended already."""


class Setup:
    """The parts of one proxy. Making them reads the secrets of the rules.

    Args:
        secrets: the manager that reads the values, with the rules in its configuration.
        end: when the session ends.
        only_rules: see `Destinations`.
        learns: see `AgentSession`.

    Attributes:
        session: the session of the worker.
        destinations: its destinations.
        authorities: its certificate authorities.
        roots: the authorities that upstreams may have, as PEM.
        company_proxy: the proxy through which this machine reaches the outside.
        end: when the session ends.

    Raises:
        ConfigurationError: no rule is configured, or a variable of the operator is faulty.
        StrongroomError: a secret cannot be read.
    """

    def __init__(
        self, secrets: SecretsManager, end: SessionEnd, *, only_rules: bool = False, learns: bool = False
    ) -> None:
        self.session = AgentSession(secrets, secrets.config.agents, learns=learns)
        self.destinations = Destinations(lambda: self.session.rules, only_rules=only_rules, learns=learns)
        self.authorities = [Authority(None if learns else self.session.rules)]
        self.roots = operator_authorities(os.environ)
        self.company_proxy = CompanyProxy.of_environment()
        self.end = end

    def environment(
        self, folder: WorkerFolder, address: tuple[str, int], inherited: Mapping[str, str]
    ) -> dict[str, str]:
        """Write the files with authorities, and return the environment of the worker."""
        authorities = self.roots + b"".join(authority.pem for authority in self.authorities)
        return worker_environment(folder, authorities, inherited, self.session.environment, address)

    def replace_rules(self, config: AgentsConfig) -> None:
        """Take these rules for new requests. After an error, the rules are those from before.

        The programs that run trust the authorities from before, which stay those of the hosts that they cover.
        """
        self.session.replace_rules(config)
        hosts = [host.removeprefix("*.") for host in named_hosts(self.session.rules)]
        if not all(any(authority.covers(host) for authority in self.authorities) for host in hosts):
            self.authorities.append(Authority(self.session.rules))

    @contextlib.contextmanager
    def serving(
        self, listeners: Callable[[], Iterable[socket.socket]], connected: Callable[[str, bool], object]
    ) -> Iterator[None]:
        """Serve the worker in a thread while the block runs. The block does not wait for the import of mitmproxy.

        Args:
            listeners: returns the sockets on which the worker is served; called in the thread.
            connected: gets the destination of each connection, and whether its requests pass unread; called in threads.
        """
        stop: Future[None] = Future()

        def serve() -> None:
            with contextlib.ExitStack() as stack:
                try:
                    from strongroom.agents._proxy import server
                finally:  # after a failure too: the worker must not wait at a socket that stays open
                    found = [stack.enter_context(listener) for listener in listeners()]
                network = Network(self.destinations.may_reach, self.company_proxy)
                with asyncio.Runner(loop_factory=lambda: network) as runner:
                    runner.run(server.serve(self, found, connected, stop))

        thread = threading.Thread(target=serve, name="strongroom-agent-proxy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            if thread.is_alive():  # otherwise it has failed
                stop.set_result(None)
                thread.join(_END)
