"""`strongroom agent`: a worker uses secrets through a proxy, and never sees them."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, complete, current
from strongroom._cli.process.child_process import Child, exit_code
from strongroom._cli.process.signals import until_ended
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom.agents._proxy.authority import Authority
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

    Example: strongroom agent run --sandbox -- claude
    """


@agent_command.command("run", context_settings={"allow_interspersed_args": False})
@_only_rules
@click.option(
    "--sandbox", is_flag=True, help="Leave COMMAND no way to the network but the proxy (Linux, without root)."
)
@click.argument(
    "command",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=complete("files"),
)
@current
def run_command(invocation: Invocation, command: tuple[str, ...], *, only_rules: bool, sandbox: bool) -> None:
    """Run COMMAND with placeholders in the place of secrets.

    COMMAND inherits the environment without the credentials of stores. It finds a placeholder in the variable of each
    rule, the proxy in HTTPS_PROXY and HTTP_PROXY, and the authority of this session in the variables and files by
    which curl, git, pip, npm, Java and the libraries of Python and Node trust it.

    COMMAND is not started if a secret of a rule cannot be read. Signals are forwarded to it, and its exit code is that
    of this command.

    Without --sandbox, COMMAND may also connect to the network without the proxy: there, a placeholder is worthless. It
    can also read the environment and the memory of the shell that started this command, and of your other programs.
    With --sandbox it makes no Unix socket.

    Example: strongroom agent run --sandbox -- claude
    """
    from strongroom.agents._proxy import worker
    from strongroom.agents._proxy.sandbox import PROXY, Sandbox

    config = invocation.load_trusted()
    with (
        _opened(config) as opened,
        tempfile.TemporaryDirectory(prefix="strongroom-agent-") as private,
        worker.WorkerFolder(Path(private)) as folder,
    ):
        if not sandbox and (readable := [name for name, text in os.environ.items() if opened.reveals(text)]):
            names = ", ".join(sorted(readable))
            output.say(f"The command can read {names} in the environment of your shell. Run it with --sandbox")
        box = Sandbox() if sandbox else None
        listener = None if box else socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        address = listener.getsockname()[:2] if listener else PROXY
        trust = worker.TrustFiles(folder, opened.authority.pem, opened.roots, opened.node_roots)
        placeholders = opened.session.environment
        variables = worker.worker_environment(opened.inherited, placeholders, trust, address, opened.reveals)
        encoded = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
        process = Child(box.wrap(command) if box else command)

        def listeners() -> Iterable[socket.socket]:
            if box:
                process.started.wait()
            found = box.listener() if box else listener
            return [found] if found else []

        with _proxy(opened, listeners, only_rules=only_rules):
            code = exit_code(lambda: process.run(encoded), command[0])
            process.started.set()  # the proxy may wait for a sandbox that did not start
    click.get_current_context().exit(code)


@agent_command.command("serve")
@click.option(
    "--socket",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Unix socket on which to serve. Files for the worker are written beside it.",
)
@click.option("--listen", metavar="HOST:PORT", help="Serve on this address too, and name it to the worker.")
@_only_rules
@current
def serve_command(invocation: Invocation, file: Path, listen: str | None, *, only_rules: bool) -> None:
    """Serve a worker in a container, or of another user.

    The folder of FILE must be your own. The worker runs as you, and the folder has the mode 0700; or the folder has
    the group of the worker and the mode 0750. It gets worker.env, the environment of the worker with its placeholders,
    and the authorities that the worker must trust. Mount it into the container at the same path, read-only.

    Most programs reach a proxy by TCP: worker.env names 127.0.0.1:3128 (a relay in the container leads to FILE),
    or the address of --listen.

    Example: strongroom agent serve --socket /run/worker/proxy.sock
    """
    from strongroom.agents._proxy import worker
    from strongroom.agents._proxy.sandbox import PROXY

    address = _parse_address(listen) if listen else PROXY
    file = file.absolute()
    with until_ended() as end, _opened(invocation.load_trusted()) as opened, contextlib.ExitStack() as stack:
        folder = stack.enter_context(worker.WorkerFolder(file.parent))
        try:
            listening = [stack.enter_context(folder.listen(file.name, _BACKLOG))]
            if listen:
                listening.append(stack.enter_context(socket.create_server(address, backlog=_BACKLOG)))
        except OSError as error:
            raise ConfigurationError(f"Cannot listen: {error.strerror}") from None
        trust = worker.TrustFiles(folder, opened.authority.pem, opened.roots, opened.node_roots)
        variables = worker.worker_environment({}, opened.session.environment, trust, address, opened.reveals)
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        described = folder.write("worker.env", os.fsencode(lines))
        user = "your own user" if folder.group is None else f"the group {_group_name(folder.group)}"
        with _proxy(opened, lambda: listening, only_rules=only_rules):
            output.say(f"Serving on {file} for {user}. The environment of the worker is in {described}")
            end.wait()
    click.get_current_context().exit(ExitCode.INTERRUPTED if end.interrupted else ExitCode.DONE)


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError("--listen must be HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _group_name(number: int) -> str:
    import grp  # Windows lacks it

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


class _Opened(NamedTuple):
    config: Config
    session: AgentSession
    authority: Authority
    roots: bytes
    node_roots: bytes
    inherited: Mapping[str, str]

    def reveals(self, text: str) -> bool:
        """Return True if the text has a value of the session."""
        content = os.fsencode(text)
        return self.session.redactor().whole(content) != content


@contextlib.contextmanager
def _opened(config: Config) -> Iterator[_Opened]:
    """Read the secrets of the rules, and make the authority.

    Raises:
        ConfigurationError: the extra is missing, or no rule is configured.
        StrongroomError: a secret cannot be read.
    """
    _require_mitmproxy()
    from strongroom._cli.process.store_credentials import without_credentials
    from strongroom._manager import SecretsManager
    from strongroom.agents._proxy import worker
    from strongroom.agents._proxy.authority import Authority
    from strongroom.agents.session import AgentSession

    inherited = without_credentials(os.environ, config)
    worker.forbid_inspection(os.environ.keys() - inherited.keys())
    with SecretsManager.from_config(config) as secrets:
        session = AgentSession(secrets, config.agents)
        authority = Authority(config.agents.rules.values())
        roots, node_roots = worker.operator_authorities(os.environ), worker.node_authorities(os.environ)
        yield _Opened(config, session, authority, roots, node_roots, inherited)


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
    from strongroom.agents._proxy.network import CompanyProxy
    from strongroom.agents._rules.policy import Destinations

    rules = tuple(opened.config.agents.rules.values())
    company_proxy = CompanyProxy.of(os.environ)
    started: Future[Callable[[], None]] = Future()

    found: list[socket.socket] = []

    def take() -> list[socket.socket]:
        found.extend(listeners())
        return found

    def serve() -> None:
        try:
            from strongroom.agents._proxy import server

            with _memory_file(opened.roots) as roots:
                destinations = Destinations(rules, only_rules=only_rules)
                parts = (opened.session, destinations, opened.authority, roots, company_proxy, take, output.say)
                server.serve(server.Setup(*parts), started)
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise
        finally:  # after a failure too, the worker must not wait
            for listener in found or take():
                listener.close()

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
