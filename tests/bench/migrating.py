"""Secrets into Vault, verified, beside the loop that anybody would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hvac

from bench.measuring import Bench, timed
from strongroom._files.plugin import open_json
from strongroom.migrate import Migrator
from strongroom.store.memory import MemoryStore
from strongroom_vault.plugin import open_vault

DATA = {"username": "app", "password": "correct horse battery staple", "host": "db.internal", "port": 5432}


def write(bench: Bench) -> None:
    """Planned, journaled, written under check-and-set and read back. The loop has a fifth of the secrets."""
    count = 10 if bench.once else 10_000
    share = count // 5
    memory, folder = MemoryStore(), bench.new_folder()
    for number in range(count):
        memory.write(f"app/s{number}", DATA)
    file = folder / "secrets.json"
    file.write_text(json.dumps({f"app/s{number}": DATA for number in range(count)}), "utf-8")
    file.chmod(0o600)
    kv = hvac.Client(url=bench.vault.url, token=bench.vault.token).secrets.kv.v2

    mount = ""

    def renew() -> None:
        nonlocal mount
        if mount:  # the server keeps its data in memory
            bench.vault.call("DELETE", f"sys/mounts/{mount}")
        mount = bench.vault.fresh_mount()

    def loop() -> None:
        """Write each secret, then read it back."""
        for number in range(share):
            path = f"app/s{number}"
            kv.create_or_update_secret(path=path, secret=DATA, mount_point=mount)
            reply = kv.read_secret_version(path=path, mount_point=mount, raise_on_deleted_version=True)
            assert reply["data"]["data"] == DATA

    def migrate(source: Any) -> None:
        target = open_vault(url=bench.vault.url, token=bench.vault.token, mount=mount)
        stores, home = {"source": source, "vault": target}, bench.new_folder()
        with Migrator(stores=stores, state_folder=Path(home)) as migrator:
            migrator.apply(migrator.plan("source", "vault"))
            assert len(migrator.verify().results) == count
        target.close()

    def from_json() -> None:
        source = open_json(file=file)
        migrate(source)
        source.close()

    one = timed(loop, prepare=renew)
    turns = {
        "hvac in a loop": lambda: one() * count / share,
        "strongroom, from JSON": timed(from_json, prepare=renew),
        "strongroom, from memory": timed(lambda: migrate(memory), prepare=renew),
    }
    bench.pairs("write", turns, count=count, unpinned=3)
