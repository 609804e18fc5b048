"""A store that an outsider writes for a service of HTTP keeps both contracts."""

import os
from pathlib import Path

import pytest

from strongroom.testing import ServiceContract, StoreContract, silent_server
from support.search_path import search_path
from support.services.faulty import long_processes
from support.services.shelf import PAGE, PLUGIN, TOKEN, ShelfService, open_shelf

__all__ = ["search_path"]
pytestmark = pytest.mark.long

TESTS = Path(__file__).parents[2]


@pytest.fixture
def shelf():
    with ShelfService() as service:
        yield service


class TestStore(StoreContract):
    capabilities = frozenset({"listable", "writable", "checked"})
    impossible = frozenset({"denied"})
    page_size = PAGE
    many = 30

    @pytest.fixture
    def store(self, shelf):
        return open_shelf(url=str(shelf.options()["url"]), token=TOKEN)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield open_shelf(url=f"http://{host}:{port}", token=TOKEN)


@long_processes
class TestService(ServiceContract):
    page_size = PAGE

    @pytest.fixture
    def service(self, shelf, search_path, monkeypatch, tmp_path):
        search_path.install("strongroom-shelf", {PLUGIN: "support.services.shelf:open_shelf"})
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "site"), str(TESTS))))  # for child processes
        return shelf
