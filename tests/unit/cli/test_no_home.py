"""A user without HOME and without an entry in passwd, as in a container with a number for a user."""

import pwd
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom._cli.exit_codes import ExitCode

pytestmark = pytest.mark.usefixtures("homeless")

NO_HOME = "This user has no home folder. Set HOME or XDG_{}_HOME to an absolute path"


@pytest.fixture
def homeless(configured, monkeypatch) -> None:
    """The configuration has a cache on disk, and nothing knows the home folder of this user."""

    def unknown(user: int) -> None:
        raise KeyError(user)

    configured.write_text(configured.read_text("utf-8") + "\n[cache]\ndisk = true\n", "utf-8")
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_read_goes_without_the_cache_on_disk_and_warns_once(command):
    """Nothing else of a read needs the folder."""
    read = command("get", "database/connection", "host")
    assert (read.code, read.out) == (0, b"db.example")
    assert read.err == f"strongroom: warning: The disk cache is not used: {NO_HOME.format('CACHE')}\n"


def test_manager_reads_without_the_cache_on_disk():
    with SecretsManager() as secrets:
        assert secrets.get_secret("database/connection", "host") == "db.example"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ("cache status", "CACHE"),
        ("cache verify", "CACHE"),
        ("doctor", "CACHE"),
        ("trust", "STATE"),
        ("migrate report", "STATE"),
        ("migrate report --list", "STATE"),
    ],
)
def test_command_about_a_file_of_the_user_says_what_to_set(command, arguments, kind):
    """The file has no known place."""
    refused = command(*arguments.split())
    assert refused.err.splitlines()[-1] == f"strongroom: {NO_HOME.format(kind)}"
    assert refused.code != 0


def test_status_of_the_chain_needs_no_home(command, configured):
    """Migrations are not known, and their absence is not hidden."""
    configured.write_text(configured.read_text("utf-8").replace("disk = true", ""), "utf-8")
    shown = command("status")
    assert (shown.code, shown.out.partition(b"\t")[0]) == (0, b"chain")
    assert shown.err.splitlines() == [f"strongroom: warning: No migrations: {NO_HOME.format('STATE')}"]


def test_plan_of_a_migration_needs_no_home_and_its_run_does(command):
    """The journal has no place, so nothing is written."""
    planned = command("migrate", "plan", "--from", "memory", "--to", "json:new.json", "-o", "plan.json")
    assert planned.code == ExitCode.DIFFERENT
    refused = command("migrate", "apply", "plan.json", "--yes")
    assert refused.err.splitlines()[-1] == f"strongroom: {NO_HOME.format('STATE')}"
    assert not Path("new.json").exists()


def test_folder_named_like_the_home_is_not_the_home(configured):
    """`~` stays `~` without a home: a folder of that name below the working directory belongs to anybody."""
    text = configured.read_text("utf-8")
    configured.unlink()
    file = Path("~", ".config", "strongroom", "strongroom.toml")
    file.parent.mkdir(parents=True)
    file.write_text(text, "utf-8")
    with SecretsManager() as secrets:
        assert "memory" not in repr(secrets)
