"""Values in answers: the forms in which they are found, and values that parts of a stream split."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.agents.placeholders import make_placeholder
from strongroom.agents.redaction import Redactor, forms_of

VALUE = 'sk-p@ss/w"ord+<4711>&žluť'
PLACEHOLDER = "sk-PLACEHOLDER-0123456789-_x"


def redactor(**pairs: str) -> Redactor:
    return Redactor(forms_of([(VALUE, PLACEHOLDER), *pairs.items()]))


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        json.dumps(VALUE)[1:-1],
        json.dumps(VALUE, ensure_ascii=False)[1:-1].replace("/", "\\/"),
        quote(VALUE, safe=""),
        quote(VALUE),
        quote_plus(VALUE),
        quote(VALUE, safe="").lower(),
        html.escape(VALUE),
        html.escape(VALUE, quote=False),
    ],
)
def test_a_value_is_replaced_in_each_escaped_form(text):
    assert redactor().whole(f"<{text}>".encode()) == f"<{PLACEHOLDER}>".encode()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"u", b"u:", b"user:"])
@pytest.mark.parametrize("after", [b"", b"x", b":y"])
@pytest.mark.parametrize("value", ["abcdefgh", "sk-proj-abcdefghijklmnopqrst", VALUE, "\x7f?>~" * 5])
def test_a_value_within_base64_is_replaced_and_what_surrounds_it_stays(encode, before, after, value):
    placeholder = make_placeholder(value)
    redacted = Redactor(forms_of([(value, placeholder)])).whole(encode(before + value.encode() + after))
    decoded = base64.urlsafe_b64decode(redacted.replace(b"+", b"-").replace(b"/", b"_"))
    assert len(decoded) == len(before + value.encode() + after)
    assert value.encode()[1:-1] not in decoded
    assert (placeholder * 2)[1:7].encode() in decoded
    assert decoded.startswith(before[:-1])
    assert decoded.endswith(after[1:])


def test_the_longest_value_at_a_place_is_replaced():
    assert redactor(**{VALUE + "-longer": "LONGER"}).whole(f"{VALUE}-longer {VALUE}".encode()) == (
        f"LONGER {PLACEHOLDER}".encode()
    )


def test_only_the_beginning_of_a_value_is_held_back():
    """The events of a stream are not late."""
    replaces = redactor()
    assert replaces.feed(b"data: one\n\n") == b"data: one\n\n"
    assert replaces.feed(b"data: sk-p@") == b"data: "
    assert replaces.feed(b"rty\n\n") == b"sk-p@rty\n\n"
    assert replaces.feed(f"data: {VALUE}".encode()) == f"data: {PLACEHOLDER}".encode()
    assert replaces.feed(b"s") == b""
    assert replaces.end() == b"s"
    assert replaces.end() == b""


def test_a_value_that_is_the_beginning_of_another_waits_for_the_next_part():
    values = {"abcdefgh": "SHORT", "abcdefghij": "LONG", "xyabcdefgh": "BEFORE"}
    for parts, expected in [
        ([b"abcdefgh", b"ij"], b"LONG"),
        ([b"abcdefgh", b"ik"], b"SHORTik"),
        ([b"abcdefghi"], b"SHORTi"),
        ([b"xyabcdefgh", b"ij"], b"BEFOREij"),
        ([b"abcdefghabcdefghi", b"j"], b"SHORTLONG"),
    ]:
        replaces = Redactor(forms_of(values.items()))
        assert b"".join((*map(replaces.feed, parts), replaces.end())) == expected


_TEXTS = st.text("ab", min_size=3, max_size=6)


@given(st.lists(_TEXTS, min_size=1, max_size=4, unique=True), st.text("abc", max_size=60), st.data())
def test_the_parts_of_a_stream_are_redacted_like_the_whole(values, text, data):
    """However an answer is split, and however its values overlap."""
    forms = {value.encode(): f"<{number}>".encode() for number, value in enumerate(values)}
    content = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    replaces = Redactor(forms)
    parts = [replaces.feed(content[start:end]) for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    redacted = b"".join((*parts, replaces.end()))
    longest_first = b"|".join(sorted(forms, key=len, reverse=True))
    assert redacted == Redactor(forms).whole(content) == re.sub(longest_first, lambda found: forms[found[0]], content)
    assert not any(form in part for form in forms for part in redacted.replace(b">", b"<").split(b"<"))


@given(st.text(min_size=8, max_size=20).filter(str.strip), st.binary(max_size=10), st.binary(max_size=10), st.data())
def test_no_value_passes_however_it_is_split(value, before, after, data):
    try:
        content = before + value.encode() + after
    except UnicodeEncodeError:
        return
    cut = data.draw(st.integers(0, len(content)))
    replaces = Redactor(forms_of([(value, PLACEHOLDER)]))
    redacted = replaces.feed(content[:cut]) + replaces.feed(content[cut:]) + replaces.end()
    assert value.encode() not in redacted
    assert PLACEHOLDER.encode() in redacted


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_value_may_be_split_at_each_byte(cut):
    replaces = Redactor({b"abcdefgh": b"X"})
    assert replaces.feed(b"-" + b"abcdefgh"[:cut]) == b"-"
    assert replaces.feed(b"abcdefgh"[cut:] + b"-") == b"X-"


def test_without_values_nothing_changes():
    replaces = Redactor({})
    assert replaces.feed(b"abc") + replaces.end() == b"abc"


def test_the_repr_shows_no_value():
    assert VALUE not in repr(redactor())
