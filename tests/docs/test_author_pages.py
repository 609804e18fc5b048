"""The pages for authors: the store of the basic page is short and keeps the contract; the fixtures are documented."""

import ast
import subprocess
import sys

import pytest

from strongroom import testing
from support.scenarios import pages

pytestmark = pytest.mark.long

MOST_LINES = 60


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The Python files of the basic page by their names, as a reader saves them."""
    blocks = pages.blocks(pages.page("write-a-store.md"), "python")
    (store,) = (block for block in blocks if "class FolderStore" in block)
    (test,) = (block for block in blocks if block.startswith("# test_folder.py"))
    return {"strongroom_folder.py": store, "test_folder.py": test}


def test_the_store_of_the_basic_page_is_short(files):
    """A whole read-write store, without docstrings and blank lines."""
    source = files["strongroom_folder.py"]
    documented = {
        number
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in documented]
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines"


def test_the_store_of_the_basic_page_keeps_the_contract(files, tmp_path):
    """Copied with its test into an empty folder, and run there."""
    for name, source in files.items():
        (tmp_path / name).write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_folder.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout


@pytest.fixture(scope="module")
def reference() -> str:
    return "".join(pages.page(f"api/{name}.md").read_text() for name in ("store", "commands", "testing"))


def test_the_reference_has_every_fixture(reference):
    """Of every contract. autodoc leaves fixtures out, because they are not functions."""
    fixtures = {
        name
        for contract in (getattr(testing, name) for name in testing.__all__ if name.endswith("Contract"))
        for name in dir(contract)
        if type(getattr(contract, name)).__name__ == "FixtureFunctionDefinition" and not name.startswith("_")
    }
    assert fixtures
    assert not {name for name in fixtures if f"`{name}`" not in reference}


def test_the_reference_says_how_a_command_opens_the_chain(reference):
    """With the configuration that the options before it name."""
    for name in ("invocation.open()", "invocation.load()", "invocation.config_file", "PROTOCOL_VERSION"):
        assert name in reference
