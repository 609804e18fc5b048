"""What both versions of the key-value engine have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from strongroom.errors import SecretNotFoundError
from strongroom.store import Health
from strongroom_vault.answers import document, is_absent, malformed, member
from strongroom_vault.contents import checked_name
from strongroom_vault.exchange import Reply
from strongroom_vault.health import health
from strongroom_vault.sender import Ask
from strongroom_vault.session import Session


class ListingAPI(Protocol):
    """What is used of hvac's API of either version."""

    def list_secrets(self, path: str, mount_point: str) -> Ask:
        """LIST below a path."""
        ...


class VaultKV:
    """A key-value engine, of either version.

    Args:
        session: sends the requests, for the engine's mount.
        api: makes the requests of this version.
        prefix: what every path is below, `""` or `like/this`.
    """

    def __init__(self, session: Session, api: ListingAPI, prefix: str) -> None:
        self._session = session
        self._listing = api
        self._prefix = f"{prefix}/" if prefix else ""

    def __repr__(self) -> str:
        below = f" below '{self._prefix[:-1]}'" if self._prefix else ""
        return f"{type(self).__name__}({self._session.place}{below})"

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names directly below `prefix`. A version 2 engine names deleted secrets too, until they are destroyed."""
        folder = self._full(prefix) if prefix else self._prefix.removesuffix("/")
        reply = self._session.request(*self._listing.list_secrets(path=folder, mount_point=self._session.mount))
        if is_absent(reply):
            return
        keys = self._content(reply, prefix or None).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise malformed(prefix or None, self._session.place)
        yield from map(str, keys)

    def probe(self) -> Health:
        """How the server is, and whether it accepts the token."""
        return health(self._session)

    def close(self) -> None:
        """Closes the connections and forgets the token."""
        self._session.close()

    def _full(self, path: str) -> str:
        """The path below the mount."""
        return checked_name(self._prefix + path)

    def _content(
        self, reply: Reply, path: str | None, parse_int: Callable[[str], float] | None = None
    ) -> Mapping[str, Any]:
        """The `data` of a reply that has what was asked for; else raises what the reply means."""
        if is_absent(reply):
            raise SecretNotFoundError(path)
        if reply.status != 200:
            raise self._session.failure(reply, path)
        content = member(document(reply, parse_int=parse_int), "data")
        if content is None:
            raise malformed(path, self._session.place)
        return content

    def _accept(self, reply: Reply, path: str) -> None:
        """Raises what the reply to a write means, unless it says that it was done."""
        if reply.status not in {200, 204}:
            raise self._session.failure(reply, path, changes=True)
