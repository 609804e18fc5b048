"""The pages of the documentation, for the tests that read them."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

GENERATED = {DOCS / "reference" / name for name in ("commands", "options")}
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
