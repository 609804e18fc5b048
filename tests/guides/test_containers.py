"""The pages about containers: their blocks run with a real Docker, on images that are made here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import containers
import page_blocks
import pages
from strongroom_vault.dev.server_process import find_binary

pytestmark = pytest.mark.xdist_group("docker")  # two daemons would share one bridge


@pytest.fixture(scope="module")
def docker() -> Iterator[str]:
    with containers.running_docker() as address:
        yield address


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages.that_need("guides", "docker"), ids=pages.name_of)
def test_the_blocks_of_a_page_run_with_docker(page, docker, monkeypatch, tmp_path):
    """In the order of the page, which starts its services itself."""
    with page_blocks.reading(monkeypatch):
        monkeypatch.setenv("PATH", f"{find_binary().parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("DOCKER_HOST", docker)
        page_blocks.run_page(page_blocks.with_free_ports(page, tmp_path))
