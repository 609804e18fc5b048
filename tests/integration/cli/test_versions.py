"""Version history of a secret on a real server."""

import pytest

CANARY = "canary-7f3a"
PATH = "app/config"


@pytest.fixture
def vault(openbao, kv1, kv2, monkeypatch):
    """The chain is one key-value mount of the real server; sets which of its two engines."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return lambda version: monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", {1: kv1, 2: kv2}[version])


@pytest.mark.parametrize(("answer", "code"), [("y", 0), pytest.param("n", 1, marks=pytest.mark.long), ("", 1)])
def test_on_a_terminal_destroy_asks(terminal, script, vault, openbao, kv2, answer, code):
    """Only a yes is one."""
    vault(2)
    for number in "12":
        openbao.put(PATH, {"password": f"{CANARY}-{number}"}, mount=kv2)
    screen = terminal(script, "destroy", PATH, "1")
    screen.waits_for(f"strongroom: Destroying version 1 of {PATH} in store vault ({openbao.url}, mount {kv2})")
    screen.waits_for("strongroom: Destroyed versions cannot be restored. Continue? [y/N] ")
    screen.types(answer)
    ended, rest = screen.ended()
    assert ended == code
    assert ("Nothing was changed" in rest) is (code != 0)
    history = openbao.call("GET", f"{kv2}/metadata/{PATH}")["data"]["versions"]
    assert [history[number]["destroyed"] for number in "12"] == [code == 0, False]


def test_on_a_terminal_they_are_tables(terminal, script, vault, openbao, kv2):
    """With a caption that says of what, and a hint; a value on demand alone."""
    vault(2)
    for number in "12":
        openbao.put(PATH, {"password": f"{CANARY}-{number}"}, mount=kv2)
    openbao.call("POST", f"{kv2}/metadata/{PATH}", {"custom_metadata": {"owner": "billing"}})
    code, shown = terminal(script, "--no-color", "history", PATH).ended()
    assert code == 0
    assert all(
        word in shown for word in ("version", "written", "current", "readable", f"{PATH} from vault, owner=billing")
    )
    code, shown = terminal(script, "--no-color", "diff", PATH, "--versions", "1", "2").ended()
    assert code == 10
    assert f"{PATH} from vault, version 1 to 2; --reveal shows the values" in " ".join(shown.split())
    assert CANARY not in shown
    code, shown = terminal(script, "--no-color", "diff", PATH, "--versions", "1", "2", "--reveal").ended()
    assert (f"{CANARY}-1" in shown, f"{CANARY}-2" in shown) == (True, True)


def test_a_secret_of_a_real_server_goes_and_comes_back(command, vault):
    """Each verb once, from delete to destroy."""
    vault(2)
    for number in "12":
        assert command("set", PATH, "password", piped=f"{CANARY}-{number}".encode()).code == 0
    assert command("rollback", PATH, "1").code == 0
    assert command("get", PATH, "password").out.decode() == f"{CANARY}-1"
    assert command("delete", PATH).code == 0
    assert command("get", PATH).code == 3
    assert command("undelete", PATH, "3").code == 0
    assert command("diff", PATH, "--versions", "1", "3").code == 0
    assert command("destroy", PATH, "3", "--yes").code == 0
    assert command("undelete", PATH, "3").code == 3
    assert command("diff", PATH, "--versions", "1", "3").code == 3
    states = [line.split("\t")[2] for line in command("history", PATH).out.decode().splitlines()]
    assert states == ["readable", "readable", "destroyed"]


@pytest.mark.parametrize(
    "arguments",
    [("history",), ("diff", "--versions", "1", "2"), ("rollback", "1"), ("undelete", "1"), ("destroy", "1", "--yes")],
    ids=lambda arguments: arguments[0],
)
def test_a_store_without_versions_says_so(command, vault, openbao, kv1, arguments):
    """KV version 1 has none."""
    vault(1)
    openbao.call("POST", f"{kv1}/{PATH}", {"password": CANARY})
    done = command(arguments[0], PATH, *arguments[1:])
    assert (done.code, done.out) == (6, b"")
    assert "it has no versions" in done.err
    assert openbao.call("GET", f"{kv1}/{PATH}")["data"] == {"password": CANARY}
