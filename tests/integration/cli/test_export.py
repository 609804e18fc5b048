"""`strongroom export` of the secrets of a real server."""

import json
from pathlib import Path

CANARY = "canary-7f3a"
URL = f"{CANARY}: it's $HOME, 100%\nand more\n"


def test_a_servers_secrets_are_exported(command, openbao, kv2, monkeypatch):
    """From a real one, and its token is in nothing that is written."""
    Path("strongroom.toml").write_text(
        f'chain = ["vault"]\nsecrets = {{ APP_URL = "app#url" }}\n[stores.vault]\nmount = "{kv2}"\n', "utf-8"
    )
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    openbao.put("app", {"url": URL}, mount=kv2)
    done = command("--verbose", "export", "--format", "json")
    assert json.loads(done.out) == {"APP_URL": URL}
    assert CANARY not in done.err
    assert openbao.token not in done.err + done.out.decode()
