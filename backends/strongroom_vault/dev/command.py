"""`strongroom dev`: a real server for as long as a command, a demonstration or the developer needs it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from strongroom.cli import api
from strongroom.config import VAULT, Config, Rank
from strongroom.errors import StoreUnavailableError
from strongroom.secret import SensitiveDict
from strongroom_vault.dev.server import DevServer

DEFAULT_MOUNT = "secret"

_KEPT = frozenset({"mount", "prefix"})
"""The options of a store that say where its secrets are on a server, and not on which."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--demo", is_flag=True, help="Show the chain at work, with a server that is stopped on the way.")
@click.option(
    "--seed",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Put the variables of this .env file that the mapping knows into the server first.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@api.current
def dev(invocation: api.Invocation, command: tuple[str, ...], *, demo: bool, seed: Path | None) -> None:
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

        run_demo(plain=invocation.no_color)
        return
    file = _configuration_file(invocation.config_file)
    configs = _configurations(file, invocation.environment)
    variables = None if seed is None else _variables(seed)
    with DevServer() as server:
        from strongroom_vault.setup.dev_setup import set_up

        set_up(server, dict.fromkeys((DEFAULT_MOUNT, *_mounts(configs))))
        settings = redirections(configs, server.url, server.token)
        if file is not None:
            settings["STRONGROOM_CONFIG"] = str(file)
        if name := invocation.environment:
            settings["STRONGROOM_ENVIRONMENT"] = name
        environment = {**_inherited(configs), **settings}
        if variables is not None:
            _seed(variables, environment)
        if command:
            variables_of_command = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
            click.get_current_context().exit(api.run_command(command, variables_of_command))
        _serve(server, settings)


def _variables(seed: Path) -> SensitiveDict:
    from strongroom_vault.dev.seed import read_seed

    return read_seed(seed)


def _seed(variables: SensitiveDict, environment: Mapping[str, str]) -> None:
    """Puts the variables where a process with this environment finds them, and says which it left out."""
    from strongroom_vault.dev.seed import plan, sow

    config = api.load_config(environ=environment)
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
            variables[api.option_variable(store, option)] = value
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
        api.option_variable(name, option)
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
    given = given or (api.expand_config_file(named) if named else None)
    path = given or Path(api.CONFIG_FILE_NAME)
    return path.absolute() if given or path.exists() else None


def _configurations(file: Path | None, selected: str | None) -> list[Config]:
    """The configuration of every environment: the command's own code may select any of them."""
    names: list[str | None] = [selected] if selected else []
    names += [name for name in (api.config_environments(file) if file else ()) if name != selected]
    return [api.load_config(config_file=file, environment=name) for name in names or [None]]


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
