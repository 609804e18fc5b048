"""`strongroom new-plugin`: its files and refusals. tests/integration/cli installs and tests the packages."""

import ast
import json
import tomllib
from pathlib import Path

import pytest

from strongroom._cli.plugins.new_plugin import KINDS, names_of, package

FILES = [
    ".github/workflows/test.yml",
    ".gitignore",
    "README.md",
    "pyproject.toml",
    "src/strongroom_two_words/__init__.py",
    "src/strongroom_two_words/py.typed",
    "tests/test_contract.py",
]


@pytest.mark.parametrize("kind", KINDS)
def test_package_of_each_kind_is_written(command, kind):
    """The files are printed one a line, and as an object. The metadata names the entry point."""
    done = command("new-plugin", "two-words", f"--{kind}")
    assert done.code == 0
    assert done.out.decode().splitlines() == [f"strongroom-two-words/{name}" for name in FILES]
    assert "cd strongroom-two-words && pip install --editable '.[test]' && pytest" in done.err
    folder = Path("strongroom-two-words")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert (project["name"], list(project["entry-points"])) == ("strongroom-two-words", [KINDS[kind].group])
    ((name, target),) = project["entry-points"][KINDS[kind].group].items()
    module, _, attribute = target.partition(":")
    assert (name, module) == ("two-words", "strongroom_two_words")
    source = (folder / "src" / module / "__init__.py").read_text("utf-8")
    assert f"def {attribute}(" in source or f"class {attribute}:" in source
    for path in FILES:
        text = (folder / path).read_text("utf-8")
        assert "$" not in text.replace("${{ matrix.python }}", ""), path
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_result_in_json(command):
    """One object, with the folder as a whole path."""
    document = json.loads(command("new-plugin", "two-words", "--store", "--json").out)
    assert document == {
        "version": 1,
        "name": "two-words",
        "kind": "store",
        "distribution": "strongroom-two-words",
        "folder": str(Path("strongroom-two-words").absolute()),
        "files": FILES,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("corp",), "Choose one kind: --store, --importer, --exporter, --rotator, --command"),
        (("corp", "--store", "--rotator"), "Choose one kind: --store"),
        (("Corp", "--store"), "A plugin's name is"),
        (("../corp", "--store"), "A plugin's name is"),
        (("corp_x", "--store"), "A plugin's name is"),
        (("c" * 21, "--store"), "A plugin's name is"),
        (("memory", "--store"), "has the store memory already"),
        (("csv", "--importer"), "has the importer csv already"),
        (("get", "--command"), "strongroom has the command get already"),
        (("vault", "--importer"), "The module strongroom_vault is installed already"),
    ],
)
def test_name_that_cannot_be_used_is_refused(command, arguments, said):
    """Nothing is written: two plugins of one name would both be unusable."""
    done = command("new-plugin", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err
    assert not list(Path().glob("*corp*"))


def test_existing_folder_is_left_alone(command):
    """Also if it is empty, or a file."""
    for name, make in {"a": Path.mkdir, "b": Path.touch}.items():
        make(Path(f"strongroom-{name}"))
        done = command("new-plugin", name, "--store")
        assert done.code == 2
        assert f"strongroom-{name} exists already" in done.err
    assert list(Path("strongroom-a").iterdir()) == []
    assert Path("strongroom-b").read_bytes() == b""


def test_folder_that_cannot_be_written_is_an_error_of_one_line(command, monkeypatch):
    """Such as a full disk."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    done = command("new-plugin", "corp", "--store")
    assert (done.code, done.err) == (
        7,
        "strongroom: strongroom-corp cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sources_are_typed(kind):
    """Their author may run `mypy --strict`, as tests/integration/cli does."""
    for path, text in package(kind, names_of("corp")).items():
        if path.endswith(".py"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    own = [argument for argument in node.args.args + node.args.kwonlyargs if argument.arg != "self"]
                    assert node.returns is not None, (path, node.name)
                    assert all(argument.annotation for argument in own), (path, node.name)


def test_longest_name_keeps_lines_short():
    """The sources of a package have at most 120 columns, also with the longest name."""
    names = names_of("abcdefghijklmnopqrst")
    for kind in KINDS:
        for path, text in package(kind, names).items():
            assert max(map(len, text.splitlines()), default=0) <= 120, (kind, path)
