"""RDS's check of a token: the signature of its URL, and its time."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit


def token_ends(token: str, life: int = 900) -> float:
    """Return the end of a token on a server that accepts one for `life` seconds, as Unix time."""
    words = dict(parse_qsl(urlsplit(f"https://{token}").query))
    began = datetime.strptime(words["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return began.timestamp() + min(life, int(words["X-Amz-Expires"]))


def is_valid(token: str, secret_key: str, *, host: str, user: str, life: int = 900) -> bool:
    """Return True if this user may log in with the token to this host now, which accepts one for `life` seconds.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
    """
    parts = urlsplit(f"https://{token}")
    words = dict(parse_qsl(parts.query))
    signature = words.pop("X-Amz-Signature", "")
    if (parts.netloc, words.get("Action"), words.get("DBUser")) != (host, "connect", user):
        return False
    query = "&".join(f"{quote(key, safe='')}={quote(words[key], safe='')}" for key in sorted(words))
    request = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    scope = words["X-Amz-Credential"].split("/", 1)[1]
    text = f"AWS4-HMAC-SHA256\n{words['X-Amz-Date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    expected = hmac.digest(key, text.encode(), "sha256").hex()
    return hmac.compare_digest(signature, expected) and time.time() < token_ends(token, life)
