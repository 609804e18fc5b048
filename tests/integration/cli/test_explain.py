"""`strongroom explain` with real servers."""

from pathlib import Path

import pytest

VAULTS = """
chain = ["vault", "memory"]

[stores.vault]
mount = "{mount}"

[stores.memory.secrets."database/connection"]
url = "canary-7f3a"
"""


@pytest.fixture
def server(openbao, kv2, monkeypatch) -> str:
    """The mount of a real OpenBao that is first in the chain."""
    Path("strongroom.toml").write_text(VAULTS.replace("{mount}", kv2), "utf-8")
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return kv2


def rows(out: bytes) -> list[list[str]]:
    return [line.split("\t") for line in out.decode().splitlines()]


def test_a_servers_version_and_its_age(command, openbao, server):
    """And that the next store holds something else."""
    openbao.put("database/connection", {"url": "another-canary"}, mount=server)
    done = command("--verbose", "explain", "database/connection", "url")
    assert done.code == 0
    vault, memory = rows(done.out)
    assert (vault[:2], vault[3], vault[5]) == (["vault", "found"], "1", "served")
    assert vault[4].endswith(" ago")
    assert (memory[:2], memory[5]) == (["memory", "found"], "different")
    assert "canary" not in done.out.decode() + done.err
    assert openbao.token not in done.out.decode() + done.err


def test_what_is_denied_ends_the_read_and_the_next_store_is_asked_all_the_same(command, openbao, server, monkeypatch):
    """With the code of a denial: what the next store has is not served."""
    token = openbao.issue_token({f"{server}/data/other": ["read"], f"sys/internal/ui/mounts/{server}": ["read"]})
    monkeypatch.setenv("VAULT_TOKEN", token)
    done = command("explain", "database/connection", "url")
    assert done.code == command("get", "database/connection", "url").code == 4
    vault, memory = rows(done.out)
    assert vault[1].startswith("denied: ")
    assert (memory[1], memory[5]) == ("found", "")


@pytest.mark.usefixtures("server")
def test_an_outage_goes_on_to_the_store_that_is_served(command, monkeypatch):
    """As a read does."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    done = command("explain", "database/connection", "url")
    assert done.code == 0
    vault, memory = rows(done.out)
    assert vault[1].startswith("unavailable: ")
    assert memory[5] == "served"
