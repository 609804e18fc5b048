"""Check of the validity of server certificates, from their bytes and a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from strongroom.errors import Check, CheckState

_NAME = "certificate"
_LATEST = timedelta(days=14)
_PART = 5
_HINT = "Renew it, and check its automatic renewal: clients cannot connect after it has expired"


def check_certificates(certificates: Mapping[str, bytes], now: datetime) -> Check:
    """Check the certificate that expires first.

    It is a warning two weeks before the end, or in the last fifth of its life if that is shorter: many certificates
    are issued for a day and renewed automatically.

    Args:
        certificates: address -> certificate in DER form; at least one.
        now: with a time zone.
    """
    from cryptography import x509

    lives: list[tuple[datetime, datetime, str]] = []
    for address, content in certificates.items():
        try:
            found = x509.load_der_x509_certificate(content)
        except ValueError:
            continue  # TLS has accepted it
        lives.append((found.not_valid_after_utc, found.not_valid_before_utc, address))
    if not lives:
        return Check(_NAME, CheckState.OK, "its expiry cannot be read")
    ends, begins, address = min(lives)
    origin = f" of {address}" if len(lives) > 1 else ""
    if ends <= now:
        return Check(_NAME, CheckState.WARNING, f"expired{origin} since {ends:%Y-%m-%d %H:%M} UTC", _HINT)
    left = ends - now
    reason = f"valid until {ends:%Y-%m-%d %H:%M} UTC{origin}, {_rough(left)} from now"
    if left < min(_LATEST, (ends - begins) / _PART):
        return Check(_NAME, CheckState.WARNING, reason, _HINT)
    return Check(_NAME, CheckState.OK, reason)


def _rough(left: timedelta) -> str:
    hours = left // timedelta(hours=1)
    return f"{hours // 24} d" if hours >= 48 else f"{hours} h"
