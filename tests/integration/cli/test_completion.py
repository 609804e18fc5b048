"""Completion of paths and keys from a real server."""

import os
import subprocess

CANARY = "canary-7f3a"


def tab(script, *words):
    """Return what bash is offered for the words before the cursor, the last of which is incomplete."""
    cursor = {"COMP_WORDS": " ".join(("strongroom", *words)), "COMP_CWORD": str(len(words))}
    environ = {**os.environ, **cursor, "_STRONGROOM_COMPLETE": "bash_complete"}
    done = subprocess.run([script], capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout
    return [line.partition(",")[2].partition("	")[0] for line in done.stdout.splitlines()]


def test_paths_and_keys_come_from_the_server(patient_script, openbao, kv2, monkeypatch):
    """And what they hold does not."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", kv2)
    openbao.put("database/connection", {"host": CANARY, "password": CANARY}, mount=kv2)
    openbao.put("database/pool", {"size": 5}, mount=kv2)
    assert tab(patient_script, "get", "database/") == ["database/connection", "database/pool"]
    assert tab(patient_script, "get", "database/connection", "") == ["host", "password"]
