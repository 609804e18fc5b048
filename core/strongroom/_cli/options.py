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
        offline: let the caches on disk answer, as `offline` of `[cache]` does. An option of some commands.
        max_age: how old, in seconds, an answer of these caches may be; None for the settings of `[cache]`.
    """

    config_file: Path | None = None
    environment: str | None = None
    verbose: bool = False
    no_color: bool = False
    offline: bool = False
    max_age: float | None = None

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

        config = discovery.load(config_file=self.config_file, environment=self.environment, require_trust=True)
        return self._offline(config) if self.offline or self.max_age is not None else config

    def _offline(self, config: Config) -> Config:
        """Return the configuration as `--offline` and `--max-age` change it."""
        from dataclasses import replace

        from strongroom._config import Rank, Setting

        cache, settings = config.cache, config.settings
        if self.offline:
            settings = {**settings, "cache.offline": Setting(self.offline, "--offline", Rank.ARGUMENT)}
            cache = cache._replace(offline=True)
        if not cache.offline:
            raise click.UsageError("--max-age needs --offline")
        if (longest := self.max_age) is not None:
            max_stale = min(cache.max_stale, max(0.0, longest - cache.ttl))
            cache = cache._replace(ttl=min(cache.ttl, longest), max_stale=max_stale)
        return replace(config, cache=cache, settings=settings)

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
        if config.offline:
            from strongroom.errors import UnsupportedOperationError

            reason = f"{config.offline}: {click.get_current_context().command_path} {effect}"
            raise UnsupportedOperationError(None, reason, hint="Go online for this")
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


def _note(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that puts the value of an option into the `Invocation`."""

    def note(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:  # zero seconds count
            ctx.obj = ctx.ensure_object(Invocation)._replace(**{field: value})

    return note


def offline_options(function: _F) -> _F:
    """Add the options `--offline` and `--max-age`, which `Invocation.load` applies."""

    def noted_age(ctx: click.Context, option: click.Parameter, text: str | None) -> None:
        _note("max_age")(ctx, option, read_duration(ctx, option, text))

    offline_help = "Ask no store that is not on this machine: its cache on disk answers."
    return combined(
        click.option("--offline", is_flag=True, expose_value=False, callback=_note("offline"), help=offline_help),
        click.option(
            "--max-age",
            metavar="DURATION",
            expose_value=False,
            callback=noted_age,
            help="With --offline, take no answer that is older, such as 2h.",
        ),
    )(function)


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
