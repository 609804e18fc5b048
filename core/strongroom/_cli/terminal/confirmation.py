"""Announcement of a write, and the confirmation prompt of every command that asks before it changes something."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.terminal import output
from strongroom._cli.terminal.input import confirmed
from strongroom.errors import shown

if TYPE_CHECKING:
    from strongroom._chain.answer import WriteTarget
    from strongroom._config import Config, Setting
    from strongroom._manager import SecretsManager


def announce(secrets: SecretsManager, target: WriteTarget, what: str) -> None:
    """Print the planned change on stderr, with its store and address."""
    from strongroom import _plugins as plugins

    config = secrets.config
    output.say(f"{what} {_described(target.store, config, plugins.store_settings(config, target.store))}")


def describe_store(config: Config, name: str) -> str:
    """Return a target, NAME or PLUGIN:LOCATION, in words, with its addresses, location and environment.

    Raises:
        ConfigurationError, PluginError: the store does not exist, or its options are invalid.
    """
    from strongroom import _plugins as plugins
    from strongroom.migrate.endpoints import located

    config, group = located(config, name, plugins.EXPORTERS)
    return _described(name, config, plugins.store_settings(config, name, group))


def _described(name: str, config: Config, settings: Mapping[str, Setting]) -> str:
    _, _, location = name.partition(":")
    # The name of the store already contains its location.
    about = describe_location({name: setting for name, setting in settings.items() if str(setting.value) != location})
    store = f"store {shown(name)}{f' ({about})' if about else ''}"
    named = f", environment {shown(config.environment)}" if config.environment else ""
    return f"{store}{named}{', production' if config.production else ''}"


def describe_location(settings: Mapping[str, Setting]) -> str:
    """Return the location of a store in words: its addresses, mount, prefix and the like."""
    return ", ".join(_location_parts(settings))


def reasons(target: WriteTarget, config: Config, *, drops: bool = False, deletes: bool = False) -> list[str]:
    """Return why the write needs confirmation; empty if it needs none.

    Args:
        target: store to write to.
        config: configuration, which says whether this is production.
        drops: the write removes keys, which only a store with versions can restore.
        deletes: the write deletes a whole secret. Some stores then delete its versions too.
    """
    found = production_reasons(config)
    if deletes and "final_deletes" in target.capabilities:
        found.append(f"store {shown(target.store)} deletes all versions too, so this cannot be undone")
    elif (drops or deletes) and not target.capabilities & {"versioned", "recoverable"}:
        found.append(f"store {shown(target.store)} keeps no versions, so this cannot be undone")
    return found


def production_reasons(config: Config) -> list[str]:
    """Return why a change that can be undone needs confirmation; empty if it needs none."""
    return ["this is production"] if config.production else []


def confirm(reasons: Sequence[str], *, yes: bool) -> None:
    """Ask for confirmation if there is a reason to, and `yes` has not confirmed already.

    Raises:
        click.UsageError: stdin or stderr is not a terminal.
        click.exceptions.Exit: declined; the exit code is FAILED.
        click.Abort: Ctrl-C or Ctrl-D.
    """
    if yes or not reasons:
        return
    text = " and ".join(reasons)
    text = f"{text[0].upper()}{text[1:]}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{text}: without a terminal this needs --yes")
    try:
        is_confirmed = confirmed(f"strongroom: {text}. Continue?")
    except click.Abort:
        click.echo(err=True)  # the cursor is beside the question
        output.say("Nothing was changed")
        raise
    if not is_confirmed:
        output.say("Nothing was changed")
        raise click.exceptions.Exit(ExitCode.FAILED)


def _location_parts(settings: Mapping[str, Setting]) -> Iterator[str]:
    for name, setting in settings.items():
        if setting.secret or not setting.value:
            continue
        if setting.address:
            urls = setting.value if isinstance(setting.value, list) else [setting.value]
            yield " and ".join(shown(str(url)) for url in urls)
        elif setting.locates:
            value = _words(setting.value) if isinstance(setting.value, list) else str(setting.value)
            yield f"{name} {shown(value)}"


def _words(command: Sequence[object]) -> str:
    """Return a command line up to its first argument with white space, which may be a whole script."""
    words = list(takewhile(lambda word: word.split() == [word], map(str, command)))
    return " ".join(words if len(words) == len(command) else [*words, "…"])
