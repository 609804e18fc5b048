"""The pages about the proxy, whose blocks run for a reader who has installed the extra."""

import pytest

from support.scenarios import page_blocks, pages


@pytest.fixture
def reader(monkeypatch):
    """A reader's process."""
    with page_blocks.reading(monkeypatch):
        yield


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages.that_need("agents"), ids=pages.name_of)
def test_the_blocks_of_a_page_run(page):
    """In the order of the page."""
    page_blocks.run_page(page)
