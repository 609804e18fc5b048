"""The command line on a store of Google, as its users see it."""

from pathlib import Path

import pytest

from support.services.google import State

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def configured(google):
    Path("strongroom.toml").write_text(
        f'chain = ["google"]\n[stores.google]\nplugin = "google-secretmanager"\nproject = "demo"\n'
        f'endpoint_url = "{google.url}"\n[secrets]\nDB_PASSWORD = "db#password"\n',
        "utf-8",
    )


def test_write_read_list_and_delete(command, google):
    """A write says where, and a delete, which is final, asks first."""
    done = command("set", "db", "password", piped=b"canary")
    assert done.err.splitlines()[0].startswith("strongroom: Writing password at db to store google (project demo, ")
    assert command("get", "db", "password").out == b"canary"
    assert command("list").out == b"db\n"
    done = command("delete", "db")
    assert "deletes all versions too" in done.err
    assert command("delete", "db", "--yes").code == 0
    assert command("get", "db", "password").code != 0
    assert google.asked.count("DeleteSecret") == 1


def test_history_of_a_disabled_version(command, google):
    google.put("db", b'{"password":"one"}', b'{"password":"canary"}').versions[1].state = State.DISABLED
    assert [line.split("\t")[::2] for line in command("history", "db").out.decode().splitlines()] == [
        ["1", "readable"],
        ["2", "deleted"],
    ]
    done = command("get", "db", "password")
    assert "its version 2 is disabled" in done.err
    assert command("undelete", "db", "2").code == 0
    assert command("get", "db", "password").out == b"canary"


def test_doctor(command, google):
    google.put("db", b'{"password":"canary"}')
    done = command("doctor")
    assert done.code == 0, done.out.decode() + done.err
    assert "projects/demo" in done.out.decode()
    google.fail("*", "UNAVAILABLE")
    done = command("doctor")
    assert done.code != 0
    assert "Google failed (HTTP 503)" in done.out.decode() + done.err
