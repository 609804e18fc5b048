"""The command stores of the pages about services tell absence, denial and outage apart, and keep tokens private."""

from __future__ import annotations

import os
import shutil
import tomllib
from typing import NamedTuple

import pytest

from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom_local.command.plugin import open_command
from support.scenarios import pages
from support.services.secret_apis import TOKENS

pytestmark = pytest.mark.long


class Page(NamedTuple):
    """A section of the page: its store, a path that its service holds, and the variable of its token."""

    name: str
    path: str
    token: str


PAGES = [
    Page("onepassword", "database/connection", "OP_CONNECT_TOKEN"),
    Page("doppler", "DATABASE_URL", "DOPPLER_TOKEN"),
    Page("infisical", "database/PASSWORD", "INFISICAL_TOKEN"),
    Page("bitwarden", "database/password", "BWS_ACCESS_TOKEN"),
]
VALUES = ["plain", "", "two\nlines\n\n", "quote\" ' $HOME `id` \\ ünicode €", "-----BEGIN KEY-----\n" + "x" * 100_000]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def table(page: Page, number: int = -1) -> dict[str, object]:
    """Return the options of the section's store. Doppler has two: the first calls every failure an outage."""
    block = shown(page.name)[number]
    (options,) = tomllib.loads(block)["stores"].values()
    return {name: value for name, value in options.items() if name != "plugin"}


def shown(store: str) -> list[str]:
    """Return the configurations of the page with a store of this name."""
    return [
        block for block in pages.blocks(pages.page("stores/other-services.md"), "toml") if f"[stores.{store}]" in block
    ]


def put(apis, value: str) -> None:
    """Store the value at the path of each page."""
    apis.items = [("other", []), ("database/connection", [{"label": "value", "value": value}, {"label": "notes"}])]
    apis.doppler = {"DATABASE_URL": value}
    apis.infisical = {"/": {}, "/database": {"PASSWORD": value}}
    apis.bitwarden = [("other", "x"), ("database/password", value)]


@each_page
def test_the_configuration_of_a_page_is_short(page):
    """A reader copies at most eighteen lines."""
    block = shown(page.name)[-1]
    assert len(block.splitlines()) <= 18


def test_the_first_example_of_the_page_never_calls_a_secret_absent(secret_apis):
    """It reads the same values, and its failures are outages."""
    put(secret_apis, VALUES[3])
    store = open_command(**table(PAGES[1], 0))
    assert list(store.read("DATABASE_URL").data.values()) == [VALUES[3]]
    with pytest.raises(StoreUnavailableError):
        store.read("NOTHING")


@each_page
def test_a_value_is_read_exactly(page, secret_apis):
    """Newlines at its end, quotes, and text that a shell would expand are values too."""
    store = open_command(**table(page))
    for value in VALUES:
        put(secret_apis, value)
        assert store.read(page.path).data == {"value": value}


@each_page
@pytest.mark.parametrize("path", ["database/none", "NONE", 'a"b', "a b?d", "$HOME", "database/*"])
def test_a_secret_that_the_service_does_not_hold_is_absent(page, path, secret_apis):
    """Also if the service allows no such name."""
    put(secret_apis, "x")
    with pytest.raises(SecretNotFoundError):
        open_command(**table(page)).read(path)


@each_page
def test_a_wrong_token_is_denied(page, secret_apis, monkeypatch):
    """Never absent, so that no other link answers."""
    monkeypatch.setenv(page.token, "wrong")
    with pytest.raises(PermissionDeniedError):
        open_command(**table(page)).read(page.path)


@each_page
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_denied(page, status, secret_apis):
    """By the status of the answer."""
    secret_apis.status = status
    with pytest.raises(PermissionDeniedError):
        open_command(**table(page)).read(page.path)


@each_page
@pytest.mark.parametrize("status", [301, 404, 429, 500, 503])
def test_any_other_status_is_an_outage(page, status, secret_apis):
    """Also 404 without the service's own words: it is the answer of a proxy, or for another project."""
    secret_apis.status = status
    with pytest.raises(StoreUnavailableError):
        open_command(**table(page)).read(page.path)


@each_page
def test_an_answer_without_the_secret_is_an_outage(page, secret_apis):
    """Such as a login page with status 200."""
    secret_apis.status = 200
    with pytest.raises(StoreUnavailableError):
        open_command(**table(page)).read(page.path)


@each_page
def test_a_stopped_server_is_an_outage(page, secret_apis):
    """Nothing listens at its address."""
    store = open_command(**table(page))
    put(secret_apis, "x")
    store.read(page.path)
    secret_apis.stop()
    with pytest.raises(StoreUnavailableError):
        store.read(page.path)


def test_a_token_of_another_config_is_denied(secret_apis):
    """Doppler answers 400, as for a config that does not exist."""
    put(secret_apis, "x")
    secret_apis.other_config = True
    with pytest.raises(PermissionDeniedError):
        open_command(**table(PAGES[1])).read("DATABASE_URL")


def test_an_environment_that_does_not_exist_is_an_outage(secret_apis):
    """Infisical answers 404 for it too."""
    put(secret_apis, "x")
    store = open_command(**table(PAGES[2]) | {"location": "prdo"})
    with pytest.raises(StoreUnavailableError):
        store.read("database/PASSWORD")


@pytest.mark.parametrize("page", [PAGES[0], PAGES[3]], ids=lambda page: page.name)
def test_two_secrets_of_one_name_are_not_chosen_from(page, secret_apis):
    """Neither is returned."""
    put(secret_apis, "x")
    secret_apis.items *= 2
    secret_apis.bitwarden *= 2
    with pytest.raises(StoreUnavailableError):
        open_command(**table(page)).read(page.path)


def test_two_fields_of_one_label_are_not_chosen_from(secret_apis):
    """Sections of an item may repeat a label."""
    secret_apis.items = [("x", [{"label": "password", "value": "old"}, {"label": "password", "value": "new"}])]
    with pytest.raises(StoreUnavailableError):
        open_command(**table(PAGES[0])).read("x")


@each_page
def test_no_argument_of_a_program_holds_the_token(page, secret_apis, tmp_path, monkeypatch):
    """Other users of the machine can list arguments."""
    put(secret_apis, "canary-value")
    log = tmp_path / "arguments"
    folder = tmp_path / "spies"
    folder.mkdir()
    for program in ("curl", "jq", "bws"):
        spy = folder / program
        spy.write_text(f'#!/bin/sh\necho {program} "$@" >> "{log}"\nexec {shutil.which(program)} "$@"\n', "utf-8")
        spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert open_command(**table(page)).read(page.path).data["value"] == "canary-value"
    arguments = log.read_text("utf-8")
    assert "jq " in arguments
    assert not [secret for secret in (TOKENS[page.token], "canary-value") if secret in arguments]
