"""`strongroom doctor`: how each store of the chain is, the next step, and the exit code."""

import json
import threading
from pathlib import Path

import pytest

from strongroom import _plugins as plugins
from strongroom.errors import AuthenticationError, Check, CheckState, SecretNotFoundError, StoreError
from strongroom.store import Health
from support.command_line import configure, rows_of_doctor

# --- stores on this machine -------------------------------------------------------------------------------------------


def test_local_stores_are_well_or_say_what_is_wrong_with_them(command, tmp_path):
    """A .env file that is not there holds nothing; a folder that is not there is not mounted."""
    configure('chain = ["env", "dotenv", "files"]\n[stores.files]\nroot = "{root}"\n', root=str(tmp_path / "secrets"))
    done = command("doctor")
    assert done.code == 5
    found = rows_of_doctor(done)
    assert found["env", ""] == ("ok", "open", "")
    assert found["dotenv", ""] == ("ok", "there is no .env", "")
    assert found["files", ""][0] == "unavailable"
    assert found["files", "reachable"] == ("failed", f"there is no {tmp_path / 'secrets'}", "Check that it is mounted")
    sources = f"strongroom: Configuration: {Path('strongroom.toml').absolute()}"
    assert done.err == f"{sources}\nstrongroom: 1 of 3 stores failed: files\n"
    (tmp_path / "secrets").mkdir()
    Path(".env").touch(0o600)
    Path(".env").write_text("A=1\n")
    done = command("doctor")
    assert (done.code, done.err) == (0, f"{sources} and {Path('.env').absolute()}\n")
    assert rows_of_doctor(done)["dotenv", ""] == ("ok", "variables in .env: 1", "")


def test_what_is_odd_in_an_env_file_is_a_warning(command):
    """It is read all the same, so that it is no fault."""
    configure('chain = ["dotenv"]\n')
    Path(".env").touch(0o600)
    Path(".env").write_text("A=canary-7f3a\nA=2\n")
    Path(".env").chmod(0o644)
    done = command("doctor")
    assert done.code == 0
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert [row[:3] for row in rows] == [["dotenv", "", "ok"], *[["dotenv", "tidy", "warning"]] * 2]
    assert "line 2 sets A again" in rows[1][4]
    assert "chmod 600" in rows[2][4]
    assert "Correct .env" in rows[1][5]
    assert "canary" not in done.out.decode()


def test_an_env_file_that_cannot_be_understood_is_named(command):
    """It is a fault of the configuration, and the value that is in it is not shown."""
    configure('chain = ["dotenv"]\n')
    Path(".env").write_text("A='canary-7f3a\n")
    done = command("doctor")
    assert done.code == 7
    assert "canary" not in done.out.decode() + done.err


def test_what_is_wrong_with_one_store_hides_no_other(command):
    """Nor does a plugin that is not installed: each is said in the place of its store."""
    configure('chain = ["memory", "consul", "env"]\n[stores.memory]\nsecretz = 1\n')
    done = command("doctor")
    assert done.code == 7
    found = rows_of_doctor(done)
    assert found["memory", ""][0] == found["consul", ""][0] == "misconfigured"
    assert "no option secretz" in found["memory", "configured"][1]
    assert "strongroom config show" in found["memory", "configured"][2]
    assert "no plugin consul" in found["consul", "installed"][1]
    assert found["env", ""][0] == "ok"
    assert "2 of 3 stores failed: memory, consul" in done.err


def test_a_file_that_cannot_be_read_as_configuration_is_one_line(command):
    """There is no chain to ask then."""
    configure("chain = ")
    done = command("doctor")
    assert (done.code, done.out) == (7, b"")
    assert done.err.count("\n") == 1


def test_vault_without_an_address_is_a_warning(command, monkeypatch):
    """Its token is there, so somebody means to use it; the code is that of the stores in the chain."""
    monkeypatch.setenv("VAULT_TOKEN", "canary-7f3a")
    done = command("doctor")
    reason = "the environment variable VAULT_TOKEN is set without an address"
    hint = "Set VAULT_ADDR, or unset the credential"
    assert done.code == 0
    assert rows_of_doctor(done)["vault", ""] == ("warning", f"not in the chain: {reason}", hint)
    document = json.loads(command("doctor", "--json").out)
    assert document["left_out"] == {"store": "vault", "reason": reason, "hint": hint}


# --- a stranger's store -----------------------------------------------------------------------------------------------


class Strange:
    """A store that says how it is, in a plugin of somebody else's."""

    def __init__(self, health=None, error=None):
        self.health, self.error = health, error

    def probe(self):
        if self.error:
            raise self.error
        return self.health

    def read(self, path):
        raise SecretNotFoundError(path)

    def close(self):
        pass


@pytest.fixture
def strangers(monkeypatch):
    """Puts these stores into the chain, each under its name."""

    def place(**stores):
        configure(f"chain = {json.dumps(list(stores))}")
        monkeypatch.setattr(plugins, "prepare", lambda _, name: lambda: stores[name])

    return place


def test_a_strangers_checks_and_facts_are_shown(command, strangers):
    """Whatever they are; a warning is no fault."""
    quota = Check("quota", CheckState.WARNING, "91 % used", "Ask for more")
    strangers(tape=Strange(Health(ok=True, detail="spinning", facts={"reels": "2"}, checks=(quota,))))
    done = command("doctor")
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert rows_of_doctor(done) == {
        ("tape", ""): ("ok", "spinning", ""),
        ("tape", "quota"): ("warning", "91 % used", "Ask for more"),
    }
    (store,) = json.loads(command("doctor", "--json").out)["stores"]
    assert store["facts"] == {"reels": "2"}


def test_detail_stands_beside_the_address(command, monkeypatch):
    """A store reports other facts than its address too."""
    monkeypatch.setattr(plugins, "prepare", lambda *_: lambda: Strange(Health(ok=True, detail="spinning")))
    configure('chain = ["files"]\n[stores.files]\nroot = "/run/secrets"\n')
    assert rows_of_doctor(command("doctor"))["files", ""] == ("ok", "root /run/secrets; spinning", "")


def test_script_of_a_command_is_not_printed(command):
    """The program and its words are, up to the argument that is the script."""
    script = 'set -eu; echo \'{"password": "canary"}\''
    configure(
        f'chain = ["pass"]\n[stores.pass]\nplugin = "command"\nread = ["sh", "-c", {json.dumps(script)}, "<path>"]\n'
    )
    done = command("doctor")
    assert rows_of_doctor(done)["pass", ""] == ("ok", "read sh -c …; the program sh", "")
    assert "canary" not in command("doctor", "--json").out.decode()


def test_the_code_is_that_of_what_needs_the_most_doing(command, strangers):
    """As for `check`: 5 says that trying again is enough, so it is the last."""
    down, refused = Strange(Health(ok=False, detail="down")), Strange(error=AuthenticationError(reason="no"))
    strangers(a=down)
    assert command("doctor").code == 5
    strangers(a=down, b=refused)
    assert command("doctor").code == 4
    strangers(a=down, b=refused, c=Strange(error=StoreError(reason="odd")))
    done = command("doctor")
    assert done.code == 1
    assert [rows_of_doctor(done)[name, ""][0] for name in "abc"] == ["unavailable", "denied", "failed"]


def test_what_a_store_says_begins_no_line_and_moves_no_cursor(command, strangers):
    """Each check stays one line of six fields."""
    strangers(odd=Strange(Health(ok=True, checks=(Check("a\tb", CheckState.OK, "c\nd\x1b[2J", "e\rf"),))))
    out = command("doctor").out.decode()
    assert out.count("\n") == 2
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.splitlines()[1].count("\t") == 5


def test_no_store_waits_for_another(command, strangers):
    """Each of these answers only when the other has been asked too."""
    both = threading.Barrier(2, timeout=30)

    class Meeting(Strange):
        def probe(self):
            both.wait()
            return Health(ok=True)

    strangers(a=Meeting(), b=Meeting())
    assert command("doctor").code == 0


def test_json_has_a_version_and_an_object_for_each_store(command, strangers):
    """Its shape is documented."""
    strangers(a=Strange(Health(ok=True, detail="open")), b=Strange(error=AuthenticationError(reason="no", hint="Go")))
    done = command("doctor", "--json")
    assert done.code == 4
    document = json.loads(done.out)
    seconds = [store.pop("seconds") for store in document["stores"]]
    assert all(0 <= each < 60 for each in seconds)
    assert document == {
        "version": 1,
        "ok": False,
        "environment": None,
        "files": [str(Path("strongroom.toml").absolute())],
        "folder": str(Path().absolute()),
        "stores": [
            {"store": "a", "state": "ok", "place": "", "detail": "open", "facts": {}, "checks": []},
            {
                "store": "b", "state": "denied", "place": "", "facts": {},
                "detail": "Failed to authenticate with the store (store b: no). Go",
                "checks": [{"name": "authenticated", "state": "failed", "detail": "no", "hint": "Go"}],
            },
        ],
        "left_out": None,
        "disk_cache": None,
    }  # fmt: skip
