"""Placeholders: random text that a worker holds in the place of a value, and that only a session can replace."""

from __future__ import annotations

import re
import secrets

_RANDOM_LENGTH = 22
"""Characters of 128 random bits, six bits each."""

_PREFIX = re.compile(
    r"sk-(?:ant-(?:api|admin)\d\d-|proj-|svcacct-|or-v1-|lf-)?|[sprw]k_(?:live|test)_|gh[pousr]_|github_pat_|gl[a-z]{1,6}-|"
    r"xox[a-z]-|xapp-|npm_|pypi-|hf_|dop_v1_|shpat_|AIza|AKIA|ASIA|key-|re_|tvly-|gsk_|pplx-|r8_|lin_api_|ntn_|secret_"
)
"""Public prefixes by which clients recognize a kind of key. No prefix is taken from a value by a guess: a part of the
value would be in the placeholder."""


def make_placeholder(value: str) -> str:
    """Return a placeholder with the value's public prefix, and with its length if 128 random bits fit into it.

    It has only characters of `[A-Za-z0-9_-]`, which no writer of headers, URLs, JSON or HTML escapes.
    """
    found = _PREFIX.match(value)
    prefix = found[0] if found else ""
    length = max(len(value) - len(prefix), _RANDOM_LENGTH)
    return prefix + secrets.token_urlsafe(length)[:length]
