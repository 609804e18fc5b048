"""`strongroom stores --check`: the read-only part of the contract against a configured store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom._cli.operate import completion

STORE = """
    from strongroom import Secret, SecretNotFoundError
    from strongroom.errors import PermissionDeniedError, StoreUnavailableError

    class Store:
        def __init__(self, way):
            self.way = way

        def read(self, path):
            if self.way == "down":
                raise StoreUnavailableError(path, "refused")
            if self.way == "invents":
                return Secret(path, {"password": "canary-7f3a"})
            raise SecretNotFoundError(path)

        def close(self):
            pass

    def open_corp(*, way: str) -> Store:
        if way == "denied":
            raise PermissionDeniedError(None, "no")
        return Store(way)
"""


@pytest.fixture
def corp(search_path) -> None:
    """The plugin `corp`."""
    search_path.install("corp-secrets", {"corp": "corp:open_corp"}, modules={"corp": STORE})


@pytest.mark.usefixtures("configured")
def test_checks_of_a_sound_store(command):
    """One row each; in JSON one object."""
    done = command("stores", "--check", "memory")
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert (done.code, done.err, {len(row) for row in rows}) == (0, "", {4})
    assert ["secrets are read", "ok", "2 read"] in [[*row[:2], row[3]] for row in rows]
    document = json.loads(command("stores", "--check", "memory", "--json").out)
    assert (list(document), document["version"]) == (["version", "ok", "store", "checks"], 1)
    assert (document["ok"], document["store"]) == (True, "memory")
    assert {check["state"] for check in document["checks"]} == {"ok", "skipped"}
    assert all(check.keys() == {"name", "state", "seconds", "detail"} for check in document["checks"])
    assert "canary" not in json.dumps(document)


@pytest.mark.usefixtures("corp")
@pytest.mark.parametrize(("way", "code", "failed"), [("sound", 0, 0), ("invents", 7, 1), ("down", 5, 1)])
def test_exit_code_tells_a_broken_plugin_from_an_outage(command, way, code, failed):
    """7 for a plugin that breaks a rule; the code of the error for a store that fails."""
    Path("strongroom.toml").write_text(f'chain = ["corp"]\nstores.corp.way = "{way}"\n', "utf-8")
    done = command("stores", "--check", "corp")
    assert done.code == code
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert [row[0] for row in rows if row[1] == "failed"] == ["absence is confirmed"] * failed
    assert ("1 of 12 checks of store corp failed" in done.err) == bool(failed)
    assert b"canary" not in done.out


@pytest.mark.usefixtures("corp")
def test_store_that_cannot_be_opened_is_its_error(command):
    """One line, as for every command."""
    Path("strongroom.toml").write_text('chain = ["corp"]\nstores.corp.way = "denied"\n', "utf-8")
    done = command("stores", "--check", "corp")
    assert (done.code, done.out, done.err.count("\n")) == (4, b"", 1)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--check",), 2, "--check needs the NAME of a store"),
        (("--check", "no-such"), 7, "there is no plugin no-such"),
        (("--check", "json:secrets.json"), 0, ""),
    ],
)
@pytest.mark.usefixtures("configured")
def test_name_is_that_of_a_store(command, arguments, code, said):
    """A configured one, or a plugin with its location."""
    done = command("stores", *arguments)
    assert done.code == code
    assert said in done.err


@pytest.mark.usefixtures("configured")
def test_pytest_is_not_needed(tmp_path):
    """The checks run where an application is installed, and pytest is not."""
    program = (
        "import sys; sys.modules['pytest'] = None; from strongroom._cli.main import main; "
        "main(['stores', '--check', 'memory'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_offers_stores_after_the_option(monkeypatch):
    """Without it, plugins alone."""
    import click

    from strongroom._cli.operate.plugins.stores import stores_command

    monkeypatch.setattr(completion, "ends", lambda *_: ["a-store"])
    monkeypatch.setattr(completion, "plugins", lambda *_: ["a-plugin"])
    for checked, offered in ((False, ["a-plugin"]), (True, ["a-store"])):
        context = click.Context(stores_command)
        context.params["check"] = checked
        assert completion.plugins_or_store(context, "") == offered
