"""`strongroom get` and `strongroom list`."""

import json

import pytest

from strongroom import SecretsManager
from support.command_line import call_on_terminal

pytestmark = pytest.mark.usefixtures("configured")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("text", b"no newline"),
        ("lines", b"one\r\ntwo\n"),
        ("unicode", "žluť 🔑".encode()),
        ("list", b'[1,"two"]'),
    ],
)
def test_a_piped_value_is_its_exact_bytes(command, key, expected):
    """Nothing is added and nothing is translated: not a newline, not a line end."""
    assert command("get", "odd/values", key) == (0, expected, "")
    assert command("get", f"odd/values#{key}") == (0, expected, "")


def test_bytes_are_written_as_they_are(command, kept):
    """A value that is not text comes out whole."""
    kept.write("keys/tls", {"der": b"\x00\xff\r\n", "nothing": None})
    assert command("get", "keys/tls#der").out == b"\x00\xff\r\n"


def test_null_has_no_bytes_but_json(command, kept):
    """Null is refused where only text could be printed, and is `null` in JSON."""
    kept.write("a", {"nothing": None})
    refused = command("get", "a#nothing")
    assert (refused.code, refused.out) == (6, b"")
    assert refused.err.endswith("Use --json to print it\n")
    assert json.loads(command("get", "a#nothing", "--json").out)["value"] is None


def test_a_piped_whole_secret_is_one_json_object(command):
    """Nothing but its keys and values, types kept: what `set --from-json -` reads."""
    piped = command("get", "database/connection")
    assert json.loads(piped.out) == {"host": "db.example", "port": 5432, "password": "canary-7f3a"}


def test_a_secret_as_json_says_where_it_comes_from(command):
    """With a version of the shape, which is documented; a whole secret has its data, a key its value and type."""
    whole, one = (
        json.loads(command("get", where, "--json").out) for where in ("odd/values", "database/connection#port")
    )
    assert next(iter(whole)) == "version"
    assert whole.pop("age") >= 0
    assert one.pop("age") >= 0
    shape = {"version": 1, "store": "memory", "secret_version": 1, "cached": False, "stale": False, "ends": None}
    lines = {"text": "no newline", "lines": "one\r\ntwo\n", "unicode": "žluť 🔑", "list": [1, "two"]}
    assert whole == {**shape, "path": "odd/values", "key": None, "data": lines}
    assert one == {**shape, "path": "database/connection", "key": "port", "value": 5432}


def test_bytes_are_json_too(command, kept):
    """In the form that `set --from-json -` reads."""
    kept.write("a", {"der": b"\x00\xff"})
    assert json.loads(command("get", "a#der", "--json").out)["value"] == {"strongroom:bytes": "AP8="}


@pytest.mark.parametrize(("disk", "ttl"), [("false", 0), ("true", 300)])
def test_one_read_has_no_cache_in_memory(command, monkeypatch, disk, ttl):
    """To import encryption for a process that ends takes as long as the read. The cache on disk is for later ones."""
    opened = []
    monkeypatch.setenv("STRONGROOM_CACHE_DISK", disk)
    monkeypatch.setattr(SecretsManager, "from_config", opened.append)
    command("get", "odd/values#text")
    assert [config.cache.ttl for config in opened] == [ttl]


def test_a_path_with_a_key_of_its_own_may_hold_a_hash(command, kept):
    """With KEY given the path is taken as it stands."""
    kept.write("a#b", {"key": "value"})
    assert command("get", "a#b", "key").out == b"value"


def test_a_terminal_gets_a_newline_after_a_value(terminal, script):
    """So that the prompt does not stand beside the value."""
    assert terminal(script, "get", "odd/values#text").ended() == (0, "no newline\r\n")


def test_a_terminal_shows_the_keys_of_a_whole_secret_and_no_value():
    """Somebody may look over a shoulder."""
    code, screen = call_on_terminal(["get", "database/connection"])
    assert code == 0
    assert "password" in screen
    assert "database/connection from memory, version 1; --reveal shows the values" in " ".join(screen.split())
    assert "canary-7f3a" not in screen
    assert "5432" not in screen


def test_reveal_shows_the_values_on_a_terminal():
    """With control characters escaped: only a single value is printed raw."""
    code, screen = call_on_terminal(["--no-color", "get", "odd/values", "--reveal"])
    assert code == 0
    assert "žluť 🔑" in screen
    assert r'"one\r\ntwo\n"' in screen
    assert "\x1b" not in screen


@pytest.mark.parametrize("name", ["get", "explain"])
def test_path_that_ends_in_a_key_is_answered_with_the_reference(command, name):
    """A beginner writes the key as one more folder. A path that ends in no key has no such hint."""
    refused = command(name, "database/connection/password")
    assert refused.code == 3
    expected = "password is a key of database/connection: write database/connection#password\n"
    assert refused.err.endswith(f"(memory: secret not found). {expected}")
    for other in ("database/connection/user", "database", "nowhere/at/all"):
        assert "is a key of" not in command(name, other).err
    assert "is a key of" not in command(name, "database/connection/password", "key").err


def test_list_prints_what_is_directly_below(command):
    """Folders end in a slash; the top is listed where no prefix is given."""
    assert command("list").out == b"database/\nodd/\n"
    assert command("list", "database").out == b"connection\n"
    assert command("list", "database/").out == b"connection\n"


@pytest.mark.parametrize("options", [(), ("-r",), ("--json",)])
def test_list_of_a_folder_that_does_not_exist_is_an_error(command, options):
    """No store has an empty folder, so the prefix is mistyped. The JSON document is whole."""
    refused = command("list", "typo", *options)
    assert refused.code == 3
    assert refused.err == "strongroom: Secret not found: typo (nothing is below it). `strongroom list` shows the top\n"
    assert refused.out == b"" or json.loads(refused.out)["names"] == []


def test_list_of_a_chain_without_secrets_is_empty(command, kept):
    assert command("list") == (0, b"", "")


def test_list_recursively_prints_whole_paths(command):
    """Each is what `get` takes."""
    assert command("list", "-r").out == b"database/connection\nodd/values\n"


@pytest.mark.parametrize(
    ("options", "recursive", "names"), [((), False, ["values"]), (("--recursive",), True, ["odd/values"])]
)
def test_list_as_json_has_a_version(command, options, recursive, names):
    """And says what was asked for: its shape is documented."""
    document = json.loads(command("list", *options, "odd", "--json").out)
    assert document == {"version": 1, "prefix": "odd", "recursive": recursive, "names": names}


@pytest.mark.parametrize("odd", ["..", ".", "", "/", "../", "a\\b", "a\nb"])
@pytest.mark.parametrize("recursive", [False, True])
def test_name_that_no_secret_can_have_is_left_out_with_a_warning(command, kept, monkeypatch, odd, recursive):
    """A lying server cannot lead the reader of a list out of a folder."""
    monkeypatch.setattr(kept, "list_entries", lambda prefix="": iter(["plain", odd]))
    options = ["-r"] if recursive else []
    plain, document = command("list", *options), command("list", *options, "--json")
    assert (plain.out, json.loads(document.out)["names"]) == (b"plain\n", ["plain"])
    warning = f"strongroom: warning: Store memory lists a name that no secret can have: {odd!a} is left out\n"
    assert plain.err == document.err == warning


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\rb"])
def test_a_name_that_a_store_lists_is_never_raw_in_a_pipe(command, configured, monkeypatch, name):
    """It could begin a line of its own, or move the cursor of whoever looks at it."""
    monkeypatch.setattr(SecretsManager, "list_secrets", lambda *_, **__: [name, "plain"])
    assert command("list").out.decode().splitlines() == [json.dumps(name), "plain"]
