"""`strongroom completion`. A module of its own, since the others are imported when they are called."""

from __future__ import annotations

import click

from strongroom.cli.terminal import completer, output


@click.command("completion")
@click.argument("shell", type=click.Choice(completer.SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    Commands, options, paths and keys are completed on Tab. Paths and keys come from [secrets] and from the configured
    stores, which have one second to answer. To complete keys the secret is read, which an audit log records. No value
    is shown.

    \b
    Example, in ~/.bashrc:     eval "$(strongroom completion bash)"
    in ~/.zshrc:               eval "$(strongroom completion zsh)"
    in fish/config.fish:       strongroom completion fish | source
    """  # noqa: D301  # click does not wrap a paragraph after \b
    output.write(completer.script(ctx.find_root().command, shell).encode(), newline=False)
