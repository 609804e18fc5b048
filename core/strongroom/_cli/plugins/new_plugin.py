"""`strongroom new-plugin`: a package for a new plugin, made of the templates beside this module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import NamedTuple

import click

from strongroom import __version__
from strongroom._cli import registry
from strongroom._cli.options import json_option
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 20
_HERE = "strongroom._cli.plugins"


class PluginKind(NamedTuple):
    """One kind of plugin.

    Attributes:
        group: the group of its entry point.
        target: the object that the entry point names; `$identifier` is the plugin's name in Python.
        summary: one line of the package's description; `$name` is the plugin's name.
        usage: how a user begins, as Markdown.
    """

    group: str
    target: str
    summary: str
    usage: str


KINDS: Mapping[str, PluginKind] = {
    "store": PluginKind(
        "strongroom.stores",
        "open_$identifier",
        "The store $name for Strongroom",
        'Name it in `strongroom.toml`:\n\n```toml\nchain = ["$name"]\nstores.$name.root = "secrets"\n```',
    ),
    "importer": PluginKind(
        "strongroom.importers",
        "import_$identifier",
        "The importer $name for Strongroom",
        "Name it as the source of a migration:\n\n```bash\nstrongroom migrate --from $name:FILE --to STORE\n```",
    ),
    "exporter": PluginKind(
        "strongroom.exporters",
        "export_$identifier",
        "The exporter $name for Strongroom",
        "Name it as the target of a migration:\n\n```bash\nstrongroom migrate --from STORE --to $name:FOLDER\n```",
    ),
    "rotator": PluginKind(
        "strongroom.rotators",
        "rotate_$identifier",
        "The rotator $name for Strongroom",
        'Name it in `strongroom.toml`:\n\n```toml\n[rotation."database/app"]\nrotator = "$name"\n```',
    ),
    "command": PluginKind(
        "strongroom.commands",
        "$identifier",
        "The command $name for Strongroom",
        "```bash\nstrongroom $name --help\n```",
    ),
}


class Names(NamedTuple):
    """The names of a new plugin: of its entry point, its distribution, its module, and in Python."""

    name: str
    distribution: str
    module: str
    identifier: str
    class_name: str


def names_of(name: str) -> Names:
    """Return the names of a plugin that is called `name`.

    Raises:
        ValueError: it is not lower-case words with hyphens between them, or is too long.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError(
            f"A plugin's name is at most {_LONGEST_NAME} lower-case letters and digits, with hyphens between words"
        )
    identifier = name.replace("-", "_")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    return Names(name, f"strongroom-{name}", f"strongroom_{identifier}", identifier, class_name)


def package(name: str, names: Names) -> dict[str, str]:
    """Return the content of each file of the package, by its path in the package's folder.

    The kind is named as in `KINDS`. The names of its templates begin with that.
    """
    kind = KINDS[name]
    words = {**names._asdict(), "group": kind.group, "requirement": f"strongroom>={__version__}"}
    words |= {field: Template(getattr(kind, field)).substitute(words) for field in ("target", "summary", "usage")}
    sources = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        ".gitignore": "gitignore",
        ".github/workflows/test.yml": "test.yml",
        f"src/{names.module}/__init__.py": f"{name}.py",
        "tests/test_contract.py": f"{name}_test.py",
    }
    templates = files(_HERE).joinpath("templates")
    found = {
        path: Template(templates.joinpath(f"{source}.tmpl").read_text("utf-8")).substitute(words)
        for path, source in sources.items()
    }
    return {**found, f"src/{names.module}/py.typed": ""}


def _kind_option(kind: str, help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator of an option that chooses a kind. Several are collected, so that they can be refused."""
    return click.option(f"--{kind}", "kinds", flag_value=kind, multiple=True, help=help_text)


@click.command("new-plugin")
@click.argument("name")
@_kind_option("store", "A store, which can be read, listed and written.")
@_kind_option("importer", "A source of migrations that is not a store.")
@_kind_option("exporter", "A target of migrations that is not a store.")
@_kind_option("rotator", "A rotator, which replaces a credential of a service.")
@_kind_option("command", "A command `strongroom NAME`.")
@json_option()
def new_plugin_command(name: str, kinds: tuple[str, ...], *, as_json: bool) -> None:
    """Create the folder strongroom-NAME with a package for a new plugin.

    The package has a working plugin, its tests with the contracts of strongroom.testing, and a CI file. The tests pass
    before anything is edited. Replace the plugin's code step by step, and keep them passing.

    Example: strongroom new-plugin redis --store
    """
    if len(set(kinds)) != 1:
        raise click.UsageError(f"Choose one kind: {', '.join(f'--{known}' for known in KINDS)}")
    kind = kinds[0]
    try:
        names = names_of(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if fault := _name_fault(names, kind):
        raise click.UsageError(fault)
    content = package(kind, names)
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
    from strongroom import _plugins as plugins
    from strongroom._plugins.distributions import by_name, described

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
