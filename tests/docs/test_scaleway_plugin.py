"""The example of a cloud service: a stranger's store keeps both contracts, on a fake from the vendor's documents."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "strongroom-scaleway"
MOST_LINES = 200


def test_it_keeps_the_contracts(run):
    """Its own tests pass against the installed distribution."""
    options = ("-q", "-p", "no:cacheprovider", f"--rootdir={EXAMPLE}", f"--config-file={EXAMPLE}/pyproject.toml")
    done = run("pytest", *options, str(EXAMPLE / "tests"))
    assert done.returncode == 0, done.stdout


def test_it_is_listed_with_its_options(run):
    """Without its SDK being imported."""
    done = run("strongroom", "stores", "scaleway")
    plugin, *options = done.stdout.splitlines()
    assert plugin.split("\t") == ["scaleway", "strongroom-scaleway 1.0", "listable, writable"]
    assert {option.split("\t")[0].strip() for option in options} == {"project", "token", "region", "api_url"}


def test_it_is_short():
    """Without blank lines."""
    lines = (EXAMPLE / "strongroom_scaleway.py").read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= MOST_LINES
