"""The pages about authentication, platforms and production, and the tutorial: their blocks run on real servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import page_blocks
import pages
from programs import require
from strongroom_vault.dev.server_process import find_binary


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
def test_the_blocks_of_a_guide_run(page, tmp_path):
    """In the order of the page. The page starts its servers itself."""
    run(page, tmp_path)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages.that_need("guides", "server"), ids=pages.name_of)
def test_the_blocks_of_a_guide_run_on_a_new_server(page, fresh_openbao, kubectl, monkeypatch, tmp_path):
    """As for an operator who has started a server, and a PostgreSQL if the page names one."""
    monkeypatch.setenv("PATH", f"{kubectl}{os.pathsep}{os.environ['PATH']}")
    with page_blocks.servers_of(page, fresh_openbao, monkeypatch):
        run(page, tmp_path)


def test_the_image_of_the_tutorial_has_what_its_command_needs():
    """Its files are files of the page, and its program is in the requirements. No Docker runs here."""
    text = pages.page("container.md").read_text("utf-8")
    (image,) = re.findall(r"^```dockerfile\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (requirements,) = re.findall(r"^```text\n# requirements.txt\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    files = set(re.findall(r"^```\w+\n# (\S+)\n", text, re.MULTILINE))
    copied = {name for line in re.findall(r"^COPY (.*) \.$", image, re.MULTILINE) for name in line.split()}
    assert {"app.py", "strongroom.toml", "requirements.txt"} == copied <= files
    (command,) = re.findall(r"^CMD (.*)$", image, re.MULTILINE)
    program, application, *_ = json.loads(command)
    assert program in requirements.split()
    assert f"{application.partition(':')[0]}.py" in copied


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_units_are_ones_that_systemd_takes():
    """By its own check, which warns of an unknown setting. The programs of the units are not on this machine."""
    text = pages.page("systemd.md").read_text("utf-8")
    units = re.findall(r"^```ini\n# (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name, unit in units:
        Path(name).write_text(re.sub(r"/srv/shop/\.venv/bin/\w+", "/bin/true", unit), "utf-8")
    files = [f"./{name}" for name, _ in units]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
