"""`strongroom list`."""

from __future__ import annotations

import click

from strongroom._cli.options import Invocation, complete, current, json_option
from strongroom._cli.terminal import output
from strongroom.errors import SecretNotFoundError


@click.command("list")
@click.argument("prefix", default="", shell_complete=complete("folders"))
@click.option("-r", "--recursive", is_flag=True, help="List every secret below PREFIX with its whole path.")
@json_option()
@current
def list_command(invocation: Invocation, prefix: str, *, recursive: bool, as_json: bool) -> None:
    """List the secrets and folders directly below PREFIX; folders end in a slash.

    The names of all listable stores in the chain are merged. An unavailable store is an error, never a shorter list. So
    is a PREFIX with nothing below it.

    Example: strongroom list --recursive database
    """
    with invocation.open() as secrets:
        names = secrets.list_secrets(prefix, recursive=recursive)
    if as_json:
        output.write_document({"prefix": prefix, "recursive": recursive, "names": names})
    else:
        output.write_lines(map(output.value_text, names))  # a control character of a name is escaped in a pipe too
    if prefix and not names:
        raise SecretNotFoundError(prefix, "nothing is below it", hint="`strongroom list` shows the top")
