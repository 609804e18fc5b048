"""One text or binary of AWS is keys, and back exactly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidDataError, StoreError
from strongroom.secret import check_data, same
from strongroom.store.one_value import VALUE, Form, fold, unfold
from strongroom_aws.parameter_store.base import unwrap, without_references, wrap

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LEAVES = (
    TEXT
    | st.binary(max_size=20)
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=10)


def storable(data):
    try:
        return check_data("p", data)
    except StoreError:
        return None


@given(st.dictionaries(KEYS | st.just(VALUE), VALUES, min_size=1, max_size=4), st.sampled_from([None, *Form]))
def test_keys_come_back_exactly_whatever_form_is_wished_for(data, form):
    """Types kept; a form that would read back as something else is not taken, nor an empty one, which AWS refuses."""
    if (data := storable(data)) is not None:
        content = fold(data, form)
        assert content
        assert same(unfold(content)[1], data)


@pytest.mark.parametrize("form", [None, *Form])
@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_value_is_written_as_json(empty, form):
    content = fold({VALUE: empty}, form)
    assert json.loads(content).keys() == {VALUE}
    assert same(unfold(content)[1], {VALUE: empty})


JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
).map(json.dumps)


@given(TEXT | JSON_TEXT)
def test_what_stood_in_aws_is_written_back_as_it_stood(text):
    """A text to the last character; an object as the same object."""
    form, read = unfold(text)
    again = fold(read, form)
    if form is Form.TEXT and text:
        assert again == text
    elif form is Form.KEYS:
        assert json.loads(again) == json.loads(text)


@given(st.binary(min_size=1, max_size=50))
def test_binary_is_written_back_as_binary(content):
    form, read = unfold(content)
    assert form is Form.BINARY
    assert fold(read, form) == content


@pytest.mark.parametrize(
    "text",
    [
        "hunter2", "5432", "true", "null", '"quoted"', "[1, 2]", "{}", "{not json", " ", "\ufeff{}",
        '{"a": 1, "a": 2}', '{"deep": {"a": 1, "a": 2}}', '{"": 1}', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}',
        '{"a": 0.1000000000000000055511151231257827}', '{"a": "\\ud800"}', '{"a\\u0000b": 1}',
        '{"a": ' + "[" * 40 + "]" * 40 + "}", '{"a": ' + "[" * 100_000, '{"a": ' + "1" * 5000 + "}",
        '{"a": {"strongroom:bytes": "AAF="}}',
    ],
)  # fmt: skip
def test_what_keys_could_not_give_back_is_one_text(text):
    """A scalar, a list, and every object of which keys would lose something."""
    form, read = unfold(text)
    assert (form, dict(read)) == (Form.TEXT, {VALUE: text})
    assert fold(read, form) == text


def test_what_aws_writes_for_a_database_is_keys():
    text = '{"username":"app","password":"p","engine":"postgres","host":"h","port":5432,"dbInstanceIdentifier":"d"}'
    form, read = unfold(text)
    assert form is Form.KEYS
    assert (read["username"], read["port"], type(read["port"])) == ("app", 5432, int)


def test_text_that_would_be_read_as_keys_is_not_written_as_text():
    """Nor is the empty text, which AWS refuses."""
    for text in ('{"a":"b"}', '{"value":"x"}', ""):
        written = fold({VALUE: text}, Form.TEXT)
        assert json.loads(written) == {VALUE: text}
        assert dict(unfold(written)[1]) == {VALUE: text}


@given(VALUES)
def test_a_parameter_of_one_key_comes_back_exactly(value):
    """And never holds what Parameter Store refuses: nothing, or a reference to another parameter."""
    if (data := storable({"k": value})) is not None:
        text = wrap(data["k"])
        assert same(unwrap(text), value)
        assert text
        assert "{{" not in text


@given(TEXT | st.sampled_from(["", "{{", '{"strongroom:value":1}', '{"strongroom:value":', "a\x00b", "{{{{ x }}}}"]))
def test_a_parameter_of_text_comes_back_exactly(text):
    assert unwrap(wrap(text)) == text


BRACES = st.lists(st.sampled_from(["{", "}", "{{", "\\", '"', "u007b", "ssm:x"]), max_size=12).map("".join)


@given(st.dictionaries(BRACES.filter(bool), BRACES | st.lists(BRACES) | st.dictionaries(BRACES, BRACES), min_size=1))
def test_a_parameter_of_a_secret_with_references_comes_back_exactly(data):
    """What Parameter Store would refuse is escaped as JSON escapes it, in keys and values: the same to every reader."""
    if (data := storable(data)) is not None:
        plain = fold(data, None)
        text = without_references(plain)
        assert "{{" not in text
        assert json.loads(text) == json.loads(plain)
        assert same(unfold(text)[1], data)


def test_text_is_a_parameter_as_it_is():
    """Other tools read the same parameter."""
    for text in ("hunter2", "-----BEGIN KEY-----\nabc\n", " led", "5432", '{"json": true}', "🔑", "}}"):
        assert wrap(text) == text


def test_keys_that_could_not_be_read_back_are_refused():
    """A reader takes JSON with more than 100,000 objects for text."""
    with pytest.raises(InvalidDataError, match="too many objects"):
        fold({"rows": [{}] * 100_001}, None)
