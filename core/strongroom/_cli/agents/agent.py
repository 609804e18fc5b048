"""`strongroom agent`: a worker uses secrets through a proxy, and never sees them."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom._cli.options import Invocation, complete, current
from strongroom.errors import ConfigurationError

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom.agents.authority import Authority
    from strongroom.agents.session import AgentSession

_MITMPROXY = "12.3."
"""The release of mitmproxy with which the proxy is tested. A few of its layers are not a published interface."""

_BACKLOG = 512
"""Connections that wait while the proxy is imported: the child is started before it."""

_END = 5.0
"""Seconds that the proxy may take to end after the command."""

_only_rules = click.option(
    "--only-rules", is_flag=True, help="Refuse every host that no rule names. Otherwise such requests pass unread."
)


@click.group("agent")
def agent_command() -> None:
    """Let a worker use secrets that it never sees.

    The worker finds placeholders in its environment. A proxy puts the values into the requests that a rule of
    [agents.rules] allows, and takes them out of the answers.
    """


@agent_command.command("run", context_settings={"allow_interspersed_args": False})
@_only_rules
@click.argument(
    "command",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=complete("files"),
)
@current
def run_command(invocation: Invocation, command: tuple[str, ...], *, only_rules: bool) -> None:
    """Run COMMAND with placeholders in the place of secrets.

    COMMAND inherits the environment without the credentials of stores. It finds a placeholder in the variable of each
    rule, the proxy in HTTPS_PROXY and HTTP_PROXY, and the authority of this session in the variables and files by
    which curl, git, pip, npm, Java and the libraries of Python and Node trust it.

    COMMAND is not started if a secret of a rule cannot be read. Signals are forwarded to it, and its exit code is that
    of this command.

    Example: strongroom agent run -- claude
    """
    from strongroom._cli.process import child_process
    from strongroom._cli.read.store_credentials import without_credentials
    from strongroom.agents import child

    config = invocation.load_trusted()
    with _opened(config) as opened, tempfile.TemporaryDirectory(prefix="strongroom-agent-") as folder:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        trust = child.TrustFiles(Path(folder), opened.authority.pem, opened.roots)
        variables = child.worker_environment(
            without_credentials(os.environ, config),
            opened.session.environment,
            trust,
            listener.getsockname()[:2],
            opened.reveals,
        )
        with _proxy(opened, lambda: [listener], only_rules=only_rules):
            encoded = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
            code = child_process.run_command(command, encoded)
    click.get_current_context().exit(code)


class _Opened(NamedTuple):
    config: Config
    session: AgentSession
    authority: Authority
    roots: bytes

    def reveals(self, text: str) -> bool:
        """Return True if the text has a value of the session."""
        content = os.fsencode(text)
        return self.session.redactor().whole(content) != content


@contextlib.contextmanager
def _opened(config: Config) -> Iterator[_Opened]:
    """Read the secrets of the rules, and make the authority.

    Raises:
        ConfigurationError: the extra is missing, or there is no rule.
        StrongroomError: a secret cannot be read.
    """
    _require_mitmproxy()
    from strongroom._manager import SecretsManager
    from strongroom.agents import child
    from strongroom.agents.authority import Authority
    from strongroom.agents.session import AgentSession

    with SecretsManager.from_config(config) as secrets:
        session = AgentSession(secrets, config.agents)
        roots = child.system_roots(os.environ)
        yield _Opened(config, session, Authority(config.agents.rules.values()), roots)


def _require_mitmproxy() -> None:
    if sys.version_info < (3, 12):
        raise ConfigurationError("`strongroom agent` needs Python 3.12 or later, and: pip install 'strongroom[agents]'")
    try:
        found = metadata.version("mitmproxy")
    except metadata.PackageNotFoundError:
        found = ""
    if not found.startswith(_MITMPROXY):
        raise ConfigurationError("`strongroom agent` needs mitmproxy 12.3: pip install 'strongroom[agents]'")


@contextlib.contextmanager
def _proxy(opened: _Opened, listeners: Callable[[], Iterable[socket.socket]], *, only_rules: bool) -> Iterator[None]:
    """Serve the worker in a thread while the block runs. The block does not wait for the proxy's import."""
    from strongroom.agents.destinations import Destinations
    from strongroom.agents.network import CompanyProxy

    rules = tuple(opened.config.agents.rules.values())
    company_proxy = CompanyProxy.of(os.environ)
    started: Future[Callable[[], None]] = Future()

    def serve() -> None:
        from strongroom.agents import proxy

        with _memory_file(opened.roots) as roots:
            destinations = Destinations(rules, only_rules=only_rules)
            setup = proxy.Setup(opened.session, destinations, opened.authority, roots, company_proxy, listeners)
            proxy.serve(setup, started)

    thread = threading.Thread(target=serve, name="strongroom-agent-proxy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            started.result(_END)()
        thread.join(_END)


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """Return the path of a file that only this process has: the worker must not decide which upstreams are trusted."""
    descriptor = os.memfd_create("authorities")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
