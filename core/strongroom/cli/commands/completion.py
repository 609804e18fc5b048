"""`strongroom completion`."""

from __future__ import annotations

import click

from strongroom.cli.terminal import completer, output


@click.command("completion")
@click.argument("shell", type=click.Choice(completer.SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, paths and keys on Tab.

    Paths and keys are asked of the configured stores, for a second at most; where they do not answer, only those of
    [secrets] are offered. To know the keys of a secret it is read, and an audit log says so. No value is ever shown.

    \b
    Example, in ~/.bashrc:     eval "$(strongroom completion bash)"
    in ~/.zshrc:               eval "$(strongroom completion zsh)"
    in fish/config.fish:       strongroom completion fish | source
    """  # noqa: D301  # click's mark for lines that are not wrapped
    output.write(completer.script(ctx.find_root().command, shell).encode(), newline=False)
