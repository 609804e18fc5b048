"""`strongroom import-config`: `[secrets]` from the file of another tool. It reads no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click

from strongroom._cli.configure.declarations import (
    Declarations,
    DeclaredSecret,
    read_env_schema,
    read_secretspec,
)
from strongroom._cli.terminal import output
from strongroom._config.discovery import MAX_FILE_SIZE
from strongroom._config.document import parse_toml, toml_key, toml_string
from strongroom._config.file import read_file
from strongroom._config.precedence import environment_mapping
from strongroom.errors import ConfigurationError, InvalidPathError
from strongroom.files.bounded import read_text
from strongroom.formats.variables import EnvironmentMapping
from strongroom.paths import check_path


@click.command("import-config")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--profile", default="default", show_default=True, help="Import this profile of a secretspec.toml.")
@click.option("--path", "folder", metavar="PATH", help="The path of secrets whose place FILE does not name.")
def import_command(file: Path, profile: str, folder: str | None) -> None:
    """Print the table [secrets] for a secretspec.toml or .env.schema.

    Variables with a usual name, such as DATABASE_URL, get their usual path and key. Others that have no place in FILE
    become keys of one secret, named after the project. No value is copied, except for a default of secretspec.

    Example: strongroom import-config secretspec.toml >> strongroom.toml
    """
    declared = _read(file, profile)
    if not declared.rows:
        raise ConfigurationError(f"{file} declares no secrets")
    path = _path(folder or re.sub(r"[^\w.-]+", "-", declared.project).strip("-") or "app")
    text = "\n".join(["[secrets]", *_lines(declared.rows, path)])
    rows = read_file(parse_toml(text, str(file)), str(file)).secrets
    environment_mapping(rows)
    output.write_lines(text.splitlines())
    for note in declared.notes:
        output.say(f"note: {note}")


def _read(file: Path, profile: str) -> Declarations:
    text = read_text(file, "The file to import", MAX_FILE_SIZE)
    if file.name.endswith(".toml"):
        try:
            return read_secretspec(parse_toml(text, str(file)), profile)
        except KeyError:
            pass
        raise ConfigurationError(f"{file} has no profile {profile}")
    if file.name.endswith(".schema"):
        return read_env_schema(text)
    raise ConfigurationError(f"{file}: expected secretspec.toml or .env.schema")


def _path(text: str) -> str:
    try:
        return check_path(text)
    except InvalidPathError as error:
        raise click.UsageError(f"--path: {error.reason}") from None


def _lines(rows: list[DeclaredSecret], path: str) -> Iterator[str]:
    mapping = EnvironmentMapping()
    for row in rows:
        place = row.reference or mapping.locate(row.variable) or (path, row.variable.lower())
        reference = toml_string("#".join(place))
        settings = [f"{name} = {_toml(value)}" for name, value in row.settings.items()]
        name = toml_key(row.variable)
        yield f"{name} = {{ {', '.join([f'at = {reference}', *settings])} }}" if settings else f"{name} = {reference}"


def _toml(value: object) -> str:
    """Return a string, number or boolean as TOML, whose syntax for numbers and booleans is that of JSON."""
    return json.dumps(value) if isinstance(value, bool | int | float) else toml_string(str(value))
