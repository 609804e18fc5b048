"""`strongroom new-plugin`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from strongroom.cli import registry
from strongroom.cli.commands.extend.scaffold import KINDS, Names, names_of, package
from strongroom.cli.terminal import output
from strongroom.errors import ConfigurationError


@click.command("new-plugin")
@click.argument("name")
@click.option("--store", "kind", flag_value="store", help="A store, which can be read, listed and written.")
@click.option("--importer", "kind", flag_value="importer", help="A source of migrations that is not a store.")
@click.option("--exporter", "kind", flag_value="exporter", help="A target of migrations that is not a store.")
@click.option("--command", "kind", flag_value="command", help="A command `strongroom NAME`.")
@click.option("--auth", "kind", flag_value="auth", help="An authentication method of the store vault.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
def new_plugin_command(name: str, kind: str | None, *, as_json: bool) -> None:
    """Create the folder strongroom-NAME with a package for a new plugin.

    The package has a working plugin, its tests with the contracts of strongroom.testing, and a CI file. The tests pass
    before anything is edited. Replace the plugin's code step by step, and keep them passing.

    Example: strongroom new-plugin redis --store
    """
    if kind is None:
        raise click.UsageError(f"Choose a kind: {', '.join(f'--{known}' for known in KINDS)}")
    try:
        names = names_of(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if fault := _name_fault(names, kind):
        raise click.UsageError(fault)
    content = package(KINDS[kind], kind, names)
    _write(Path(names.distribution), content)
    if as_json:
        output.write_document({
            "name": name,
            "kind": kind,
            "distribution": names.distribution,
            "folder": str(Path(names.distribution).absolute()),
            "files": sorted(content),
        })  # fmt: skip
    else:
        output.write_lines(f"{names.distribution}/{path}" for path in sorted(content))
    output.say(f"Next: cd {names.distribution} && pip install --editable '.[test]' && pytest")


def _name_fault(names: Names, kind: str) -> str:
    """Return why an installed plugin, or Strongroom itself, would collide with the new one; or an empty string."""
    from strongroom import plugins
    from strongroom.plugins.distributions import by_name, described

    if points := by_name(KINDS[kind].group).get(names.name):
        return f"{described(points[0])} has the {kind} {names.name} already: choose another name"
    if KINDS[kind].group == plugins.COMMANDS and registry.is_built_in(names.name):
        return f"strongroom has the command {names.name} already: choose another name"
    if find_spec(names.module) is not None:
        return f"The module {names.module} is installed already: choose another name"
    return ""


def _write(folder: Path, content: Mapping[str, str]) -> None:
    """Create the folder and its files.

    Raises:
        click.UsageError: the folder exists.
        ConfigurationError: it cannot be written.
    """
    try:
        folder.mkdir()
        for path, text in content.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    except FileExistsError:
        raise click.UsageError(f"{folder} exists already: choose another name, or remove it") from None
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from None
