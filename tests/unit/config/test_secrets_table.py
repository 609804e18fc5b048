"""The rows of `[secrets]`: types, generated and composed values, dates."""

from datetime import date

import pytest

from strongroom._config import ComposedPart, Composition, Generation, SecretConfig
from strongroom._config.file import read_file
from strongroom._config.secrets_table import TYPES
from strongroom._manager.conversion import declared_type
from strongroom.errors import ConfigurationError


def row(**settings: object) -> SecretConfig:
    """The row `KEY` with these settings, beside two plain rows."""
    rows = {"USER": "db#user", "PASSWORD": "db#password", "KEY": {"at": "a/b#c", **settings}}
    return read_file({"secrets": rows}, "strongroom.toml").secrets["KEY"]


def test_a_row_can_describe_type_generate_and_date_its_secret():
    found = row(type="int", description="words", generate="token", expires=date(2027, 1, 31))
    assert (found.type, found.description, found.expires) == ("int", "words", date(2027, 1, 31))
    assert found.generate == Generation("token", 32)
    assert row(generate={"kind": "password", "length": 40}).generate == Generation("password", 40)
    assert row(expires="2027-01-31").expires == date(2027, 1, 31)


def test_a_composed_row_names_the_secrets_of_other_rows():
    assert row(compose="x://{USER}:{PASSWORD}@h/{{d}}").compose == Composition(
        (
            ("x://", ComposedPart("USER", "db", "user", None)),
            (":", ComposedPart("PASSWORD", "db", "password", None)),
            ("@h/{", None),
            ("d}", None),
        ),
        is_url=True,
    )
    composed = row(compose="{USER} {PASSWORD}").compose
    assert composed is not None
    assert not composed.is_url


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"type": "complex"}, "must be one of str, bytes"),
        ({"generate": "uuid"}, "must be one of password, token, hex"),
        ({"generate": "pasword"}, r'a table with `kind` and `length`; did you mean "password"\?'),
        ({"type": "datetim"}, r'UUID; did you mean "datetime"\?'),
        ({"generate": {"kind": "hex", "length": 2}}, "16 or more"),
        ({"generate": {"kind": "hex", "length": 5000}}, "at most 4,096"),
        ({"generate": {"kind": "hex", "other": 1}}, "unknown key"),
        ({"expires": "soon"}, "must be a date"),
        ({"expires": 5}, "must be a date"),
        ({"compose": "{NONE}"}, "is not in"),
        ({"compose": "text"}, "names no other row"),
        ({"compose": "{KEY}"}, "composed of itself"),
        ({"compose": "{USER!r}"}, "a brace itself"),
        ({"compose": "{USER:>9}"}, "a brace itself"),
        ({"compose": "{USER"}, "a brace itself"),
        ({"compose": "{}"}, "a brace itself"),
        ({"compose": "{USER}", "default": "x"}, "must not stand beside `default`"),
    ],
    ids=str,
)
def test_a_mistake_is_an_error_that_names_the_row(settings, fault):
    with pytest.raises(ConfigurationError, match=fault) as caught:
        row(**settings)
    assert "strongroom.toml: [secrets.KEY" in str(caught.value)


def test_rows_that_are_composed_of_each_other_are_refused():
    rows = {
        "A": {"at": "x#a", "compose": "{B}"},
        "B": {"at": "x#b", "compose": "{C}"},
        "C": {"at": "x#c", "compose": "{A}"},
    }
    with pytest.raises(ConfigurationError, match="composed of itself"):
        read_file({"secrets": rows}, "strongroom.toml")


def test_every_name_of_a_type_is_a_type():
    assert all(declared_type(name) is not None for name in TYPES)
