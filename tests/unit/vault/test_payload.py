"""The form of a secret's data in a key-value engine, and its limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import SecretTooLargeError
from strongroom.secret import SensitiveDict
from strongroom_vault.store import payload

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | texts | numbers | st.lists(texts | numbers, max_size=3)


@given(st.dictionaries(texts.filter(bool), values, min_size=1, max_size=5), st.integers(10, 300))
def test_a_secret_is_too_large_exactly_if_its_json_is(data, most):
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    escaped = "".join(f"\\u{ord(mark):04x}" if mark in "<>&\u2028\u2029" else mark for mark in text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload, "MAX_SIZE", most)
        if len(escaped.encode()) > most:
            with pytest.raises(SecretTooLargeError):
                payload.prepared("a", SensitiveDict(data))
        else:
            assert payload.prepared("a", SensitiveDict(data)) == data


def test_a_small_secret_is_not_encoded_to_measure_it(monkeypatch):
    monkeypatch.setattr(payload, "_size", None)
    data = {"user": "app", "password": "<&>" * 40, "port": 5432, "ratio": 0.1, "tls": True, "note": None}
    assert payload.prepared("a", data) == data
