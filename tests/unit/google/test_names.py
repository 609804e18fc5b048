"""A path is a name of Google and back exactly, and existing names stay reachable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError
from strongroom_google.names import check_labels, check_version, encode, name_of, path_of

PATHS = st.text("ab4_-/x2d5fé🗝. ", max_size=12) | st.text(max_size=12).filter(str.isprintable)
NAMES = st.text("ab4_-x2d5fc3a9e", min_size=1, max_size=16)


@given(PATHS)
def test_path_comes_back_from_its_name(path):
    """So no two paths have the same name."""
    assert path_of(encode(path)) == path


@given(PATHS)
def test_name_has_only_characters_of_google(path):
    assert not set(encode(path)) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@given(NAMES)
def test_listed_path_leads_back_to_the_name(name):
    path = path_of(name)
    assert path is None or encode(path) == name


@pytest.mark.parametrize(
    "name", ["db_password", "DB_PASSWORD", "driver_x64_key", "a_x86_b", "a-b", "_", "-a-", "a_x2D_b"]
)
def test_plain_name_is_the_path_of_its_spelling(name):
    """Names that people give: an underscore, capitals, the words x64 and x86."""
    assert path_of(name) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("database/connection", "database--connection"),
        ("app/two words", "app--two_x20_words"),
        ("app/ключ", "app--_xd0__xba__xd0__xbb__xd1__x8e__xd1__x87_"),
        ("a--b", "a_x2d_-b"),
        ("a-/b", "a_x2d_--b"),
        ("a/-b", "a---b"),
        ("a_x2e_b", "a_x5f_x2e_b"),
        ("app/.hidden", "app--_x2e_hidden"),
    ],
)
def test_path_has_this_name(path, name):
    """The names are part of what other programs see: they do not change."""
    assert encode(path) == name
    assert path_of(name) == path


@pytest.mark.parametrize("name", ["a_x2d_b", "a_x5f_b", "a_xc0__x80_", "a_xed__xa0__x80_"])
def test_name_that_no_path_has(name):
    """An escape that is not needed, an overlong one, and half of a pair of surrogates."""
    assert path_of(name) is None


def test_longest_name():
    assert name_of("a" * 255) == "a" * 255
    for path in ("a" * 256, "é" * 26):
        with pytest.raises(InvalidPathError, match="characters, the most is 255"):
            name_of(path)


@pytest.mark.parametrize("version", [0, -1, "0", "01", "two words", "", "a" * 64, "1/../2"])
def test_version_that_no_secret_has(version):
    with pytest.raises(SecretNotFoundError):
        check_version(version, "app")


def test_version_is_a_number_or_an_alias():
    assert [check_version(version, "app") for version in (7, "7", "stable", "latest")] == ["7", "7", "stable", "latest"]


@pytest.mark.parametrize("labels", [{"owner": "billing"}, {"größe": "ключ-1_٣"}, {"tier": ""}, {"字": "x" * 63}])
def test_label_of_google(labels):
    check_labels(labels, "app")


@pytest.mark.parametrize(
    "labels",
    [
        {"Owner": "x"},
        {"": "x"},
        {"1st": "x"},
        {"goog-terraform": "x"},
        {"owner": "Canary"},
        {"owner": "canary value"},
        {"owner": "canary" * 11},
        {"字" * 43: "x"},
        {f"label{number}": "x" for number in range(65)},
    ],
)
def test_label_that_google_refuses(labels):
    with pytest.raises(InvalidDataError) as caught:
        check_labels(labels, "app")
    assert "anary" not in str(caught.value)
