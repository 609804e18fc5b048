"""Contents that make a secret a keyset, and the key that encrypts."""

import copy
import pickle

import pytest

from strongroom.encryption import Keyset, new_key
from strongroom.errors import InvalidDataError

KEY, OTHER = "k" * 32, "o" * 43


@pytest.mark.parametrize(
    ("data", "encrypting"),
    [
        ({"key": KEY}, "key"),
        ({"primary": "48291", "48291": KEY}, "48291"),
        ({"primary": "48291", "48291": KEY, "61332": OTHER}, "48291"),
        ({"primary": "48291", "previous": "61332", "48291": KEY, "61332": OTHER}, "61332"),
    ],
)
def test_the_primary_key_encrypts_unless_a_previous_one_still_does(data, encrypting):
    keyset = Keyset.parse(data)
    assert keyset.encrypting == encrypting
    assert set(keyset.keys) == data.keys() - {"primary", "previous"}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({}, "it has 0 keys, and no 'primary'"),
        ({"a": KEY, "b": OTHER}, "it has 2 keys, and no 'primary'"),
        ({"primary": "b", "a": KEY}, "'primary' names a key that it does not have"),
        ({"primary": "a", "previous": "b", "a": KEY}, "'previous' names a key that it does not have"),
        ({"primary": ["a"], "a": KEY}, "'primary' names a key that it does not have"),
        ({"previous": "a", "a": KEY}, "no 'primary'"),
        ({"key": "s" * 31}, "the key key is not a text of at least 32 characters"),
        ({"key": b"b" * 32}, "the key key is not a text"),
        ({"a.b": KEY}, "the key a.b is not an id"),
        ({"Key": KEY}, "the key Key is not an id"),
    ],
)
def test_a_secret_that_is_no_keyset_is_refused(data, fault):
    with pytest.raises(InvalidDataError, match=fault) as caught:
        Keyset.parse(data, "columns/customer")
    assert "columns/customer" in str(caught.value)
    assert not any(str(value) in str(caught.value) for value in (KEY, OTHER, "s" * 31))


def test_a_keyset_does_not_show_its_keys():
    assert KEY not in f"{Keyset.parse({'key': KEY})!r} {Keyset.parse({'key': KEY}).keys}"


def test_a_keyset_is_not_pickled():
    """A pickle would hold the keys in plain, in a queue or a cache."""
    keyset = Keyset.parse({"key": KEY})
    with pytest.raises(TypeError, match="A Keyset cannot be pickled"):
        pickle.dumps(keyset)
    assert copy.deepcopy(keyset) == copy.copy(keyset) == keyset


def test_a_new_key_has_an_id_of_five_digits_that_is_not_taken():
    """Redaction takes a number of six digits for a value."""
    taken = {str(number) for number in range(10_000, 100_000)} - {"48291"}
    key_id, key = new_key(taken)
    assert key_id == "48291"
    assert len(key) == 43
    assert new_key(())[1] != new_key(())[1]
