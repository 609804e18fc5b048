"""What both versions of the key-value engine have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from strongroom.errors import SecretNotFoundError, SecretTooLargeError, StoreError, WriteOutcomeUnknownError
from strongroom.secret import Secret, Value, Version
from strongroom.store import Health, Items, needs
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, is_absent, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.store.health import health
from strongroom_vault.store.payload import checked_name, prepared


class ListingAPI(Protocol):
    """What is used of hvac's API of either version."""

    def list_secrets(self, path: str, mount_point: str) -> ApiRequest:
        """LIST below a path."""
        ...


_I = TypeVar("_I")
_R = TypeVar("_R")


class Item(NamedTuple):
    """What is to be written."""

    path: str
    data: Mapping[str, Value]


class VaultKV(ABC):
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
        """The names directly below `prefix`. A version 2 engine names deleted secrets too: all with metadata."""
        yield from self._names(self._session.request(self._list_ask(prefix)), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """The path of every secret below `prefix`: in one request where the server has SCAN and the token may use it.

        Else folder by folder, a dozen at a time. SCAN is OpenBao's; policies grant it as the capability `scan`.
        """
        try:
            found = self._scanned(prefix)
        except SecretTooLargeError:
            found = None  # all names in one reply are more than it may hold
        yield from self._walked(prefix) if found is None else found

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Each path with its secret or its own error, in any order; a dozen are asked for at a time."""
        return self._many(paths, self._read_ask, self._secret)

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Each path with its new version or its own error, in any order; a dozen are written at a time."""
        sent = self._many(map(Item._make, items), self._write_ask, lambda _, reply: reply)
        for item, outcome in sent:
            try:
                if isinstance(outcome, StoreError) and not isinstance(outcome, WriteOutcomeUnknownError):
                    raise outcome
                yield item.path, self._written(item, outcome)
            except StoreError as error:
                yield item.path, error

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Nothing, where the engine takes this name and holds this data exactly. Nothing is sent."""
        self._full(path)
        prepared(path, data)

    def probe(self) -> Health:
        """How the server is, whether it accepts the token, and whether that may read what the application needs."""
        asks = (self._read_ask(path) for path in needs())
        return health(self._session, [unquote(ask.target.partition("?")[0]).removeprefix("/v1/") for ask in asks])

    def close(self) -> None:
        """Closes the connections and forgets the token."""
        self._session.close()

    @abstractmethod
    def _read_ask(self, path: str, /) -> ApiRequest:
        """What asks for the secret."""

    @abstractmethod
    def _secret(self, path: str, reply: Reply, /) -> Secret:
        """The secret in the reply to it."""

    @abstractmethod
    def _write_ask(self, item: Item, /) -> ApiRequest:
        """What replaces the secret."""

    @abstractmethod
    def _written(self, item: Item, outcome: Reply | WriteOutcomeUnknownError, /) -> Version | None:
        """The new version that came of it, after whatever more it takes."""

    def _many(
        self, items: Iterable[_I], ask: Callable[[_I], ApiRequest], conclude: Callable[[_I, Reply], _R]
    ) -> Iterator[tuple[_I, _R | StoreError]]:
        """What comes of each item's request; one that cannot be asked for has its own error and ends nothing."""
        refused: deque[tuple[_I, StoreError]] = deque()

        def asks() -> Iterator[tuple[_I, ApiRequest]]:
            for item in items:
                try:
                    asked = ask(item)
                except StoreError as error:
                    refused.append((item, error))
                else:
                    yield item, asked

        for item, outcome in self._session.request_many(asks()):
            while refused:
                yield refused.popleft()
            try:
                yield item, outcome if isinstance(outcome, StoreError) else conclude(item, outcome)
            except StoreError as error:
                yield item, error
        yield from refused

    def _scanned(self, prefix: str) -> list[str] | None:
        """The path of every secret below `prefix`; None where the server has no SCAN, or grants it not."""
        reply = self._session.request(self._list_ask(prefix)._replace(method="SCAN"))
        if reply.status in {403, 405}:
            return None
        if reply.status == 200 and not self._content(reply, prefix or None):
            return []  # to LIST, the same is a 404
        return [_below(prefix, name) for name in self._names(reply, prefix)]

    def _walked(self, prefix: str) -> Iterator[str]:
        folders = [prefix]
        while folders:
            listed, folders = self._many(folders, self._list_ask, lambda folder, reply: self._names(reply, folder)), []
            for folder, names in listed:
                if isinstance(names, StoreError):
                    raise names
                for name in names:
                    if name.endswith("/") and name != "/":
                        folders.append(_below(folder, name[:-1]))
                    else:
                        yield _below(folder, name)

    def _list_ask(self, prefix: str) -> ApiRequest:
        folder = self._full(prefix) if prefix else self._prefix.removesuffix("/")
        return self._listing.list_secrets(path=folder, mount_point=self._session.mount)

    def _names(self, reply: Reply, prefix: str) -> list[str]:
        if is_absent(reply):
            return []
        keys = self._content(reply, prefix or None).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise malformed(prefix or None, self._session.place)
        return keys

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


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
