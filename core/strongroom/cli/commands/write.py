"""`strongroom set` and `strongroom delete`."""

from __future__ import annotations

import sys

import click

from strongroom.cli import write_values
from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.terminal import output, usage_errors
from strongroom.cli.terminal.confirmation import announce, ask, reasons
from strongroom.errors import shown
from strongroom.secret import SensitiveDict, check_data

_YES = "Do not ask, where it is production or cannot be undone."


class _SetCommand(click.Command):
    """An unknown option is not repeated as click would do it: it may be a value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise usage_errors.unknown_option(error, write_values.MISPLACED) from None


@click.command("set", cls=_SetCommand)
@click.argument("words", nargs=-1, metavar="PATH [KEY | KEY=@FILE...]", shell_complete=completed("path, then keys"))
@click.option(
    "--json",
    "document",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Set the keys of a JSON object, and answer with one; - reads it from stdin.",
)
@click.option(
    "--store",
    metavar="NAME",
    shell_complete=completed("store"),
    help="Write to this store, not to the first of the chain that can be written.",
)
@click.option("--replace", is_flag=True, help="Drop the secret's other keys; without it they are kept.")
@click.option("--empty", is_flag=True, help="Store an empty value, which is refused else.")
@click.option("-y", "--yes", is_flag=True, help=_YES)
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
) -> None:
    """Store one value or several, and keep the secret's other keys.

    A value is never on the command line, where every process of the machine could read it: on a terminal it is asked
    for without echo, else it is read from stdin, less one newline at its end. KEY=@FILE stores the exact content of a
    file, and --json the keys of an object. What is not UTF-8 is stored as bytes, whole. PATH#KEY stands for PATH KEY.

    It says where it writes first. In production it asks, and with --replace where the store keeps no versions; without
    a terminal it needs --yes then.

    Example: strongroom set services/web cert=@web.crt key=@web.key
    """
    wanted = write_values.parse_words(words) if document is None else write_values.parse_path(words)
    if document not in {None, "-"}:
        data = write_values.read_document(write_values.read_file(str(document), "the document of --json"))
    else:
        data = write_values.read_files(wanted.files, empty=empty)
    with invocation.open() as secrets:
        target = secrets.write_target(wanted.path, store=store)
        what = _listed(wanted.keys or list(data)) or "keys from stdin"
        announce(secrets, target, f"writing {what} at {shown(wanted.path)} to")
        ask(reasons(target, secrets.config, drops=replace), yes=yes)
        typed = sys.stdin.isatty()
        if document == "-":
            content = write_values.read_typed_document(wanted.path) if typed else write_values.read_stdin()
            data = write_values.read_document(content)
        elif wanted.key is not None:
            value = (
                write_values.read_typed(wanted.path, wanted.key, empty=empty)
                if typed
                else write_values.read_piped(empty=empty)
            )
            data = SensitiveDict({wanted.key: value})
        version = secrets.set_secret(wanted.path, check_data(wanted.path, data), store=target.store, replace=replace)
    numbered = "" if version is None else f", version {version}"
    output.say(f"stored {_listed(list(data))} at {shown(wanted.path)}{numbered}")
    if document is not None:
        output.write_document(
            {"path": wanted.path, "store": target.store, "keys": list(data), "secret_version": version}
        )


@click.command("delete")
@click.argument("path", shell_complete=completed("path"))
@click.option(
    "--store",
    metavar="NAME",
    shell_complete=completed("store"),
    help="Delete it in this store, not in the first that can be written.",
)
@click.option("-y", "--yes", is_flag=True, help=_YES)
@click.option("--json", "as_json", is_flag=True, help="Say what was done as a JSON object.")
@current
def delete_command(invocation: Invocation, path: str, *, store: str | None, yes: bool, as_json: bool) -> None:
    """Remove a whole secret from one store.

    It says from where first. In production it asks, and where the store keeps no versions, so that it cannot be undone;
    without a terminal it needs --yes then. A secret of the same path in a lower store of the chain is read again.

    Example: strongroom delete services/web --store vault
    """
    with invocation.open() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"deleting {shown(path)} from")
        ask(reasons(target, secrets.config, deletes=True), yes=yes)
        secrets.delete_secret(path, store=target.store)
    output.say(f"deleted {shown(path)} from store {shown(target.store)}")
    if as_json:
        output.write_document({"path": path, "store": target.store})


def _listed(keys: list[str]) -> str:
    *most, last = map(shown, keys) if keys else ("",)
    return f"{', '.join(most)} and {last}" if most else last
