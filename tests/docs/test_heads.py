"""Each how-to page begins with its reader, one installation and a first example that runs after it.

`nox -s heads` installs each line alone, and runs the examples of its pages. TEST_HEADS names some of the pages.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.environments import build_wheel, new_environment
from support.scenarios import page_blocks, page_heads, page_services, pages

HOW_TO = pages.DOCS / "how-to"
SCRIPTS = Path(sys.executable).parent
ASKED = os.environ.get("TEST_HEADS", "")


def name_of(page: Path) -> str:
    """Return the name of a page below `how-to`, without its ending: `integrations/fastapi`."""
    return page.relative_to(HOW_TO).with_suffix("").as_posix()


PAGES = page_heads.how_to_pages()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_how_to_begins_with_its_reader_one_installation_and_an_example(page):
    """`For <who>: <what>.`, then one line of pip, then at most eight lines that run."""
    assert page_heads.head(page).faults() == []


@pytest.mark.parametrize(
    ("written", "instead", "fault"),
    [
        ("For developers: ", "", "the first paragraph"),
        ("way.", "way. And more.", "the first paragraph"),
        ("```sh\npip", "```text\npip", "the first block"),
        ("strongroom\n", "strongroom\npip install flask\n", "the first block"),
        ("$ python app.py", "# run.sh\npython app.py", "the first example must end"),
        ("print(0)\n", "print(0)\n" * 8, "the first example has 9 lines"),
    ],
)
def test_a_fault_of_a_head_is_noticed(written, instead, fault, tmp_path):
    """Each part of it."""
    page = tmp_path / "page.md"
    text = (
        "<!-- needs: server -->\n# Title\n\nFor developers: a\nway.\n\n```sh\npip install strongroom\n```\n\n"
        "```python\n# app.py\nprint(0)\n```\n\n```console\n$ python app.py\n0\n```\n"
    )
    page.write_text(text)
    assert page_heads.head(page).faults() == []
    assert written in text
    page.write_text(text.replace(written, instead))
    assert fault in page_heads.head(page).faults()[0]


# --- in an environment that has one line of pip -----------------------------------------------------------------------


def asked():
    """The pages that run. Those with one line of pip go to one worker, which installs it once."""
    wanted = [page for page in PAGES if ASKED in {"", "every"} or name_of(page) in ASKED.split()]
    lines = {page: " ".join(page_heads.head(page).install) for page in wanted}
    return [pytest.param(page, id=name_of(page), marks=pytest.mark.xdist_group(lines[page])) for page in wanted]


@pytest.fixture(scope="session")
def programs_of(tmp_path_factory) -> Iterator[Callable[[page_heads.Head], Path]]:
    """Return a function that installs the line of a head, and returns the folder of its programs."""
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("environments")

    def make(head: page_heads.Head) -> Path:
        if not made:
            made[""] = build_wheel(folder)
        (line,) = head.install
        if line not in made:
            made[line] = new_environment(folder / str(len(made)), made[""], head.requirements)
        return made[line]

    yield make
    shutil.rmtree(folder)


@pytest.mark.skipif(not ASKED, reason="environments from the package index: nox -s heads")
@pytest.mark.timeout(1200)  # Airflow has 150 dependencies
@pytest.mark.parametrize("page", asked())
def test_the_first_example_runs_with_its_line_of_pip_alone(page, programs_of, request, monkeypatch, tmp_path):
    """In an empty folder and an empty home, without the programs of this environment.

    A server runs only if the head names VAULT_ADDR, so that a reader knows about it.
    """
    programs = programs_of(page_heads.head(page))
    copy = page_blocks.with_free_ports(page, tmp_path)
    copy.write_text(page_heads.opening(copy), "utf-8")
    needs = pages.needs(page) - (set() if "VAULT_ADDR" in copy.read_text("utf-8") else {"server"})
    with page_blocks.reading(monkeypatch), page_services.services_of(copy, needs, request, monkeypatch):
        others = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != SCRIPTS]
        monkeypatch.setenv("PATH", os.pathsep.join([str(programs), *others]))
        assert page_heads.head(copy).run() is None
