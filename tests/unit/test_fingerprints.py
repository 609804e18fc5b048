"""Keyed fingerprints: the forms in which a value is found, and the text that is never masked."""

from __future__ import annotations

import base64
import json
import pickle
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._fingerprints import Fingerprints

VALUE = 'p@ss w/ord "q" žluť\n-end'


def known(*values: str | bytes, binary: bool = False) -> Fingerprints:
    made = Fingerprints(binary=binary)
    for value in values:
        made.add(value, "db#password")
    return made


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("plain", VALUE),
        ("json", json.dumps(VALUE)[1:-1]),
        ("json", json.dumps(VALUE, ensure_ascii=False)[1:-1]),
        ("url", quote(VALUE, safe="")),
        ("url", quote(VALUE)),
        ("url", quote_plus(VALUE)),
        ("base64", base64.b64encode(VALUE.encode()).decode()),
        ("base64", base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("=")),
    ],
)
def test_a_value_is_found_in_each_form(form, text):
    match, *others = known(VALUE).find(f"<{text}>")
    assert others == []
    assert (match.form, match.name) == (form, "db#password")
    assert match.start == 1
    assert match.end >= len(text) - 1  # the last character of base64 depends on the next byte
    assert known(VALUE, binary=True).mask(f"<{text}>".encode().decode("latin-1")).startswith("<[redacted]")


@given(
    st.text(string.printable, min_size=8, max_size=40).filter(str.strip), st.binary(max_size=7), st.binary(max_size=7)
)
def test_a_value_is_found_in_longer_base64(value, before, after):
    value = f"v{value}v"
    text = base64.b64encode(before + value.encode() + after).decode()
    assert "[redacted]" in known(value).mask(text)


def test_masking_leaves_the_rest_and_replaces_each_occurrence():
    masked = known("hunter2", "hunter2-long").mask("a hunter2 b hunter2-long c hunter22 d")
    assert masked == "a [redacted] b [redacted] c [redacted]2 d"
    text = "nothing"
    assert known("hunter2").mask(text) is text


def test_each_long_line_of_a_text_is_a_value():
    lines = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0B", "short"]
    masked = known("\n".join(lines)).mask("x MIIEvQIBADANBgkqhkiG9w0B y short")
    assert masked == "x [redacted] y short"


@pytest.mark.parametrize("value", ["", "abc", "true", "None", "5432", "12.5", "1234567"])
def test_what_stands_in_every_log_is_no_value(value):
    assert known(value).mask(f"port {value} ok") == f"port {value} ok"


def test_bytes_are_a_value():
    assert known(b"hunter2\xff").mask(base64.b64encode(b"hunter2\xff").decode()).startswith("[redacted]")
    assert known(b"hunter2\xff", binary=True).mask("hunter2\xff!") == "[redacted]!"


def test_all_text_in_a_secret_is_known_by_its_path_and_key():
    made = Fingerprints()
    made.add_all({"a": {"b": ["nested-value"]}, "n": 5, "none": None}, "app/x")
    (match,) = made.find("nested-value")
    assert match.name == "app/x#a"


def test_it_holds_no_readable_value():
    made = known("hunter2-hunter2")
    content = pickle.dumps(vars(made))
    assert b"hunter2" not in content
    assert "hunter2" not in repr(made)
