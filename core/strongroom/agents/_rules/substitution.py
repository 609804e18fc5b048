"""Replacement of placeholders by values in a request. Pure.

A placeholder has only characters that no writer escapes, so it stands in a request as it is; in the credentials of
Basic authentication it is decoded. A value is encoded for the place into which it goes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote_plus

from strongroom._config import RuleConfig
from strongroom.agents._rules.request import Refusal, RequestHead, form_pairs

SIGNED = "a signature of Version 4 in the header authorization"
"""The place of the placeholder of a rule that signs. A presigned address and SigV4a have it elsewhere."""

_FORM = "application/x-www-form-urlencoded"
_NO_FORM = re.compile(rb"""(\xef\xbb\xbf)?\s*[{\["<]""")
"""The beginning of JSON or XML, which some servers parse without a look at the type: they find other fields in it."""

_BASIC = re.compile(r"(basic +)([A-Za-z0-9+/=]+) *", re.IGNORECASE)
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 .*", re.IGNORECASE)


# --- the head ---------------------------------------------------------------------------------------------------------


def placeholders_in(head: RequestHead, known: Mapping[str, RuleConfig]) -> dict[str, RuleConfig]:
    """Return the known placeholders in a head, and their rules.

    Raises:
        Refusal: one stands where its rule does not allow it.
    """
    found: dict[str, RuleConfig] = {}
    texts = list(_texts(head))
    everything = "\n".join(text for _, text in texts)
    for placeholder, rule in known.items():
        if placeholder not in everything:  # as most are in most requests
            continue
        allowed = (SIGNED,) if rule.sign else rule.where
        for place in (place for place, text in texts if placeholder in text):
            if place not in allowed and not ("query" in allowed and place.startswith("query:")):
                places = f"{shown_places(allowed)}, not in {shown_places([place])}"
                raise Refusal(403, f"The placeholder of the rule {rule.name} is allowed in {places}", rule.name)
            found[placeholder] = rule
    return found


def _texts(head: RequestHead) -> Iterator[tuple[str, str]]:
    """Yield the texts of a head in which a placeholder may stand, each with its place."""
    for name, value in head.headers:
        yield "the name of a header", name
        signed = name.lower() == "authorization" and _SIGNED.fullmatch(value)
        yield SIGNED if signed else f"header:{name.lower()}", f"{value}\n{_basic(value) or ''}"
    for part in head.query.split("&"):
        name = part.partition("=")[0]
        yield "query", name
        # Some servers split at `;` too, so that the name is not certain.
        yield "query" if ";" in part else f"query:{unquote_plus(name)}", part
    yield "the path", head.path


def shown_places(places: Iterable[str]) -> str:
    """Return places of a placeholder in words."""
    kinds = {"header": "the header", "query": "the parameter", "body": "the field"}
    split = (place.partition(":") for place in places)
    return " or ".join(
        f"{kinds[kind]} {quote(name[:100], safe='[]')}" if name else kind.replace("query", "the query")
        for kind, _, name in split
    )


def replace_head(head: RequestHead, values: Mapping[str, tuple[RuleConfig, str]]) -> RequestHead:
    """Return the head with values in the place of placeholders, for each of which it gets the rule and the value.

    Raises:
        Refusal: a value cannot stand in a header.
    """
    query, headers = head.query, list(head.headers)
    for placeholder, (rule, value) in values.items():
        query = query.replace(placeholder, quote(value, safe=""))
        for at, (name, content) in enumerate(headers):
            if placeholder in content:
                if not value.isprintable() or not value.isascii():
                    reason = f"The secret {rule.path}#{rule.key} has characters that a header cannot hold"
                    hint = ", such as a line break at its end" if value != value.rstrip() else ""
                    raise Refusal(502, f"{reason}{hint}", rule.name)
                headers[at] = name, content.replace(placeholder, value)
            elif placeholder in (plain := _basic(content) or ""):
                encoded = base64.b64encode(plain.replace(placeholder, value).encode("utf-8")).decode("ascii")
                headers[at] = name, f"{content.partition(' ')[0]} {encoded}"
    return head._replace(query=query, headers=tuple(headers))


def _basic(content: str) -> str | None:
    """Return the decoded credentials of Basic authentication, or None for any other header."""
    found = _BASIC.fullmatch(content)
    if found is None:
        return None
    try:
        return base64.b64decode(found[2], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        return None


# --- the body ---------------------------------------------------------------------------------------------------------


def may_be_form(head: RequestHead) -> bool:
    """Return True for a body that a server may take for a form.

    Rack takes a POST without a type for one. It and PHP split the type at a comma too, and PHP at a blank. Of two
    headers, some servers take the first and some the last. They ignore the header Content-Encoding of a request.
    """
    kinds = _kinds(head)
    return _FORM in kinds or (head.method == "POST" and not kinds[0])


def body_format(head: RequestHead) -> str:
    """Return `json` or `form` for a body whose fields can be replaced; otherwise the empty string.

    Nothing is replaced in a compressed body, nor in a form that some servers take for another format.
    """
    kind, *others = _kinds(head)
    if head.header("content-encoding") not in {"", "identity"}:
        return ""
    if may_be_form(head):
        return "form" if kind in {_FORM, ""} and not any("/" in other for other in others) else ""
    return "json" if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")) else ""


def _kinds(head: RequestHead) -> list[str]:
    """Return the type of a body, which may be empty, and its parameters and other types."""
    return re.split("[;, \t]", head.header("content-type").lower().strip())


def body_fields(rule: RuleConfig) -> frozenset[str]:
    """Return the fields of a body in which the rule allows its placeholder."""
    return frozenset(place.removeprefix("body:") for place in rule.where if place.startswith("body:"))


def stands_in(body: bytes, format_: str, placeholder: str, rule: RuleConfig) -> bool:
    """Return True if a placeholder stands in a body, in the rule's fields alone.

    The body is parsed only to locate it.

    Raises:
        Refusal: it stands elsewhere too, or the body is malformed, or a form begins like another format.
    """
    count = body.count(placeholder.encode("ascii"))
    if not count:
        return False
    if format_ == "form" and _NO_FORM.match(body):
        reason = "No placeholder is replaced in this body: it begins like JSON or XML, and counts as a form"
        raise Refusal(400, f"{reason}. Name its type", rule.name)
    fields = body_fields(rule)
    try:
        pairs, everything = (_json if format_ == "json" else _form)(body)
    except (ValueError, RecursionError):
        raise Refusal(400, f"No placeholder is replaced in this body: it is not {format_}", rule.name) from None
    allowed = sum(text.count(placeholder) for name, text in pairs if name in fields)
    if not count == allowed == everything.count(placeholder):  # an escape could hide one of them
        places = shown_places(f"body:{field}" for field in sorted(fields))
        raise Refusal(
            403, f"The placeholder of the rule {rule.name} is allowed in {places} of the body alone", rule.name
        )
    return True


def replace_in(body: bytes, format_: str, placeholder: str, value: str) -> bytes:
    """Return the body with the value in the place of a placeholder. The bytes around it stay as they are."""
    text = json.dumps(value)[1:-1] if format_ == "json" else quote_plus(value)
    return body.replace(placeholder.encode("ascii"), text.encode("ascii"))


def _json(body: bytes) -> tuple[list[tuple[str, str]], str]:
    """Return the texts of the top level, and the names and texts of all levels in one text."""
    document = json.loads(body.decode("utf-8"), object_pairs_hook=_Pairs)
    pairs = document if isinstance(document, _Pairs) else []
    return [(name, text) for name, text in pairs if isinstance(text, str)], json.dumps(document)


class _Pairs(list[tuple[str, object]]):
    """An object of JSON, with repeated names."""


def _form(body: bytes) -> tuple[list[tuple[str, str]], str]:
    """Return the fields, without those that some servers split at a `;`, and the whole form as decoded text."""
    text = body.decode("ascii")
    return form_pairs("&".join(part for part in text.split("&") if ";" not in part)), unquote_plus(text)
