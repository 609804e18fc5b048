"""`strongroom doctor` and real servers: well, sealed, dead, hung, with a wrong token."""

import json
import re

import pytest

from support.command_line import configure, rows_of_doctor

VAULT = """
chain = ["vault", "env"]

[stores.vault]
mount = "{mount}"
"""


@pytest.fixture
def server(openbao, kv2, monkeypatch):
    """The mount of a configuration whose chain is a real OpenBao, then the environment."""
    configure(VAULT, mount=kv2)
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return kv2


@pytest.fixture
def own_server(own_openbao, monkeypatch):
    """The same, with a server of the test's own."""
    configure(VAULT, mount="secret")
    monkeypatch.setenv("VAULT_ADDR", own_openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", own_openbao.token)
    return own_openbao


def test_a_server_that_is_well(command, openbao, server):
    """Reachable, unsealed, authenticated; where it is, and never the token."""
    done = command("--verbose", "doctor")
    assert done.code == 0
    found = rows_of_doctor(done)
    assert found["vault", ""] == ("ok", f"{openbao.url}, mount {server}; open", "")
    for name in ("reachable", "clock", "unsealed", "authenticated", "token life"):
        assert found["vault", name][0] == "ok"
    assert found["vault", "token rights"][0] == "warning"
    assert found["env", ""][0] == "ok"
    assert openbao.token not in done.out.decode() + done.err


def test_a_sealed_server_is_told_from_a_dead_one(command, own_server, monkeypatch):
    """The next step is another, and both are worth trying again: 5."""
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MAX_RETRIES", "0")
    own_server.call("PUT", "sys/seal")
    done = command("doctor")
    assert done.code == 5
    found = rows_of_doctor(done)
    assert found["vault", ""][0] == "unavailable"
    assert found["vault", "reachable"][0] == "ok"
    assert found["vault", "unsealed"][:2] == ("failed", "it is sealed")
    assert "operator unseal" in found["vault", "unsealed"][2]
    own_server.kill()
    done = command("doctor")
    assert done.code == 5
    found = rows_of_doctor(done)
    assert "Connection refused" in found["vault", "reachable"][1]
    assert "Check that" in found["vault", "reachable"][2]
    assert ("vault", "unsealed") not in found
    assert found["env", ""][0] == "ok"


def test_a_server_that_hangs_takes_no_more_than_the_time_of_its_link(command, own_server):
    """It is a wait of `timeout`, here a short one, and the others are what they are."""
    configure('chain = [{ store = "vault", timeout = "300ms" }, "env"]\n[stores.vault]\nmount = "secret"\n')
    own_server.pause()
    try:
        done = command("doctor")
    finally:
        own_server.resume()
    assert done.code == 5
    assert rows_of_doctor(done)["vault", "reachable"][0] == "failed"
    assert rows_of_doctor(done)["env", ""][0] == "ok"


def test_a_token_that_is_wrong_or_over(command, openbao, server, monkeypatch):
    """4, and what to check; the token is not in it."""
    over = openbao.issue_token({f"{server}/data/*": ["read"]})
    openbao.call("POST", "auth/token/revoke", {"token": over})
    for token in ("s.canary-7f3a", over):
        monkeypatch.setenv("VAULT_TOKEN", token)
        done = command("doctor")
        assert done.code == 4
        found = rows_of_doctor(done)
        assert found["vault", ""][0] == "denied"
        assert found["vault", "reachable"][0] == "ok"
        assert found["vault", "authenticated"][0] == "failed"
        assert "VAULT_TOKEN" in found["vault", "authenticated"][2]
        assert token not in done.out.decode() + done.err
    monkeypatch.delenv("VAULT_TOKEN")
    assert rows_of_doctor(command("doctor"))["vault", "authenticated"][1] == "there is no token"


@pytest.mark.parametrize(("option", "value"), [("mount", "nothing-here"), ("namespace", "nobody")])
def test_a_place_that_does_not_exist_is_configuration(command, server, option, value):
    """Named with the table that it is in: 7."""
    configure('chain = ["vault"]\n[stores.vault]\n{option} = "{value}"\n', option=option, value=value)
    done = command("doctor")
    assert done.code == 7
    found = rows_of_doctor(done)
    assert found["vault", ""][0] == "misconfigured"
    assert found["vault", "unsealed"][0] == "ok"
    assert "[stores.vault]" in found["vault", "configured"][1]
    assert value in found["vault", "configured"][1]


def test_production_has_its_own_rules(command, server, openbao, monkeypatch):
    """No plain http off loopback; with them kept, it is well."""
    text = """
    [environments.prod]
    production = true
    chain = ["vault", { store = "env", paths = ["monitoring/*"] }]
    [environments.prod.stores.vault]
    url = "{url}"
    mount = "{mount}"
    auth = { method = "token", token = { env = "VAULT_TOKEN" } }
    """
    configure(text, url="http://vault.example", mount=server)
    done = command("--environment", "prod", "doctor")
    assert done.code == 7
    assert "not https" in rows_of_doctor(done)["vault", "configured"][1]
    configure(text, url=openbao.url, mount=server)
    done = command("--environment", "prod", "doctor", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert (document["ok"], document["environment"]) == (True, "prod")


@pytest.mark.parametrize("columns", [pytest.param(80, marks=pytest.mark.long), 120])
def test_a_terminal_shows_a_table_that_fits(terminal, script, own_server, monkeypatch, columns):
    """The next step stands below what was found, in whole words. It has colours on the wider one."""
    monkeypatch.setenv("COLUMNS", str(columns))
    own_server.call("PUT", "sys/seal")
    code, screen = terminal(script, *(("--no-color",) if columns == 80 else ()), "doctor").ended()
    assert code == 5
    assert ("\x1b[31mfailed" in screen, "\x1b" in screen) == (columns == 120,) * 2
    screen = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    assert max(len(line) for line in screen.splitlines() if "Configuration: /" not in line) <= columns  # a whole path
    words = " ".join(screen.split())
    assert "unsealed failed it is sealed Next: Unseal it: bao operator unseal" in words
    assert words.endswith("strongroom: 1 of 2 stores failed: vault")
