"""Packages of `strongroom new-plugin` are built and installed, and pass their own tests before anybody edits them.

The nox session `build` does the same with the wheel in a new environment, and with the slow tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from strongroom._cli.plugins.new_plugin import KINDS

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
SLOW = "large_folder"


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def created(tmp_path_factory) -> Path:
    """A folder with a package of each kind."""
    folder = tmp_path_factory.mktemp("created")
    script = Path(sys.executable).parent / "strongroom"
    for kind in KINDS:
        done = run(script, "new-plugin", f"made-{kind}", f"--{kind}", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_tests_of_every_package_pass(created, tmp_path):
    """One of each kind, installed by pip from its own metadata."""
    packages = sorted(created.glob("*made-*"))
    assert len(packages) == len(KINDS)
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", tmp_path)
    installed = run(sys.executable, *pip, *packages)
    assert installed.returncode == 0, installed.stderr
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    tests = [folder / "tests" for folder in packages]
    options = ("-q", "-rA", "-p", "no:cacheprovider", "--import-mode=importlib", "-W", "error", f"--rootdir={created}")
    done = run(sys.executable, "-m", "pytest", *options, "-k", f"not {SLOW}", *tests, cwd=created, env=environ)
    assert done.returncode == 0, done.stdout
    for folder in packages:
        assert f"PASSED {folder.name}/tests/test_contract.py::TestPlugin::test_one_distribution" in done.stdout
    listed = run(Path(sys.executable).parent / "strongroom", "plugins", env=environ)
    assert listed.returncode == 0, listed.stdout
    assert {row.split("\t")[0] for row in listed.stdout.splitlines()} >= {f"made-{kind}" for kind in KINDS}


def test_packages_have_no_lint(created):
    """A stranger begins with code that ruff accepts."""
    rules = ("--isolated", "--no-cache", "--line-length=120")
    ruff = (sys.executable, "-m", "ruff")
    for folder in created.glob("*made-*"):
        done = run(*ruff, "check", *rules, "--select=E,F,I,B,UP,RET,SIM,PTH", cwd=folder)
        assert done.returncode == 0, done.stdout
        done = run(*ruff, "format", "--check", *rules, cwd=folder)
        assert done.returncode == 0, done.stdout


def test_packages_are_strictly_typed(created, tmp_path):
    """Their tests too."""
    mypy = (sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}")
    for folder in created.glob("*made-*"):
        done = run(*mypy, ".", cwd=folder, env={**os.environ, "MYPYPATH": "src"})
        assert done.returncode == 0, done.stdout + done.stderr


def test_ci_files_are_workflows(created):
    """They follow GitHub's schema."""
    files = sorted(created.glob("*/.github/workflows/test.yml"))
    assert len(files) == len(KINDS)
    checker = ("-m", "check_jsonschema", "--builtin-schema=vendor.github-workflows")
    done = run(sys.executable, *checker, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = yaml.safe_load(files[0].read_text("utf-8"))["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step][1:] == ["python -m pytest", "strongroom plugins"]


def test_the_session_of_ci_has_every_kind():
    """It installs a package of each kind beside the wheel."""
    line = next(line for line in (ROOT / "noxfile.py").read_text("utf-8").splitlines() if "PLUGIN_KINDS =" in line)
    assert set(re.findall(r'"([\w-]+)"', line)) == set(KINDS)
