"""`strongroom run` with the secrets of a real server."""

import json
import subprocess
import sys
from pathlib import Path

from strongroom import SecretsManager

CANARY = "canary-7f3a"
ENVIRONMENT = "import json, os; print(json.dumps({os.fsdecode(n): list(v) for n, v in os.environb.items()}))"


def test_a_command_has_a_servers_secrets_and_not_its_token(script, openbao, kv2, monkeypatch):
    """Bytes are exact too. The value is in no argument of the process."""
    Path("strongroom.toml").write_text(
        'chain = ["vault"]\nsecrets = { TLS_KEY = "keys/tls#der", DB_PASSWORD = "database/connection#password" }\n'
        f'[stores.vault]\nmount = "{kv2}"\n',
        "utf-8",
    )
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    with SecretsManager() as secrets:
        secrets.set_secret("keys/tls", {"der": b"\xff\xfe\n"})
        secrets.set_secret("database/connection", {"password": CANARY})
    done = subprocess.run(
        [script, "run", "--", sys.executable, "-c", ENVIRONMENT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    given = {name: bytes(value) for name, value in json.loads(done.stdout).items()}
    assert given["TLS_KEY"] == b"\xff\xfe\n"
    assert given["DB_PASSWORD"] == CANARY.encode()
    assert given["VAULT_ADDR"] == openbao.url.encode()
    assert openbao.token.encode() not in given.values()
