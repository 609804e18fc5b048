"""`strongroom get` and `strongroom list`."""

import json

import pytest

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
    """Null is refused where only text could be printed, and is `null` as JSON."""
    kept.write("a", {"nothing": None})
    refused = command("get", "a#nothing")
    assert (refused.code, refused.out) == (6, b"")
    assert command("get", "a#nothing", "--json").out == b"null\n"


def test_a_piped_whole_secret_is_one_json_object(command):
    """The same with and without --json, types kept, so that jq can read it."""
    piped = command("get", "database/connection")
    assert json.loads(piped.out) == {"host": "db.example", "port": 5432, "password": "canary-7f3a"}
    assert command("get", "database/connection", "--json") == piped


def test_one_value_as_json_keeps_its_type(command):
    """A string is quoted, a number is not."""
    assert command("get", "database/connection", "host", "--json").out == b'"db.example"\n'
    assert command("get", "database/connection#port", "--json").out == b"5432\n"


def test_a_path_with_a_key_of_its_own_may_hold_a_hash(command, kept):
    """With KEY given the path is taken as it stands."""
    kept.write("a#b", {"key": "value"})
    assert command("get", "a#b", "key").out == b"value"


def test_a_terminal_gets_a_newline_after_a_value(terminal, script):
    """So that the prompt does not stand beside the value."""
    assert terminal(script, "get", "odd/values#text").ended() == (0, "no newline\r\n")


def test_a_terminal_shows_the_keys_of_a_whole_secret_and_no_value(terminal, script):
    """Somebody may look over a shoulder."""
    code, screen = terminal(script, "get", "database/connection").ended()
    assert code == 0
    assert "password" in screen
    assert "database/connection from memory, version 1; --reveal shows the values" in " ".join(screen.split())
    assert "canary-7f3a" not in screen
    assert "5432" not in screen


def test_reveal_shows_the_values_on_a_terminal(terminal, script):
    """With control characters escaped: only a single value is printed raw."""
    code, screen = terminal(script, "--no-color", "get", "odd/values", "--reveal").ended()
    assert code == 0
    assert "žluť 🔑" in screen
    assert r'"one\r\ntwo\n"' in screen
    assert "\x1b" not in screen


def test_list_prints_what_is_directly_below(command):
    """Folders end in a slash; the top is listed where no prefix is given."""
    assert command("list").out == b"database/\nodd/\n"
    assert command("list", "database").out == b"connection\n"
    assert command("list", "database/").out == b"connection\n"
    assert command("list", "nowhere") == (0, b"", "")


def test_list_recursively_prints_whole_paths(command):
    """Each is what `get` takes."""
    assert command("list", "-r").out == b"database/connection\nodd/values\n"
    assert json.loads(command("list", "--recursive", "odd", "--json").out) == ["odd/values"]
