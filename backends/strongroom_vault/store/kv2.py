"""The store of a KV version 2 engine: versions and check-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
)
from strongroom.secret import Secret, SensitiveDict, Value, Version
from strongroom.store import CheckedItems
from strongroom_vault.responses import is_absent, is_versioned, malformed, version_gone, version_in
from strongroom_vault.store.kv import PendingWrite
from strongroom_vault.store.kv2_versions import VaultKV2Metadata, labels, moment
from strongroom_vault.store.payload import prepared, restored, stored_number
from strongroom_vault.store.write_reconciliation import (
    Newest,
    Outcome,
    Write,
    confirm,
    newest_in,
    send_change,
    written_version,
)

if TYPE_CHECKING:
    from strongroom_vault.http.hvac_adapter import ApiRequest
    from strongroom_vault.http.messages import Reply


class _CheckedItem(NamedTuple):
    """A secret to write if its newest version is the expected one."""

    path: str
    data: Mapping[str, Value]
    expected: Version | None


class VaultKV2(VaultKV2Metadata):
    """Secrets in a KV version 2 engine. A delete keeps the version, and the path reads as not found."""

    def read_version(self, path: str, version: Version) -> Secret:
        """Return that version of the secret at `path`. The right to read the newest version is enough."""
        # The server takes 0 for the newest version.
        reply = self._get(path, version) if isinstance(version, int) and version > 0 else None
        if reply is None or is_absent(reply):
            raise SecretNotFoundError(path, f"version {version} does not exist or is no longer kept")
        return self._parse_secret(path, reply)

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> int:
        """Replace the whole secret if its newest version is `expected`; None expects none, or a deleted one.

        The server counts deleted versions too: if `expected` was deleted since, the write succeeds.
        """
        item = _CheckedItem(path, data, expected)
        return self._resolve_write_if(item, send_change(self._session, self._write_if_request(item)))

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Yield the result of `write_if` for each; many are written at a time."""
        writes = map(_CheckedItem._make, items)
        return self._write_each(writes, self._write_if_request, self._resolve_write_if)

    def delete(self, path: str) -> None:
        """Delete the newest version. It is read first, because the server accepts the delete of an absent secret too.

        If the outcome is unknown and that version is still there, it is deleted by its number, which cannot hit a later
        version. That needs the right to `update` `<mount>/delete/<path>`. Without it, or if the secret could not be
        read, an unknown outcome is reported.

        If the token may delete but not read, an absent secret is not reported. A secret whose data cannot be read is
        deleted.
        """
        version = 0
        with suppress(PermissionDeniedError, InvalidDataError):
            version = int(self.read(path).version or 0)
        request = self._api.delete_latest_version_of_secret(**self._at(path))
        again = self._api.delete_secret_versions(versions=[version], **self._at(path))

        def deleted() -> bool | None:
            newest = newest_in(self._get(path))
            if newest is not None and not newest.live:
                return True
            if newest is None or not version:
                return None
            return newest.version != version and version_gone(self._get(path, version)) is not None

        confirm(request, send_change(self._session, request), path, self._session, deleted, again=again)

    def _proves_version(self, reply: Reply) -> bool:
        return is_versioned(reply)

    def _parse_secret(self, path: str, reply: Reply) -> Secret:
        """Return the version in the reply to a read."""
        if (gone := version_gone(reply)) is not None:
            raise SecretNotFoundError(path, f"version {gone.version} is {'destroyed' if gone.destroyed else 'deleted'}")
        found = version_in(self._content(reply, path, stored_number))
        if found is None:
            raise malformed(path, self._session.location)
        version, data, metadata = found
        created = moment(metadata.get("created_time"))
        return Secret(path, restored(data), version=version, created=created, metadata=labels(metadata))

    def _following(self, item: PendingWrite, reply: Reply) -> PendingWrite:
        if reply.status in {400, 403}:
            return item
        with suppress(InvalidDataError):
            if (newest := newest_in(reply)) is None:
                raise self._session.failure(reply, item.path)
            return item._replace(follows=Newest(newest.version, newest.live))  # a batch need not hold their data
        return item

    def _get(self, path: str, version: int | None = None) -> Reply:
        return self._session.request(self._read_request(path, version))

    def _read_request(self, path: str, version: int | None = None) -> ApiRequest:
        return _version_request(self._session.mount, self._full_path(path), version)

    def _write_request(self, item: PendingWrite) -> ApiRequest:
        return self._post_request(item.path, prepared(item.path, item.data), _number(item.follows))

    def _resolve_write(self, item: PendingWrite, outcome: Outcome) -> int:
        # A mount or a secret may require check-and-set. Then any newest version is accepted.
        return self._resolve(item, outcome, _number(item.follows), lambda _: True)

    def _write_if_request(self, item: _CheckedItem) -> ApiRequest:
        if item.expected is not None and not isinstance(item.expected, int):
            raise ConflictError(item.path, f"it never had a version {item.expected!r}")
        if item.expected is None:
            self._warn_of_mount(item.path)
        return self._post_request(item.path, prepared(item.path, item.data), item.expected or 0)

    def _resolve_write_if(self, item: _CheckedItem, outcome: Outcome) -> int:
        def accepts(newest: Newest) -> bool:
            return not newest.live if item.expected is None else newest.version == item.expected

        return self._resolve(item, outcome, int(item.expected or 0), accepts)

    def _resolve(
        self,
        item: PendingWrite | _CheckedItem,
        outcome: Outcome,
        follows: int | None,
        accepts: Callable[[Newest], bool],
    ) -> int:
        if (version := written_version(outcome)) is not None:
            return version  # nearly always, so nothing is prepared for the other case
        path, form = item.path, prepared(item.path, item.data)
        write = Write(
            self._session,
            path,
            form,
            partial(self._read_request, path),
            lambda cas: self._post_request(path, form, cas),
        )
        return write.resolve(outcome, follows, accepts)

    def _post_request(self, path: str, form: SensitiveDict, cas: int | None) -> ApiRequest:
        return self._api.create_or_update_secret(secret=form, cas=cas, **self._at(path))


@lru_cache(maxsize=1024)
def _version_request(mount: str, path: str, version: int | None) -> ApiRequest:
    """Return the request for a version of a secret, None for the newest one.

    Most secrets are read again, and hvac takes 5 % of a read to make its request.
    """
    from strongroom_vault.http.hvac_adapter import requests  # a hit in the disk cache sends nothing

    return requests().kv2.read_secret_version(path, version, mount, raise_on_deleted_version=False)


def _number(newest: Newest | None) -> int | None:
    return None if newest is None else newest.version
