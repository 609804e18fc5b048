"""`strongroom mapping export`: where each variable goes, as a file to be edited."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from strongroom.cli.invocation import Invocation, current
from strongroom.cli.terminal import output
from strongroom.errors import shown

_FILE = click.Path(path_type=Path)


@click.group("mapping", invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
def mapping_command(ctx: click.Context) -> None:
    """Write down which variable goes to which path and key, for `strongroom migrate`.

    Example: strongroom mapping export env_mapping.json --env-file .env
    """
    if ctx.invoked_subcommand is None:
        raise click.UsageError(ctx.get_help(), ctx)  # as a click of 8.2 does by itself


@mapping_command.command("export")
@click.argument("file", type=_FILE)
@click.option(
    "--env-file", "env_files", metavar="FILE", multiple=True, help="With an entry for each variable of this .env file."
)
@click.option("--update", is_flag=True, help="Add what the file lacks, and keep what you wrote into it.")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as a JSON object.")
@current
def export_command(
    invocation: Invocation, file: Path, *, env_files: tuple[str, ...], update: bool, as_json: bool
) -> None:
    """Write where each variable would go to FILE, as TOML where it ends in .toml, else as JSON.

    These are the rows of [secrets], the usual names, and of the environment those that follow them. With --env-file
    each variable of that file has an entry, empty where it is to be filled in. A file that is there is refused without
    --update. No value is in it, and what opens a store (VAULT_* and the like) is not either.

    Example: strongroom mapping export env_mapping.json --env-file .env
    """
    export_mapping(invocation, file, env_files, update=update, as_json=as_json)


def export_mapping(
    invocation: Invocation, file: Path, env_files: Sequence[str], *, update: bool, as_json: bool
) -> None:
    """Writes the mapping file, or adds to it, and says what is to be filled in.

    Raises:
        ConfigurationError: the file is there and is not to be updated, is no mapping, or cannot be written.
    """
    from strongroom.migrate.endpoints.variables import read_variables
    from strongroom.migrate.plans.mapping_export import read_mapping, update_mapping, write_mapping
    from strongroom.migrate.plans.mapping_file import current as current_mapping

    mapping = invocation.load().mapping
    if env_files:
        names = [name for each in env_files for name in read_variables(Path(each).absolute())]
    else:
        # The rest of the environment is a shell's own, and the plan lists it all the same.
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
        output.say(f"to be filled in, else not migrated: {', '.join(empty)}")
    if as_json:
        output.write_document({"file": str(file), "added": added, "to_be_filled_in": empty})
