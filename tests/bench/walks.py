"""Count the calls and files of our own code that a read, a write and `strongroom get` pass through.

    python tests/bench/walks.py

The store is Vault on a development server, whose session is warm. The figures are a measure of the structure, not of
time: no test has a bound for them.
"""

from __future__ import annotations

import collections
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LAYERS = {"Vault": "backends/strongroom_vault/", "the guard": "core/strongroom/_boundary/", "the rest": ""}


def walk(action: Callable[[], object]) -> collections.Counter[str]:
    """Return the number of calls in each file of ours, in all threads."""
    calls: collections.Counter[str] = collections.Counter()

    def note(frame: Any, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith((f"{ROOT}/core/", f"{ROOT}/backends/")):
            calls[name.removeprefix(f"{ROOT}/")] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def show(name: str, calls: collections.Counter[str]) -> None:
    """Print the sum, and the share of each layer."""
    left = dict(calls)
    shares = []
    for layer, prefix in LAYERS.items():
        own = {file: left.pop(file) for file in list(left) if file.startswith(prefix)}
        if own:
            shares.append(f"{layer} {sum(own.values())} in {len(own)}")
    print(f"{name}: {sum(calls.values())} calls in {len(calls)} files ({', '.join(shares)})")  # noqa: T201


def main() -> None:
    """Start a server, and measure."""
    from strongroom import SecretsManager
    from strongroom_vault.testing import TestVault

    with TestVault() as server, SecretsManager(vault_url=server.url, vault_token=server.token) as secrets:
        for path in ("walk/a", "walk/b"):
            secrets.set_secret(path, {"key": "value"})
        secrets.get_secret("walk/a", "key")
        show("get_secret, not cached", walk(lambda: secrets.get_secret("walk/b", "key", fresh=True)))
        show("get_secret, cached", walk(lambda: secrets.get_secret("walk/b", "key")))
        show("set_secret", walk(lambda: secrets.set_secret("walk/b", {"key": "new"})))
    for name in [name for name in os.environ if name.startswith(("VAULT_", "BAO_"))]:
        del os.environ[name]
    os.environ["DATABASE_URL"] = "postgresql://localhost/app"

    def get() -> None:
        from strongroom._cli.app import run

        run(["get", "database/connection", "url"])

    calls = walk(get)
    print()  # noqa: T201  # the value has no line end in a pipe
    show("strongroom get of a variable", calls)


if __name__ == "__main__":
    main()
