"""The store `google-token`: access tokens of the identity that Google's SDK finds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from strongroom.store import Health, Option, Traits, checked_by
from strongroom.store.calls import Caller
from strongroom.store.issuer import Issued, IssuingStore, read_texts
from strongroom_google.errors import fault_of


def check_google_token(*, paths: Mapping[str, Any]) -> None:
    """Check the options of `open_google_token` without the SDK."""
    read_texts(paths, "scopes, with spaces between them")


@checked_by(check_google_token)
def open_google_token(
    *,
    paths: Annotated[dict[str, Any], Option("path -> the scopes of the token, with spaces between them", locates=True)],
) -> GoogleTokens:
    """Access tokens for the APIs of Google.

    Google's SDK finds the identity: Application Default Credentials.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: google-auth is not installed. Strongroom names the extra that brings it.
    """
    rows = read_texts(paths, "scopes, with spaces between them")
    from strongroom_google import credentials  # noqa: F401  # fail now if the SDK is not installed

    return GoogleTokens(rows)


class GoogleTokens(IssuingStore[str]):
    """Secrets with the key `token`. A row is the scopes."""

    traits = Traits(lasting=True)

    def __init__(self, rows: Mapping[str, str]) -> None:
        super().__init__(rows)
        self._caller = Caller("Google", lambda: None, fault_of, loggers=("google", "urllib3"))

    def issue(self, path: str, row: str) -> Issued:
        def fetch(_: None) -> Any:
            from strongroom_google.credentials import find_credentials

            found, request = find_credentials(row.split())
            found.refresh(request)
            return found

        found = self._caller.call(path, fetch)
        left = 0.0 if found.expiry is None else (found.expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
        return Issued({"token": found.token}, left)  # google-auth gives the end in UTC, without a time zone

    def probe(self) -> Health:
        """Return whether there are credentials. No token is issued."""
        from strongroom_google.credentials import find_credentials

        self._caller.call(None, lambda _: find_credentials([]))
        return Health(ok=True, detail="open: Google credentials were found")
