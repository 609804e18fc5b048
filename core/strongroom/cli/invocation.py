"""What was given before the command's name, and what it opens: shared by the commands of one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.secrets_manager import SecretsManager


class Invocation(NamedTuple):
    """The options of `strongroom` itself.

    A plugin's command receives it through `strongroom.cli.api.current`.

    Attributes:
        config_file: the file to read in the place of `./strongroom.toml`.
        environment: one of its environments.
        verbose: say what each store answered.
        no_color: plain text.
    """

    config_file: Path | None = None
    environment: str | None = None
    verbose: bool = False
    no_color: bool = False

    def open(self) -> SecretsManager:
        """The manager of the configured chain, for a `with` block."""
        from strongroom.secrets_manager import SecretsManager

        return SecretsManager.from_config(self.load())

    def load(self) -> Config:
        """The configuration that `open` would use, for what asks it more than for secrets."""
        from strongroom.config import discovery

        return discovery.load(config_file=self.config_file, environment=self.environment, require_trust=True)

    def load_others(self) -> list[Config]:
        """What the file says for each of its other environments."""
        from strongroom.config import discovery

        return list(discovery.load_others(config_file=self.config_file, environment=self.environment))


def completed(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """For `shell_complete=`: what completes a word of this kind, one of `completion.KINDS`, imported on Tab only."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        from strongroom.cli.terminal.completer import KINDS

        return KINDS[kind](ctx, incomplete)

    return complete


current = click.make_pass_decorator(Invocation)
"""Decorates a command that takes the `Invocation` as its first argument."""
