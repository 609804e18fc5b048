"""Options of the command line: those before a command's name, as an `Invocation`, and those that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from strongroom._config import Config
    from strongroom._manager import SecretsManager
    from strongroom.errors import ConfigurationError
    from strongroom.secret import Version

_F = TypeVar("_F", bound=Callable[..., Any])


class Invocation(NamedTuple):
    """Options given before the command's name. A plugin's command gets them from `strongroom.commands.current`.

    Attributes:
        config_file: configuration file to read instead of `./strongroom.toml`.
        environment: selected environment of that file.
        verbose: log each store's answer.
        no_color: disable color.
    """

    config_file: Path | None = None
    environment: str | None = None
    verbose: bool = False
    no_color: bool = False

    def open(self) -> SecretsManager:
        """Return a manager of the configured chain, for a `with` block."""
        from strongroom._manager import SecretsManager

        return SecretsManager.from_config(self.load())

    def open_to_write(self) -> SecretsManager:
        """Return the same for a command that writes or deletes secrets: see `load_to_write`."""
        from strongroom._manager import SecretsManager

        return SecretsManager.from_config(self.load_to_write())

    def load(self) -> Config:
        """Return the configuration that `open` uses."""
        from strongroom._config import discovery

        return discovery.load(config_file=self.config_file, environment=self.environment, require_trust=True)

    def load_trusted(self) -> Config:
        """Return the configuration for a command that passes secrets to a program.

        Raises:
            ConfigurationError: a file that was found in the working directory is not trusted.
        """
        config = self.load()
        if config.untrusted:
            raise _not_trusted(config, "passes secrets to a program")
        return config

    def load_to_write(self, effect: str = "writes secrets") -> Config:
        """Return the configuration for a command that writes or deletes secrets, or passes on the path of the file.

        The variables of `./.env` say nothing about a write, except for options of stores, which need trust by
        themselves. So a user may migrate an `.env` that is not trusted.

        Args:
            effect: the command's effect, for the message.

        Raises:
            ConfigurationError: `./strongroom.toml` is not trusted: it would say where secrets are written, or
                would count as a file that the user named.
        """
        from strongroom._config.discovery import CONFIG_FILE_NAME

        config = self.load()
        if f"./{CONFIG_FILE_NAME}" in config.untrusted:
            raise _not_trusted(config, effect)
        return config

    def load_others(self) -> list[Config]:
        """Return the configurations of the environments that are not selected."""
        from strongroom._config import discovery

        return list(discovery.load_others(config_file=self.config_file, environment=self.environment))


def _not_trusted(config: Config, effect: str) -> ConfigurationError:
    from strongroom._config.trust import not_trusted

    return not_trusted(config.untrusted, f"{click.get_current_context().command_path} {effect}")


def complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem] | list[str]]:
    """Return a `shell_complete=` callback that calls this function of `completion`, which is imported on Tab only."""

    def callback(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem] | list[str]:
        from strongroom._cli.configure import completion

        words: list[CompletionItem] | list[str] = getattr(completion, kind)(ctx, incomplete)
        return words

    return callback


def combined(*given: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Return one decorator for several options."""

    def decorate(function: _F) -> _F:
        for option in reversed(given):
            function = option(function)
        return function

    return decorate


def json_option(text: str = "Print a JSON object.") -> Callable[[_F], _F]:
    """Return the option `--json`, with this help."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def yes_option(text: str = "Do not ask for confirmation.") -> Callable[[_F], _F]:
    """Return the option `--yes`, with this help."""
    return click.option("-y", "--yes", is_flag=True, help=text)


def store_option(verb: str) -> Callable[[_F], _F]:
    """Return the option `--store` of a command that does this with a store of the chain, such as `Write to`."""
    text = f"{verb} this store instead of the first writable one of the chain."
    return click.option("--store", metavar="NAME", shell_complete=complete("stores"), help=text)


path_argument = click.argument("path", shell_complete=complete("paths"))


def read_duration(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Return the seconds in an option's text, or None without it.

    Raises:
        click.BadParameter: it is not a duration.
    """
    from strongroom.formats import durations

    if text is None:
        return None
    seconds = durations.parse_duration(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is not {durations.ALLOWED}")
    return seconds


def interval_option(default: str, text: str) -> Callable[[_F], _F]:
    """Return the option `--interval` of at least one second, with this help."""

    def read(ctx: click.Context, option: click.Parameter, given: str) -> float:
        interval = read_duration(ctx, option, given)
        if interval is None or interval < 1:
            raise click.UsageError("--interval must be at least one second")
        return interval

    return click.option("--interval", default=default, show_default=True, metavar="DURATION", callback=read, help=text)


def as_version(word: str) -> Version:
    """Convert a version from the command line: digits to a number, as in Vault; anything else stays text."""
    return int(word) if word.isascii() and word.isdigit() else word


current = click.make_pass_decorator(Invocation)
"""Decorator that passes the `Invocation` to a command as its first argument."""
