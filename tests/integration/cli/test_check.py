"""`strongroom check` against a real server."""

import json
import subprocess

import pytest

from support.command_line import configure

CANARY = "canary-7f3a"
VAULT = """
chain = ["vault"]

[secrets]
DATABASE_URL = "database/connection#url"
OPENAI_API_KEY = "api-keys/openai#key"

[stores.vault]
mount = "{mount}"
"""


@pytest.fixture
def server(openbao, kv2, monkeypatch) -> str:
    """The mount of a configuration whose only store is a real OpenBao."""
    configure(VAULT, mount=kv2)
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return kv2


def test_what_a_server_has_and_has_not(command, openbao, server):
    """With the version of what is found."""
    openbao.put("database/connection", {"url": CANARY}, mount=server)
    done = command("--verbose", "check", "--json")
    assert done.code == 3
    found, missing = json.loads(done.out)["secrets"]
    assert (found["state"], found["store"], found["secret_version"]) == ("found", "vault", 1)
    assert (missing["state"], missing["store"]) == ("missing", None)
    assert missing["reasons"][0].startswith("vault: ")
    assert CANARY not in done.out.decode() + done.err
    assert openbao.token not in done.out.decode() + done.err


def test_what_is_denied_outweighs_what_is_missing(command, openbao, server, monkeypatch):
    """Whether it exists is not known, and somebody has to grant it."""
    token = openbao.issue_token({f"{server}/data/api-keys/*": ["read"], f"sys/internal/ui/mounts/{server}": ["read"]})
    monkeypatch.setenv("VAULT_TOKEN", token)
    done = command("check")
    assert done.code == 4
    assert b"DATABASE_URL\tdatabase/connection#url\trequired\tdenied\t" in done.out
    assert b"OPENAI_API_KEY\tapi-keys/openai#key\trequired\tmissing\t" in done.out
    assert token not in done.err


def test_an_outage_is_no_absence_for_an_optional_row_either(command, server, monkeypatch):
    """And only where every row may come by itself is it worth trying again."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("STRONGROOM_TIMEOUT", "1s")
    configure(VAULT.replace('"api-keys/openai#key"', '{ at = "api-keys/openai#key", required = false }'), mount=server)
    done = command("check")
    assert done.code == 5
    assert done.out.count(b"\tunavailable\t") == 2


def test_waiting_ends_when_the_last_one_is_there(script, openbao, server):
    """It says once what it waits for, and sees what another process writes."""
    waiting = [script, "check", "--wait", "50s"]
    with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            both = "strongroom: Waiting: DATABASE_URL is missing; OPENAI_API_KEY is missing\n"
            assert process.stderr.readline() == both
            openbao.put("database/connection", {"url": CANARY}, mount=server)
            assert process.stderr.readline() == "strongroom: Waiting: OPENAI_API_KEY is missing\n"
            openbao.put("api-keys/openai", {"key": CANARY}, mount=server)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert out.count("\tfound\tvault\t") == 2
    assert CANARY not in out


def test_ctrl_c_ends_the_waiting(terminal, script, server):
    """Silently, and with the code of an interruption."""
    screen = terminal(script, "check", "--wait", "50s")
    screen.waits_for("Waiting: DATABASE_URL is missing")
    screen.interrupts()
    code, rest = screen.ended()
    assert code == 130
    assert "Traceback" not in rest
