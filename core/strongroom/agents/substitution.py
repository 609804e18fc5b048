"""Replacement of placeholders by values in a request. Pure.

A placeholder has only characters that no writer escapes, so it stands in a request as it is; in the credentials of
Basic authentication it is decoded. A value is encoded for the place into which it goes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from strongroom._config import RuleConfig
from strongroom.agents.rules import Refusal, RequestHead

Values = Mapping[str, tuple[RuleConfig, str]]
"""The rule and the value of each placeholder in a request."""

_BASIC = re.compile(r"(basic +)([A-Za-z0-9+/=_-]+) *", re.IGNORECASE)


def placeholders_in(head: RequestHead, known: Mapping[str, RuleConfig]) -> dict[str, RuleConfig]:
    """Return the known placeholders in a head, and their rules.

    Raises:
        Refusal: one stands where its rule does not allow it.
    """
    found: dict[str, RuleConfig] = {}
    for placeholder, rule in known.items():
        places = [("query", head.query)] if placeholder in head.query else []
        places += [
            (f"header:{name.lower()}", value) for name, value in head.headers if placeholder in (_basic(value) or value)
        ]
        if placeholder in head.path:
            places.append(("path", head.path))
        for place, _ in places:
            if place not in rule.where and place.partition(":")[0] not in rule.where:
                shown = (
                    place.replace("header:", "the header ").replace("query", "the query").replace("path", "the path")
                )
                raise Refusal(403, f"The rule {rule.name} does not allow its placeholder in {shown}")
            found[placeholder] = rule
    return found


def replace_head(head: RequestHead, values: Values) -> RequestHead:
    """Return the head with values in the place of placeholders.

    Raises:
        Refusal: a value cannot stand in a header.
    """
    if not values:
        return head
    query = _replaced(head.query, values, lambda value: quote(value, safe=""))
    headers: list[tuple[str, str]] = []
    for name, content in head.headers:
        if (plain := _basic(content)) is None:
            headers.append((name, _replaced(content, values, lambda value: value, check=_check_header)))
            continue
        replaced = _replaced(plain, values, lambda value: value)
        scheme = content[: len(content) - len(content.partition(" ")[2])]
        encoded = base64.b64encode(replaced.encode("utf-8")).decode("ascii")
        headers.append((name, content if replaced == plain else f"{scheme}{encoded}"))
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


def _replaced(
    text: str, values: Values, encode: Callable[[str], str], check: Callable[[RuleConfig, str], None] | None = None
) -> str:
    for placeholder, (rule, value) in values.items():
        if placeholder in text:
            if check is not None:
                check(rule, value)
            text = text.replace(placeholder, encode(value))
    return text


def _check_header(rule: RuleConfig, value: str) -> None:
    if not value.isprintable() or not value.isascii():
        raise Refusal(502, f"The secret {rule.path}#{rule.key} has characters that a header cannot hold")
