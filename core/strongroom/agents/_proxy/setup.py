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

_END = 5.0
"""Seconds that the proxy may take to end after the command."""


class Setup:
    """The parts of one proxy. Making them reads the secrets of the rules.

    Args:
        secrets: the manager that reads the values, with the rules in its configuration.
        environ: the operator's variables, which name authorities and a proxy of the company.
        end: when the session ends; None if the worker decides.
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
        self,
        secrets: SecretsManager,
        environ: Mapping[str, str],
        end: SessionEnd | None = None,
        *,
        only_rules: bool = False,
        learns: bool = False,
    ) -> None:
        self.session = AgentSession(secrets, secrets.config.agents, learns=learns)
        self.destinations = Destinations(self.session.rules, only_rules=only_rules, learns=learns)
        self.authorities = [Authority(None if learns else self.session.rules)]
        self.roots = operator_authorities(environ)
        self.company_proxy = CompanyProxy.of(environ)
        self.end = end

    def environment(
        self, folder: WorkerFolder, address: tuple[str, int], inherited: Mapping[str, str]
    ) -> dict[str, str]:
        """Write the files with authorities, and return the environment of the worker."""
        authorities = self.roots + b"".join(authority.pem for authority in self.authorities)
        inherited = {name: text for name, text in inherited.items() if not self.reveals(text)}
        return worker_environment(folder, authorities, inherited, self.session.environment, address)

    def reveals(self, text: str) -> bool:
        """Return True if the text has a value of the session."""
        content = os.fsencode(text)
        return self.session.redactor().whole(content) != content

    def replace_rules(self, config: AgentsConfig) -> None:
        """Take these rules for new requests. After an error, the rules are those from before.

        The programs that run trust the authorities from before, so there is another one for new hosts only.
        """
        self.session.replace_rules(config)
        new = [
            rule
            for rule in self.session.rules
            for host in named_hosts([rule])
            if not any(authority.covers(host.removeprefix("*.")) for authority in self.authorities)
        ]
        if new:
            self.authorities.append(Authority(new))
        self.destinations.replace_rules(self.session.rules)

    @contextlib.contextmanager
    def serving(
        self, listeners: Callable[[], Iterable[socket.socket]], connected: Callable[[str, bool], object]
    ) -> Iterator[None]:
        """Serve the worker in a thread while the block runs. The block does not wait for the import of mitmproxy.

        Args:
            listeners: returns the sockets on which the worker is served; called in the thread.
            connected: gets the destination of each connection, and whether its requests pass unread; called in threads.
        """
        started: Future[Callable[[], None]] = Future()

        def serve() -> None:
            found: list[socket.socket] | None = None
            try:
                from strongroom.agents._proxy import server

                found = list(listeners())
                network = Network(self.destinations.may_reach, self.company_proxy)
                with asyncio.Runner(loop_factory=lambda: network) as runner:
                    runner.run(server.serve(self, found, connected, started))
            except BaseException as error:
                if not started.done():
                    started.set_exception(error)
                raise
            finally:  # after a failure too, the worker must not wait
                for listener in listeners() if found is None else found:
                    listener.close()

        thread = threading.Thread(target=serve, name="strongroom-agent-proxy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                started.result(_END)()
            thread.join(_END)
