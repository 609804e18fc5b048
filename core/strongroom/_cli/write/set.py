"""`strongroom set`."""

from __future__ import annotations

import sys

import click

from strongroom._cli.options import Invocation, complete, current, json_option, store_option, yes_option
from strongroom._cli.terminal import output, usage_errors
from strongroom._cli.terminal.confirmation import announce, confirm, reasons
from strongroom._cli.terminal.input import read_file, read_stdin
from strongroom._cli.write import values
from strongroom.errors import shown
from strongroom.secret import SensitiveDict


class _SetCommand(click.Command):
    """`set`, which never repeats an unknown option in a message: it may be a secret value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise usage_errors.unknown_option(error, values.MISPLACED) from None


@click.command("set", cls=_SetCommand)
@click.argument("words", nargs=-1, metavar="PATH [KEY | KEY=@FILE...]", shell_complete=complete("path_then_keys"))
@click.option(
    "--from-json",
    "document",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Set the keys of a JSON object (- reads stdin).",
)
@store_option("Write to")
@click.option("--replace", is_flag=True, help="Remove the secret's other keys.")
@click.option("--empty", is_flag=True, help="Allow an empty value.")
@yes_option()
@json_option()
@current
def set_command(
    invocation: Invocation,
    words: tuple[str, ...],
    *,
    document: str | None,
    store: str | None,
    replace: bool,
    empty: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Set one or more values of a secret, and keep its other keys.

    Values are never passed as arguments, which other processes could read. On a terminal the value is prompted for
    without echo; otherwise it is read from stdin, without one trailing newline. KEY=@FILE stores the exact content of a
    file, and --from-json the keys of an object. Content that is not UTF-8 is stored as bytes. PATH#KEY stands for PATH
    KEY.

    It asks for confirmation in production, and with --replace if the store keeps no versions. Without a terminal it
    then needs --yes.

    Example: strongroom set services/web cert=@web.crt key=@web.key
    """
    request = values.parse_words(words) if document is None else values.parse_path(words)
    if document not in {None, "-"}:
        data = values.read_document(read_file(str(document), "the document of --from-json"))
    else:
        data = values.read_files(request.files, empty=empty)
    interactive = sys.stdin.isatty()
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(request.path, store=store)
        if not interactive:  # before the announcement: stdin may be refused
            if document == "-":
                data = values.read_document(read_stdin())
            elif request.key is not None:
                data = SensitiveDict({request.key: values.read_piped(empty=empty)})
        what = output.joined(request.keys or data or ["keys from stdin"])
        announce(secrets, target, f"Writing {what} at {shown(request.path)} to")
        confirm(reasons(target, secrets.config, drops=replace), yes=yes)
        if interactive and document == "-":
            data = values.read_document(values.read_typed_document(request.path))
        elif interactive and request.key is not None:
            data = SensitiveDict({request.key: values.read_typed(request.path, request.key, empty=empty)})
        version = secrets.set_secret(request.path, data, store=target.store, replace=replace)
    numbered = "" if version is None else f", version {version}"
    output.say(f"Stored {output.joined(data)} at {shown(request.path)}{numbered}")
    if as_json:
        output.write_document(
            {"path": request.path, "store": target.store, "keys": list(data), "secret_version": version}
        )
