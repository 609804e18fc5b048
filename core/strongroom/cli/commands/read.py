"""`strongroom get` and `strongroom list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.terminal import output
from strongroom.encoding import to_json_text
from strongroom.paths import parse_reference
from strongroom.secret import REDACTED, Value

if TYPE_CHECKING:
    from strongroom.chain.chain import Resolution


@click.command("get")
@click.argument("path", metavar="PATH[#KEY]", shell_complete=completed("reference"))
@click.argument("key", required=False, shell_complete=completed("key"))
@click.option("--json", "as_json", is_flag=True, help="As a JSON object that also says where it comes from.")
@click.option("--reveal", is_flag=True, help="Show the values of a whole secret on a terminal too.")
@current
def get_command(invocation: Invocation, path: str, key: str | None, *, as_json: bool, reveal: bool) -> None:
    """Print one value, or a whole secret.

    A value is printed as it is, byte for byte; a number, boolean, list or object as JSON. A whole secret is one JSON
    object when it is piped, and on a terminal a table of its keys, whose values are shown with --reveal only. What a
    store makes at a read, such as the users of a database engine, is not printed: it would end with this command.

    Example: strongroom get database/connection password
    """
    # With a KEY of its own the path is taken as it stands: it may hold a # itself.
    path, key = parse_reference(path) if key is None else (path, key)
    with invocation.open() as secrets:
        found = secrets.resolve(path, key, allow_dynamic=False)  # its credential would end with this command
    if as_json:
        output.write_document(_described(found))
    elif key is None and not output.is_terminal():
        output.write_json(found.value)
    elif key is None:
        _show(found, reveal=reveal, color=not invocation.no_color)
    else:
        output.write_value(found.value, path, key)


@click.command("list")
@click.argument("prefix", default="", shell_complete=completed("folder"))
@click.option("-r", "--recursive", is_flag=True, help="Every secret below PREFIX, not only what is directly below.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@current
def list_command(invocation: Invocation, prefix: str, *, recursive: bool, as_json: bool) -> None:
    """Print the names directly below PREFIX, one a line; folders end in a slash.

    With --recursive, the whole path of every secret below it. The names are those of every store in the chain that can
    list. A store that does not answer is an error, never a shorter list.

    Example: strongroom list --recursive database
    """
    with invocation.open() as secrets:
        names = secrets.list_secrets(prefix, recursive=recursive)
    if as_json:
        output.write_document({"prefix": prefix, "recursive": recursive, "names": names})
    else:
        output.write_lines(map(cell, names) if output.is_terminal() else names)


def _described(found: Resolution) -> dict[str, Value]:
    return {
        "path": found.path,
        "key": found.key,
        "store": found.store,
        "secret_version": found.version,
        "age": found.age,
        "cached": found.cached,
        "stale": found.stale,
        "data" if found.key is None else "value": found.value,
    }


def _show(found: Resolution, *, reveal: bool, color: bool) -> None:
    data = found.value if isinstance(found.value, Mapping) else {}
    rows = [(cell(key), cell(value) if reveal else REDACTED) for key, value in data.items()]
    version = "" if found.version is None else f", version {found.version}"
    hint = "" if reveal else "; --reveal shows the values"
    output.write_table(("key", "value"), rows, caption=f"{found.path} from {found.store}{version}{hint}", color=color)


def cell(value: Value) -> str:
    """A value as a table shows it, on one line."""
    text = value if isinstance(value, str) else to_json_text(value)
    if text.isprintable():
        return text
    import json

    # A control character would move the cursor, or worse; the exact value is what `get PATH KEY` prints.
    return json.dumps(text)
