"""The command line on a store of Key Vault, as its users see it."""

import json
from pathlib import Path

import pytest

from support.services.azure import answered

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def configured(key_vault):
    Path("strongroom.toml").write_text(
        f'chain = ["azure"]\n[stores.azure]\nplugin = "azure-keyvault"\nvault = "{key_vault.name}"\n'
        '[secrets]\nDB_PASSWORD = "db#password"\n',
        "utf-8",
    )


def test_secret_is_written_deleted_restored_and_purged(command, key_vault):
    done = command("set", "db", "password", piped=b"canary")
    assert done.err.splitlines()[0] == f"strongroom: Writing password at db to store azure (vault {key_vault.name})"
    assert command("get", "db", "password").out == b"canary"
    assert command("list").out == b"db\n"
    version = command("history", "db").out.decode().split()[0]
    assert command("delete", "db").code == 0
    assert command("get", "db", "password").code == 3
    assert command("set", "db", "password", piped=b"canary").code == 6
    assert command("history", "db").out.decode().split("\t")[2] == "deleted"
    assert command("undelete", "db", version).code == 0
    assert command("get", "db", "password").out == b"canary"
    assert command("delete", "db").code == 0
    assert "cannot be restored" in command("destroy", "db", version).err
    assert command("destroy", "db", version, "--yes").code == 0
    assert key_vault.vault.deleted == {}


def test_doctor_and_status(command, key_vault):
    """Both tell an outage."""
    assert f"open: Key Vault {key_vault.name}" in command("doctor").out.decode()
    [link] = json.loads(command("status", "--json").out)["chain"]
    assert (link["plugin"], link["state"]) == ("azure-keyvault", "ok")
    with key_vault.fault(answered(403, "Forbidden", "ForbiddenByFirewall")):
        done = command("doctor")
    assert done.code != 0
    assert "the vault refuses this network (ForbiddenByFirewall)" in done.out.decode() + done.err
