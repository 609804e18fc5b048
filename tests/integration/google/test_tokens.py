"""The store `google-token` on a token server of Google's Security Token Service."""

import json
import logging
from pathlib import Path

import pytest

from strongroom.errors import AuthenticationError, StoreUnavailableError
from strongroom.store import time_limit
from strongroom_google.tokens import open_google_token
from support.services.google import TokenServer

pytestmark = pytest.mark.long

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


@pytest.fixture
def store(token_server):
    return open_google_token(paths={"google/storage": SCOPE})


def test_token_is_kept(store, token_server):
    found = store.read("google/storage")
    assert found.data == {"token": TokenServer.TOKEN}
    assert 2300 < found.ttl <= 2400
    assert store.read("google/storage").data == found.data
    assert token_server.count == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant", "error_description": "canary"}, AuthenticationError),
        (503, {"error": "canary"}, StoreUnavailableError),
    ],
)
def test_answers_of_the_token_server(store, token_server, status, body, kind):
    token_server.answer = (status, body)
    with time_limit(4), pytest.raises(kind) as caught:
        store.read("google/storage")
    assert "canary" not in str(caught.value)


def test_machine_without_credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(AuthenticationError, match="no Google credentials"):
        open_google_token(paths={"google/storage": SCOPE}).read("google/storage")


def test_no_token_is_in_a_log(store, caplog):
    caplog.set_level(logging.DEBUG)
    store.read("google/storage")
    assert not [record for record in caplog.records if TokenServer.TOKEN in f"{record.getMessage()} {vars(record)}"]


def test_command_line_issues_no_token_to_look_around(token_server, command):
    Path("strongroom.toml").write_text(
        f'chain = ["tokens"]\n[stores.tokens]\nplugin = "google-token"\npaths."google/storage" = "{SCOPE}"\n', "utf-8"
    )
    assert "Google credentials were found" in command("doctor").out.decode()
    [link] = json.loads(command("status", "--json").out)["chain"]
    assert (link["plugin"], link["state"]) == ("google-token", "ok")
    assert token_server.count == 0
