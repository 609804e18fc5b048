"""`strongroom mapping`: the mapping of variables to paths and keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from strongroom._cli.migrate import report as reports
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom.errors import shown


@click.group("mapping")
def mapping_command() -> None:
    """Manage the mapping of variables to paths and keys for `strongroom migrate`.

    Example: strongroom mapping export env_mapping.json --env-file .env
    """


@mapping_command.command("export")
@click.argument("file", type=reports.FILE)
@click.option(
    "--env-file", "env_files", metavar="FILE", multiple=True, help="Add an entry for each variable of this .env file."
)
@click.option("--update", is_flag=True, help="Add missing entries, and keep yours.")
@json_option()
@current
def export_command(
    invocation: Invocation, file: Path, *, env_files: tuple[str, ...], update: bool, as_json: bool
) -> None:
    """Write the path and key of each variable to FILE: TOML if it ends in .toml, otherwise JSON.

    The entries are the rows of [secrets] and the variables of the environment that have a known name. With --env-file
    each variable of that file gets an entry, empty if you must fill it in. An existing file needs --update. The file
    has no values, and no credentials of stores (VAULT_* and the like).

    Example: strongroom mapping export env_mapping.json --env-file .env
    """
    export_mapping(invocation, file, env_files, update=update, as_json=as_json)


def export_mapping(
    invocation: Invocation, file: Path, env_files: Sequence[str], *, update: bool, as_json: bool
) -> None:
    """Write or update the mapping file, and list the entries to fill in.

    Raises:
        ConfigurationError: the file exists and `update` is False, is not a mapping, or cannot be written.
    """
    from strongroom.migrate._plans.mapping_file import current as current_mapping
    from strongroom.migrate._plans.mapping_file import read_mapping, update_mapping, write_mapping
    from strongroom.migrate.variables_importer import read_variables

    mapping = invocation.load_to_write("decides where secrets are written").mapping
    if env_files:
        names = [name for each in env_files for name in read_variables(Path(each).absolute())]
    else:
        # Other variables belong to the shell. A plan lists them anyway.
        names = [name for name in os.environ if mapping.locate(name) is not None]
    found = current_mapping(mapping, names)
    added = len(found.entries)
    if update:
        added = update_mapping(file, found)
        output.say(f"added {added:,} {'entry' if added == 1 else 'entries'} to {shown(str(file))}")
    else:
        write_mapping(file, found)
        output.say(f"wrote {added:,} {'entry' if added == 1 else 'entries'} to {shown(str(file))}")
    empty = [entry.variable for entry in read_mapping(file).entries if not entry.to]
    if empty:
        output.say(f"not migrated until filled in: {', '.join(empty)}")
    if as_json:
        output.write_document({"file": str(file), "added": added, "to_be_filled_in": empty})
