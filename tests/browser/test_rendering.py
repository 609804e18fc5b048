"""The built documentation in a real browser: `nox -s pages`.

PICTURES names the folder for pictures of whole pages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag

import pytest
from playwright.sync_api import Browser, Page

from browser.questions import QUESTIONS
from support.services.chromium import SIDEWAYS, running_chromium

SITE = Path(os.environ["TEST_SITE"]).resolve()
PICTURES = Path(os.environ.get("PICTURES", SITE.parent / "pictures"))

PAGES = [
    "index",
    "tutorial/quickstart",
    "how-to/integrations/fastapi",
    "how-to/secrets/rotation",
    "reference/configuration",
    "reference/command-line/copy-and-migrate",
    "reference/api/strongroom",
    "explanation/chain",
]
"""One page of each kind."""

WIDE, MIDDLE, NARROW = 1280, 1040, 390
SMALLEST = 9

CUT = """
[...document.querySelectorAll("article pre")]
  .filter(block => block.scrollWidth > block.clientWidth + 1)
  .map(block => block.innerText.split("\\n").reduce((a, b) => a.length > b.length ? a : b))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def opened(browser: Browser, name: str, width: int, scheme: str = "light") -> Page:
    """Return a page at this width, after its picture was taken."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto((SITE / f"{name}.html").as_uri())
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name.replace('/', '-')}-{width}-{scheme}.png", full_page=True)
    return page


@pytest.mark.parametrize("width", [WIDE, MIDDLE, NARROW])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways(browser, name, width):
    """At the width of a laptop, of half a wide screen and of a telephone. A wide table or block scrolls by itself."""
    page = opened(browser, name, width)
    assert page.evaluate(SIDEWAYS) == 0
    page.close()


def test_no_page_of_the_site_is_too_wide_for_a_laptop(browser):
    """No page scrolls sideways, and no block of code is cut."""
    page = browser.new_page(viewport={"width": WIDE, "height": 900})
    faults = {}
    for file in sorted(SITE.rglob("*.html")):
        page.goto(file.as_uri(), wait_until="domcontentloaded")
        if (sideways := page.evaluate(SIDEWAYS)) or (lines := page.evaluate(CUT)):
            faults[file.relative_to(SITE).as_posix()] = sideways or lines
    page.close()
    assert faults == {}


def test_a_dark_page_shows_the_dark_pictures(browser):
    """And a light page the light ones."""
    for scheme, other in (("dark", "light"), ("light", "dark")):
        page = opened(browser, "index", WIDE, scheme)
        assert page.locator(f"img.only-{scheme}").count() > 0
        assert all(image.is_visible() for image in page.locator(f"article img.only-{scheme}").all())
        assert not any(image.is_visible() for image in page.locator(f"article img.only-{other}").all())
        page.close()


def test_the_text_of_a_picture_is_readable_on_a_telephone(browser):
    """The smallest text of each drawing has at least nine pixels."""
    page = browser.new_page(viewport={"width": NARROW, "height": 900})
    small = {}
    for name in (
        "index",
        "explanation/chain",
        "explanation/rotation",
        "how-to/moving/migrate",
        "explanation/performance",
    ):
        page.goto((SITE / f"{name}.html").as_uri())
        for image in page.locator('article img[src$=".svg"]').all():
            if image.is_visible():
                drawing = (SITE / name).parent.joinpath(str(image.get_attribute("src"))).read_text("utf-8")
                sizes = [float(size) for size in re.findall(r'font-size(?:="|: )([\d.]+)', drawing)]
                (width,) = re.findall(r'viewBox="0 0 ([\d.]+) ', drawing)[:1]
                if (pixels := min(sizes) * image.evaluate("image => image.width") / float(width)) < SMALLEST:
                    small[image.get_attribute("src")] = pixels
    page.close()
    assert small == {}


def test_each_question_of_the_index_is_one_click_from_its_answer(browser):
    """Questions of newcomers; a click on each leads to a page, at the section that the link names."""
    page = browser.new_page(viewport={"width": WIDE, "height": 900})
    page.goto((SITE / "index.html").as_uri())
    links = [item.locator("a").first.get_attribute("href") for item in page.locator("#questions li").all()]
    assert len(links) >= 10
    for link in links:
        path, anchor = urldefrag(link)
        page.locator(f'#questions a[href="{link}"]').click()
        page.wait_for_url(f"{(SITE / path).as_uri()}*")
        assert not anchor or page.locator(f'[id="{anchor}"]').count() == 1
        page.go_back()
    page.close()


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("rotate database password", "how-to/secrets/rotation"),
        ("migrate .env to vault", "how-to/moving/migrate"),
        ("write a store", "how-to/plugins/write-a-store"),
        ("test application", "how-to/secrets/testing"),
        ("django database", "how-to/integrations/django"),
        ("outage", "explanation/outages"),
        ("get_secret", "reference/api/strongroom"),
    ],
)
def test_the_search_finds_the_page_of_a_task_first(browser, query, answer):
    """In the order of `docs/static/scorer.js`; Sphinx's own order is alphabetical for most queries."""
    page = browser.new_page()
    page.goto(f"{(SITE / 'search.html').as_uri()}?q={quote(query)}")
    first = page.locator("#search-results li a").first.get_attribute("href", timeout=20_000)
    page.close()
    assert urldefrag(first).url == f"{answer}.html"


def test_the_search_answers_the_questions_of_people(browser):
    """For all but five of these questions, the first result is the page that answers it; each has a result."""
    page, others = browser.new_page(), {}
    for query, answers in QUESTIONS.items():
        page.goto(f"{(SITE / 'search.html').as_uri()}?q={quote(query)}")
        first = urldefrag(page.locator("#search-results li a").first.get_attribute("href", timeout=20_000)).url
        if first.removesuffix(".html") not in answers:
            others[query] = first
    page.close()
    assert len(QUESTIONS) == 55
    assert len(others) <= 5, others


def test_every_block_of_code_shows_its_copy_button(browser):
    """A reader with a touch screen cannot hover."""
    page = browser.new_page(viewport={"width": NARROW, "height": 900})
    page.goto((SITE / "how-to/integrations/fastapi.html").as_uri())
    page.locator("button.copybtn").first.wait_for(timeout=20_000)
    visible = "[...document.querySelectorAll('button.copybtn')].map(button => +getComputedStyle(button).opacity)"
    shown = page.evaluate(visible)
    page.close()
    assert min(shown) > 0.5


class Links(HTMLParser):
    """The targets, the anchors and the descriptions of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.descriptions: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {found.get("id") or "", found.get("name") or ""}
        if found.get("name") == "description":
            self.descriptions.append(found.get("content") or "")
        if target := found.get("href" if tag in {"a", "link"} else "src"):
            self.targets.append(target)


def test_no_link_is_broken():
    """Every page, file and anchor of this site that a page names is there."""
    links = {file: Links(file) for file in SITE.rglob("*.html")}
    broken = []
    for file, found in links.items():
        for target in found.targets:
            path, anchor = urldefrag(target)
            if "://" in target or target.startswith(("mailto:", "data:")):
                continue
            leads_to = (file.parent / unquote(path.partition("?")[0])).resolve() if path else file
            page = links.get(leads_to)
            known = leads_to.exists() if page is None else not anchor or unquote(anchor) in page.anchors
            if not known and leads_to.name not in {"genindex.html", "py-modindex.html"}:
                broken.append(f"{file.relative_to(SITE)}: {target}")
    assert broken == []


def test_every_page_has_a_description():
    """One, from its first paragraph: search engines and link previews show it."""
    found = {file.relative_to(SITE).as_posix(): Links(file).descriptions for file in SITE.rglob("*.html")}
    for generated in ("genindex.html", "py-modindex.html", "search.html"):
        found.pop(generated, None)
    assert {name: texts for name, texts in found.items() if len(texts) != 1 or not 20 <= len(texts[0]) <= 160} == {}
