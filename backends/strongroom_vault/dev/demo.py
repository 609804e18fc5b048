"""`strongroom dev --demo`: one secret on a real server, read through the chain while the server is there and after."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from strongroom.cli import api
from strongroom.encoding import as_text
from strongroom_vault.dev.server import DevServer

if TYPE_CHECKING:
    from rich.console import Console

PATH, KEY = "database/connection", "url"
VARIABLE = "DATABASE_URL"
IN_VAULT = "postgresql://app:kept-in-vault@db.example/app"
IN_THE_ENVIRONMENT = "postgresql://app:kept-in-the-environment@localhost/app"

_TTL = 0.5
_TOKEN_TTL = 600


def run_demo(*, plain: bool = False) -> None:
    """Shows the chain at work on stdout. Nothing of it is left: no process, no file, no variable.

    Args:
        plain: no colour, even on a terminal.

    Raises:
        PluginError: no server is installed, or it does not start.
    """
    from rich.console import Console

    # None leaves it to rich, which knows NO_COLOR and what a terminal can show.
    console = Console(no_color=True if plain else None, highlight=False, soft_wrap=True)
    with _fresh_machine(), DevServer() as server:
        token = _set_up(server, console)
        with api.SecretsManager(vault_url=server.url, vault_token=token, cache_ttl=_TTL) as secrets:
            _with_the_server(secrets, console)
            _without_the_server(server, secrets, console)
    console.print("\nNothing is left behind: the server is gone, and it kept everything in memory.")


def _set_up(server: DevServer, console: Console) -> str:
    """Mounts an engine, writes the guide's policies, and returns a token that one of them allows what it may do."""
    from strongroom_vault.setup import credential, structure
    from strongroom_vault.setup.dev_setup import with_server
    from strongroom_vault.setup.steps import Wanted

    version = server.call("GET", "sys/health")["version"]
    _heading(console, "A real server")
    console.print(f"  OpenBao {version} at {server.url}, process {server.pid}, in memory")
    policies = [structure.DATABASE_WRITE]
    token = with_server(
        server,
        Wanted("secret", policies=structure.policies("secret", "")),
        lambda session: credential.issue_token(session, policies, _TOKEN_TTL),
    )
    console.print("  set up: KV version 2 at secret/, and a token for secret/database alone")
    return token


def _with_the_server(secrets: api.SecretsManager, console: Console) -> None:
    _heading(console, "Store a secret")
    version = secrets.set_secret(PATH, {KEY: IN_VAULT})
    console.print(f'  set_secret("{PATH}", {{"{KEY}": ...}}): version {version}')
    console.print(f"  what a log or a traceback would show of it: {secrets.get_secret(PATH)!r}", markup=False)
    secrets.invalidate()
    _heading(console, "Read it through the chain: Vault, then the environment, then ./.env")
    _show(console, secrets.resolve(PATH, KEY))
    _heading(console, "Read it again: from the encrypted cache")
    _show(console, secrets.resolve(PATH, KEY))


def _without_the_server(server: DevServer, secrets: api.SecretsManager, console: Console) -> None:
    pid = server.pid
    server.kill()
    _heading(console, f"The server is stopped: process {pid} is gone")
    resolution = secrets.resolve(PATH, KEY)
    while not resolution.stale:  # for as long as the cache's half second lasts, nobody need know
        time.sleep(_TTL / 10)
        resolution = secrets.resolve(PATH, KEY)
    console.print("  what was read stays served, marked stale:")
    _show(console, resolution)
    _heading(console, "Without the cache: the environment is the fallback")
    secrets.invalidate()
    _show(console, secrets.resolve(PATH, KEY))


def _heading(console: Console, text: str) -> None:
    from rich.text import Text

    console.print()
    console.print(Text(text, style="bold"))


def _show(console: Console, resolution: api.Resolution) -> None:
    """What each link said, how long it took, and what came of it. The value is shown because it is the demo's own."""
    from rich.text import Text

    for attempt in resolution.attempts:
        answered = attempt.store == resolution.store
        line = Text("  ")
        line.append(f"{attempt.store:<8}", style="bold green" if answered else "yellow")
        said = attempt.reason if answered or not attempt.reason else f"{attempt.answer}: {attempt.reason}"
        line.append(f"{said:<58}")
        line.append(f"{attempt.seconds * 1000:7.1f} ms", style="dim")
        console.print(line)
    line = Text("  ")
    line.append(f"=> {resolution.store}", style="bold green")
    line.append(f" answered: {as_text(resolution.value, PATH, KEY)}")
    console.print(line)


@contextlib.contextmanager
def _fresh_machine() -> Iterator[None]:
    """An empty folder and an environment with the fallback in it, so that the demonstration is the same everywhere."""
    ours = ("VAULT_", "BAO_", "STRONGROOM_")
    before = {name: value for name, value in os.environ.items() if name.startswith(ours) or name == VARIABLE}
    with tempfile.TemporaryDirectory(prefix="strongroom-demo-") as folder, contextlib.chdir(folder):
        try:
            for name in before:
                del os.environ[name]
            os.environ[VARIABLE] = IN_THE_ENVIRONMENT
            yield
        finally:
            os.environ.pop(VARIABLE, None)
            os.environ.update(before)
