"""`strongroom get` and `strongroom list`: one secret or value, and the names of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from strongroom._cli.options import Invocation, complete, current, json_option, offline_options
from strongroom._cli.terminal import output
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError, StrongroomError, shown
from strongroom.paths import parse_reference
from strongroom.secret import REDACTED, Value

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution
    from strongroom._manager import SecretsManager


@click.command("get")
@click.argument("path", metavar="PATH[#KEY]", shell_complete=complete("references"))
@click.argument("key", required=False, shell_complete=complete("keys"))
@json_option("Print a JSON object that includes the origin of the value.")
@click.option("--reveal", is_flag=True, help="Show the values of a whole secret on a terminal.")
@offline_options
@current
def get_command(invocation: Invocation, path: str, key: str | None, *, as_json: bool, reveal: bool) -> None:
    """Print one value, or a whole secret.

    A text or bytes value is printed unchanged; a number, boolean, list or object is printed as JSON. A whole secret is
    printed as a JSON object in a pipe, and as a table of its keys on a terminal, where --reveal shows the values. A
    credential that is revoked when this command ends, such as a lease of Vault, is not printed: use `strongroom run`.

    Example: strongroom get database/connection password
    """
    # With a separate KEY, the path may contain a #.
    path, key = parse_reference(path) if key is None else (path, key)
    from strongroom._manager import SecretsManager

    config = invocation.load().for_one_read()
    with SecretsManager.from_config(config) as secrets:
        try:
            # Another credential would end with this command.
            found = secrets.resolve(path, key, allow_dynamic="lasting")
        except StoreError as error:
            raise hinted(error, key, secrets) from None
    if config.offline:
        output.say_ages([found])
    if as_json:
        output.write_document(_described(found))
    elif key is None and not output.is_terminal():
        output.write_json(found.value)
    elif key is None:
        _show(found, reveal=reveal)
    else:
        output.write_value(found.value, path, key)


def hinted(error: StoreError, key: str | None, secrets: SecretsManager) -> StoreError:
    """Return the error of a read, with the hint at `PATH#KEY` if the end of the path is a key of the secret above."""
    above, slash, name = (error.path or "").rpartition("/")
    if key is None and slash and isinstance(error, SecretNotFoundError | PermissionDeniedError):
        with suppress(StrongroomError):
            secrets.resolve(above, name, allow_dynamic=False)
            return error.copy(hint=f"{shown(name)} is a key of {shown(above)}: write {shown(f'{above}#{name}')}")
    return error


def _described(found: Resolution) -> dict[str, Value]:
    return {
        "path": found.path,
        "key": found.key,
        "store": found.store,
        "secret_version": found.version,
        "age": found.age,
        "cached": found.cached,
        "stale": found.stale,
        "ends": None if found.ends is None else found.ends.isoformat(),
        "data" if found.key is None else "value": found.value,
    }


def _show(found: Resolution, *, reveal: bool) -> None:
    data = found.value if isinstance(found.value, Mapping) else {}
    rows = [(output.value_text(key), output.value_text(value) if reveal else REDACTED) for key, value in data.items()]
    version = "" if found.version is None else f", version {found.version}"
    hint = "" if reveal else "; --reveal shows the values"
    output.write_table(("key", "value"), rows, caption=f"{found.path} from {found.store}{version}{hint}")


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
