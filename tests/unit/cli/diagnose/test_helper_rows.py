"""The rows of `[helpers]` in `check` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIGURATION = """
chain = ["memory"]
[helpers]
"github.com" = { at = "git/github#token", username = "x-access-token" }
"registry.example:5000" = "registry/ci"
[stores.memory.secrets."git/github"]
token = "canary-7f3a"
[stores.memory.secrets."registry/ci"]
username = "ci"
"""


@pytest.fixture
def named(monkeypatch) -> None:
    """A file that the user named has rows, and nothing else."""
    Path("mine.toml").write_text(CONFIGURATION)
    monkeypatch.setenv("STRONGROOM_CONFIG", str(Path("mine.toml").absolute()))


def test_check_reads_each_key_that_a_helper_would_read(command, named):
    done = command("check")
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("[helpers] github.com", "git/github#token", "found"),
        ("[helpers] registry.example:5000 username", "registry/ci#username", "found"),
        ("[helpers] registry.example:5000 password", "registry/ci#password", "missing"),
    ]
    assert done.code == 3
    assert "canary" not in done.out.decode() + done.err
    document = json.loads(command("check", "--json").out)
    assert (document["ok"], document["secrets"]) == (False, [])
    assert [row["state"] for row in document["helpers"]] == ["found", "found", "missing"]


def test_rows_that_no_helper_reads_are_a_warning(command):
    """Helpers read no file of the working directory."""
    Path("strongroom.toml").write_text(CONFIGURATION)
    assert "warning: no helper reads [helpers] of ./strongroom.toml. Move" in command("check").err
    assert "helpers\t\twarning\t\tno helper reads [helpers] of ./strongroom.toml" in command("doctor").out.decode()


def test_rows_of_a_named_file_are_no_warning(command, named):
    assert "no helper reads" not in command("check").err + command("doctor").out.decode()
