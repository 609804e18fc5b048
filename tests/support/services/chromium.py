"""Chromium from Debian, for the tests of `nox -s pages` and `nox -s ui`.

Playwright drives it, because it needs no driver program of the browser's own version, and takes a picture of a whole
page.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from support.programs import require

SIDEWAYS = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
"""An expression for the number of pixels by which a page is too wide."""


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run Chromium without a window, or skip the test if it is missing.

    Its sandbox is off: it needs rights that a container lacks.
    """
    require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()
