"""The redaction of this process, which a test begins and ends without values."""

from __future__ import annotations

from strongroom import secret
from strongroom.logging import fingerprints


def forget_values() -> None:
    """Let the redaction of logs know no value, until it is used again."""
    fingerprints.cache_clear()
    secret._observers.clear()  # nothing public ends an observer
