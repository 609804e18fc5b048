"""The files of a new plugin's package, made of templates.

The templates of the plugin and its test stand in the package that owns the kind, all others beside this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import NamedTuple

from strongroom import __version__

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 20
_HERE = "strongroom.cli.commands.extend"


class Kind(NamedTuple):
    """One kind of plugin.

    Attributes:
        group: the group of its entry point.
        target: the object that the entry point names; `$identifier` is the plugin's name in Python.
        summary: one line of the package's description; `$name` is the plugin's name.
        usage: how a user begins, as Markdown.
        extra: the extra of Strongroom that it needs, such as `[vault]`.
        owner: the package whose folder `templates` has the plugin and its test.
    """

    group: str
    target: str
    summary: str
    usage: str
    extra: str = ""
    owner: str = _HERE


KINDS: Mapping[str, Kind] = {
    "store": Kind(
        "strongroom.stores",
        "open_$identifier",
        "The store $name for Strongroom",
        'Name it in `strongroom.toml`:\n\n```toml\nchain = ["$name"]\nstores.$name.root = "secrets"\n```',
    ),
    "importer": Kind(
        "strongroom.importers",
        "import_$identifier",
        "The importer $name for Strongroom",
        "Name it as the source of a migration:\n\n```bash\nstrongroom migrate --from $name:FILE --to STORE\n```",
    ),
    "exporter": Kind(
        "strongroom.exporters",
        "export_$identifier",
        "The exporter $name for Strongroom",
        "Name it as the target of a migration:\n\n```bash\nstrongroom migrate --from STORE --to $name:FOLDER\n```",
    ),
    "command": Kind(
        "strongroom.commands",
        "$identifier",
        "The command $name for Strongroom",
        "```bash\nstrongroom $name --help\n```",
    ),
    "auth": Kind(
        "strongroom_vault.auth",
        "${class_name}Auth",
        "The authentication method $name for the store vault of Strongroom",
        'Name it in the table `auth` of a store:\n\n```toml\n[stores.vault.auth]\nmethod = "$name"\n```',
        extra="[vault]",
        owner="strongroom_vault",
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


def package(kind: Kind, template: str, names: Names) -> dict[str, str]:
    """Return the content of each file of the package, by its path in the package's folder.

    Args:
        kind: one of `KINDS`.
        template: its name there, with which the names of its templates begin.
        names: see `names_of`.
    """
    words = {**names._asdict(), "group": kind.group, "requirement": f"strongroom{kind.extra}>={__version__}"}
    words |= {field: Template(getattr(kind, field)).substitute(words) for field in ("target", "summary", "usage")}
    sources = {
        "pyproject.toml": (_HERE, "pyproject.toml"),
        "README.md": (_HERE, "README.md"),
        ".gitignore": (_HERE, "gitignore"),
        ".github/workflows/test.yml": (_HERE, "test.yml"),
        f"src/{names.module}/__init__.py": (kind.owner, f"{template}.py"),
        "tests/test_contract.py": (kind.owner, f"{template}_test.py"),
    }
    found = {
        path: Template(files(owner).joinpath("templates", f"{source}.tmpl").read_text("utf-8")).substitute(words)
        for path, (owner, source) in sources.items()
    }
    return {**found, f"src/{names.module}/py.typed": ""}
