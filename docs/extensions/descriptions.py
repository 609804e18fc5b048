"""A description and keywords of each page for search engines and link previews.

The keywords are the titles of its sections, and the description is the beginning of the first paragraph, unless the
front matter of the page has others:

    ---
    myst:
      html_meta:
        description: Replace the password of a database while applications use it.
        keywords: mock, fake, stub
    ---

The search of this site finds a page by the keywords of its front matter, and `static/scorer.js` ranks them as headings.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Final

from docutils import nodes
from sphinx.application import Sphinx

LONGEST: Final = 160
"""The number of letters that search engines show."""

MOST_KEYWORDS: Final = 12


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", read_keywords)
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read_keywords(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the keywords of the page's front matter for the search."""
    for node in doctree.findall(nodes.meta):
        if node.get("name") == "keywords":
            app.env.metadata[app.env.docname]["keywords"] = node["content"]


def add(app: Sphinx, page: str, _: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Add both to the head of the page, and the keywords of all pages to the head of the search."""
    if page == "search":
        keywords = {name: fields["keywords"] for name, fields in app.env.metadata.items() if "keywords" in fields}
        context["metatags"] = f'<meta name="keywords-of-pages" content="{escape(json.dumps(keywords))}">'
    if doctree is None:
        return
    if 'name="keywords"' not in context["metatags"]:
        titles = dict.fromkeys(" ".join(title.astext().split()) for title in doctree.findall(nodes.title))
        context["metatags"] += f'\n<meta name="keywords" content="{escape(", ".join([*titles][:MOST_KEYWORDS]))}">'
    if 'name="description"' not in context["metatags"] and (text := first_sentences(doctree)):
        context["metatags"] += f'\n<meta name="description" content="{escape(text)}">'


def first_sentences(doctree: nodes.document) -> str:
    """Return the sentences of the first paragraph that fit, and at least a part of the first one."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        while len(text) > LONGEST and (end := text.rstrip(".").rfind(". ")) > 0:
            text = text[: end + 1]
        return text if len(text) <= LONGEST else re.sub(r"\W*\s\S*$", "…", text[:LONGEST])
    return ""
