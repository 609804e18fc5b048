"""Frameworks of web applications. An outage of a store is answered with 503 in each of them."""

from __future__ import annotations

RETRY_AFTER = 1
"""Seconds after which a client may repeat a request that an outage of a store failed."""

OUTAGE = {"detail": "try again"}
"""Body of the answer. It names no store and no path."""
