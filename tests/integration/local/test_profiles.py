"""Profiles of programs that need an account: shell scripts stand in for them, with the output that they document."""

import json

import pytest

from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
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
    """1Password with a folder of documents, each a file NAME with the id id-NAME. It ends with 1 for every failure.

    Its sentences are those of the 1Password CLI 2, as its users report them. It finds a document by its id, or by its
    name in any case.
    """
    root = tmp_path / "vault"
    root.mkdir()
    program(
        "op",
        f"""cd "{root}" || exit 1
        fail() {{ echo "[ERROR] 2026/11/30 12:00:00 $1" >&2; exit 1; }}
        case $OP_SERVICE_ACCOUNT_TOKEN in
        right) ;;
        limited) [ "$2" = list ] || fail "(429) Too Many Requests: You've reached the maximum number of requests." ;;
        forbidden) fail "(403) Forbidden: You aren't authorized to perform this action." ;;
        *) fail "(401) Unauthorized: You aren't authorized to perform this action." ;;
        esac
        case $2 in get | edit | delete)
            name=$(ls | grep -ixF -- "${{3#id-}}") ||
                fail "\"$3\" isn't an item in the \"$5\" vault. Specify the item with its UUID, name, or domain." ;;
        esac
        case "$2" in
        get) cat "$name" ;;
        list) for name in *; do [ -f "$name" ] && printf '{{"id": "id-%s", "title": "%s"}}\n' "$name" "$name"; done |
            sed '$!s/$/,/; 1s/^/[/; $s/$/]/' | grep . || echo "[]" ;;
        create) [ ! -e "$5" ] || exit 1; cat > "$5" ;;
        edit) cat > "$name" ;;
        delete) rm "$name" ;;
        esac""",
    )
    return root


@pytest.mark.parametrize("path", ["app", "id-app", "APP"])
def test_a_document_is_not_absent_while_reads_are_limited(documents, monkeypatch, path):
    """1Password limits reads apart from listings. It finds a document by its id too, and in any case."""
    (documents / "app").write_text("old")
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "right")
    store = open_command(profile="op", location="Engineering")
    assert store.read(path).data == {"value": "old"}
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "limited")
    with pytest.raises(StoreUnavailableError):
        store.read(path)
    with pytest.raises(SecretNotFoundError):
        store.read("none")


@pytest.mark.parametrize("path", ["app", "id-app", "APP"])
def test_a_write_replaces_the_document_that_a_read_would_find(documents, monkeypatch, path):
    """A second one of its name could not be read any more."""
    (documents / "app").write_text("old")
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "right")
    store = open_command(profile="op", location="Engineering")
    store.write(path, {"value": "new"})
    assert [file.name for file in documents.iterdir()] == ["app"]
    assert store.read(path).data == {"value": "new"}


@pytest.mark.parametrize("token", ["revoked", "forbidden"])
def test_1password_denies_by_its_own_words(documents, monkeypatch, token):
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", token)
    store = open_command(profile="op", location="Engineering")
    calls = (lambda: store.read("a"), lambda: list(store.walk("")), lambda: store.write("a", {"value": "canary"}))
    for call in calls:
        with pytest.raises(PermissionDeniedError) as caught:
            call()
        assert "canary" not in str(caught.value)


UNDECRYPTED = "[error: cannot decrypt]"


@pytest.mark.parametrize(
    "script",
    [
        # an older client lists an item that it cannot decrypt under this name
        f"""case "$*" in *--search*) echo "[]" ;; *) echo '[{{"name": "{UNDECRYPTED}", "notes": null}}]' ;; esac""",
        # a newer one leaves it out, and logs it
        """echo "[Encrypt service] Failed to decrypt" >&2
        case "$*" in *--search*) echo "[]" ;; *) echo '[{"name": "x", "notes": ""}]' ;; esac""",
        # or lists nothing at all, if the whole decryption fails
        "echo '[]'",
        # the item is there, but the search does not find it
        """case "$*" in *--search*) echo "[]" ;; *) echo '[{"name": "app", "notes": "x"}]' ;; esac""",
    ],
    ids=["by another name", "left out", "nothing", "search"],
)
def test_bitwarden_never_calls_an_item_absent_that_it_cannot_show(program, script):
    """The sentences are those of its source: see the profile."""
    program("bw", script)
    with pytest.raises(StoreUnavailableError):
        open_command(profile="bw").read("app")


def test_the_words_in_the_place_of_a_value_are_no_value(program):
    """Bitwarden could not decrypt it, and Infisical does not let this identity see it."""
    program("bw", f"""echo '[{{"name": "app", "notes": "{UNDECRYPTED}"}}]'""")
    with pytest.raises(StoreUnavailableError, match="cannot decrypt"):
        open_command(profile="bw").read("app")
    program("infisical", """echo '[{"key": "APP", "value": "<hidden-by-infisical>"}]'""")
    with pytest.raises(PermissionDeniedError):
        open_command(profile="infisical", location="prod").read("APP")


@pytest.mark.parametrize(
    ("profile", "words", "kind"),
    [
        ("doppler", "Doppler Error: Invalid Auth token", PermissionDeniedError),
        ("doppler", "Doppler Error: Invalid Service token", PermissionDeniedError),
        (
            "doppler",
            "Doppler Error: This token does not have access to requested config 'prd'",
            PermissionDeniedError,
        ),
        ("doppler", 'Doppler Error: Get "https://api.doppler.com/v3/configs": EOF', StoreUnavailableError),
        (
            "infisical",
            "error: CallGetRawSecretsV3: Unsuccessful response [GET https://x/api/v3/secrets/raw] [status-code=401]",
            PermissionDeniedError,
        ),
        (
            "infisical",
            "error: CallGetRawSecretsV3: Unsuccessful response [GET https://x/api/v3/secrets/raw] [status-code=403]",
            PermissionDeniedError,
        ),
        (
            "infisical",
            "error: CallGetRawSecretsV3: Unsuccessful response [GET https://x/api/v3/secrets/raw] [status-code=500]",
            StoreUnavailableError,
        ),
    ],
)
def test_a_refused_token_is_denied_by_the_words_of_the_program(program, profile, words, kind):
    """Doppler and Infisical end with 1 for each failure. The sentences are those of their sources: see the profiles."""
    program(profile, f"cat << 'END' >&2\n{words}\nEND\nexit 1")
    store = open_command(profile=profile, location="prd")
    for call in (lambda: store.read("APP"), lambda: list(store.walk(""))):
        with pytest.raises(kind):
            call()


def test_a_copy_that_infisical_shows_in_an_outage_is_no_answer(program):
    """It ends with 0 and a warning. The chain has its own rule for stale values."""
    warning = (
        "Unable to fetch the latest secret(s) due to connection error, serving secrets from last successful fetch."
    )
    program("infisical", f"""echo '[{{"key": "APP", "value": "old"}}]'; echo "{warning}" >&2""")
    for path in ("APP", "OTHER"):
        with pytest.raises(StoreUnavailableError):
            open_command(profile="infisical", location="prod").read(path)


def test_a_variable_that_infisical_does_not_list_is_absent(program):
    program("infisical", """echo '[{"key": "APP", "value": "x"}]'""")
    store = open_command(profile="infisical", location="prod")
    assert store.read("APP").data == {"value": "x"}
    for content in ("[]", '[{"key": "APP", "value": "x"}]'):
        program("infisical", f"echo '{content}'")
        with pytest.raises(SecretNotFoundError):
            store.read("OTHER")


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
        with pytest.raises(PermissionDeniedError):
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
