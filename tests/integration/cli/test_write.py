"""`strongroom set` on a real server."""

import json
from pathlib import Path

import pytest

CANARY = "canary-7f3a"


@pytest.fixture
def production(monkeypatch):
    """The commands' environment is one of production."""
    Path("strongroom.toml").write_text('[environments.prod]\nproduction = true\nchain = ["memory"]\n', "utf-8")
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "prod")


@pytest.fixture
def vault(openbao, kv1, kv2, monkeypatch):
    """The chain is one key-value mount of the real server; sets which of its two engines."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return lambda version: monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", {1: kv1, 2: kv2}[version])


def test_a_write_says_the_server_and_the_place_on_it(command, vault, openbao, kv2):
    """The address and the mount: the wrong terminal is the usual accident."""
    vault(2)
    done = command("set", "app/config", "password", piped=CANARY.encode())
    assert done.code == 0, done.err
    assert done.err.splitlines() == [
        f"strongroom: Writing password at app/config to store vault ({openbao.url}, mount {kv2})",
        "strongroom: Stored password at app/config, version 1",
    ]
    assert openbao.peek("app/config", mount=kv2) == {"password": CANARY}
    assert openbao.token not in done.err


@pytest.mark.parametrize("plugin", ["aws-secretsmanager", "aws-ssm"])
def test_a_write_says_the_region(command, moto, monkeypatch, plugin):
    """Also where the surroundings say it: one account has secrets of one name in many."""
    moto.use(monkeypatch)
    Path("strongroom.toml").write_text(f'chain = ["{plugin}"]\n[stores.{plugin}]\nprefix = "billing"\n', "utf-8")
    done = command("set", "a", "b", piped=b"c")
    assert (done.code, done.err.splitlines()[0]) == (
        0,
        f"strongroom: Writing b at a to store {plugin} (region eu-west-1, prefix billing)",
    )
    monkeypatch.setenv("STRONGROOM_STORES_" + plugin.replace("-", "_").upper() + "_REGION", "eu-central-1")
    done = command("set", "a", "b", piped=b"c")
    assert "region eu-central-1, prefix billing" in done.err


def test_what_a_store_without_versions_cannot_undo_needs_yes(command, vault):
    """KV version 1 has none, version 2 has."""
    for version, needs_yes in ((1, True), (2, False)):
        vault(version)
        assert command("set", "a", "--from-json", "-", piped=b'{"b": "1", "c": "2"}').code == 0
        for arguments in (("set", "a", "b", "--replace"), ("delete", "a")):
            done = command(*arguments, piped=b"new")
            assert done.code == (2 if needs_yes else 0), done.err
            assert ("Store vault keeps no versions, so this cannot be undone" in done.err) is needs_yes
            if needs_yes:
                assert set(json.loads(command("get", "a").out)) >= {"b"}
                assert command(*arguments, "--yes", piped=b"new").code == 0
        assert command("get", "a").code == 3


@pytest.mark.parametrize(("answer", "code"), [("y", 0), pytest.param("n", 1, marks=pytest.mark.long), ("", 1)])
def test_on_a_terminal_it_asks(terminal, script, vault, openbao, kv1, answer, code):
    """Only a yes is one; stdout has nothing of it."""
    vault(1)
    openbao.call("POST", f"{kv1}/app/config", {"password": CANARY})
    screen = terminal(script, "delete", "app/config")
    screen.waits_for(f"strongroom: Deleting app/config from store vault ({openbao.url}, mount {kv1})")
    screen.waits_for("strongroom: Store vault keeps no versions, so this cannot be undone. Continue? [y/N] ")
    screen.types(answer)
    ended, rest = screen.ended()
    assert ended == code
    assert ("Nothing was changed" in rest) is (code != 0)
    assert ("Deleted app/config" in rest) is (code == 0)
    assert CANARY not in rest


@pytest.mark.usefixtures("production")
def test_in_production_it_asks_before_the_value_is_typed(terminal, script, openbao, kv2, monkeypatch):
    """And Ctrl-C at the question changes nothing."""
    Path("strongroom.toml").write_text(
        f'[environments.prod]\nproduction = true\nchain = ["vault"]\n[stores.vault]\nplugin = "vault"\n'
        f'url = "{openbao.url}"\nmount = "{kv2}"\ntoken = {{ env = "TOKEN" }}\n',
        "utf-8",
    )
    monkeypatch.setenv("TOKEN", openbao.token)
    screen = terminal(script, "set", "app/config", "password")
    screen.waits_for("This is production. Continue? [y/N] ")
    screen.interrupts()
    code, rest = screen.ended()
    assert (code, rest.strip()) == (130, "strongroom: Nothing was changed")
    screen = terminal(script, "set", "app/config", "password")
    screen.waits_for("Continue? [y/N] ")
    screen.types("y")
    screen.waits_for("Value of app/config#password: ")
    screen.types(CANARY)
    code, rest = screen.ended()
    assert (code, CANARY in rest) == (0, False)
    assert openbao.peek("app/config", mount=kv2) == {"password": CANARY}
