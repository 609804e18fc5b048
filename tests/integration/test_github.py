"""The store `github-app` on a fake of GitHub's API, which checks the app's signature."""

import json
import logging
from pathlib import Path

import pytest

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
)
from strongroom.store import time_limit
from strongroom.testing import silent_server
from strongroom_github.store import open_github
from support.cli_fixtures import command  # noqa: F401  # a fixture
from support.clock import LONG
from support.services.github import APP, TOKEN, FakeGitHub

pytestmark = pytest.mark.long

ROWS = {"github/shop": {"installation": 7, "repositories": ["shop"], "permissions": {"contents": "read"}}}


@pytest.fixture(scope="module")
def server():
    with FakeGitHub() as server:
        yield server


@pytest.fixture
def github(server):
    server.issued.clear()
    server.answer, server.life, server.ahead = None, 3600, 0.0
    return server


@pytest.fixture
def opened(github):
    stores = []

    def open_(**options):
        given = {"app": APP, "private_key": github.pem, "paths": ROWS, "url": github.url, **options}
        stores.append(open_github(**given))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


def test_token_is_for_the_row_and_kept(github, opened):
    store = opened()
    found = store.read("github/shop")
    assert found.data == {"token": f"{TOKEN}1"}
    assert 2300 < found.ttl <= 2400
    assert store.read("github/shop").data == found.data
    assert github.issued == [{"repositories": ["shop"], "permissions": {"contents": "read"}}]
    with pytest.raises(SecretNotFoundError):
        store.read("github/other")


@pytest.mark.parametrize("ahead", [-3600, -61, 61, 3600])
def test_a_clock_that_differs_from_github_s_is_corrected(github, opened, ahead):
    """GitHub refuses a signature of the future and one that is over. Its reply tells the time, and a token's end."""
    github.ahead = ahead
    store = opened()
    assert 2300 < store.read("github/shop").ttl <= 2400
    assert len(github.issued) == 1
    assert store.probe().ok


def test_token_is_replaced_before_its_end(github, opened):
    github.life = 2
    store = opened()
    assert 0 < store.read("github/shop").ttl <= 4 / 3


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"app": "another"}, AuthenticationError),
        ({"paths": {"github/shop": {"installation": 8}}}, ConfigurationError),
        ({"paths": {"github/shop": {"installation": 7, "repositories": ["far"]}}}, ConfigurationError),
    ],
)
def test_refusals(opened, options, kind):
    with pytest.raises(kind) as caught:
        opened(**options).read("github/shop")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((403, {}), PermissionDeniedError),
        ((403, {"Retry-After": "60"}), StoreUnavailableError),
        ((403, {"X-RateLimit-Remaining": "0"}), StoreUnavailableError),
        ((429, {}), StoreUnavailableError),
        ((502, {}), StoreUnavailableError),
        ((302, {"Location": "http://127.0.0.1:1/"}), StoreUnavailableError),
    ],
)
def test_answers_of_github(github, opened, answer, kind):
    github.answer = answer
    with time_limit(0.5 if kind is StoreUnavailableError else LONG), pytest.raises(kind):
        opened().read("github/shop")


def test_unreachable_and_silent_servers_are_outages(opened):
    with pytest.raises(StoreUnavailableError, match="ConnectError"):
        opened(url="http://127.0.0.1:1").read("github/shop")
    in_time = pytest.raises(StoreUnavailableError, match=r"Timeout|in time")
    with silent_server() as (host, port), time_limit(0.2), in_time:
        opened(url=f"http://{host}:{port}").read("github/shop")


@pytest.mark.parametrize("pem", ["canary", "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----\n"])
def test_a_wrong_key_is_refused_without_its_text(opened, pem):
    with pytest.raises(ConfigurationError, match="private_key") as caught:
        opened(private_key=pem)
    assert "canary" not in str(caught.value)


def test_neither_token_nor_signature_is_in_a_log(opened, caplog):
    caplog.set_level(logging.DEBUG)
    opened().read("github/shop")
    for record in caplog.records:
        shown = f"{record.getMessage()} {vars(record)}"
        assert TOKEN not in shown, record.name
        assert "Bearer" not in shown, record.name


def test_command_line_issues_no_token_to_look_around(github, command):  # noqa: F811
    key = Path("key.pem").absolute()
    key.touch(0o600)
    key.write_text(github.pem, "utf-8")
    Path("strongroom.toml").write_text(
        f'chain = ["github"]\n[stores.github]\nplugin = "github-app"\napp = "{APP}"\nurl = "{github.url}"\n'
        f'private_key = {{ file = "{key}" }}\npaths."github/shop" = {{ installation = 7 }}\n',
        "utf-8",
    )
    assert "open: GitHub App billing" in command("doctor").out.decode()
    [link] = json.loads(command("status", "--json").out)["chain"]
    assert (link["plugin"], link["state"]) == ("github-app", "ok")
    assert github.issued == []
