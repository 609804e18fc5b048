"""Names that a package imports at their first use."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = (
    "strongroom",
    "strongroom.commands",
    "strongroom.migrate",
    "strongroom.rotate",
    "strongroom.testing",
)
each_package = pytest.mark.parametrize("name", PACKAGES)


@each_package
def test_type_checkers_see_the_names_that_the_program_has(name):
    """They read the imports of the first branch, and the program its list."""
    package = importlib.import_module(name)
    tree = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    seen |= {ast.unparse(node.targets[0]) for node in branch.body if isinstance(node, ast.Assign)}
    assert seen - {None} == set(package.__all__)


@each_package
def test_the_names_are_listed_before_they_are_imported(name):
    """For a shell that completes them, and `from … import *`."""
    program = f"import {name} as package; assert {{*package.__all__}} <= {{*dir(package)}}; assert package.__all__"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@each_package
def test_nothing_is_listed_that_the_package_only_uses(name):
    """Such as `TYPE_CHECKING`. A submodule is listed as soon as it is imported, as in every package."""
    package = importlib.import_module(name)
    others = {each for each in {*dir(package)} - {*package.__all__} if not each.startswith(("__", "@"))}  # pytest's
    assert others <= {module.removeprefix(f"{name}.") for module in sys.modules}


@each_package
def test_another_name_is_an_attribute_error(name):
    """As of any module."""
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'missing'"):
        _ = importlib.import_module(name).missing
