"""The store `azure-token` on the fake of Microsoft Entra."""

import json
import logging
from pathlib import Path

import pytest

from strongroom.errors import AuthenticationError
from strongroom_azure.tokens import open_azure_token
from support.services.azure import SCOPE, TOKEN

pytestmark = pytest.mark.long


@pytest.fixture
def store(azure):
    opened = open_azure_token(paths={"azure/storage": SCOPE})
    yield opened
    opened.close()


def logins(azure):
    return [url for method, url in azure.requests if method == "POST" and "/token" in url]


def test_token_of_the_scope_is_kept(azure, store):
    before = len(logins(azure))
    found = store.read("azure/storage")
    assert found.data["token"].startswith(TOKEN)
    assert 2300 < found.ttl < 2400
    assert store.read("azure/storage").data == found.data
    assert len(logins(azure)) == before + 1


def test_refused_identity(azure, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "canary-wrong")
    store = open_azure_token(paths={"azure/storage": SCOPE})
    with pytest.raises(AuthenticationError) as caught:
        store.read("azure/storage")
    assert "canary" not in str(caught.value)
    store.close()


def test_no_token_is_in_a_log(store, caplog):
    caplog.set_level(logging.DEBUG)
    store.read("azure/storage")
    assert not [record for record in caplog.records if TOKEN in f"{record.getMessage()} {vars(record)}"]


def test_command_line_issues_no_token_to_look_around(azure, command):
    Path("strongroom.toml").write_text(
        f'chain = ["tokens"]\n[stores.tokens]\nplugin = "azure-token"\npaths."azure/storage" = "{SCOPE}"\n', "utf-8"
    )
    before = len(logins(azure))
    assert command("doctor").code == 0
    [link] = json.loads(command("status", "--json").out)["chain"]
    assert link["plugin"] == "azure-token"
    assert len(logins(azure)) == before
