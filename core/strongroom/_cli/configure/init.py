"""`strongroom config init`: a configuration file from a few questions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from strongroom import _plugins as plugins
from strongroom._cli.configure.trust import trust_file
from strongroom._cli.terminal import output
from strongroom._config import discovery
from strongroom._config.document import parse_toml, toml_key, toml_string
from strongroom._config.setting_types import members
from strongroom._plugins.option_schema import OptionSchema, Schema
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.files import private

_FIRST = "vault"
_FALLBACK = "env"


@click.command("init")
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(discovery.CONFIG_FILE_NAME),
    show_default=True,
    metavar="FILE",
    help="Write this file.",
)
def init_command(file: Path) -> None:
    """Ask a few questions, and write a configuration file.

    It asks for the store, for its address and the like, for a fallback to environment variables, and for the secrets
    that the application needs. It asks for no credential, only for the variable that holds one. An existing file is
    never changed. The written file is trusted.

    Example: strongroom config init
    """
    if os.path.lexists(file):
        raise ConfigurationError(f"{file} exists already: edit it, and run strongroom config check")
    try:
        text = "\n".join(_document())
    except click.Abort:
        if sys.stdin.isatty():  # Ctrl-C or Ctrl-D
            raise
        click.echo(err=True)  # the cursor is beside the question
        raise click.UsageError(f"Stdin ended before the last question, so {file} is not written") from None
    discovery.load(document=parse_toml(text, str(file)))
    with (
        private.faults_as(ConfigurationError, f"Cannot write {file}"),
        os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as stream,
    ):
        # Not wider than 0644: a file that others may write is refused.
        os.fchmod(stream.fileno(), os.fstat(stream.fileno()).st_mode & 0o755)
        stream.write(text)
    trust_file(file)
    output.say(f"Wrote {file}. Next: strongroom config check, then strongroom doctor")


def _document() -> Iterator[str]:
    """Ask, and yield the lines of the file."""
    stores = {plugin.name: plugin for plugin in plugins.installed() if not plugin.fault}
    default = _FIRST if _FIRST in stores else _FALLBACK
    kinds = click.Choice(sorted(stores))
    store = str(click.prompt("Where are the secrets?", type=kinds, default=default, err=True))
    options = list(_ask_options(stores[store].schema))
    chain = [store]
    if store != _FALLBACK and click.confirm(
        "Read environment variables if the store lacks a secret?", default=True, err=True
    ):
        chain.append(_FALLBACK)
    yield f"chain = [{', '.join(map(toml_string, chain))}]"
    if click.confirm(
        "Is this for production, where an outage is an error and addresses are https?", default=False, err=True
    ):
        yield "production = true"
    if rows := list(_ask_rows()):
        yield from ("", "[secrets]", *rows)
    if options:
        yield from ("", f"[stores.{toml_key(store)}]", *options)
    yield ""


def _ask_options(schema: Schema) -> Iterator[str]:
    for option in schema.options.values():
        if str not in members(option.hint) and Path not in members(option.hint):
            continue
        if option.option.secret:
            if variable := _ask(option, "the variable that holds "):
                yield f"{option.name} = {{ env = {toml_string(variable)} }}"
        elif _is_asked(option) and (value := _ask(option)):
            yield f"{option.name} = {toml_string(value)}"


def _is_asked(option: OptionSchema) -> bool:
    about = option.option
    return option.required or about.address or about.location or about.locates


def _ask(option: OptionSchema, before: str = "") -> str:
    ambient = f", empty to read {' or '.join(option.option.ambient)}" if option.option.ambient else ""
    needed = option.required and not option.option.ambient
    question = f"{option.name}: {before}{option.option.help}{ambient or ('' if needed else ', empty for none')}"
    return str(click.prompt(question, default=None if needed else "", show_default=False, err=True)).strip()


def _ask_rows() -> Iterator[str]:
    """Ask for rows of `[secrets]` until an empty line."""
    from strongroom._config.document import Document, Table
    from strongroom._config.secrets_table import read_secrets

    question = "A secret that the application needs, as VARIABLE=PATH#KEY, empty to finish"
    while text := click.prompt(question, default="", show_default=False, err=True):
        variable, _, reference = text.partition("=")
        try:
            read_secrets(Table({variable.strip(): reference.strip()}, Document("the answer"), "secrets"))
        except StrongroomError as error:
            output.say(str(error))
            continue
        yield f"{toml_key(variable.strip())} = {toml_string(reference.strip())}"
