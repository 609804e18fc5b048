"""The table of the page about outages, held against a real server that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom import SecretsManager, StoreUnavailableError
from support.scenarios import pages
from support.scenarios.load import wait_until

CHAIN = """
chain = ["vault", "env"]
production = {production}

[secrets]
DB_PASSWORD = "database/connection#password"
SMTP_PASSWORD = "smtp/relay#password"

[cache]
disk = {disk}
folder = "{folder}"
{times}

[stores.vault]
url = "{url}"
auth = {{ method = "token", token = "{token}" }}
"""


def outcome(manager: SecretsManager, path: str) -> str:
    """Return the words of the page for a read."""
    try:
        found = manager.resolve(path, "password")
    except StoreUnavailableError:
        return "StoreUnavailableError"
    if found.store == "env":
        return "the later link's value"
    return "the value, stale" if found.stale else "the value"


def measured(server, folder: Path, *, production: bool) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table with their outcomes, of a chain whose first link is killed."""

    def manager(times: str = "", *, disk: bool = False) -> SecretsManager:
        settings = {"production": str(production).lower(), "disk": str(disk).lower(), "folder": folder / "disk"}
        text = CHAIN.format(**settings, times=times, url=server.url, token=server.token)
        Path("strongroom.toml").write_text(text, "utf-8")
        return SecretsManager()

    with (
        manager() as cached,
        manager("ttl = 0.01") as stale,
        manager("ttl = 0.01\nmax_stale = 0") as expired,
        manager(disk=True) as on_disk,
    ):
        for each in (cached, stale, expired, on_disk):
            assert outcome(each, "database/connection") == "the value"
        server.kill()
        for each in (stale, expired):
            wait_until(lambda each=each: outcome(each, "database/connection") != "the value")
        yield "cached, within `ttl` (5 minutes)", outcome(cached, "database/connection")
        yield "cached, past `ttl`, within `max_stale` (1 hour)", outcome(stale, "database/connection")
        yield "cached, past `max_stale`; a later link has it", outcome(expired, "database/connection")
        cached.invalidate("database/connection")
        yield "not cached; a later link has it", outcome(cached, "database/connection")
        yield "not cached; no later link has it", outcome(cached, "smtp/relay")
        with manager() as started:
            yield "start during the outage; a later link has it", outcome(started, "database/connection")
        with manager(disk=True) as started:
            row = "start during the outage, after a read with `[cache] disk = true`"
            yield row, outcome(started, "database/connection")
        with pytest.raises(StoreUnavailableError):
            cached.set_secret("database/connection", {"password": "third"}, store="vault")
        yield "a write", "StoreUnavailableError"


@pytest.mark.long
def test_the_table_says_what_happens(own_openbao, monkeypatch, tmp_path):
    """Each cell, of a development server and in production."""
    own_openbao.put("database/connection", {"password": "first"})
    own_openbao.put("smtp/relay", {"password": "other"})
    monkeypatch.setenv("DB_PASSWORD", "second")
    table = pages.page("explanation/outages.md").read_text("utf-8").partition("| --- | --- | --- |\n")[2]
    shown = [tuple(line.strip("| ").split(" | ")) for line in table.partition("\n\n")[0].splitlines()]
    default = dict(measured(own_openbao, tmp_path / "default", production=False))
    own_openbao.start()
    own_openbao.put("database/connection", {"password": "first"})
    production = dict(measured(own_openbao, tmp_path / "production", production=True))
    assert shown == [(row, default[row], production[row]) for row in default]
