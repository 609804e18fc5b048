"""`strongroom copy` to and from a real server."""

import json

import pytest

from support.scenarios.migrations import held, write

CANARY = "canary-7f3a"
PATH = "app/config"


@pytest.fixture(autouse=True)
def files():
    """A file with a secret, and one with another value for a key of it."""
    for name, data in (("a.json", {"k": CANARY, "n": 5}), ("b.json", {"k": f"{CANARY}-b", "mine": "x"})):
        write(name, json.dumps({PATH: data}))


def test_a_secret_goes_through_a_file_to_a_real_server_and_keeps_its_labels(command, openbao, kv2, monkeypatch):
    """With its types; and what a file cannot hold of it is said."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    vault = f"vault:{kv2}"
    assert command("copy", PATH, "--from", "json:a.json", "--to", vault).code == 0
    openbao.call("POST", f"{kv2}/metadata/{PATH}", {"custom_metadata": {"owner": "billing"}})
    assert command("copy", PATH, "--from", vault, "--to", vault, "--as", "app/copy").code == 0
    assert openbao.call("GET", f"{kv2}/metadata/app/copy")["data"]["custom_metadata"] == {"owner": "billing"}
    done = command("copy", "app/copy", "--from", vault, "--to", "json:c.json", "--as", PATH)
    assert (done.code, "not copied: labels, which the target does not support: owner" in done.err) == (0, True)
    assert held("c.json") == held("a.json")
