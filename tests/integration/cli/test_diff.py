"""`strongroom diff` between a real server and a file."""

import json
from pathlib import Path

CANARY = "canary-7f3a"


def test_a_real_server_and_a_file(command, openbao, kv2, monkeypatch):
    """What was copied is the same, what was changed is not, and a deleted secret is none."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    file = Path("a.json")
    file.touch(0o600)
    first = {"app/config": {"k": CANARY, "n": 5, "old": "x"}, "same": {"k": CANARY}, "mine": {"k": CANARY}}
    file.write_text(json.dumps(first), "utf-8")
    assert command("migrate", "--from", "json:a.json", "--to", f"vault:{kv2}", "--yes").code == 0
    openbao.put("gone", {"k": CANARY}, mount=kv2)
    openbao.call("DELETE", f"{kv2}/data/gone")
    assert command("diff", "json:a.json", f"vault:{kv2}").code == 0
    openbao.put("mine", {"k": f"{CANARY}!"}, mount=kv2)
    done = command("diff", "json:a.json", f"vault:{kv2}")
    assert (done.code, "different\tmine\tk changed" in done.out.decode()) == (10, True)
