"""Values that are composed of other secrets: `compose` of `[secrets]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote

from strongroom._chain.extraction import extracted
from strongroom._chain.resolution import Resolution
from strongroom._config import Composition
from strongroom.encoding import as_text
from strongroom.errors import Answer, Attempt
from strongroom.secret import SensitiveStr

Read: TypeAlias = Callable[[str, str], Resolution]
"""Path and key -> the resolution."""

COMPOSED_STORE = "composed"
"""The store that a `Resolution` names if the value was composed of other secrets."""


def compose(path: str, key: str, composition: Composition, read: Read) -> Resolution:
    """Return the value that is composed of other secrets, as old and as stale as the oldest of them.

    Raises:
        SecretNotFoundError, StoreError: a part could not be read. The error names the part.
        InvalidDataError: a part has no text.
    """
    parts: list[Resolution] = []
    text: list[str] = []
    for literal, row in composition.parts:
        text.append(literal)
        if row is not None:
            found = read(row.path, row.key)
            parts.append(found if row.extract is None else extracted(found, row.extract, row.variable))
            part = as_text(parts[-1].value, row.path, row.key)
            text.append(quote(part, safe="") if composition.is_url else part.reveal())
    names = ", ".join(dict.fromkeys(f"{part.path}#{part.key}" for part in parts))
    return Resolution(
        path=path,
        key=key,
        value=SensitiveStr("".join(text)),
        store=COMPOSED_STORE,
        version=None,
        age=max(part.age for part in parts),
        cached=all(part.cached for part in parts),
        stale=any(part.stale for part in parts),
        attempts=(Attempt(COMPOSED_STORE, Answer.FOUND, f"composed of {names}"),),
        ttl=min((part.ttl for part in parts if part.ttl is not None), default=None),
    )
