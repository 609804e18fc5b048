"""Values in answers: the forms in which they are found, and values that parts of a stream split."""

from __future__ import annotations

import base64
import html
import json
import string
from functools import cache
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._redaction.printed_forms import base64_pieces
from strongroom.agents._rules.placeholders import make_placeholder
from strongroom.agents._rules.redaction import Redactor, Replacement, forms_of

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
    assert decoded == before + (placeholder * 2).encode()[: len(value.encode())] + after


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"u", b"us"])
@pytest.mark.parametrize("value", [string.ascii_letters[:length] for length in (24, 25, 26)])
def test_a_value_within_base64_is_replaced_however_it_is_split(encode, before, value):
    """Also twice, and with the value itself beside it."""
    placeholder = make_placeholder(value)
    forms = forms_of([(value, placeholder)])
    for content in (value, f"{value}x{value}"):
        encoded = encode(before + content.encode() + b"y")
        expected = encode(before + content.replace(value, placeholder).encode() + b"y")
        for around in (b"", b"~" * 61, b"b" * 200, b"-" * 62 + b"\n"):
            for own in (value.encode(), b""):
                whole = around + encoded.rstrip(b"=") + own + around
                for cut in range(0, len(whole), 5):
                    replaces = Redactor(forms)
                    redacted = replaces.feed(whole[:cut]) + replaces.feed(whole[cut:]) + replaces.end()
                    assert redacted == around + expected.rstrip(b"=") + (own and placeholder.encode()) + around


@pytest.mark.parametrize("value", [string.ascii_letters[:length] for length in (24, 25, 26)])
def test_a_value_twice_within_base64_leaves_no_rest(value):
    """One character of base64 may have bits of both."""
    placeholder = make_placeholder(value)
    redacted = Redactor(forms_of([(value, placeholder)])).whole(base64.b64encode(f"u{value}{value}y".encode()))
    assert not any(piece.encode() in redacted for piece in base64_pieces(value.encode()[1:-1]))
    assert base64.b64decode(redacted[:12]) == f"u{placeholder}".encode()[:9]


@pytest.mark.parametrize("value", [f"{VALUE}\n", f"{VALUE}\r\n", f" \t{VALUE} "])
def test_a_value_is_found_without_the_white_space_around_it(value):
    """A value that was read from a file often ends in a line break, which a host drops."""
    replaces = Redactor(forms_of([(value, PLACEHOLDER)]))
    for text in (VALUE, html.escape(VALUE), quote(VALUE)):
        assert replaces.whole(f"<{text}>".encode()) == f"<{PLACEHOLDER}>".encode()
    assert replaces.whole(value.encode()) == value.replace(VALUE, PLACEHOLDER).encode()
    encoded = base64.b64decode(replaces.whole(base64.b64encode(f"user:{VALUE}".encode())))
    assert encoded == f"user:{(PLACEHOLDER * 2)[: len(VALUE.encode())]}".encode()
    assert replaces.feed(b"data: one\n") == b"data: one\n"


@pytest.mark.parametrize("own", ["\n", "\r\n"])
@pytest.mark.parametrize("other", ["\n", "\r\n"])
def test_a_value_of_several_lines_is_found_with_either_line_end(own, other):
    lines = ["-----BEGIN KEY-----", "abcdefgh", "-----END KEY-----", ""]
    replaces = Redactor(forms_of([(own.join(lines), PLACEHOLDER)]))
    for escape in (str, quote, lambda text: json.dumps(text)[1:-1]):
        assert replaces.whole(escape(other.join(lines)).encode()) == escape(PLACEHOLDER + other).encode()


def test_the_longest_value_at_a_place_is_replaced():
    assert redactor(**{VALUE + "-longer": "LONGER"}).whole(f"{VALUE}-longer {VALUE}".encode()) == (
        f"LONGER {PLACEHOLDER}".encode()
    )


def test_whole_lines_are_not_held_back():
    """The events of a stream are not late."""
    replaces = redactor()
    assert replaces.feed(b"data: one\n\n") == b"data: one\n\n"
    assert replaces.feed(b"data: sk-p@") == b""
    assert replaces.feed(b"rty\n\nid: ") == b"data: sk-p@rty\n\n"
    assert replaces.feed(f"{VALUE}\n".encode()) == f"id: {PLACEHOLDER}\n".encode()
    assert replaces.feed(b"s") == b""
    assert replaces.end() == b"s"
    assert replaces.end() == b""


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_each_end_of_a_line_ends_what_is_held_back(end):
    """An event stream may have any of them."""
    replaces = redactor()
    assert replaces.feed(f"data: {VALUE}{end}{end}".encode()) == f"data: {PLACEHOLDER}{end}{end}".encode()


def test_a_value_of_several_lines_is_found_in_a_stream():
    """The line breaks of an answer then end no part."""
    value = "-----BEGIN KEY-----\nabcdefgh\n\n-----END KEY-----"
    for cut in range(len(value)):
        replaces = Redactor(forms_of([(value, PLACEHOLDER)]))
        parts = (f"<{value[:cut]}", f"{value[cut:]}>\n")
        assert "".join(replaces.feed(part.encode()).decode() for part in parts) + replaces.end().decode() == (
            f"<{PLACEHOLDER}>\n"
        )


@pytest.mark.parametrize("size", [7, 1000])
@pytest.mark.parametrize("text", ["", "x" * 150, "x" * 150 + "\n"])
def test_the_lengths_of_the_parts_do_not_depend_on_a_resemblance_to_a_value(text, size):
    """A worker that chooses the text of an answer would confirm each guess of the beginning of a value."""

    forms = forms_of([(VALUE, PLACEHOLDER)])

    @cache
    def lengths(guess: bytes) -> list[int]:
        replaces, content = Redactor(forms), text.encode() + guess
        parts = [replaces.feed(content[at : at + size]) for at in range(0, len(content), size)]
        return [*map(len, parts), len(replaces.end())]

    for form in forms:
        for length in (1, len(form) // 2, len(form) - 1):
            assert lengths(form[:length]) == lengths(b"~" * length), form[:length]


def test_the_lengths_of_the_parts_do_not_tell_the_length_of_a_value():
    def held(value: str) -> int:
        replaces = Redactor(forms_of([(value, PLACEHOLDER)]))
        return 1000 - len(replaces.feed(b"~" * 1000))

    assert {held("k" * length) for length in range(8, 48)} == {63}


@pytest.mark.parametrize("cut", range(1, 12))
def test_overlapping_values_leave_no_rest(cut):
    """A host may repeat two values of which one ends as the other begins."""
    values = {"abcdefgh": "ONE", "efghijkl": "TWO"}
    replaces = Redactor(forms_of(values.items()))
    assert replaces.whole(b"<abcdefghijkl>") == b"<ONE>"
    parts = b"<abcdefghijkl>"[:cut], b"<abcdefghijkl>"[cut:]
    long = b"~" * 63
    assert b"".join((*map(replaces.feed, (*parts, long)), replaces.end())) == b"<ONE>" + long


def test_a_value_that_is_the_beginning_of_another_waits_for_the_next_part():
    values = {"abcdefgh": "SHORT", "abcdefghij": "LONG", "xyabcdefgh": "BEFORE"}
    for parts, expected in [
        ([b"abcdefgh", b"ij"], b"LONG"),
        ([b"abcdefgh", b"ik"], b"SHORTik"),
        ([b"abcdefghi"], b"SHORTi"),
        ([b"xyabcdefgh", b"ij"], b"BEFORE"),
        ([b"abcdefghabcdefghi", b"j"], b"SHORTLONG"),
    ]:
        replaces = Redactor(forms_of(values.items()))
        assert b"".join((*map(replaces.feed, parts), replaces.end())) == expected


_TEXTS = st.text("ab", min_size=3, max_size=6)


def without(forms, content):
    """Content without any byte of a form. The replacement of the first one stands for those that overlap."""
    spans = [(at, at + len(form)) for form in forms for at in range(len(content)) if content.startswith(form, at)]
    kept = [not any(start <= at < end for start, end in spans) for at in range(len(content))]
    begins = {start for start, _ in spans if not any(first < start < end for first, end in spans)}
    replaced = {at: max((form for form in forms if content.startswith(form, at)), key=len) for at in begins}
    texts = {at: forms[form].text for at, form in replaced.items()}
    return b"".join(texts.get(at, b"") + content[at : at + kept[at]] for at in range(len(content)))


@given(st.lists(_TEXTS, min_size=1, max_size=4, unique=True), st.text("abc", max_size=60), st.data())
def test_the_parts_of_a_stream_are_redacted_like_the_whole(values, text, data):
    """However an answer is split, and however its values overlap."""
    forms = {value.encode(): Replacement(f"<{number}>".encode()) for number, value in enumerate(values)}
    content = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    replaces = Redactor(forms)
    parts = [replaces.feed(content[start:end]) for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    redacted = b"".join((*parts, replaces.end()))
    assert redacted == Redactor(forms).whole(content) == without(forms, content)
    assert not any(form in part for form in forms for part in redacted.replace(b">", b"<").split(b"<"))


@given(
    st.text(min_size=8, max_size=20).filter(lambda text: len(text.strip()) >= 8),
    st.binary(max_size=10),
    st.binary(max_size=10),
    st.data(),
)
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
    replaces = Redactor({b"abcdefgh": Replacement(b"X")})
    parts = (b"-" + b"abcdefgh"[:cut], b"abcdefgh"[cut:] + b"-")
    assert [*map(replaces.feed, parts), replaces.end()] == [b"", b"", b"-X-"]


def test_without_values_nothing_changes():
    replaces = Redactor({})
    assert replaces.feed(b"abc") + replaces.end() == b"abc"


def test_the_repr_shows_no_value():
    assert VALUE not in repr(redactor())
