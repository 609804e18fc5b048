"""The answer of `helper key`: a bare token, or the document of a token as OAuth 2.0 has it. Pure.

Claude Code (`apiKeyHelper`) and Codex (`auth.command`) read the bare token, and Hermes the document.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from strongroom._cli.helper.text import as_json, as_utc, line_of

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution


def answer(found: Resolution) -> bytes:
    """Return the token, without a line end.

    Raises:
        InvalidDataError: it is not one line of text.
    """
    return line_of(found).encode()


def document(found: Resolution, now: datetime) -> bytes:
    """Return `access_token` and `token_type`, and of a token that ends `expires_in`, in seconds, and `expiry`.

    Raises:
        InvalidDataError: the token is not one line of text.
    """
    fields: dict[str, object] = {"access_token": line_of(found), "token_type": "Bearer"}
    if found.ends is not None:
        fields |= {"expires_in": max(0, int((found.ends - now).total_seconds())), "expiry": as_utc(found.ends)}
    return as_json(fields)
