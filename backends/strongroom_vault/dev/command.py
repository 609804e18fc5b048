"""`strongroom dev`: a real server for as long as a command, a demonstration or the developer needs it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import click

from strongroom.config import VAULT, Config, Rank, discovery
from strongroom.config.variables import option_variable
from strongroom.errors import StoreUnavailableError
from strongroom.secret import SensitiveDict
from strongroom_vault.dev.server import DevServer

DEFAULT_MOUNT = "secret"

_KEPT = frozenset({"mount", "prefix"})
"""The options of a store that say where its secrets are on a server, and not on which."""

_CANNOT_RUN = 126
_NOT_THERE = 127
_KILLED = 128
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FROM_THE_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--demo", is_flag=True, help="Show the chain at work, with a server that is stopped on the way.")
@click.option(
    "--seed",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Put the variables of this .env file that the mapping knows into the server first.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dev(ctx: click.Context, command: tuple[str, ...], *, demo: bool, seed: Path | None) -> None:
    """Start a real OpenBao server on loopback, for development.

    With COMMAND, the server lives as long as the command, whose every Vault store uses it in the place of the
    configured one, with the configured mounts and prefixes. Without, it lives until Ctrl-C, and what is printed points
    a shell to it. Everything is in memory, and nothing is left behind.

    --seed names the variables that it leaves out; what opens a store, such as VAULT_TOKEN, is always one of them.

    Example: strongroom dev --seed .env -- pytest
    """
    if demo:
        if command or seed:
            raise click.UsageError("--demo takes no command and no --seed")
        from strongroom_vault.dev.demo import run_demo

        run_demo(plain=bool(ctx.find_root().params.get("no_color")))
        return
    options = ctx.find_root().params
    file = _configuration_file(options.get("config_file"))
    configs = _configurations(file, options.get("environment"))
    variables = None if seed is None else _variables(seed)
    with DevServer() as server:
        from strongroom_vault.setup.dev_setup import set_up

        set_up(server, dict.fromkeys((DEFAULT_MOUNT, *_mounts(configs))))
        settings = redirections(configs, server.url, server.token)
        if file is not None:
            settings["STRONGROOM_CONFIG"] = str(file)
        if name := options.get("environment"):
            settings["STRONGROOM_ENVIRONMENT"] = name
        if variables is not None:
            _seed(variables, {**_inherited(configs), **settings})
        if command:
            ctx.exit(_run(command, {**_inherited(configs), **settings}))
        _serve(server, settings)


def _variables(seed: Path) -> SensitiveDict:
    from strongroom_vault.dev.seed import read_seed

    return read_seed(seed)


def _seed(variables: SensitiveDict, environment: Mapping[str, str]) -> None:
    """Puts the variables where a process with this environment finds them, and says which it left out."""
    from strongroom_vault.dev.seed import plan, sow

    config = discovery.load(environ=environment)
    seed = plan(variables, config.mapping)
    sow(seed, config)
    for line in seed.words():
        click.echo(f"strongroom: {line}", err=True)


def redirections(configs: Sequence[Config], url: str, token: str) -> dict[str, str]:
    """The variables that lead every Vault store of these configurations to this server, and nowhere else.

    They outrank every configuration file and every other variable; an argument in the program's own code outranks them.
    """
    variables = {"VAULT_ADDR": url, "BAO_ADDR": url, "VAULT_TOKEN": token, "BAO_TOKEN": token}
    for store in _vault_stores(configs):
        # `auth` takes the place of a token that is configured lower, too. An empty variable would say nothing, and
        # "root" is the server's own name for the namespace that has none.
        auth = json.dumps({"method": "token", "token": token})
        for option, value in (("url", url), ("auth", auth), ("namespace", "root")):
            variables[option_variable(store, option)] = value
    return variables


def _vault_stores(configs: Sequence[Config]) -> list[str]:
    return sorted({name for config in configs for name, store in config.stores.items() if store.plugin == VAULT})


def _mounts(configs: Sequence[Config]) -> Iterator[str]:
    """The mounts that are written down. A reference names whatever it names later."""
    for config in configs:
        for store in config.stores.values():
            given = store.options.get("mount")
            mount = DEFAULT_MOUNT if given is None else given.value
            if store.plugin == VAULT and isinstance(mount, str):
                yield mount.strip("/")


def _inherited(configs: Sequence[Config]) -> dict[str, str]:
    """This process's variables without those that are about another server."""
    dropped = {
        option_variable(name, option)
        for config in configs
        for name, store in config.stores.items()
        for option, given in store.options.items()
        if store.plugin == VAULT and given.rank is Rank.VARIABLE and option not in _KEPT
    }
    return {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith(("VAULT_", "BAO_"))
    }


# --- the configuration ------------------------------------------------------------------------------------------------


def _configuration_file(given: Path | None) -> Path | None:
    """The file that applies, by its whole path: the command may change its folder, and must not find another one."""
    named = os.environ.get("STRONGROOM_CONFIG")
    given = given or (discovery.named_file(named) if named else None)
    path = given or Path(discovery.FILE_NAME)
    return path.absolute() if given or path.exists() else None


def _configurations(file: Path | None, selected: str | None) -> list[Config]:
    """The configuration of every environment: the command's own code may select any of them."""
    names: list[str | None] = [selected] if selected else []
    names += [name for name in (discovery.environments(file) if file else ()) if name != selected]
    return [discovery.load(config_file=file, environment=name) for name in names or [None]]


# --- running ----------------------------------------------------------------------------------------------------------


def _serve(server: DevServer, settings: Mapping[str, str]) -> None:
    """Prints what a shell can `eval`, and waits for Ctrl-C."""
    click.echo(f"strongroom: an OpenBao server is at {server.url}, until Ctrl-C. To use it from a shell:", err=True)
    for name, value in settings.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    try:
        server.wait()
    except KeyboardInterrupt:
        return
    raise StoreUnavailableError(None, "the development server ended by itself")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs the command with this process's files and terminal; its exit code, as a shell would give it."""
    with _forwarding() as children:
        try:
            child = subprocess.Popen(command, env=environment)  # noqa: S603  # running what is asked for is the point
        except FileNotFoundError:
            click.echo(f"strongroom: there is no command {command[0]}", err=True)
            return _NOT_THERE
        except OSError as error:
            click.echo(f"strongroom: {command[0]} cannot be run: {error.strerror}", err=True)
            return _CANNOT_RUN
        children.append(child)
        status = child.wait()
    return _KILLED - status if status < 0 else status


@contextlib.contextmanager
def _forwarding() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Passes signals on to the children that are put in the list. One that comes before its child waits for it."""
    children = _Children()

    def forward(number: int, _: FrameType | None) -> None:
        # What is typed on the terminal has reached the command already: it is in the same process group.
        if number not in _FROM_THE_KEYBOARD or not _is_in_foreground():
            children.signal(number)

    before = {number: signal.signal(number, forward) for number in (*_FORWARDED, *_FROM_THE_KEYBOARD)}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Children(list[subprocess.Popen[bytes]]):
    """Processes, and the signals that came before them."""

    def __init__(self) -> None:
        super().__init__()
        self._early: list[int] = []

    def signal(self, number: int) -> None:
        self._early += [] if self else [number]
        for child in self:
            child.send_signal(number)

    def append(self, child: subprocess.Popen[bytes]) -> None:
        super().append(child)
        for number in self._early:
            child.send_signal(number)


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
