"""The page about systemd: its blocks run beside a real systemd."""

from __future__ import annotations

import os

import pytest

from strongroom_vault.dev.server import find_binary
from support.scenarios import page_blocks, pages
from support.services.systemd import running_systemd


@pytest.mark.parametrize("page", pages.that_need("guides", "systemd"), ids=pages.name_of)
def test_the_blocks_of_a_page_run_beside_systemd(page, monkeypatch, tmp_path):
    """In the order of the page. The units start and run."""
    with running_systemd(tmp_path) as shell, page_blocks.reading(monkeypatch):
        monkeypatch.setenv("PATH", os.pathsep.join(map(str, (shell, find_binary().parent, os.environ["PATH"]))))
        page_blocks.run_page(page_blocks.with_free_ports(page, tmp_path))
