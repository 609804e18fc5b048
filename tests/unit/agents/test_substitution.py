"""Placeholders in the head and the body of a request."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import DEFAULT_PLACES, RuleConfig
from strongroom.agents._rules.placeholders import make_placeholder
from strongroom.agents._rules.request import Refusal, RequestHead
from strongroom.agents._rules.substitution import (
    body_format,
    may_be_form,
    placeholders_in,
    replace_head,
    replace_in,
    stands_in,
)

VALUE = 'va"l/ue&1+2='
HELD = "sk-" + "0aA_-" * 8  # a placeholder; not a random one, since the names of tests have it


def rule(*where: str, sign: str = "") -> RuleConfig:
    places = where or DEFAULT_PLACES
    return RuleConfig("api", "api", "key", "API_KEY", ("api.example.com",), where=places, sign=sign)


def head(*headers: tuple[str, str], path: str = "/", query: str = "") -> RequestHead:
    return RequestHead("POST", "https", "api.example.com", 443, path, query, headers)


def replaced(asked: RequestHead, value: str = VALUE, *where: str) -> RequestHead:
    found = placeholders_in(asked, {HELD: rule(*where)})
    return replace_head(asked, {placeholder: (of, value) for placeholder, of in found.items()})


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# --- the head ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (f"Bearer {HELD}", f"Bearer {VALUE}"),
        (HELD, VALUE),
        (f"token={HELD}; other={HELD}", f"token={VALUE}; other={VALUE}"),
        (f"Basic {HELD}", f"Basic {VALUE}"),
        (basic("user", HELD), basic("user", VALUE)),
        (basic(HELD, ""), basic(VALUE, "")),
        (basic("user", HELD).replace("Basic", "basic  "), basic("user", VALUE).replace("Basic", "basic")),
        ("Bearer other", "Bearer other"),
        ("Basic !!", "Basic !!"),
        ("Basic /w==", "Basic /w=="),
    ],
)
def test_a_value_goes_into_a_header(sent, received):
    asked = head(("Accept", "*/*"), ("Authorization", sent), ("accept", "x"))
    assert replaced(asked).headers == (("Accept", "*/*"), ("Authorization", received), ("accept", "x"))


def test_a_value_in_basic_authentication_may_have_each_character():
    asked = head(("Authorization", basic("user", HELD)))
    assert replaced(asked, "žluť\r\n").headers == (("Authorization", basic("user", "žluť\r\n")),)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "a\0", "žluť", "a\x7f"])
def test_a_value_that_a_header_cannot_hold_is_refused(value):
    with pytest.raises(Refusal, match=r"The secret api#key has characters that a header cannot hold") as refused:
        replaced(head(("Authorization", HELD)), value)
    assert refused.value.status == 502
    assert ("a line break at its end" in refused.value.reason) == (value == "a\n")


def test_a_value_in_the_query_is_escaped():
    sent = replaced(head(query=f"a=1&key={HELD}&b={HELD}"), VALUE, "query").query
    assert parse_qs(sent) == {"a": ["1"], "key": [VALUE], "b": [VALUE]}


@pytest.mark.parametrize(
    ("where", "asked", "reason"),
    [
        (
            "header:authorization",
            head(path=f"/{HELD}"),
            "allowed in the header authorization, not in the path",
        ),
        ("header:authorization", head(("X-Api-Key", HELD)), "not in the header x-api-key"),
        ("header:authorization", head(query=f"key={HELD}"), "not in the parameter key"),
        ("header:authorization", head(("Sec-WebSocket-Key", HELD)), "not in the header sec-websocket-key"),
        ("header:authorization", head(("Cookie", HELD)), "not in the header cookie"),
        ("header:authorization", head(("X_Api_Key", HELD)), "not in the header x_api_key"),
        ("query:key", head(query=f"other={HELD}"), "allowed in the parameter key, not in the parameter other"),
        ("query:key", head(query=f"key={HELD}&{HELD}"), "not in the query"),
        ("query:key", head(query=f"key={HELD}&{HELD}=key"), "not in the query"),
        ("query:key", head(query=f"key=x;other={HELD}"), "not in the query"),
        ("query:key", head(query=f"key={HELD};other=x"), "not in the query"),
        ("query:key", head(query=f"k%0d%0a={HELD}"), "not in the parameter k%0D%0A"),
        ("query", head(("Authorization", HELD)), "allowed in the query, not in the header authorization"),
        ("header:x-key", head(("Authorization", HELD)), "allowed in the header x-key, not in the header authorization"),
        ("header:x-key", head(("Authorization", basic("u", HELD))), "not in the header authorization"),
        ("header:x-key", head(("X-Key", HELD), ("Referer", HELD)), "not in the header referer"),
        ("body:key", head(("X-Key", HELD)), "allowed in the field key, not in the header x-key"),
        ("header:authorization", head((HELD, "x")), "not in the name of a header"),
    ],
)
def test_a_placeholder_elsewhere_is_refused(where, asked, reason):
    with pytest.raises(Refusal, match=f"The placeholder of the rule api is .*{reason}") as refused:
        replaced(asked, VALUE, where)
    assert (refused.value.status, refused.value.rule) == (403, "api")
    assert HELD not in refused.value.reason


@pytest.mark.parametrize(
    ("where", "asked"),
    [
        ("header:authorization", head(("AUTHORIZATION", HELD))),
        ("header:cookie", head(("Cookie", f"a=b; c={HELD}"))),
        ("query:key", head(query=f"a=b;c&key={HELD}&key=x{HELD}")),
        ("query:api[key]", head(query=f"api%5Bkey%5D={HELD}")),
        ("query", head(query=f"a;b={HELD}&{HELD}")),
    ],
)
def test_a_value_goes_into_each_place_that_the_rule_names(where, asked):
    sent = replaced(asked, "value", where)
    assert HELD not in str((sent.headers, sent.query))
    assert str((sent.headers, sent.query)).count("value") == str((asked.headers, asked.query)).count(HELD)


@pytest.mark.parametrize("where", ["header:authorization", "header:x-key", "query"])
def test_a_rule_may_have_several_places(where):
    asked = head(("X-Key", HELD), query=f"key={HELD}")
    if where == "query":
        assert replaced(asked, VALUE, where, "header:x-key") == replaced(asked, VALUE, "query:key", "header:x-key")
    else:
        with pytest.raises(Refusal):
            replaced(asked, VALUE, where)


# --- the body ---------------------------------------------------------------------------------------------------------


def in_body(body: bytes, format_: str, *fields: str) -> bytes:
    if stands_in(body, format_, HELD, rule(*(f"body:{field}" for field in fields or ("key",)))):
        return replace_in(body, format_, HELD, VALUE)
    return body


@pytest.mark.parametrize(
    ("headers", "format_"),
    [
        ((("Content-Type", "application/json"),), "json"),
        ((("Content-Type", "Application/JSON; charset=utf-8"),), "json"),
        ((("Content-Type", "application/vnd.api+json"),), "json"),
        ((("Content-Type", "application/x-www-form-urlencoded"),), "form"),
        ((("Content-Type", "multipart/form-data; boundary=x"),), ""),
        ((("Content-Type", "text/plain"),), ""),
        ((("Content-Type", "application/json"), ("Content-Encoding", "gzip")), ""),
        ((("Content-Type", "application/json"), ("Content-Encoding", "identity")), "json"),
        ((), "form"),
    ],
)
def test_json_and_forms_are_looked_into(headers, format_):
    assert body_format(head(*headers)) == format_
    assert may_be_form(head(*headers)) == (format_ == "form")


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "headers",
    [
        (("Content-Type", f"{FORM}, application/json"),),
        (("Content-Type", f"{FORM} application/json"),),
        (("Content-Type", "application/json"), ("Content-Type", FORM)),
        (("Content-Type", FORM), ("Content-Type", "text/plain")),
        (("Content-Type", FORM), ("Content-Encoding", "x")),
    ],
)
def test_a_form_that_may_be_something_else_gets_no_value(headers):
    """Its fields may change the method, but as JSON, `{"x": "&key=PLACEHOLDER&"}` has another field."""
    assert may_be_form(head(*headers))
    assert body_format(head(*headers)) == ""


def test_a_form_may_have_parameters():
    assert body_format(head(("Content-Type", f"{FORM}; charset=utf-8"))) == "form"


def test_a_value_goes_into_a_field_of_json_and_no_other_byte_changes():
    body = f'{{ "a":1.50, "key" : "{HELD}"\n, "a": [ 1e2 ] }}'.encode()
    sent = in_body(body, "json")
    assert sent == body.replace(HELD.encode(), json.dumps(VALUE)[1:-1].encode())
    assert json.loads(sent)["key"] == VALUE


def test_a_value_goes_into_a_field_of_a_form():
    sent = in_body(f"grant=x&key={HELD}&b=%20".encode(), "form")
    assert parse_qs(sent.decode()) == {"grant": ["x"], "key": [VALUE], "b": [" "]}


@pytest.mark.parametrize("format_", ["json", "form"])
def test_a_body_without_the_placeholder_is_not_parsed(format_):
    for body in (b"", b"{", b"\xff", HELD[:-1].encode()):
        assert in_body(body, format_) == body


ESCAPED = f"\\u{ord(HELD[0]):04x}{HELD[1:]}"


@pytest.mark.parametrize(
    ("format_", "body"),
    [
        ("json", f'{{"other": "{HELD}"}}'),
        ("json", f'{{"key": "{HELD}", "other": "{HELD}"}}'),
        ("json", f'{{"key": {{"key": "{HELD}"}}}}'),
        ("json", f'{{"key": ["{HELD}"]}}'),
        ("json", f'[{{"key": "{HELD}"}}]'),
        ("json", f'{{"{HELD}": 1}}'),
        ("json", f'{{"key": "{ESCAPED}", "other": "{HELD}"}}'),
        ("json", f'{{"key": "{HELD}", "other": "{ESCAPED}"}}'),
        ("json", f'{{"other": "{HELD}", "other": "x", "key": "x"}}'),
        ("json", f'{{"key": "{ESCAPED}", "a": {{"b": "{HELD}", "b": 1}}}}'),
        ("json", f'"{HELD}"'),
        ("json", f'{{"key": "{HELD} {ESCAPED}"}}'),
        ("form", f"other={HELD}"),
        ("form", f"key={HELD}&other={HELD}"),
        ("form", f"{HELD}=key"),
        ("form", f"key=x;other={HELD}"),
        ("form", f"key=%{ord(HELD[0]):02x}{HELD[1:]}&other={HELD};x"),
        ("form", f"key=%{ord(HELD[0]):02x}{HELD[1:]}&other={HELD}"),
    ],
)
def test_a_placeholder_in_another_field_is_refused(format_, body):
    """Also where an escape, a repeated name or a deeper level would make a count alone agree."""
    with pytest.raises(Refusal, match=r"allowed in the field key of the body alone") as refused:
        in_body(body.encode(), format_)
    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("format_", "body"),
    [
        ("json", f'{{"key": "{HELD}"'),
        ("json", f'{{"key": {HELD}}}'),
        ("json", "[" * 100_000 + f'"{HELD}"'),
        ("form", f"key={HELD}&ž=1"),
    ],
)
def test_a_placeholder_in_a_malformed_body_is_refused(format_, body):
    with pytest.raises(Refusal, match=f"it is not {format_}") as refused:
        in_body(body.encode(), format_)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        f'{{"comment":"&key={HELD}&"}}',
        f' \t\r\n["&key={HELD}&"]',
        f'\ufeff{{"comment":"&key={HELD}&"}}',
        f'"&key={HELD}&"',
        f'{{"comment":"&key={HELD}&"}} rest',
        f"<a><![CDATA[&key={HELD}&]]></a>",
    ],
)
def test_a_form_that_begins_like_another_format_gets_no_value(body):
    """A server that parses JSON without a look at the type takes the value for a part of another field."""
    with pytest.raises(Refusal, match=r"it begins like JSON or XML, and counts as a form\. Name its type") as refused:
        in_body(body.encode(), "form")
    assert (refused.value.status, refused.value.rule) == (400, "api")


def test_a_form_may_hold_json_in_its_fields():
    sent = in_body(f'data={{"a":1}}&key={HELD}'.encode(), "form")
    assert parse_qs(sent.decode()) == {"data": ['{"a":1}'], "key": [VALUE]}


def test_an_escape_that_only_seems_to_hold_a_placeholder_is_refused():
    """The n of a line break is not a character of the text."""
    held = "n" + HELD
    with pytest.raises(Refusal, match="alone"):
        stands_in(f'{{"key": "\\{held}"}}'.encode(), "json", held, rule("body:key"))


_JSON: Any = st.recursive(
    st.sampled_from([HELD, f"<{HELD}>", "x", 1, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "b", HELD]), inner, max_size=3),
    max_leaves=6,
)


@given(_JSON)
def test_a_document_is_changed_in_the_field_alone_or_refused(document):
    field = document.get("key") if isinstance(document, dict) else None
    held = field.count(HELD) if isinstance(field, str) else 0
    body = json.dumps(document).encode()
    if body.count(HELD.encode()) == held:
        expected = {**document, "key": field.replace(HELD, VALUE)} if held else document
        assert json.loads(in_body(body, "json")) == expected
    else:
        with pytest.raises(Refusal):
            in_body(body, "json")


def test_a_placeholder_is_not_changed_by_any_writer():
    for value in ("x", "sk-ant-api03-" + "x" * 90, "ghp_" + "x" * 36, "žluť" * 10):
        placeholder = make_placeholder(value)
        assert quote(placeholder, safe="") == placeholder
        assert json.dumps(placeholder) == f'"{placeholder}"'
        assert len(placeholder) >= max(22, len(value))
        assert placeholder != make_placeholder(value)
