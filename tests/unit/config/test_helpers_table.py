"""The table `[helpers]`: its rows, and the row for the service that a program names."""

from __future__ import annotations

import pytest

from strongroom import ConfigurationError
from strongroom._config import HelperConfig, Place, discovery
from strongroom._config.helpers_table import find_row, parse_place
from strongroom.errors import InvalidDataError

GITHUB = {"at": "git/github#token", "username": "x-access-token"}


def load(**rows: object) -> tuple[HelperConfig, ...]:
    return discovery.load(document={"chain": ["memory"], "helpers": rows}).helpers


def path_of(service: str, *names: str) -> str | None:
    """Return the secret's path of the row that answers, of rows with these names; it is the row's name."""
    rows = [HelperConfig(name, parse_place(name), name) for name in names]
    row = find_row(rows, service)
    return None if row is None else row.path


def test_a_row_names_a_key_with_its_user_or_a_secret_that_has_both():
    first, second = load(**{"github.com": GITHUB, "registry.example:5000": "registry/ci"})
    assert first[:5] == ("github.com", Place("https", "github.com", 443), "git/github", "token", "x-access-token")
    assert first.keys == ("token",)
    assert second[:4] == (
        "registry.example:5000",
        Place("https", "registry.example", 5000),
        "registry/ci",
        "password",
    )
    assert second.keys == ("username", "password")


@pytest.mark.parametrize(
    ("username", "names"),
    [
        (None, ["a.example", "b.example"]),
        ("x-access-token", ["a.example", "b.example"]),
        ("ada", ["b.example"]),
        ("", ["b.example"]),
    ],
)
def test_a_row_answers_for_its_own_user_and_without_one_for_each(username, names):
    rows = load(**{"a.example": GITHUB, "b.example": "registry/ci"})
    found = [find_row(rows, name, username) for name in ("a.example", "b.example")]
    assert [row.name for row in found if row is not None] == names


def test_without_the_table_there_is_no_row():
    assert discovery.load(document={"chain": ["memory"]}).helpers == ()


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("*.example", "a/b", "has a wildcard: name each host"),
        ("ada@example.com", "a/b", "has a user before its host"),
        ("https://ada:pw@example.com", "a/b", "has a user before its host"),
        ("ssh://example.com", "a/b", "is not the host of a service"),
        ("bücher.example", "a/b", "is not the host of a service"),
        ("example.com:0", "a/b", "is not the host of a service"),
        ("example.com:65536", "a/b", "is not the host of a service"),
        ("example.com:", "a/b", "is not the host of a service"),
        ("example.com?x", "a/b", "is not the host of a service"),
        ("example.com/a/../b", "a/b", "has a path with a segment"),
        ("example.com", "a//b", "segment"),
        ("example.com", "a/b#c", "has a key and no user"),
        ("example.com", 7, 'must be "PATH"'),
        ("example.com", {"username": "ada"}, "at: is missing"),
        ("example.com", {"at": "a/b", "user": "ada"}, "user: unknown key"),
        ("example.com", {"at": "a/b", "username": "a\nb"}, "has a user with a control character"),
        ("example.com", {"at": "a/b", "username": ""}, "must be a string that is not empty"),
    ],
)
def test_a_row_that_could_answer_another_service_is_refused(name, row, reason):
    with pytest.raises(ConfigurationError) as raised:
        load(**{name: row})
    assert reason in str(raised.value)
    assert "helpers" in str(raised.value)


def test_two_rows_for_one_service_are_refused():
    with pytest.raises(ConfigurationError, match="is the same service as"):
        load(**{"github.com": GITHUB, "https://GitHub.com:443/": GITHUB})


@pytest.mark.parametrize(
    ("service", "row"),
    [
        ("github.com", "github.com"),
        ("https://GITHUB.com/", "github.com"),
        ("https://github.com:443/a/b.git", "github.com"),
        ("registry.example:5000", "registry.example:5000"),
        ("http://git.lan", "http://git.lan"),
        ("http://git.lan:80/x", "http://git.lan"),
        ("https://git.lan", None),  # no TLS is another service
        ("http://github.com", None),  # `http://` only if it is written
        ("github.com:8443", None),  # ports are exact
        ("registry.example", None),
        ("api.github.com", None),
        ("github.com.evil.example", None),
        ("github.com.", None),
        ("evil-github.com", None),
        ("ada@github.com", None),
        ("https://github.com@evil.example", None),
        ("https://github.com\n.evil.example/", None),
        ("ssh://github.com", None),
        ("[::1]:8080", "[::1]:8080"),
        ("", None),
        ("\0", None),
    ],
)
def test_scheme_host_and_port_are_compared_exactly(service, row):
    assert path_of(service, "github.com", "registry.example:5000", "http://git.lan", "[::1]:8080") == row


@pytest.mark.parametrize(
    ("service", "row"),
    [
        ("https://h.example/team/app.git", "h.example/team"),
        ("https://h.example/team", "h.example/team"),
        ("https://h.example/team/core/app.git", "h.example/team/core"),
        ("https://h.example/teams/app.git", "h.example"),
        ("https://h.example", "h.example"),
        ("https://h.example/Team", "h.example"),
    ],
)
def test_the_longest_path_around_that_of_the_service_wins(service, row):
    assert path_of(service, "h.example", "h.example/team", "h.example/team/core") == row


@pytest.mark.parametrize(
    "path", ["..", "team/../other", "team/%2e%2E/other", "team/.%2e/x", "team%2F..", "a\\..\\b", "%252e%252e", "a\tb"]
)
def test_a_path_that_a_server_may_read_as_another_is_refused(path):
    with pytest.raises(InvalidDataError, match="has a path with a segment"):
        path_of(f"https://h.example/{path}", "h.example/team")
    assert path_of(f"https://other.example/{path}", "h.example/team") is None
