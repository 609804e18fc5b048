"""The page of `strongroom ui` in a real browser: `nox -s ui`. PICTURES names a folder for pictures of the page."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from strongroom._cli.diagnose.chain_status import (
    AgentStatus,
    ChainStatus,
    LinkStatus,
    MigrationStatus,
    RotationRow,
    document,
)
from strongroom._cli.diagnose.ui import StatusServer
from strongroom._config import CacheConfig, LinkConfig
from strongroom._disk_cache.maintenance import DiskCacheStatus
from strongroom.errors import Check, CheckState
from strongroom.rotate.rotations import RotationStatus
from support.services.chromium import SIDEWAYS, running_chromium

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
LONG = "a-store-with-a-name-that-is-much-longer-than-a-telephone-is-wide-" * 2


def scene(*, done=87, store="vault") -> ChainStatus:
    """A migration that runs, a store that is out, a rotation in its grace time, a cache on disk."""
    now = datetime.now(UTC)
    ok = LinkConfig("env", paths=("database/*",))
    refused = Check("reachable", CheckState.FAILED, "https://vault.eu.example: Connection refused", "Check the network")
    return ChainStatus(
        time=now,
        probed=now,
        environment="staging",
        production=False,
        links=(
            LinkStatus(LinkConfig(store), "vault", "https://vault.example", "ok", 0.004),
            LinkStatus(
                LinkConfig("vault-eu", on_unavailable="fail"),
                "vault",
                "https://vault.eu.example",
                "unavailable",
                0.012,
                "Cannot connect",
                (refused,),
            ),
            LinkStatus(ok, "env", "", "ok", 0.0001, "open"),
        ),
        cache=CacheConfig(),
        disk_cache=DiskCacheStatus(Path("/home/app/.cache/strongroom"), exists=True, entries=41, size=90_000),
        rotations=(
            RotationRow(
                "database/app",
                "postgres",
                store,
                RotationStatus(
                    "database/app",
                    store,
                    "postgres",
                    "promoted",
                    unfinished=True,
                    last_success=now - timedelta(minutes=9),
                    due=now + timedelta(days=30),
                    grace_end=now + timedelta(minutes=51),
                ),
            ),
            RotationRow("signing/jwt", "jwt-key", "vault-eu", fault="Connection refused"),
        ),
        migrations=(
            MigrationStatus(
                "20261126T1", ("dotenv:.env",), store, now - timedelta(seconds=75), now, "running", 240, done
            ),
        ),
        agents=(
            AgentStatus(
                "20261201T002829-9f3a",
                store,
                4711,
                now - timedelta(minutes=12),
                now + timedelta(hours=8),
                now,
                {"openai": 1200},
                3,
            ),
        ),
    )


class Scene:
    """A server whose status the test sets."""

    def __init__(self):
        self.status = scene()
        self.server = StatusServer(lambda: document(self.status, paths=False))


@pytest.fixture(scope="module")
def browser():
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def shown():
    shown = Scene()
    with shown.server as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield shown
        server.shutdown()
        thread.join(30)


@pytest.fixture
def page(browser, shown):
    """The page after the one-time address was opened, without an error on its console."""
    errors = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(shown.server.url)
    page.wait_for_selector("#chain li", timeout=60_000)
    yield page
    assert errors == []
    context.close()


def test_the_page_shows_all_parts(page):
    text = page.inner_text("body")
    for part in (
        "1 of 3 stores failed",
        "https://vault.example",
        "Connection refused",
        "87 of 240 secrets · 36 %",
        "dotenv:.env → vault",
        "Rotation 1",
        "41 entries, 90 kB",
        "1 pattern",
    ):
        assert part in text
    assert "database/app" not in page.content()
    assert page.locator("[aria-current=step]").inner_text() == "promoted"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_does_not_scroll_sideways(page, shown, width, scheme):
    """At the width of a laptop and of telephones, with a name that is longer than the screen too."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    if folder := os.environ.get("PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder, f"status-{width}-{scheme}.png"), full_page=True)
    assert page.evaluate(SIDEWAYS) == 0
    shown.status = scene(store=LONG)
    expect(page.locator("#chain h3").first).to_have_text(LONG, timeout=60_000)
    assert page.evaluate(SIDEWAYS) == 0


def test_it_brings_itself_up_to_date(page, shown):
    shown.status = scene(done=240)
    expect(page.locator("#migrations")).to_contain_text("240 of 240 secrets", timeout=60_000)


def test_it_shows_the_uses_of_an_agent(page, shown):
    expect(page.locator("#agents")).to_contain_text("openai 1,200", timeout=60_000)
    expect(page.locator("#agents")).to_contain_text("strongroom agent log 20261201T002829-9f3a")


def test_a_name_is_never_markup(page, shown):
    """The name of a store is shown as text, even if it looks like HTML."""
    shown.status = scene(store=HOSTILE)
    expect(page.locator("#chain h3").first).to_have_text(HOSTILE, timeout=60_000)
    expect(page.locator("#agents h3")).to_have_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.title() == "(1) Strongroom"


def test_no_script_reads_the_cookie(page):
    assert page.evaluate("document.cookie") == ""


def test_another_page_reads_nothing(browser, page):
    """The browser itself keeps a page of another origin from the data, although it has the cookie."""
    other = page.context.new_page()
    other.goto("data:text/html,other")
    read = f"fetch({page.url + 'status.json'!r}, {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
    assert other.evaluate(read) == "refused"


def test_the_address_works_once(browser, page, shown):
    other = browser.new_context()
    answer = other.new_page().goto(shown.server.url)
    assert answer.status == 403
    other.close()
