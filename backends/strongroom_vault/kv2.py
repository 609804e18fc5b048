"""The store of a KV version 2 engine: versions and check-and-set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from strongroom.errors import ConflictError, PermissionDeniedError, SecretNotFoundError
from strongroom.model import Secret, SensitiveDict, Value, Version
from strongroom_vault.answers import document, is_absent, malformed, member
from strongroom_vault.contents import prepared, restored, stored_number
from strongroom_vault.exchange import Reply
from strongroom_vault.kv import Item
from strongroom_vault.kv2_versions import MetadataAPI, VaultKV2Metadata, labels, moment
from strongroom_vault.sender import Ask
from strongroom_vault.session import Session


class KV2API(MetadataAPI, Protocol):
    """What is used of hvac's `KvV2`."""

    def read_secret_version(
        self, path: str, version: int | None = None, *, mount_point: str, raise_on_deleted_version: bool
    ) -> Ask:
        """GET the secret's data."""
        ...

    def create_or_update_secret(self, path: str, secret: Mapping[str, Any], cas: int | None, mount_point: str) -> Ask:
        """POST the secret's data."""
        ...

    def delete_latest_version_of_secret(self, path: str, mount_point: str) -> Ask:
        """DELETE the secret's newest version."""
        ...


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest version of a secret: 0 where there never was one. A deleted one is not live."""

    version: int
    live: bool


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
        return self._written(item, self._session.request(*self._write_ask(item)))

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> int:
        """Replaces the whole secret when its newest version is `expected`; None expects none, or a deleted one.

        The server counts a deleted version as any other: where `expected` was deleted since, the write goes through.
        """
        form = prepared(path, data)
        if expected is not None and not isinstance(expected, int):
            raise ConflictError(path, f"it never had a version {expected!r}")

        def admits(newest: _Newest) -> bool:
            return not newest.live if expected is None else newest.version == expected

        return self._settled(path, form, self._post(path, form, expected or 0), admits)

    def delete(self, path: str) -> None:
        """Deletes the newest version. The server answers alike whether there was one, so that it is read first.

        Where the token may delete and not read, it is deleted all the same, and one that is not there without a word.
        """
        with suppress(PermissionDeniedError):
            self.read(path)
        ask = self._api.delete_latest_version_of_secret(path=self._full(path), mount_point=self._session.mount)
        self._accept(self._session.request(*ask), path)

    def _secret(self, path: str, reply: Reply) -> Secret:
        """The version that a reply to a read holds."""
        if (gone := _deleted_version(reply)) is not None:
            raise SecretNotFoundError(path, f"version {gone} is deleted")
        content = self._content(reply, path, stored_number)
        data, metadata = member(content, "data"), member(content, "metadata")
        version = None if metadata is None else metadata.get("version")
        if data is None or metadata is None or not isinstance(version, int):
            raise malformed(path, self._session.place)
        created = moment(metadata.get("created_time"))
        return Secret(path, restored(data), version=version, created=created, metadata=labels(metadata))

    def _settled(self, path: str, form: SensitiveDict, reply: Reply, admits: Callable[[_Newest], bool]) -> int:
        """The version that a write made, after whatever more it takes where the server answers 400.

        400 is a lost check, a mount that is not ready yet, and data that the server refuses: what is there now tells.
        To write over a deleted version, the server wants its number. When a write that names what is there is refused,
        and the same is there still, then it is the data.
        """
        newest: _Newest | None = None
        while reply.status == 400:
            before, newest = newest, self._newest(path)
            if not admits(newest):
                there = newest.version if newest.live else "deleted" if newest.version else "none"
                raise ConflictError(path, f"its newest version is {there}, which is not the expected one")
            if newest == before:
                break
            reply = self._post(path, form, newest.version)
        return self._new_version(path, reply)

    def _new_version(self, path: str, reply: Reply) -> int:
        self._accept(reply, path)
        version = (member(document(reply), "data") or {}).get("version")
        if not isinstance(version, int):
            raise malformed(path, self._session.place)
        return version

    def _newest(self, path: str) -> _Newest:
        """What is there now, read as the secret itself: its metadata may be beyond the token's policies."""
        reply = self._get(path)
        if is_absent(reply):
            return _Newest(0, live=False)
        if (gone := _deleted_version(reply)) is not None:
            return _Newest(gone, live=False)
        version = (member(self._content(reply, path), "metadata") or {}).get("version")
        if not isinstance(version, int):
            raise malformed(path, self._session.place)
        return _Newest(version, live=True)

    def _get(self, path: str, version: int | None = None) -> Reply:
        return self._session.request(*self._read_ask(path, version))

    def _read_ask(self, path: str, version: int | None = None) -> Ask:
        return self._api.read_secret_version(
            path=self._full(path), version=version, mount_point=self._session.mount, raise_on_deleted_version=False
        )

    def _write_ask(self, item: Item) -> Ask:
        return self._post_ask(item.path, prepared(item.path, item.data), None)

    def _written(self, item: Item, reply: Reply) -> int:
        if reply.status != 400:
            return self._new_version(item.path, reply)
        # A mount or a secret may take no write without check-and-set: then it is checked against whatever is there.
        return self._settled(item.path, prepared(item.path, item.data), reply, lambda _: True)

    def _post(self, path: str, form: SensitiveDict, cas: int | None) -> Reply:
        return self._session.request(*self._post_ask(path, form, cas))

    def _post_ask(self, path: str, form: SensitiveDict, cas: int | None) -> Ask:
        return self._api.create_or_update_secret(
            path=self._full(path), secret=form, cas=cas, mount_point=self._session.mount
        )


def _deleted_version(reply: Reply) -> int | None:
    """The version that a 404 says was deleted or destroyed; None where it does not say so."""
    if reply.status != 404:
        return None
    metadata = member(member(document(reply), "data"), "metadata")
    if metadata is None or not (metadata.get("deletion_time") or metadata.get("destroyed")):
        return None
    version = metadata.get("version")
    return version if isinstance(version, int) else None
