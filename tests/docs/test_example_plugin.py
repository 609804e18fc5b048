"""The example in the documentation is a whole plugin of a stranger: it installs, works by configuration, is tested."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "strongroom-sqlite"


def test_it_keeps_the_contract(run):
    """Its own tests pass against the installed distribution."""
    done = run("pytest", "-q", "-rs", "-p", "no:cacheprovider", f"--rootdir={EXAMPLE}", str(EXAMPLE / "tests"))
    assert done.returncode == 0, done.stdout
    skipped = [line.rpartition(": ")[2] for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    lacking = [f"the store does not declare {name!r}" for name in ("keyed", "versioned", "bulk", "probed", "dynamic")]
    hints = [f"the store has no migration hint {name!r}" for name in ("vet", "write_formed")]
    optional = [f"the fixture `{name}` is not overridden" for name in ("dripping", "restarted")]
    optional.append("the store has no newest_versions")
    others = ["'denied' is declared impossible", "the opener has no check", "no `refused` options are declared"]
    assert sorted(skipped) == sorted([*lacking, *hints, *optional, *others])


def test_it_is_listed_with_its_options(run):
    """`strongroom stores` knows of a plugin what its signature says."""
    done = run("strongroom", "stores", "sqlite")
    plugin, option = done.stdout.splitlines()
    assert plugin.split("\t") == ["sqlite", "strongroom-sqlite 1.0", "checked, listable, local, writable"]
    assert option.split("\t")[0].strip() == "file"
    assert "required" in option


def test_it_works_by_configuration_alone(run):
    """Secrets go into the file and come back, through the command that knows nothing of SQLite."""
    Path("strongroom.toml").write_text('chain = ["sqlite"]\nstores.sqlite.file = "secrets.db"\n', "utf-8")
    assert run("strongroom", "set", "app/config", "password", piped="first").returncode == 0
    assert run("strongroom", "set", "app/config", "user", piped="app").returncode == 0
    assert run("strongroom", "get", "app/config#password").stdout == "first"
    assert run("strongroom", "list", "--recursive").stdout == "app/config\n"
    assert run("strongroom", "get", "app/other").returncode == 3


def test_a_file_that_cannot_be_opened_is_a_configuration_error(run):
    """One line that names the file."""
    Path("strongroom.toml").write_text('chain = ["sqlite"]\nstores.sqlite.file = "none/secrets.db"\n', "utf-8")
    done = run("strongroom", "get", "app/config#password")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert "secrets.db cannot be opened: No such file or directory" in done.stderr
