"""The pages about authentication, platforms and production, and the tutorial: their blocks run on real servers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from strongroom_vault.dev.server import find_binary
from support.programs import require
from support.scenarios import page_blocks, pages


def run(page: Path, folder: Path) -> None:
    """Run the page, or skip the test if a program that the page calls is not installed."""
    require(*re.findall(r"^\$ .*\b(curl|openssl)\b", page.read_text("utf-8"), re.MULTILINE))
    page_blocks.run_page(page_blocks.with_free_ports(page, folder))


@pytest.fixture
def reader(monkeypatch):
    """A reader's process, with the server's program on PATH."""
    with page_blocks.reading(monkeypatch):
        monkeypatch.setenv("PATH", f"{find_binary().parent}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages.that_need("guides"), ids=pages.name_of)
def test_the_blocks_of_a_guide_run(page, kubectl, monkeypatch, tmp_path):
    """In the order of the page, whose `kubectl` finds a cluster. The page starts its servers itself."""
    monkeypatch.setenv("PATH", f"{kubectl}{os.pathsep}{os.environ['PATH']}")
    run(page, tmp_path)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages.that_need("guides", "server"), ids=pages.name_of)
def test_the_blocks_of_a_guide_run_on_a_new_server(page, fresh_openbao, monkeypatch, tmp_path):
    """As for an operator who has started a server, and a PostgreSQL if the page names one."""
    with page_blocks.servers_of(page, fresh_openbao, monkeypatch):
        run(page, tmp_path)
