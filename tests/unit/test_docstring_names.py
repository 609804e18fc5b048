"""Names in the docstrings of the sources exist: a renamed class or function is renamed in the prose too."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for folder in ("core", "backends") for file in (ROOT / folder).rglob("*.py"))

CHECKED = re.compile(
    r"""(?:
        [A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+     # dotted
        | [A-Za-z_][\w.]*(?=\()             # a call
        | _*[A-Z][a-z]\w*                   # a class
        | _*[a-z]\w*_\w+ | _[a-z]\w*        # a function, an argument, a module
        | _*[A-Z]+_[A-Z_]+                  # a constant
    )(?=$|\()""",
    re.VERBOSE,
)
"""A quoted name of something in Python. A single word in lower case, such as `database`, may be a value."""

ELSEWHERE = {
    "A_B_C", "BAO_SECRET_ID", "MY_SERVICE_API_KEY", "NAME_FILE", "VAULT_HEADERS",  # variables
    "App", "Range",  # a path, a header
    "_unencrypted", "_xHH_", "a_x2d_b", "database__host", "db_password", "strongroom_corp",  # examples of names
    "NAME.LAST", "airflow.cfg", "gunicorn.conf.py", "root.key", "settings.py", "sysexits.h",  # files
    "kombu.exceptions.EncodeError",
    "app.post", "http.client.debuglevel", "request.state.secrets", "response.request", "ssl.SSLError.reason",
    "auth.command", "ca_chain", "credential_process",  # of other programs
    "FRESH_VARS_FOR_DYNACONF", "CONN_MAX_AGE", "env_nested_delimiter", "model_config",  # of the libraries
    "TABLE.COLUMN", "customer.iban", "sr1.KEY_ID.BASE64", "Customer.iban", "customer.c.iban",  # columns
    "Base.metadata", "MutableDict.as_mutable", "context.configure", "env.py",
    "generate_db_auth_token", "num_tickets", "setUp", "use_auto_auth_token", "version_destroy_ttl",
}  # fmt: skip
"""Names that are not in our sources."""


class Source(NamedTuple):
    """One module.

    Attributes:
        file: its file.
        names: all identifiers in its code, arguments and attributes included, and the words of its short constants.
        imported: the top-level packages that it imports.
        classes: the identifiers in each class.
        bases: the base classes of each class.
        docstrings: line and text, those of constants and fields included.
        constants: texts that are dotted names, such as a group of entry points.
    """

    file: Path
    names: set[str]
    imported: set[str]
    classes: dict[str, set[str]]
    bases: dict[str, set[str]]
    docstrings: list[tuple[int, str]]
    constants: set[str]


def read(file: Path) -> Source:
    source = Source(file, {file.stem, file.parent.name}, set(), {}, {}, [], set())
    walk(ast.parse(file.read_text("utf-8")), source, source.names)
    return source


def walk(node: ast.AST, source: Source, names: set[str]) -> None:
    """Add the names in a node to `names`, and all else to the source."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        source.docstrings.append((node.lineno, node.value.value))
        return
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            names.add(name)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            names.add(name)
        case ast.Import() | ast.ImportFrom():
            paths = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            source.imported.update(path.partition(".")[0] for path in paths)
            names.update(part for path in paths for part in path.split("."))
            names.update(alias.asname or alias.name for alias in node.names)
        case ast.Constant(value=str(text)) if len(text) < 200:
            names.update(re.findall(r"[A-Za-z_]\w*", text) if " " not in text else ())
            source.constants.add(text)
        case ast.ClassDef(name=name):
            names.add(name)
            own: set[str] = source.classes.setdefault(name, set())
            source.bases.setdefault(name, set()).update(ast.unparse(base).partition("[")[0] for base in node.bases)
            for child in ast.iter_child_nodes(node):
                walk(child, source, own)
            names |= own
            return
    for child in ast.iter_child_nodes(node):
        walk(child, source, names)


class Project:
    """All modules, with the names that their docstrings may use."""

    def __init__(self) -> None:
        self.sources = list(map(read, SOURCES))
        self.public: set[str] = set()
        self.packages: dict[Path, set[str]] = {}
        self.modules: dict[str, set[str]] = {}
        self.classes: dict[str, set[str]] = {}
        self.bases: dict[str, set[str]] = {}
        self.constants: set[str] = set()
        self.libraries: set[str] = set()
        for source in self.sources:
            parts: tuple[str, ...] = source.file.relative_to(ROOT).with_suffix("").parts[1:]
            if not any(part.startswith("_") and part not in {"__init__", "_config"} for part in parts):
                self.public |= source.names  # `_config` has the settings of the file
            self.packages.setdefault(source.file.parent, set()).update(source.names)
            named = source.file.parent.name if source.file.stem == "__init__" else source.file.stem
            self.modules.setdefault(named.lstrip("_"), set()).update(source.names)
            self.modules.setdefault(source.file.parent.name.lstrip("_"), set()).add(source.file.stem)
            self.modules.setdefault(source.file.parents[1].name.lstrip("_"), set()).add(source.file.parent.name)
            for name, own in source.classes.items():
                self.classes.setdefault(name, set()).update(own)
                self.bases.setdefault(name, set()).update(source.bases[name])
            self.constants |= source.constants
            self.libraries |= source.imported - {"strongroom"}

    def resolves(self, name: str, source: Source) -> bool:
        """Return True if a name in a docstring of the source exists."""
        *owners, last = name.split(".")
        if not owners:
            known = name in source.names or name in self.packages[source.file.parent] or name in self.public
            return known or hasattr(builtins, name) or name in sys.stdlib_module_names
        if owners[-1] in self.classes:
            return last in self.members(owners[-1])
        if last in self.modules.get(owners[-1].lstrip("_"), ()):
            return True
        if owners[0] in sys.stdlib_module_names:
            return is_standard(name)
        if owners[0] in self.libraries:
            return True
        return name in self.constants or {*owners, last} <= source.names

    def members(self, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Return the names in a class and in its bases that are ours."""
        bases = self.bases.get(name, set()) - seen
        return self.classes.get(name, set()).union(*(self.members(base, seen | {name}) for base in bases))


@cache
def is_standard(name: str) -> bool:
    """Return True for a name of the standard library."""
    try:
        return resolve_name(name) is not None
    except (AttributeError, ImportError):
        return False


def unknown_names(project: Project) -> Iterator[str]:
    for source in project.sources:
        for line, text in source.docstrings:
            decorators = re.findall(r"^ +@(\w+\.\w+)", text, re.MULTILINE)
            for quoted in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text) + decorators:
                name = CHECKED.match(quoted)
                if name and name[0] not in ELSEWHERE and not project.resolves(name[0], source):
                    yield f"{source.file.relative_to(ROOT)}:{line}: {quoted}"


@pytest.fixture(scope="module")
def project() -> Project:
    return Project()


def test_every_name_in_backticks_exists(project: Project) -> None:
    """In its module, its package, a published module, or a library. So does a decorator in an example."""
    assert list(unknown_names(project)) == []


def test_a_name_that_does_not_exist_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "`Chain.resolve`, `Chain.ressolve`, `RotatonState`, `write_targett()`, `json.dumps`, `json.dumpss`"
    source = next(source for source in project.sources if source.file.name == "chain.py")
    monkeypatch.setattr(project, "sources", [source._replace(docstrings=[(7, f"{text}\n\n    @api.current")])])
    wrong = ("Chain.ressolve", "RotatonState", "write_targett()", "json.dumpss", "api.current")
    assert list(unknown_names(project)) == [f"core/strongroom/_chain/chain.py:7: {name}" for name in wrong]
