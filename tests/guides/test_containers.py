"""The pages about containers: their blocks run with a real Docker, on images that are made here."""

from __future__ import annotations

import os

import pytest

from strongroom_vault.dev.server import find_binary
from support.scenarios import page_blocks, pages
from support.services import containers


@pytest.mark.timeout(400)
def test_the_blocks_of_a_page_run_with_docker(tmp_path):
    """In the order of each page, which starts its services itself. One daemon serves all pages: two share a bridge."""
    with containers.running_docker() as address:
        for page in pages.that_need("guides", "docker"):
            folder = tmp_path / page.stem
            folder.mkdir()
            with pytest.MonkeyPatch.context() as patch, page_blocks.reading(patch):
                patch.chdir(folder)
                patch.setenv("PATH", f"{find_binary().parent}{os.pathsep}{os.environ['PATH']}")
                patch.setenv("DOCKER_HOST", address)
                page_blocks.run_page(page_blocks.with_free_ports(page, tmp_path))
