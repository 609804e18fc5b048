"""`strongroom agent`: a worker uses secrets through a proxy, and never sees them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom._cli.agents.agent_log import log_command, summary
from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, complete, current, json_option, read_duration
from strongroom._cli.process.child_process import TIMED_OUT, Child, exit_code, has_terminal
from strongroom._cli.process.signals import named, until_ended
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.files import private
from strongroom.store import in_daemon

if TYPE_CHECKING:
    from strongroom._config import Config, RuleConfig
    from strongroom.agents._proxy.setup import Setup
    from strongroom.agents.session import AgentSession, SessionEnd
    from strongroom.agents.session_log import SessionLog


_MITMPROXY = "12.3."
"""The release of mitmproxy with which the proxy is tested. A few of its layers are not a published interface."""

_LONGEST = 7 * 86_400.0
"""Seconds that a session may last: so long are its certificates valid."""

_GRACE = 10.0
"""Seconds that the command may take to end after SIGTERM at the end of its session."""

_only_rules = click.option(
    "--only-rules", is_flag=True, help="Refuse every host that no rule names. Otherwise such requests pass unread."
)


def _read_end(ctx: click.Context, option: click.Parameter, text: str | None) -> SessionEnd:
    from strongroom.agents.session import SessionEnd

    seconds = read_duration(ctx, option, text)
    if seconds is not None and not 1 <= seconds <= _LONGEST:
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
    until: SessionEnd,
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
    from strongroom.agents._proxy.sandbox import BACKLOG, PROXY, Sandbox
    from strongroom.agents._proxy.worker import WorkerFolder

    if learn is not None and only_rules:
        raise click.UsageError("--learn looks for what --only-rules would refuse: give one of them")
    if learn is not None and os.path.lexists(learn):
        raise click.UsageError(f"{learn} exists: --learn writes a new file")
    if learn is not None and not os.access(learn.parent, os.W_OK):
        raise ConfigurationError(f"Cannot write the rules: {learn}: its folder is missing, or you may not write in it")
    with (
        _opened(invocation.load_trusted(), until, only_rules=only_rules, learns=learn is not None) as (setup, passed),
        # The worker may have put anything in its place.
        tempfile.TemporaryDirectory(prefix="strongroom-agent-", ignore_cleanup_errors=True) as made,
        WorkerFolder(Path(made)) as folder,
        _log(setup, Path(command[0]).name) as log,
    ):
        inherited = _inherited(setup, passed, keep, sandbox=sandbox)
        box = Sandbox() if sandbox else None
        local = [] if box else [socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)]
        process = Child(box.wrap(command) if box else command)

        def listeners() -> list[socket.socket]:
            process.started.wait()
            return box.listeners() if box else local

        address = local[0].getsockname() if local else PROXY
        variables = setup.environment(folder, address, inherited)
        with setup.serving(listeners, log.connected):
            code = _run_until(until, process, command[0], variables)
    if learn is not None:
        _write_learned(learn, setup.session)
    if not quiet:
        for line in summary(log):
            output.say(line)
    click.get_current_context().exit(code)


def _inherited(setup: Setup, passed: Mapping[str, str], keep: Collection[str], *, sandbox: bool) -> dict[str, str]:
    """Return the variables that the command inherits, and tell the operator which ones it does not.

    Args:
        setup: the parts of the proxy, whose values are in no variable that is inherited.
        passed: the variables without credentials.
        keep: the names of credentials that the command inherits.
        sandbox: the command cannot read the environment of the shell.
    """
    redact = setup.session.redactor().whole
    revealing = {name for name, text in os.environ.items() if redact(content := os.fsencode(text)) != content}
    if not sandbox and revealing:
        names = ", ".join(sorted(revealing))
        output.say(f"The command can read {names} in the environment of your shell. Run it with --sandbox")
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    inherited = {name: text for name, text in {**passed, **kept}.items() if name not in revealing}
    if withheld := os.environ.keys() - inherited.keys() - setup.session.environment.keys():
        never = ", ".join(sorted(withheld & revealing))
        but = f", but not {never}: the value of a rule" if never else ""
        output.say(f"Withheld from the command: {', '.join(sorted(withheld))}. --keep NAME passes one on{but}")
    return inherited


def _run_until(until: SessionEnd, process: Child, program: str, variables: Mapping[str, str]) -> int:
    """Run the command to its end, or to that of the session, and return the exit code."""
    over = threading.Event()

    def end() -> bool:
        """Return True if the session ended before the command."""
        process.started.wait()
        while left := until.left():
            if over.wait(left):
                return False
        return process.end(_GRACE)

    encoded = {os.fsencode(name): os.fsencode(text) for name, text in variables.items()}
    timed_out = in_daemon(end, "strongroom-agent-end")
    try:
        code = exit_code(lambda: process.run(encoded), program)
    finally:
        over.set()
        process.started.set()  # threads may wait for a command that did not start
    if not timed_out.result():
        return code
    output.say(until.refusal().reason)
    return TIMED_OUT


def _write_learned(file: Path, session: AgentSession) -> None:
    """Write the rules that the session has learned. A fault is told: the command has run, and its exit code counts."""
    from strongroom.agents._rules.learning import learned_text
    from strongroom.agents.session import MAX_OBSERVED

    observed = session.observed or ()
    text = learned_text(observed, session.rules).encode()
    try:
        private.create(file, [session.redactor().whole(text)])
    except OSError as error:
        output.say(f"Cannot write the rules: {file}: {error.strerror}")
        return
    first = "the first " if len(observed) >= MAX_OBSERVED else ""
    output.say(f"Wrote rules for {first}{output.counted(len(observed), 'request')} to {file}: review them")


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
    invocation: Invocation, file: Path, listen: str | None, until: SessionEnd, *, only_rules: bool
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
    from strongroom.agents._proxy.sandbox import BACKLOG, PROXY
    from strongroom.agents._proxy.worker import WorkerFolder, env_file

    address = _parse_address(listen) if listen else PROXY
    file = file.absolute()
    ends_with_terminal = has_terminal() and all(signal.getsignal(end) is signal.SIG_DFL for end in named("SIGHUP"))
    with contextlib.ExitStack() as stack:
        ended = stack.enter_context(until_ended(hangup=True))
        setup, _ = stack.enter_context(_opened(invocation.load_trusted(), until, only_rules=only_rules))
        folder = stack.enter_context(WorkerFolder(file.parent))
        with private.faults_as(ConfigurationError, "Cannot listen"):
            listening = [stack.enter_context(folder.listen(file.name, BACKLOG))]
            if listen:
                family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
                listening.append(socket.create_server(address, family=family, backlog=BACKLOG))

        def write() -> Path:
            return folder.write("worker.env", env_file(setup.environment(folder, address, {})))

        described = write()
        log = stack.enter_context(_log(setup, "serve"))

        def connected(destination: str, unread: bool) -> None:  # noqa: FBT001  # the proxy's signature
            if log.connected(destination, unread):
                output.say(f"The worker connects to {destination}{', which no rule names' if unread else ''}")

        with setup.serving(lambda: listening, connected):
            user = "your own user" if folder.group is None else "the group of its folder"
            output.say(f"Serving on {file} for {user}. The environment of the worker is in {described}")
            if listen and not ipaddress.ip_address(listening[-1].getsockname()[0]).is_loopback:
                reach = f"Anybody who reaches {listen} may connect through the proxy to the hosts that it allows"
                output.say(f"{reach}. A key needs its placeholder from worker.env")
            while (left := until.left()) and not ended.wait(left):
                if ended.hung_up and ends_with_terminal and not has_terminal():
                    ended.interrupted = True
                    break
                if ended.hung_up:
                    ended.hung_up = False
                    _take_rules(invocation, setup, write)
        if not left:
            output.say(until.refusal().reason)
    click.get_current_context().exit(ExitCode.INTERRUPTED if ended.interrupted else ExitCode.DONE)


def _take_rules(invocation: Invocation, setup: Setup, write: Callable[[], object]) -> None:
    """Read the configuration again, and take its rules, unless it is faulty. Then write the files of the worker."""
    failed = "The rules stay as they were"
    try:
        setup.replace_rules(invocation.load_trusted().agents)
        failed = "The worker does not know the new rules"
        write()
    except StrongroomError as error:
        output.say(f"{failed}: {error}")
    else:
        output.say(f"The rules are now {output.joined(rule.name for rule in setup.session.rules)}")


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise click.UsageError("--listen must be HOST:PORT, with a port from 1 to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _log(setup: Setup, command: str) -> SessionLog:
    from strongroom.agents.session_log import SessionLog

    return SessionLog(command, [rule.name for rule in setup.session.rules], setup.end.at, output.say)


@contextlib.contextmanager
def _opened(
    config: Config, end: SessionEnd, *, only_rules: bool, learns: bool = False
) -> Iterator[tuple[Setup, Mapping[str, str]]]:
    """Protect this process, read the secrets, and yield the parts of the proxy and the variables without credentials.

    Raises:
        ConfigurationError: the extra is missing, or no rule is configured.
        StrongroomError: a secret cannot be read.
    """
    _require_mitmproxy()
    from strongroom._cli.process.shell_credentials import passed_to_agents
    from strongroom._manager import SecretsManager
    from strongroom.agents._proxy.setup import Setup
    from strongroom.agents._proxy.worker import forbid_inspection

    passed = passed_to_agents(os.environ, config)
    forbid_inspection(os.environ.keys() - passed.keys())
    with SecretsManager.from_config(config) as secrets:
        yield Setup(secrets, end, only_rules=only_rules, learns=learns), passed


def _require_mitmproxy() -> None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        if metadata.version("mitmproxy").startswith(_MITMPROXY):
            return
    needs = "Python 3.12 or later, and mitmproxy 12.3: pip install 'strongroom[agents]'"
    raise ConfigurationError(f"`strongroom agent` needs {needs}")


# --- check ------------------------------------------------------------------------------------------------------------


@agent_command.command("check")
@click.argument("method")
@click.argument("url")
@click.option("--only-rules", is_flag=True, help="Refuse every host that no rule names, as `agent run` does with it.")
@json_option()
@current
def check_command(invocation: Invocation, method: str, url: str, *, only_rules: bool, as_json: bool) -> None:
    """Say which rule allows a worker a request with METHOD to URL, and which secret is sent where.

    No store is asked, and no request is sent. The exit code is 4 if the request would be refused.

    Example: strongroom agent check POST https://api.openai.com/v1/responses
    """
    from strongroom.agents._rules.policy import verdict

    rules = tuple(invocation.load_trusted().agents.rules.values())
    try:
        found = verdict(rules, method, url, only_rules=only_rules)
    except ValueError:
        raise click.UsageError("URL must be one of https or http, such as https://api.example.com/v1/items") from None
    if as_json:
        allowing = [
            {
                "rule": rule.name,
                "secret": _secret(rule),
                "variables": rule.variables,
                "where": rule.where if rule.variable else (),
                "sign": rule.sign,
            }
            for rule in found.allowing
        ]
        denying = [{"rule": name, "reason": reason} for name, reason in found.denying]
        fields = {"allowed": not found.refusal, "reason": found.refusal, "read": found.is_read}
        output.write_document({**fields, "allowing": allowing, "denying": denying})
    elif found.is_read:
        lines = [f"allowed by {rule.name}: {_effect(rule)}" for rule in found.allowing]
        others = (f"no secret of {name}: {reason}" for name, reason in found.denying if reason != found.refusal)
        output.write_lines([*([f"refused: {found.refusal}"] if found.refusal else lines), *others])
    else:
        output.write_lines(["allowed: no rule names this host, so the request passes unread, without a secret"])
    click.get_current_context().exit(ExitCode.DENIED if found.refusal else ExitCode.DONE)


def _secret(rule: RuleConfig) -> str:
    return f"{rule.path}#{rule.key}" if rule.key else rule.path


def _effect(rule: RuleConfig) -> str:
    from strongroom.agents._rules.substitution import shown_places

    if not rule.path:
        return "sends no secret"
    if rule.sign:
        return f"signs the request with {_secret(rule)}"
    return f"sends {_secret(rule)} for the placeholder of {rule.variable} in {shown_places(rule.where)}"
