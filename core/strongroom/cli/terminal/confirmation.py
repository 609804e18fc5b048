"""Where a write goes: said before it happens, and asked about where it cannot be taken back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from strongroom.cli.terminal import output
from strongroom.errors import shown

if TYPE_CHECKING:
    from strongroom.chain.chain import WriteTarget
    from strongroom.config import Config
    from strongroom.plugins.setting import Setting
    from strongroom.secrets_manager import SecretsManager


def announce(secrets: SecretsManager, target: WriteTarget, what: str) -> None:
    """One line on stderr: what is about to be done, and to which store, at which address."""
    from strongroom import plugins

    config = secrets.config
    output.say(f"{what} {described(target, config, plugins.settings(config, target.store))}")


def described(target: WriteTarget, config: Config, settings: Mapping[str, Setting]) -> str:
    """The target in words: the store, its addresses and its place there, and the environment."""
    _, _, location = target.store.partition(":")
    # What stands in the name of the store is not said again.
    about = place({name: setting for name, setting in settings.items() if str(setting.value) != location})
    store = f"store {shown(target.store)}{f' ({about})' if about else ''}"
    named = f", environment {shown(config.environment)}" if config.environment else ""
    return f"{store}{named}{', production' if config.production else ''}"


def place(settings: Mapping[str, Setting]) -> str:
    """Where the secrets of a store with these options are, in words: its addresses, and each option that is a place."""
    return ", ".join(_about(settings))


def reasons(target: WriteTarget, config: Config, *, drops: bool = False, deletes: bool = False) -> list[str]:
    """Why somebody must say yes first; nothing where nobody need be asked.

    Args:
        target: the store.
        config: the configuration, for what is production.
        drops: the write takes keys away, so that it cannot be undone in a store without versions.
        deletes: the whole secret goes, which a store may keep no version of although it keeps what is overwritten.
    """
    found = ["this is production"] if config.production else []
    if deletes and "final_deletes" in target.capabilities:
        found.append(f"store {shown(target.store)} deletes all versions with it, so that it cannot be undone")
    elif (drops or deletes) and not target.capabilities & {"versioned", "recoverable"}:
        found.append(f"store {shown(target.store)} keeps no versions, so that it cannot be undone")
    return found


def ask(why: list[str], *, yes: bool) -> None:
    """Goes on when there is no reason to ask, or when the answer is yes.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    if yes or not why:
        return
    words = " and ".join(why)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{words[0].upper()}{words[1:]}: without a terminal it needs --yes")
    # Not `click.confirm`, which writes a space to stdout.
    click.echo(f"strongroom: {words}. Go on? [y/N] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # Ctrl-D: what comes next would stand beside the question
        click.echo(err=True)
    if answer.strip().lower() not in {"y", "yes"}:
        output.say("nothing was changed")
        raise click.Abort


def _about(settings: Mapping[str, Setting]) -> Iterator[str]:
    for name, setting in settings.items():
        if setting.secret or not setting.value:
            continue
        if setting.address:
            urls = setting.value if isinstance(setting.value, list) else [setting.value]
            yield " and ".join(shown(str(url)) for url in urls)
        elif setting.place:
            yield f"{name} {shown(str(setting.value))}"
