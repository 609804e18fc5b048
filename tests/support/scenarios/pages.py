"""The pages of the documentation, for the tests that read them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
DOCS = ROOT / "docs"

GENERATED = {DOCS / "reference" / name for name in ("command-line/help", "options")}
"""Folders whose pages the build writes, apart from their index."""

_NEEDS = re.compile(r"^<!-- needs: ([a-z, ]+) -->$", re.MULTILINE)


def pages() -> list[Path]:
    """Return every written page, without the examples' own and without parts that a page includes."""
    return sorted(
        page
        for page in DOCS.rglob("*.md")
        if "examples" not in page.parts
        and "_build" not in page.parts
        and not page.name.startswith("_")
        and (page.parent not in GENERATED or page.name == "index.md")
    )


def page(name: str) -> Path:
    """Return the page whose path ends in this name, in any folder."""
    (found,) = (page for page in pages() if page.as_posix().endswith(f"/{name}"))
    return found


def needs(page: Path) -> set[str]:
    """Return the needs of a page's blocks, which its comment `<!-- needs: server -->` lists."""
    return {need.strip() for line in _NEEDS.findall(page.read_text("utf-8")) for need in line.split(",")}


def that_need(*wanted: str) -> list[Path]:
    """Return the README and the pages whose blocks have exactly these needs."""
    return [page for page in (README, *pages()) if needs(page) == set(wanted)]


def name_of(page: Path) -> str:
    """Return the name of a page in the documentation's links, or the README's."""
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the blocks of these languages, in the order of the page."""
    fence = rf"^```(?:{'|'.join(languages)})\n(.*?)^```"
    return re.findall(fence, page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
