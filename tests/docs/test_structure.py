"""The structure of the documentation: the questions of newcomers, short ways, small folders, packages and pictures."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from support.scenarios import pages

INDEX = pages.DOCS / "index.md"
LINK = re.compile(r"\]\(([^)\s#]+\.md)(?:#[^)\s]*)?\)")
MOST_CLICKS = 2
MOST_FILES = 14
INDEXES = [page for page in pages.pages() if page.name == "index.md"]


def links(page: Path) -> set[Path]:
    """The pages that a page links to, in its text or in its table of contents."""
    text = page.read_text("utf-8")
    found = {Path(os.path.normpath(page.parent / target)) for target in LINK.findall(text) if "://" not in target}
    for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for entry in re.findall(r"^([\w*][\w*/-]*)$", tree, re.MULTILINE):
            found |= set(page.parent.glob(f"{entry}.md"))
    return found


def clicks() -> dict[Path, int]:
    """The fewest clicks that lead from the index to each page."""
    found, reached, number = {INDEX: 0}, {INDEX}, 0
    while reached:
        number += 1
        reached = {target for page in reached if page.exists() for target in links(page)} - found.keys()
        found |= dict.fromkeys(reached, number)
    return found


def test_each_question_is_answered_within_two_clicks():
    """The index lists them, each with its page."""
    section = INDEX.read_text("utf-8").partition("\n## Questions\n")[2].partition("\n## ")[0]
    questions = re.findall(r"^- (.+?\?) ((?:.|\n  )+)$", section, re.MULTILINE)
    assert len(questions) >= 10
    distance = clicks()
    for question, answer in questions:
        targets = [INDEX.parent / target for target in LINK.findall(answer)]
        assert targets, question
        assert all(page.exists() or page.parent in pages.GENERATED for page in targets), question
        assert all(distance[page] <= MOST_CLICKS for page in targets), question


def test_every_page_is_within_three_clicks():
    """Through links or the table of contents."""
    distance = clicks()
    assert [page for page in pages.pages() if distance.get(page, 9) > MOST_CLICKS + 1] == []


def test_an_index_links_to_each_page_of_its_folder():
    """In its text, because GitHub does not show a table of contents of Sphinx."""
    for index in INDEXES:
        linked = {Path(os.path.normpath(index.parent / target)) for target in LINK.findall(index.read_text("utf-8"))}
        here = [page for page in pages.pages() if page.parent == index.parent and page != index]
        below = [page for page in pages.pages() if page.parent.parent == index.parent and page.name == "index.md"]
        assert {page.relative_to(pages.DOCS).as_posix() for page in {*here, *below} - linked} == set(), index


def test_no_folder_is_crowded():
    """A reader takes in a folder at a glance. Generated pages do not count."""
    for folder in {page.parent for page in pages.pages()}:
        assert len([page for page in pages.pages() if page.parent == folder]) <= MOST_FILES, folder


def test_the_table_of_packages_has_every_package_in_the_order_of_the_imports():
    """A package imports only packages of its row and of the rows above it, as the import contracts say."""
    contracts = tomllib.loads((pages.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    core, *backends = contracts["root_packages"]
    (layers,) = (about["layers"] for about in contracts["contracts"] if about.get("containers") == [core])
    section = (
        (pages.ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n### The packages\n")[2].partition("\n### ")[0]
    )
    rows = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)]
    assert rows.pop() == set(backends)
    names = [name.strip().partition(".")[0] for layer in reversed(layers) for name in layer.split("|")]
    in_order = list(dict.fromkeys(names))  # the modules of `formats` are layers
    assert sorted(in_order) == sorted(name for row in rows for name in row)
    for row in rows:  # each row is the next part of the layers, from the lowest
        assert {in_order.pop(0) for _ in row} == row, core


def test_every_picture_has_its_twin():
    """A picture for light pages is shown with the one for dark pages."""
    for page in pages.pages():
        shown = re.findall(r"^```\{image\} .*/([\w-]+)-(light|dark)\.svg$", page.read_text("utf-8"), re.MULTILINE)
        for name, _ in shown:
            assert {theme for other, theme in shown if other == name} == {"light", "dark"}, page


def test_no_page_gives_one_command_of_bao_a_token_that_the_shell_overrides():
    """`bao` takes BAO_TOKEN before VAULT_TOKEN: for a reader who has set it, the command would use another token."""
    commands = re.compile(r"\bVAULT_TOKEN=\S.*?(?<!;) bao\b")
    found = [
        (page.name, line)
        for page in pages.pages()
        for line in page.read_text("utf-8").splitlines()
        if "export" not in line and commands.search(line)
    ]
    assert found == []
