"""Profiles of programs that need an account: shell scripts stand in for them, with the output that they document."""

import json

import pytest

from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    InvalidPathError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom_local.command.plugin import check_command, open_command
from strongroom_local.command.profiles import PROFILES


@pytest.fixture
def program(monkeypatch, tmp_path):
    """A function that puts a script with this name on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(name, script):
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o700)

    return install


def test_bitwarden_returns_the_item_with_exactly_this_name(program):
    """A search finds items whose names only contain the text."""
    items = [{"name": "app", "notes": "right"}, {"name": "app-old", "notes": "wrong"}, {"name": "twice", "notes": ""}]
    program("bw", f"echo '{json.dumps([*items, items[-1]])}'")
    store = open_command(profile="bw")
    assert store.read("app").data == {"value": "right"}
    assert list(store.list_entries("")) == ["app", "app-old", "twice"]
    with pytest.raises(SecretNotFoundError):
        store.read("ap")
    with pytest.raises(InvalidDataError):
        store.read("twice")


@pytest.mark.parametrize("output", ["", "You are not logged in.", "{}", '[{"notes": "x"}]', "[1]"])
def test_output_that_is_no_list_of_items_is_unavailable(program, output):
    """What is not the documented output is never an absence."""
    program("bw", f"echo '{output}'")
    with pytest.raises(StoreUnavailableError):
        open_command(profile="bw").read("app")


@pytest.fixture
def documents(program, tmp_path):
    """1Password with a folder of documents. It ends with 1 for every failure."""
    root = tmp_path / "vault"
    root.mkdir()
    program(
        "op",
        f"""cd {root} || exit 1
        [ "$OP_SERVICE_ACCOUNT_TOKEN" = right ] || exit 1
        case "$2" in
        get) cat "$3" || exit 1 ;;
        list) for name in *; do [ -f "$name" ] && printf '{{"title": "%s"}}\\n' "$name"; done |
            sed '$!s/$/,/; 1s/^/[/; $s/$/]/' | grep . || echo "[]" ;;
        create) [ ! -e "$5" ] || exit 1; cat > "$5" ;;
        edit) [ -e "$3" ] || exit 1; cat > "$3" ;;
        delete) rm "$3" || exit 1 ;;
        esac""",
    )
    return root


def test_a_program_without_exit_codes_is_asked_for_its_list(documents, monkeypatch):
    """A failed read is an absence only if a listing succeeds and does not have the name."""
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "right")
    store = open_command(profile="op", location="Engineering")
    with pytest.raises(SecretNotFoundError):
        store.read("app")
    with pytest.raises(SecretNotFoundError):
        store.delete("app")
    store.write("app", {"user": "app"})
    store.write("app", {"user": "new"})
    assert store.read("app").data == {"user": "new"}
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "wrong")
    for operation in (lambda: store.read("none"), lambda: store.delete("app"), lambda: list(store.walk(""))):
        with pytest.raises(StoreUnavailableError):
            operation()


def test_names_that_a_program_does_not_allow_are_refused(program):
    """Doppler has variables."""
    program("doppler", "cat")
    store = open_command(profile="doppler", location="prd")
    with pytest.raises(InvalidPathError):
        store.vet("database/connection", {"value": "x"})
    store.vet("DATABASE_URL", {"value": "x"})


def test_a_write_that_fails_without_a_meaning_may_have_been_made():
    """Only the exit codes for unavailable and denied say that nothing was written."""
    for code, kind in ((1, WriteOutcomeUnknownError), (75, StoreUnavailableError)):
        script = ["sh", "-c", f"cat > /dev/null; exit {code}", "<path>"]
        store = open_command(read=["echo", "<path>"], list=["true"], write=script, delete=script)
        with pytest.raises(StoreError) as caught:
            store.write("app", {"user": "canary"})
        assert type(caught.value) is kind
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_missing_program_is_named(profile, monkeypatch):
    """Before anything is read."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match=f"The program {profile} is not installed"):
        open_command(profile=profile, location="anywhere")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "read"),
        ({"profile": "op"}, "location"),
        ({"read": []}, "read"),
        ({"read": ["cat"]}, "read"),
        ({"read": ["<path>"]}, "read"),
        ({"read": ["cat", "<path>"], "write": ["tee", "<path>"]}, "write"),
        ({"profile": "pass", "exit_codes": {"one": "absent"}}, "exit_codes"),
        ({"profile": "pass", "exit_codes": {"1": "gone"}}, "exit_codes"),
    ],
)
def test_a_wrong_option_is_named(options, named):
    """`strongroom config check` says it without a program."""
    with pytest.raises(ConfigurationError, match=f"^{named}"):
        check_command(**options)
