"""`strongroom dev --demo`: one secret on a real server, read through the chain before and after the server stops."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from strongroom import SecretsManager
from strongroom.encoding import as_text
from strongroom.secrets_manager import Resolution
from strongroom_vault.dev.server import DevServer

if TYPE_CHECKING:
    from rich.console import Console

PATH, KEY = "database/connection", "url"
VARIABLE = "DATABASE_URL"
VAULT_VALUE = "postgresql://app:kept-in-vault@db.example/app"
ENVIRONMENT_VALUE = "postgresql://app:kept-in-the-environment@localhost/app"

_TTL = 0.5
_TOKEN_TTL = 600


def run_demo(*, color: bool = True) -> None:
    """Show the chain at work on stdout. It leaves no process, file or variable behind.

    Args:
        color: False disables color on a terminal.

    Raises:
        PluginError: no server is installed, or it does not start.
    """
    from rich.console import Console

    # With None, rich decides by NO_COLOR and the terminal.
    console = Console(no_color=None if color else True, highlight=False, soft_wrap=True)
    with _empty_environment(), DevServer() as server:
        token = _set_up(server, console)
        with SecretsManager(vault_url=server.url, vault_token=token, cache_ttl=_TTL) as secrets:
            _read_with_server(secrets, console)
            _read_without_server(server, secrets, console)
    console.print("\nNothing is left behind: the server is gone, and its data was in memory.")


def _set_up(server: DevServer, console: Console) -> str:
    """Mount an engine, write the policies of `strongroom vault setup`, and return a token with one of them."""
    from strongroom_vault.setup import policies

    version = server.call("GET", "sys/health")["version"]
    _print_heading(console, "A real server")
    console.print(f"  OpenBao {version} at {server.url}, process {server.pid}, in memory")
    server.mount("secret")
    *_, policy = policies.structure_policies("secret", "")[policies.DATABASE_WRITE]
    server.call("PUT", f"sys/policies/acl/{policies.DATABASE_WRITE}", {"policy": policy})
    grant = {"policies": [policies.DATABASE_WRITE], "ttl": _TOKEN_TTL}
    token: str = server.call("POST", "auth/token/create-orphan", grant)["auth"]["client_token"]
    console.print("  set up: KV version 2 at secret/, and a token for secret/database only")
    return token


def _read_with_server(secrets: SecretsManager, console: Console) -> None:
    _print_heading(console, "Store a secret")
    version = secrets.set_secret(PATH, {KEY: VAULT_VALUE})
    console.print(f'  set_secret("{PATH}", {{"{KEY}": ...}}): version {version}')
    console.print(f"  in a log or a traceback: {secrets.get_secret(PATH)!r}", markup=False)
    secrets.invalidate()
    _print_heading(console, "Read it through the chain: Vault, then the environment, then ./.env")
    _print_resolution(console, secrets.resolve(PATH, KEY))
    _print_heading(console, "Read it again: from the encrypted cache")
    _print_resolution(console, secrets.resolve(PATH, KEY))


def _read_without_server(server: DevServer, secrets: SecretsManager, console: Console) -> None:
    pid = server.pid
    server.kill()
    _print_heading(console, f"The server is stopped: process {pid} is gone")
    resolution = secrets.resolve(PATH, KEY)
    while not resolution.stale:  # within the TTL the cached value is fresh
        time.sleep(_TTL / 10)
        resolution = secrets.resolve(PATH, KEY)
    console.print("  the cached value is still served, marked stale:")
    _print_resolution(console, resolution)
    _print_heading(console, "Without the cache: the environment is the fallback")
    secrets.invalidate()
    _print_resolution(console, secrets.resolve(PATH, KEY))


def _print_heading(console: Console, text: str) -> None:
    from rich.text import Text

    console.print()
    console.print(Text(text, style="bold"))


def _print_resolution(console: Console, resolution: Resolution) -> None:
    """Print the answer and the time of each link, and the value, which is the demo's own."""
    from rich.text import Text

    for attempt in resolution.attempts:
        answered = attempt.store == resolution.store
        line = Text("  ")
        line.append(f"{attempt.store:<8}", style="bold green" if answered else "yellow")
        reason = attempt.reason if answered or not attempt.reason else f"{attempt.answer}: {attempt.reason}"
        line.append(f"{reason:<58}")
        line.append(f"{attempt.seconds * 1000:7.1f} ms", style="dim")
        console.print(line)
    line = Text("  ")
    line.append(f"=> {resolution.store}", style="bold green")
    line.append(f" answered: {as_text(resolution.value, PATH, KEY)}")
    console.print(line)


@contextlib.contextmanager
def _empty_environment() -> Iterator[None]:
    """Work in an empty folder, with the fallback value as the only variable, so that the demo is reproducible."""
    prefixes = ("VAULT_", "BAO_", "STRONGROOM_")
    before = {name: value for name, value in os.environ.items() if name.startswith(prefixes) or name == VARIABLE}
    with tempfile.TemporaryDirectory(prefix="strongroom-demo-") as folder, contextlib.chdir(folder):
        try:
            for name in before:
                del os.environ[name]
            os.environ[VARIABLE] = ENVIRONMENT_VALUE
            yield
        finally:
            os.environ.pop(VARIABLE, None)
            os.environ.update(before)
