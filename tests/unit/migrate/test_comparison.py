"""What became of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.migrate import KeyChange
from strongroom.migrate._plans.comparison import changes
from strongroom.secret import changed_keys, kind, same

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
DATA = st.dictionaries(st.text(min_size=1, max_size=2), VALUES, max_size=4)


def test_each_key_is_one_of_four():
    """In the order of the names."""
    old = {"same": "v", "gone": "v", "other": "v"}
    new = {"same": "v", "other": "w", "fresh": "v"}
    assert list(changes(old, new).items()) == [
        ("fresh", KeyChange.ADDED),
        ("gone", KeyChange.REMOVED),
        ("other", KeyChange.CHANGED),
        ("same", KeyChange.SAME),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [("5432", 5432), (1, True), (0, False), (None, "null"), ("", None), (b"a", "a"), ([1], [True]), ({}, [])],
)
def test_types_count(old, new):
    """An application that reads the value by its type would notice."""
    assert changes({"key": old}, {"key": new}) == {"key": KeyChange.CHANGED}


def test_numbers_count_by_value_and_mappings_by_their_keys():
    """What JSON makes of a value is the same value."""
    assert changes({"key": [1, {"a": 1, "b": 2}]}, {"key": (1.0, {"b": 2, "a": 1})}) == {"key": KeyChange.SAME}


@given(DATA, DATA)
def test_backwards_it_is_the_opposite(old, new):
    """And every key of both is there."""
    opposite = {KeyChange.ADDED: KeyChange.REMOVED, KeyChange.REMOVED: KeyChange.ADDED}
    forth, back = changes(old, new), changes(new, old)
    assert forth == {key: opposite.get(change, change) for key, change in back.items()}
    assert forth.keys() == old.keys() | new.keys()
    assert all(change is KeyChange.SAME for change in changes(old, old).values())
    assert changed_keys(old, new) == tuple(key for key, change in forth.items() if change is not KeyChange.SAME)


@given(VALUES, VALUES)
def test_what_is_the_same_is_of_one_kind(left, right):
    """The word that a person reads agrees with what is compared."""
    assert not same(left, right) or kind(left) == kind(right)
