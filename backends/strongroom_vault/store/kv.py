"""The store of a key-value engine, as far as both versions are alike."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast
from urllib.parse import unquote

from strongroom.errors import (
    InvalidPathError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    WriteOutcomeUnknownError,
    shown,
)
from strongroom.secret import Secret, Value, Version
from strongroom.store import Health, Items, Traits, required_paths
from strongroom.store.deadline import first_read
from strongroom_vault.responses import document, is_absent, malformed, member
from strongroom_vault.store.payload import prepared
from strongroom_vault.store.write_reconciliation import Newest, Outcome, send_change

if TYPE_CHECKING:
    from strongroom_vault.http.hvac_adapter import API, ApiRequest
    from strongroom_vault.http.messages import Reply
    from strongroom_vault.session.session import Session

logger = logging.getLogger("strongroom.vault")

_BATCH = 32
"""The number of secrets of a batch that are read before they are written."""


class PendingWrite(NamedTuple):
    """A secret to write over `follows`, which was read before; None if the token may not read it."""

    path: str
    data: Mapping[str, Value]
    follows: Newest | None = None


class _Write(Protocol):
    @property
    def path(self) -> str: ...


_I = TypeVar("_I")
_R = TypeVar("_R")
_W = TypeVar("_W", bound=_Write)


class VaultKV(ABC):
    """A key-value engine, of either version.

    Args:
        session: sends the requests, for the engine's mount.
        api: hvac's API class for this version.
        prefix: the folder of all paths, `""` or `like/this`.
    """

    # Address, namespace, mount and prefix are options.
    traits = Traits(honors_deadline=True, disk_cache=True)

    def __init__(self, session: Session, api: API, prefix: str) -> None:
        self._session = session
        self._api = api
        self._prefix = f"{prefix}/" if prefix else ""

    def __repr__(self) -> str:
        below = f" below '{self._prefix[:-1]}'" if self._prefix else ""
        return f"{type(self).__name__}({self._session.location}{below})"

    @property
    def session(self) -> Session:
        """The session of this store, for a rotator of the same server."""
        return self._session

    def answers_first_read(self) -> bool:
        """Send the read that opens this store; return True if the reply proves that the engine has its version.

        The reply serves that read. Any other reply, such as an absence, proves nothing: an engine of another version
        has no such path. Nor is anything sent below a mount with a slash, which may be the API's path `secret/data` by
        mistake.
        """
        first = first_read()
        if first is None or "/" in self._session.mount:
            return False
        try:
            reply = self._get(first.path)
        except (InvalidPathError, SecretTooLargeError):
            return False  # the read raises it: other paths can be read
        if reply.status in {200, 403, 404}:
            first.keep(self, reply)
        return self._proves_version(reply)

    def read(self, path: str) -> Secret:
        reply = self._kept_reply(path)
        return self._parse_secret(path, self._get(path) if reply is None else reply)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`. A version 2 engine includes deleted secrets."""
        yield from self._names(self._session.request(self._list_request(prefix)), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`.

        One request is enough if the server has SCAN (OpenBao) and the token has the capability `scan`. Otherwise the
        folders are listed, many at a time.
        """
        try:
            found = self._scanned(prefix)
        except SecretTooLargeError:
            found = None  # one reply cannot hold all names
        yield from self._walked(prefix) if found is None else found

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or its error, in any order; many are read at a time."""
        first = first_read()
        if first is not None and (reply := self._kept_reply(first.path)) is not None:
            return self._read_others(first.path, reply, paths)
        return self._many(paths, self._read_request, self._parse_secret)

    def _read_others(self, first: str, reply: Reply, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield the result of `read_many`, with this reply to the first read."""
        paths = list(paths)
        if first in paths:
            try:
                yield first, self._parse_secret(first, reply)
            except StoreError as error:
                yield first, error
        others = (path for path in paths if path != first)
        yield from self._many(others, self._read_request, self._parse_secret)

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Replace the whole secret; return its new version, if the engine has versions.

        The secret is read first, so that the write can be repeated when its outcome is unknown. A token that may not
        read writes all the same: then an unknown outcome is reported.
        """
        prepared(path, data)
        item = self._to_write(PendingWrite(path, data), self._get(path))
        return self._resolve_write(item, send_change(self._session, self._write_request(item)))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with the result of `write`, in any order; many are read or written at a time."""
        unread = (PendingWrite(*item) for item in items)
        while batch := list(islice(unread, _BATCH)):
            read = list(self._many(batch, lambda item: self._read_request(item.path), self._to_write))
            yield from ((item.path, outcome) for item, outcome in read if isinstance(outcome, StoreError))
            following = (outcome for _, outcome in read if isinstance(outcome, PendingWrite))
            yield from self._write_each(following, self._write_request, self._resolve_write)

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Return if the engine accepts this name and holds this data exactly. Nothing is sent."""
        self._full_path(path)
        prepared(path, data)

    def probe(self) -> Health:
        """Return the health of the server, of the token, and of its right to read the required secrets."""
        from strongroom_vault.store.health import health  # a hit in the disk cache needs none of it

        targets = (self._read_request(path).target for path in required_paths())
        return health(self._session, [unquote(target.partition("?")[0]).removeprefix("/v1/") for target in targets])

    def close(self) -> None:
        self._session.close()

    def _get(self, path: str) -> Reply:
        return self._session.request(self._read_request(path))

    def _kept_reply(self, path: str) -> Reply | None:
        """Return the reply to this read that the opening of the store has brought, if it has."""
        first = first_read()
        if first is None or first.path != path:
            return None
        return cast("Reply | None", first.take(self))

    @abstractmethod
    def _proves_version(self, reply: Reply, /) -> bool:
        """Return True if the reply to a read has a secret that only an engine of this version can have sent."""

    @abstractmethod
    def _read_request(self, path: str, /) -> ApiRequest:
        """Return the request for the secret."""

    @abstractmethod
    def _parse_secret(self, path: str, reply: Reply, /) -> Secret:
        """Return the secret in the reply to it."""

    @abstractmethod
    def _following(self, item: PendingWrite, reply: Reply, /) -> PendingWrite:
        """Return the item with the secret that it replaces, which is in the reply to a read."""

    @abstractmethod
    def _write_request(self, item: PendingWrite, /) -> ApiRequest:
        """Return the request that replaces the secret."""

    @abstractmethod
    def _resolve_write(self, item: PendingWrite, outcome: Outcome, /) -> Version | None:
        """Return the new version, after further requests if the outcome needs them."""

    def _write_each(
        self,
        writes: Iterable[_W],
        build: Callable[[_W], ApiRequest],
        resolve: Callable[[_W, Outcome], Version | None],
    ) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield each path with its new version or its error, in any order."""
        for write, outcome in self._many(writes, build, lambda _, reply: reply):
            try:
                if isinstance(outcome, StoreError) and not isinstance(outcome, WriteOutcomeUnknownError):
                    raise outcome
                yield write.path, resolve(write, outcome)
            except StoreError as error:
                yield write.path, error

    def _many(
        self, items: Iterable[_I], build: Callable[[_I], ApiRequest], parse: Callable[[_I, Reply], _R]
    ) -> Iterator[tuple[_I, _R | StoreError]]:
        """Yield each item with the parsed reply to its request, or with its error."""
        refused: deque[tuple[_I, StoreError]] = deque()

        def built() -> Iterator[tuple[_I, ApiRequest]]:
            for item in items:
                try:
                    request = build(item)
                except StoreError as error:
                    refused.append((item, error))
                else:
                    yield item, request

        for item, outcome in self._session.request_many(built()):
            while refused:
                yield refused.popleft()
            try:
                yield item, outcome if isinstance(outcome, StoreError) else parse(item, outcome)
            except StoreError as error:
                yield item, error
        yield from refused

    def _scanned(self, prefix: str) -> list[str] | None:
        """Return the path of every secret below `prefix`; None if the server has no SCAN or denies it."""
        # hvac has no method for SCAN.
        reply = self._session.request(self._list_request(prefix)._replace(method="SCAN"))
        if reply.status in {403, 405}:
            return None
        if reply.status == 200 and not self._content(reply, prefix or None):
            return []  # LIST answers 404 here
        return [_below(prefix, name) for name in self._names(reply, prefix)]

    def _walked(self, prefix: str) -> Iterator[str]:
        folders = [prefix]
        while folders:
            listed, folders = (
                self._many(folders, self._list_request, lambda folder, reply: self._names(reply, folder)),
                [],
            )
            for folder, names in listed:
                if isinstance(names, StoreError):
                    raise names
                for name in names:
                    if name.endswith("/") and name != "/":
                        folders.append(_below(folder, name[:-1]))
                    else:
                        yield _below(folder, name)

    def _list_request(self, prefix: str) -> ApiRequest:
        folder = self._full_path(prefix) if prefix else self._prefix.removesuffix("/")
        return self._api.list_secrets(path=folder, mount_point=self._session.mount)

    def _names(self, reply: Reply, prefix: str) -> list[str]:
        if is_absent(reply):
            return []
        keys = self._content(reply, prefix or None).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise malformed(prefix or None, self._session.location)
        return keys

    def _full_path(self, path: str) -> str:
        """Return the path below the mount.

        Raises:
            InvalidPathError: it has a character that does not print, such as a no-break space: the server answers 400.
        """
        full_path = self._prefix + path
        if not full_path.isprintable():
            raise InvalidPathError(path, "it has a character that does not print, which Vault does not take")
        return full_path

    def _absence(self, path: str | None) -> SecretNotFoundError:
        """Return the error for an absent secret, with another path if this one begins with the mount or the prefix."""
        if path is None or (inner := self._inner_path(path)) == path:
            return SecretNotFoundError(path)
        return SecretNotFoundError(path, f"paths begin after {self._session.mount}/{self._prefix}: try {shown(inner)}")

    def _inner_path(self, path: str) -> str:
        """Return the path without the mount, the `data/` of the API and the prefix at its start."""
        inner = path.removeprefix(f"{self._session.mount}/")
        if inner != path:
            inner = inner.removeprefix("data/")
        return inner.removeprefix(self._prefix)

    def _to_write(self, item: PendingWrite, reply: Reply) -> PendingWrite:
        """Return the item with the secret that it replaces. Warn if the path of a new secret begins with the mount."""
        item = self._following(item, reply)
        if item.follows is not None and not item.follows.live:
            self._warn_of_mount(item.path)
        return item

    def _warn_of_mount(self, path: str) -> None:
        """Warn if the path of a new secret begins with the mount or the prefix, which it then has twice."""
        start, folder = f"{self._session.mount}/{self._prefix}", path.removesuffix(self._inner_path(path))
        if folder:
            logger.warning("A secret is created in %s: paths begin after %s", shown(start + folder), start)

    def _at(self, path: str) -> dict[str, str]:
        """Return the place of a secret, as arguments of hvac's methods."""
        return {"path": self._full_path(path), "mount_point": self._session.mount}

    def _content(
        self, reply: Reply, path: str | None, parse_int: Callable[[str], float] | None = None
    ) -> Mapping[str, Any]:
        """Return the `data` of a reply, or raise the error that the reply stands for."""
        if reply.status != 200:
            raise self._absence(path) if is_absent(reply) else self._session.failure(reply, path)
        content = member(document(reply, parse_int=parse_int), "data")
        if content is None:
            raise malformed(path, self._session.location)
        return content


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
