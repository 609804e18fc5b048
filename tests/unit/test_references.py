"""References to secrets in text and mappings: `strongroom://PATH#KEY`, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from strongroom import SecretNotFoundError, SecretsManager, SensitiveDict
from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.store.memory import open_memory

SECRETS = {
    "database/connection": {"password": "p@ss $HOME {x} strongroom://a#b", "port": 5432, "ca.pem": "cert"},
    "odd path/#x": {"a b": "odd"},
}


@pytest.fixture
def secrets():
    with SecretsManager(chain=[open_memory(secrets=SECRETS)]) as manager:
        yield manager


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("strongroom://database/connection#port", "5432"),
        ("x://u:strongroom://database/connection#port@h/db", "x://u:5432@h/db"),
        ("See strongroom://database/connection#port.", "See 5432."),
        ('"strongroom://database/connection#ca.pem",', '"cert",'),
        ("strongroom://odd%20path/%23x#a%20b", "odd"),
        ("$HOME ${X} {x} %(x)s {{ y }} strongroom:/a#b Strongroom://a#b", None),
        ("", None),
    ],
)
def test_a_reference_is_replaced_and_nothing_else(secrets, text, expected):
    assert secrets.interpolate(text) == (text if expected is None else expected)


def test_a_value_is_not_searched_for_references(secrets):
    stored = SECRETS["database/connection"]["password"]
    assert secrets.interpolate("<strongroom://database/connection#password>") == f"<{stored}>"


def test_a_mapping_is_copied_with_its_text_resolved(secrets):
    given = {
        "db": {"port": "strongroom://database/connection#port", "pool": 5},
        "hosts": ["a", "strongroom://odd%20path/%23x#a%20b"],
    }
    made = secrets.interpolate(given)
    assert made == {"db": {"port": "5432", "pool": 5}, "hosts": ["a", "odd"]}
    assert isinstance(made, SensitiveDict)
    assert "odd" not in repr(made["hosts"])
    assert given["db"]["port"].startswith("strongroom://")
    assert asyncio.run(secrets.ainterpolate(given)) == made


@pytest.mark.parametrize(
    "text",
    [
        "strongroom://",
        "strongroom://a",
        "strongroom://a#",
        "strongroom://#k",
        "strongroom://../a#k",
        "strongroom://%ff#k",
    ],
)
def test_what_looks_like_a_reference_and_is_none_is_an_error(secrets, text):
    with pytest.raises(InvalidPathError) as caught:
        secrets.interpolate(f"password: hunter2\n{text}")
    assert "hunter2" not in str(caught.value)


def test_a_missing_secret_is_an_error(secrets):
    with pytest.raises(SecretNotFoundError, match="none/here"):
        secrets.interpolate("strongroom://database/connection#port strongroom://none/here#k")


@pytest.mark.parametrize("value", [None, 5, b"x", ["strongroom://a#b"]])
def test_only_text_and_mappings_are_taken(secrets, value):
    with pytest.raises(TypeError, match="text or a mapping"):
        secrets.interpolate(value)


def test_a_mapping_that_contains_itself_is_an_error(secrets):
    """Through a list too. A mapping in two places is replaced in both."""
    mapping = {"a": {"b": [{}]}}
    mapping["a"]["b"][0]["c"] = mapping
    with pytest.raises(InvalidDataError, match="contains itself"):
        secrets.interpolate(mapping)
    shared = {"port": "strongroom://database/connection#port"}
    assert secrets.interpolate({"a": shared, "b": [shared]}) == {"a": {"port": "5432"}, "b": [{"port": "5432"}]}
