"""Strict JSON: a number is read exactly or refused, in every format, and never shown."""

import base64
import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config.document import parse_toml
from strongroom._files.plugin import open_csv, open_json, open_kubernetes, open_yaml
from strongroom.encoding import convert
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.formats.strict_json import exact_float, read_json
from strongroom.store.one_value import Form, unfold
from strongroom_aws.parameter_store.base import unwrap
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document
from strongroom_vault.store.payload import restored

ROUNDED = "12345678901234567890.5"
INEXACT = [ROUNDED, "0.1000000000000000055511151231257827", "1e400", "-1e400", "1e-400", "9007199254740993.0"]
EXACT = ["0.1", "-0.0", "1e21", "1E+2", "1.50", "5e-324", "0e999999", "1.7976931348623157e308"]

LITERALS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?\Z")


def parsed_exactly(text):
    """The document with each number as a decimal."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@given(st.lists(LITERALS, max_size=4), LITERALS)
def test_every_accepted_document_reads_back_to_the_same_decimals(items, number):
    """A document is refused, or both what was read and what is written from it denote the same numbers."""
    text = f'{{"list": [{", ".join(items)}], "below": {{"number": {number}}}}}'
    with suppress(InvalidDataError):
        assert parsed_exactly(json.dumps(read_json(text))) == parsed_exactly(text)


@given(LITERALS)
def test_a_float_is_refused_exactly_if_its_shortest_form_is_another_number(digits):
    try:
        same = Decimal(repr(float(digits))) == Decimal(digits)
    except ArithmeticError:
        same = False
    if same:
        assert Decimal(repr(exact_float(digits))) == Decimal(digits)
    else:
        with pytest.raises(ValueError, match="rounded"):
            exact_float(digits)


MANIFEST = """
apiVersion: v1
kind: Secret
metadata:
  name: a
  annotations: {{strongroom/path: a/b, strongroom/types: '{{"price": "json"}}'}}
data: {{price: {}}}
"""
FORMATS = {
    "json": (open_json, '{{"a/b": {{"k": 1, "price": {}}}}}'),
    "nested": (open_json, '{{"a/b": {{"k": {{"price": [1, [{}]]}}}}}}'),
    "yaml": (open_yaml, "a/b: {{k: 1, price: {}}}"),
    "yaml list": (open_yaml, "a/b: {{k: {{price: [1, [{}]]}}}}"),
    "csv": (open_csv, "path,key,value,type\na/b,price,{},json\n"),
    "kubernetes": (open_kubernetes, MANIFEST),
}


@pytest.mark.parametrize("number", INEXACT)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_with_a_number_that_would_be_rounded_is_refused(tmp_path, kind, number):
    opener, text = FORMATS[kind]
    if "yaml" in kind and "." not in number:
        number = number.replace("e", ".0e+").replace("+-", "-")
    content = base64.b64encode(number.encode()).decode() if kind == "kubernetes" else number
    file = tmp_path / "secrets"
    file.write_text(text.format(content))
    with pytest.raises(InvalidDataError, match="key 'price': a number would be rounded") as caught:
        opener(file=file).read("a/b")
    assert number not in str(caught.value)


@pytest.mark.parametrize("text", ["[1.1, {}]", "{}"])
def test_a_number_without_a_key_is_refused(text):
    with pytest.raises(InvalidDataError, match="a number would be rounded"):
        read_json(text.format(ROUNDED))


@pytest.mark.parametrize("number", EXACT)
def test_an_exact_number_is_read(tmp_path, number):
    file = tmp_path / "secrets.json"
    file.write_text(f'{{"a": {{"k": {number}}}}}')
    assert repr(open_json(file=file).read("a").data["k"]) == repr(float(number))


@pytest.mark.parametrize(
    ("text", "wanted"), [(ROUNDED, float), (f'{{"k": {ROUNDED}}}', dict), (f"[{ROUNDED}]", list), ("1e400", float)]
)
def test_text_is_not_converted_to_a_rounded_number(text, wanted):
    with pytest.raises(InvalidDataError, match=f"key 'k' does not hold {wanted.__name__}") as caught:
        convert(text, wanted, "a", "k")
    assert ROUNDED not in str(caught.value)


def test_exact_text_is_converted():
    assert convert("0.1", float, "a", "k") == 0.1
    assert convert('{"k": 1.5}', dict, "a", "k") == {"k": 1.5}


def test_a_reply_of_vault_with_a_number_that_would_be_rounded_is_refused():
    """KV version 1 keeps the digits that another client wrote."""
    reply = Reply(200, {}, f'{{"data": {{"price": [{ROUNDED}]}}}}'.encode())
    with pytest.raises(InvalidDataError, match="key 'price': a number would be rounded"):
        restored(document(reply)["data"])


def test_a_secret_of_aws_with_a_number_that_would_be_rounded_stays_text():
    text = f'{{"price": {ROUNDED}}}'
    assert unfold(text)[0] is Form.TEXT
    assert unwrap(f'{{"strongroom:value":{ROUNDED}}}') == f'{{"strongroom:value":{ROUNDED}}}'


def test_a_number_in_toml_that_would_be_rounded_is_refused():
    with pytest.raises(ConfigurationError, match=r"x\.toml, key 'price': a number would be rounded") as caught:
        parse_toml(f"[stores.m.secrets.a]\nprice = [1.5, {ROUNDED}]\n", "x.toml")
    assert ROUNDED not in str(caught.value)
    assert parse_toml("a = 1_000.5\nb = inf\nc = 1e21\n", "x.toml") == {"a": 1000.5, "b": float("inf"), "c": 1e21}


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_json, f'["canary-7f3a", {ROUNDED}]'),
        (lambda text: parse_toml(text, "x.toml"), f'a = ["canary-7f3a", 0.7310, {ROUNDED}]'),
        (exact_float, ROUNDED),
    ],
)
def test_no_frame_of_the_error_holds_a_value(read, text):
    """A traceback that prints local variables shows none."""
    with pytest.raises((InvalidDataError, ConfigurationError, ValueError)) as caught:
        read(text)
    frames = [
        entry.frame for entry in caught.traceback if "strongroom" in str(entry.path) and "tests" not in str(entry.path)
    ]
    shown = " ".join(repr(value) for frame in frames for value in frame.f_locals.values())
    assert frames
    assert not [part for part in ("canary-7f3a", "0.731", "1234567890") if part in shown]
