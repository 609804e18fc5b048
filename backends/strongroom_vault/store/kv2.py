"""The store of a KV version 2 engine: versions and check-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret, SensitiveDict, Value, Version
from strongroom.store import CheckedItems
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import is_absent, malformed, version_gone, version_in
from strongroom_vault.session.session import Session
from strongroom_vault.store.kv import Item
from strongroom_vault.store.kv2_versions import MetadataAPI, VaultKV2Metadata, labels, moment
from strongroom_vault.store.payload import prepared, restored, stored_number
from strongroom_vault.store.write_reconciliation import Newest, Outcome, Write, confirm, send, version_made


class KV2API(MetadataAPI, Protocol):
    """What is used of hvac's `KvV2`."""

    def read_secret_version(
        self, path: str, version: int | None = None, *, mount_point: str, raise_on_deleted_version: bool
    ) -> ApiRequest:
        """GET the secret's data."""
        ...

    def create_or_update_secret(
        self, path: str, secret: Mapping[str, Any], cas: int | None, mount_point: str
    ) -> ApiRequest:
        """POST the secret's data."""
        ...

    def delete_latest_version_of_secret(self, path: str, mount_point: str) -> ApiRequest:
        """DELETE the secret's newest version."""
        ...


class _CheckedItem(NamedTuple):
    """What is to be written, where the newest version is the expected one."""

    path: str
    data: Mapping[str, Value]
    expected: Version | None


class VaultKV2(VaultKV2Metadata):
    """Secrets in a KV version 2 engine. A delete is soft: the version is kept, and the path reads as not found.

    Args:
        session: sends the requests, for the engine's mount.
        api: makes the requests of version 2.
        prefix: what every path is below, `""` or `like/this`.
    """

    def __init__(self, session: Session, api: KV2API, prefix: str) -> None:
        super().__init__(session, api, prefix)
        self._api = api

    def read(self, path: str) -> Secret:
        """The newest version of the secret at `path`."""
        return self._secret(path, self._get(path))

    def read_version(self, path: str, version: Version) -> Secret:
        """That version of the secret at `path`. No other right is needed than to read the newest one."""
        # The server takes 0 for the newest version.
        reply = self._get(path, version) if isinstance(version, int) and version > 0 else None
        if reply is None or is_absent(reply):
            raise SecretNotFoundError(path, f"there is no version {version}, or not any more")
        return self._secret(path, reply)

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Replaces the whole secret; returns its new version."""
        item = Item(path, data)
        return self._written(item, send(self._session, self._write_ask(item)))

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> int:
        """Replaces the whole secret when its newest version is `expected`; None expects none, or a deleted one.

        The server counts a deleted version as any other: where `expected` was deleted since, the write goes through.
        """
        item = _CheckedItem(path, data, expected)
        return self._written_if(item, send(self._session, self._write_if_ask(item)))

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """`write_if` for each; a dozen are written at a time."""
        sent = self._many(map(_CheckedItem._make, items), self._write_if_ask, lambda _, reply: reply)
        for item, outcome in sent:
            try:
                if isinstance(outcome, StoreError) and not isinstance(outcome, WriteOutcomeUnknownError):
                    raise outcome
                yield item.path, self._written_if(item, outcome)
            except StoreError as error:
                yield item.path, error

    def delete(self, path: str) -> None:
        """Deletes the newest version. The server answers alike whether there was one, so that it is read first.

        Where the token may delete and not read, it is deleted all the same, and one that is not there without a word.
        So is one whose data cannot be read.
        """
        with suppress(PermissionDeniedError, InvalidDataError):
            self.read(path)
        ask = self._api.delete_latest_version_of_secret(path=self._full(path), mount_point=self._session.mount)
        confirm(send(self._session, ask), path, self._session, lambda: version_gone(self._get(path)) is not None)

    def _secret(self, path: str, reply: Reply) -> Secret:
        """The version that a reply to a read holds."""
        if (gone := version_gone(reply)) is not None:
            raise SecretNotFoundError(path, f"version {gone.version} is {'destroyed' if gone.destroyed else 'deleted'}")
        found = version_in(self._content(reply, path, stored_number))
        if found is None:
            raise malformed(path, self._session.place)
        version, data, metadata = found
        created = moment(metadata.get("created_time"))
        return Secret(path, restored(data), version=version, created=created, metadata=labels(metadata))

    def _get(self, path: str, version: int | None = None) -> Reply:
        return self._session.request(self._read_ask(path, version))

    def _read_ask(self, path: str, version: int | None = None) -> ApiRequest:
        return self._api.read_secret_version(
            path=self._full(path), version=version, mount_point=self._session.mount, raise_on_deleted_version=False
        )

    def _write_ask(self, item: Item) -> ApiRequest:
        return self._post_ask(item.path, prepared(item.path, item.data), None)

    def _written(self, item: Item, outcome: Outcome) -> int:
        # A mount or a secret may take no write without check-and-set: then it is checked against whatever is there.
        return self._settled(item, outcome, None, lambda _: True)

    def _write_if_ask(self, item: _CheckedItem) -> ApiRequest:
        if item.expected is not None and not isinstance(item.expected, int):
            raise ConflictError(item.path, f"it never had a version {item.expected!r}")
        return self._post_ask(item.path, prepared(item.path, item.data), item.expected or 0)

    def _written_if(self, item: _CheckedItem, outcome: Outcome) -> int:
        def admits(newest: Newest) -> bool:
            return not newest.live if item.expected is None else newest.version == item.expected

        return self._settled(item, outcome, int(item.expected or 0), admits)

    def _settled(
        self, item: Item | _CheckedItem, outcome: Outcome, follows: int | None, admits: Callable[[Newest], bool]
    ) -> int:
        if (version := version_made(outcome)) is not None:
            return version  # nearly always: what more it may take is not prepared for it
        path, form = item.path, prepared(item.path, item.data)
        write = Write(
            self._session, path, form, partial(self._read_ask, path), lambda cas: self._post_ask(path, form, cas)
        )
        return write.settled(outcome, follows, admits)

    def _post_ask(self, path: str, form: SensitiveDict, cas: int | None) -> ApiRequest:
        return self._api.create_or_update_secret(
            path=self._full(path), secret=form, cas=cas, mount_point=self._session.mount
        )
