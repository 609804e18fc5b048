"""`strongroom dev`: a real server for a command, for a demonstration, or until Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from strongroom import commands
from strongroom.commands import VAULT, Rank
from strongroom.errors import StoreUnavailableError
from strongroom_vault.dev.server import DevServer

if TYPE_CHECKING:
    from strongroom.secrets_manager import Config

DEFAULT_MOUNT = "secret"

_LOCATION = frozenset({"mount", "prefix"})
"""The options of a store that locate its secrets within a server."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--demo", is_flag=True, help="Show the chain at work while its server is stopped.")
@click.option("--detach", is_flag=True, help="Leave the server running in the background.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@commands.current
def dev(invocation: commands.Invocation, command: tuple[str, ...], *, demo: bool, detach: bool) -> None:
    """Start a real OpenBao server on loopback, for development.

    With COMMAND, the server runs as long as the command. Every Vault store that the command opens uses this server
    instead of the configured one, with the configured mounts and prefixes. Without COMMAND, the server runs until
    Ctrl-C, and the output points a shell to it. All data is in memory and is lost at the end.

    With --detach, the server runs until `kill $DEV_SERVER_PID`: eval "$(strongroom dev --detach)".

    Example: strongroom dev -- pytest
    """
    if detach and (demo or command):
        raise click.UsageError("--detach takes no command, and no --demo")
    if demo:
        if command:
            raise click.UsageError("--demo takes no command")
        from strongroom_vault.dev.demo import run_demo

        run_demo(color=not invocation.no_color)
        return
    file = _configuration_file(invocation)
    configs = configurations(file, invocation.environment)
    if detach:
        _continue_in_background()
    with DevServer() as server:
        _set_up(server, dict.fromkeys((DEFAULT_MOUNT, *_mounts(configs))))
        settings = redirections(configs, server.url, server.token, bare=bool(command))
        # A shell finds ./strongroom.toml itself, also that of the next folder.
        if file is not None and (command or invocation.config_file):
            settings["STRONGROOM_CONFIG"] = str(file)
        if invocation.environment:
            settings["STRONGROOM_ENVIRONMENT"] = invocation.environment
        environment = {**_inherited(configs), **settings}
        if command:
            exact = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
            click.get_current_context().exit(commands.run_command(command, exact))
        if detach:
            settings["DEV_SERVER_PID"] = str(os.getpid())
        if any(
            store.plugin == VAULT and "auth" in store.options for config in configs for store in config.stores.values()
        ):
            commands.say("The variables *_AUTH outrank `auth` in strongroom.toml. Leave them out to try its own login.")
        _serve(server, settings, detached=detach)


def redirections(configs: Sequence[Config], url: str, token: str, *, bare: bool = True) -> dict[str, str]:
    """Return the variables that redirect every Vault store of these configurations to this server.

    They outrank every configuration file and every other variable, but not an argument in the program's own code.

    Args:
        configs: the configurations.
        url: the server's address.
        token: its root token.
        bare: also outrank options that the command may configure later for a store that has none yet. In a shell they
            would outrank the `auth` of each file that its user writes or visits.
    """
    variables = {"VAULT_ADDR": url, "BAO_ADDR": url, "VAULT_TOKEN": token, "BAO_TOKEN": token}
    stores = [(name, store) for config in configs for name, store in config.stores.items() if store.plugin == VAULT]
    names = {name for name, store in stores if bare or not store.is_bare}
    for store in sorted(names):
        # `auth` also replaces a token that a file configures. "root" is the server's name for the namespace without a
        # name: an empty variable would count as unset.
        auth = json.dumps({"method": "token", "token": token})
        for option, value in (("url", url), ("auth", auth), ("namespace", "root")):
            variables[commands.option_variable(store, option)] = value
    return variables


def _set_up(server: DevServer, mounts: Mapping[str, None]) -> None:
    """Mount a KV version 2 engine at each mount, and write the policies of `vault setup` for the first one."""
    from strongroom_vault.setup import policies

    for mount in mounts:
        server.mount(quote(mount))
    for name, (*_, text) in policies.structure_policies(DEFAULT_MOUNT, "").items():
        server.call("PUT", f"sys/policies/acl/{name}", {"policy": text})


def _mounts(configs: Sequence[Config]) -> Iterator[str]:
    """Yield the literal mounts. The value of a reference is not known yet."""
    for config in configs:
        for store in config.stores.values():
            given = store.options.get("mount")
            mount = DEFAULT_MOUNT if given is None else given.value
            if store.plugin == VAULT and isinstance(mount, str):
                yield mount.strip("/")


def _inherited(configs: Sequence[Config]) -> dict[str, str]:
    """Return this process's variables without those that concern another server."""
    dropped = {
        commands.option_variable(name, option)
        for config in configs
        for name, store in config.stores.items()
        for option, given in store.options.items()
        if store.plugin == VAULT and given.rank is Rank.VARIABLE and option not in _LOCATION
    }
    return {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith(("VAULT_", "BAO_"))
    }


def _configuration_file(invocation: commands.Invocation) -> Path | None:
    """Return the absolute path of the configuration file: the command may change its folder, and must find this one.

    The command uses it as a file that somebody named, so a found file must be trusted.

    Raises:
        ConfigurationError: it is not.
    """
    named = os.environ.get("STRONGROOM_CONFIG")
    given = invocation.config_file or (commands.expand_config_file(named) if named else None)
    path = given or Path(commands.CONFIG_FILE_NAME)
    if given is None and path.exists():
        invocation.load_to_write("passes ./strongroom.toml to a program")
    return path.absolute() if given or path.exists() else None


def configurations(file: Path | None, selected: str | None) -> list[Config]:
    """Return the configuration of every environment: the command's own code may select any of them."""
    names: list[str | None] = [selected] if selected else []
    names += [name for name in (commands.config_environments(file) if file else ()) if name != selected]
    return [commands.Invocation(file, name).load() for name in names or [None]]


def _continue_in_background() -> None:
    """Fork, and return in the child, in a separate session. The parent copies its output, and ends with it.

    This happens before the server starts, since a fork leaves the thread behind that reads the server's output.
    """
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as output:
            text = output.read()
        click.echo(text, nl=False)
        failed = 0 if text else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        click.get_current_context().exit(failed)
    os.setsid()
    os.dup2(writing, 1)
    os.close(writing)
    os.close(reading)


def _serve(server: DevServer, settings: Mapping[str, str], *, detached: bool) -> None:
    """Print export lines for a shell, and wait for Ctrl-C."""
    if not detached:
        commands.say(f"OpenBao runs at {server.url} until Ctrl-C. To use it in a shell:")
    try:
        for name, value in settings.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        if detached:
            with Path(os.devnull).open("r+b") as nothing:
                for descriptor in (0, 1, 2):
                    os.dup2(nothing.fileno(), descriptor)
        server.wait()
    except KeyboardInterrupt:
        return
    raise StoreUnavailableError(None, "the development server exited")
