"""`strongroom agent`: a worker uses secrets through a proxy, and never sees them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom._cli.agents import learned_rules
from strongroom._cli.agents.agent_check import check_command
from strongroom._cli.agents.agent_log import log_command, summary
from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, complete, current, read_duration
from strongroom._cli.process.child_process import TIMED_OUT, Child, exit_code, has_terminal
from strongroom._cli.process.signals import named, until_ended
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError, StrongroomError

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom.agents._proxy.authority import Authority
    from strongroom.agents._proxy.worker import WorkerFolder
    from strongroom.agents._rules.policy import Destinations
    from strongroom.agents.session import AgentSession
    from strongroom.agents.session_end import SessionEnd
    from strongroom.agents.session_log import SessionLog

_MITMPROXY = "12.3."
"""The release of mitmproxy with which the proxy is tested. A few of its layers are not a published interface."""

_LONGEST = 7 * 86_400.0
"""Seconds that a session may last: so long are its certificates valid."""

_LOOK = 30.0
"""Seconds between two looks at the clock: a wait does not count the time in which the machine is suspended."""

_GRACE = 10.0
"""Seconds that the command may take to end after SIGTERM at the end of its session."""

_END = 5.0
"""Seconds that the proxy may take to end after the command."""

_only_rules = click.option(
    "--only-rules", is_flag=True, help="Refuse every host that no rule names. Otherwise such requests pass unread."
)


def _read_end(ctx: click.Context, option: click.Parameter, text: str | None) -> SessionEnd | None:
    from strongroom.agents.session_end import SessionEnd

    seconds = read_duration(ctx, option, text)
    if seconds is None:
        return None
    if not 1 <= seconds <= _LONGEST:
        raise click.UsageError("--for must be at least one second, and at most 7 days")
    return SessionEnd(seconds)


_for = click.option(
    "--for", "until", metavar="DURATION", callback=_read_end, help="End the session after this time, such as 8h."
)


@click.group("agent")
def agent_command() -> None:
    """Let a worker use secrets that it never sees.

    The worker finds placeholders in its environment. A proxy puts the values into the requests that a rule of
    [agents.rules] allows, and takes them out of the answers.

    Example: strongroom agent run --sandbox -- claude
    """


agent_command.add_command(check_command)
agent_command.add_command(log_command)


@agent_command.command("run", context_settings={"allow_interspersed_args": False})
@_only_rules
@click.option(
    "--sandbox", is_flag=True, help="Leave COMMAND no way to the network but the proxy (Linux, without root)."
)
@_for
@click.option("--quiet", is_flag=True, help="Print no summary at the end.")
@click.option(
    "--learn",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the hosts, methods and paths of COMMAND's requests into a new FILE, as rules to review.",
)
@click.option("--keep", metavar="NAME", multiple=True, help="Pass this variable on, although it is a credential.")
@click.argument(
    "command",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=complete("files"),
)
@current
def run_command(
    invocation: Invocation,
    command: tuple[str, ...],
    until: SessionEnd | None,
    learn: Path | None,
    keep: tuple[str, ...],
    *,
    only_rules: bool,
    sandbox: bool,
    quiet: bool,
) -> None:
    """Run COMMAND with placeholders in the place of secrets.

    COMMAND inherits the environment without known credentials: of stores, clouds, version control and package indexes,
    the agent of SSH, and the variables of [secrets]. Other variables pass. It finds a placeholder in the variable of
    each rule, the proxy in HTTPS_PROXY and HTTP_PROXY, and the authority of this session in the variables and files by
    which curl, git, pip, npm, Java and the libraries of Python and Node trust it.

    COMMAND is not started if a secret of a rule cannot be read. Signals are forwarded to it, and its exit code is that
    of this command. At the end of --for, it gets SIGTERM, and ten seconds later SIGKILL: then the exit code is 124, as
    of `timeout`. `strongroom agent log` shows its requests.

    Without --sandbox, COMMAND may also connect to the network without the proxy: there, a placeholder is worthless. It
    can also read the environment and the memory of the shell that started this command, and of your other programs.
    With --sandbox it makes no Unix socket.

    With --learn, no rule is needed for a host. The written rules allow the same requests with --only-rules; a secret is
    sent only where a rule of the configuration allows it.

    Example: strongroom agent run --sandbox -- claude
    """
    from strongroom.agents._proxy import worker
    from strongroom.agents._proxy.sandbox import BACKLOG, PROXY, Sandbox

    if learn is not None and only_rules:
        raise click.UsageError("--learn looks for what --only-rules would refuse: give one of them")
    if learn is not None and learn.exists():
        raise click.UsageError(f"{learn} exists: --learn writes a new file")
    config = invocation.load_trusted()
    with (
        learned_rules.created(learn) as rules_file,
        _opened(config, only_rules=only_rules, learns=learn is not None, keep=keep) as opened,
        # The worker may have put anything in its place.
        tempfile.TemporaryDirectory(prefix="strongroom-agent-", ignore_cleanup_errors=True) as private,
        worker.WorkerFolder(Path(private)) as folder,
        opened.log(Path(command[0]).name, until) as log,
    ):
        if not sandbox and (readable := [name for name, text in os.environ.items() if opened.reveals(text)]):
            names = ", ".join(sorted(readable))
            output.say(f"The command can read {names} in the environment of your shell. Run it with --sandbox")
        box = Sandbox() if sandbox else None
        listener = None if box else socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        address = listener.getsockname()[:2] if listener else PROXY
        if withheld := sorted(os.environ.keys() - opened.inherited.keys() - opened.session.environment.keys()):
            output.say(f"Withheld from the command: {', '.join(withheld)}. --keep NAME passes one on")
        variables = opened.environment(folder, address, opened.inherited)
        encoded = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
        process = Child(box.wrap(command) if box else command)

        def listeners() -> Iterable[socket.socket]:
            if box:
                process.started.wait()
            found = box.listener() if box else listener
            return [found] if found else []

        with _proxy(opened, listeners, log.connected, until), _ended_at(until, process) as timed_out:
            code = exit_code(lambda: process.run(encoded), command[0])
            process.started.set()  # the proxy may wait for a sandbox that did not start
        if learn is not None and rules_file is not None:
            learned_rules.write(opened.session, learn, rules_file)
        if not quiet:
            for line in summary(log):
                output.say(line)
    click.get_current_context().exit(TIMED_OUT if timed_out else code)


@contextlib.contextmanager
def _ended_at(until: SessionEnd | None, process: Child) -> Iterator[list[bool]]:
    """End the command of the block at some time. The yielded list is not empty if that was before its own end."""
    ended: list[bool] = []
    done = threading.Event()

    def wait() -> None:
        process.started.wait()
        while (left := _left(until)) is None or left > 0:
            if done.wait(left):
                return
        if process.end(_GRACE):
            ended.append(True)

    thread = threading.Thread(target=wait, name="strongroom-agent-end", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        done.set()
        process.started.set()  # it may have failed to start
        thread.join()
        if ended and until is not None:
            _say_ended(until)


def _left(until: SessionEnd | None) -> float | None:
    """Return the seconds to wait before the next look at the clock: 0 at the end, and None without one."""
    return None if until is None else min(_LOOK, until.left())


def _say_ended(until: SessionEnd) -> None:
    output.say(until.refusal().reason)


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
@_for
@current
def serve_command(
    invocation: Invocation, file: Path, listen: str | None, until: SessionEnd | None, *, only_rules: bool
) -> None:
    """Serve a worker in a container, or of another user.

    The folder of FILE must be your own. The worker runs as you, and the folder has the mode 0700; or the folder has
    the group of the worker and the mode 0750. It gets worker.env, the environment of the worker with its placeholders,
    and the authorities that the worker must trust. Mount it into the container at the same path, read-only.

    Most programs reach a proxy by TCP: worker.env names 127.0.0.1:3128 (a relay in the container leads to FILE),
    or the address of --listen.

    SIGHUP takes the rules of the configuration as it is then, for new requests. Placeholders of rules that stay do not
    change; worker.env gets those of new ones. The chain is not opened again.

    Example: strongroom agent serve --socket /run/worker/proxy.sock
    """
    from strongroom.agents._proxy import worker
    from strongroom.agents._proxy.sandbox import BACKLOG, PROXY

    address = _parse_address(listen) if listen else PROXY
    file = file.absolute()
    ends_with_terminal = has_terminal() and all(signal.getsignal(end) is signal.SIG_DFL for end in named("SIGHUP"))
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(until_ended(hangup=True))
        opened = stack.enter_context(_opened(invocation.load_trusted(), only_rules=only_rules))
        folder = stack.enter_context(worker.WorkerFolder(file.parent))
        try:
            listening = [stack.enter_context(folder.listen(file.name, BACKLOG))]
            if listen:
                listening.append(stack.enter_context(socket.create_server(address, backlog=BACKLOG)))
        except OSError as error:
            raise ConfigurationError(f"Cannot listen: {error.strerror}") from None

        def write() -> Path:
            return folder.write("worker.env", worker.env_file(opened.environment(folder, address, {})))

        described = write()
        user = "your own user" if folder.group is None else f"the group {_group_name(folder.group)}"
        log = stack.enter_context(opened.log("serve", until))

        def connected(destination: str, unread: bool) -> None:  # noqa: FBT001  # the proxy's signature
            log.connected(destination, unread)
            output.say(f"The worker connects to {destination}{', which no rule names' if unread else ''}")

        with _proxy(opened, lambda: listening, connected, until):
            output.say(f"Serving on {file} for {user}. The environment of the worker is in {described}")
            while not end.wait(left := _left(until)) and left != 0:
                if end.hung_up and ends_with_terminal and not has_terminal():
                    end.interrupted = True
                    break
                if end.hung_up:
                    end.hung_up = False
                    _take_rules(invocation, opened, write)
        if until is not None and left == 0:
            _say_ended(until)
    click.get_current_context().exit(ExitCode.INTERRUPTED if end.interrupted else ExitCode.DONE)


def _take_rules(invocation: Invocation, opened: _Opened, write: Callable[[], object]) -> None:
    """Read the configuration again, and take its rules, unless it is faulty. Then write the files of the worker."""
    failed = "The rules stay as they were"
    try:
        opened.replace_rules(invocation.load_trusted())
        failed = "The worker does not know the new rules"
        write()
    except StrongroomError as error:
        output.say(f"{failed}: {error}")
    else:
        output.say(f"The rules are now {output.joined(rule.name for rule in opened.session.rules)}")


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
    session: AgentSession
    destinations: Destinations
    authorities: list[Authority]
    roots: bytes
    node_roots: bytes
    inherited: Mapping[str, str]

    def log(self, command: str, until: SessionEnd | None) -> SessionLog:
        """Return the log of the session."""
        from strongroom.agents.session_log import SessionLog

        return SessionLog(command, [rule.name for rule in self.session.rules], until.at if until else None, output.say)

    def environment(
        self, folder: WorkerFolder, address: tuple[str, int], inherited: Mapping[str, str]
    ) -> dict[str, str]:
        """Write the files with authorities, and return the environment of the worker."""
        from strongroom.agents._proxy.worker import TrustFiles, worker_environment

        authorities = b"".join(authority.pem for authority in self.authorities)
        trust = TrustFiles(folder, authorities, self.roots, self.node_roots)
        return worker_environment(inherited, self.session.environment, trust, address, self.reveals)

    def replace_rules(self, config: Config) -> None:
        """Take the rules of this configuration for new requests. After an error, the rules are those from before.

        The programs that run trust the authorities from before, so there is another one for new hosts only.
        """
        from strongroom.agents._proxy.authority import Authority
        from strongroom.agents._rules.policy import named_hosts

        self.session.replace_rules(config.agents)
        new = [
            rule
            for rule in self.session.rules
            for host in named_hosts([rule])
            if not any(authority.covers(host.removeprefix("*.")) for authority in self.authorities)
        ]
        if new:
            self.authorities.append(Authority(new))
        self.destinations.replace_rules(self.session.rules)

    def reveals(self, text: str) -> bool:
        """Return True if the text has a value of the session."""
        content = os.fsencode(text)
        return self.session.redactor().whole(content) != content


@contextlib.contextmanager
def _opened(config: Config, *, only_rules: bool, learns: bool = False, keep: Collection[str] = ()) -> Iterator[_Opened]:
    """Read the secrets of the rules, and make the authority.

    Args:
        config: the configuration.
        only_rules: see `Destinations`.
        learns: see `AgentSession`.
        keep: the names of credentials that the worker inherits.

    Raises:
        ConfigurationError: the extra is missing, or no rule is configured.
        StrongroomError: a secret cannot be read.
    """
    _require_mitmproxy()
    from strongroom._cli.process.shell_credentials import without_shell_credentials
    from strongroom._cli.process.store_credentials import without_credentials
    from strongroom._manager import SecretsManager
    from strongroom.agents._proxy import worker
    from strongroom.agents._proxy.authority import Authority
    from strongroom.agents._rules.policy import Destinations
    from strongroom.agents.session import AgentSession

    inherited = without_shell_credentials(without_credentials(os.environ, config))
    inherited = {name: text for name, text in inherited.items() if name not in config.secrets}  # a row's value
    worker.forbid_inspection(os.environ.keys() - inherited.keys())
    inherited |= {name: os.environ[name] for name in keep if name in os.environ}
    with SecretsManager.from_config(config) as secrets:
        session = AgentSession(secrets, config.agents, learns=learns)
        destinations = Destinations(session.rules, only_rules=only_rules, learns=learns)
        authority = Authority(None if learns else session.rules)
        roots, node_roots = worker.operator_authorities(os.environ), worker.node_authorities(os.environ)
        yield _Opened(session, destinations, [authority], roots, node_roots, inherited)


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
def _proxy(
    opened: _Opened,
    listeners: Callable[[], Iterable[socket.socket]],
    connected: Callable[[str, bool], object],
    until: SessionEnd | None,
) -> Iterator[None]:
    """Serve the worker in a thread while the block runs. The block does not wait for the proxy's import."""
    from strongroom.agents._proxy.network import CompanyProxy

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
                parts = (opened.session, opened.destinations, opened.authorities, roots, company_proxy, take)
                server.serve(server.Setup(*parts, output.say, connected, until), started)
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
