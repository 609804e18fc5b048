"""The words of the glossary, in sources and pages alike."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = [file for folder in ("core", "backends") for file in (ROOT / folder).rglob("*.py")]
TEXTS += (ROOT / "docs").rglob("*.md")

OTHERS = {
    "issue": r"(creat|mak)es? (a |new |its )*(credentials?|secret|one) (on|for|at) (every|each|the first) read"
    r"|would (make|create) a new (secret|credential)",
}
"""A word of the glossary, and the phrases that it replaces."""


@pytest.mark.parametrize("word", OTHERS)
def test_no_other_word_stands_for_one_of_the_glossary(word: str) -> None:
    assert f"\n{word}\n" in (ROOT / "docs/glossary.md").read_text("utf-8")
    other = re.compile(OTHERS[word])
    assert [f"{file}: {found[0]}" for file in TEXTS if (found := other.search(file.read_text("utf-8")))] == []
