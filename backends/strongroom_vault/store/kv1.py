"""The store of a KV version 1 engine: one version of each secret, no check-and-set."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.errors import InvalidDataError
from strongroom.secret import Secret, same
from strongroom.store.deadline import first_read
from strongroom_vault.responses import is_absent, is_unleased
from strongroom_vault.store.kv import PendingWrite, VaultKV
from strongroom_vault.store.payload import prepared, restored
from strongroom_vault.store.write_reconciliation import Newest, Outcome, confirm, send_change

if TYPE_CHECKING:
    from strongroom_vault.http.hvac_adapter import ApiRequest
    from strongroom_vault.http.messages import Reply


_VERSION_2 = frozenset({"config", "data", "delete", "destroy", "detailed-metadata", "metadata", "subkeys", "undelete"})
"""Folders of the API of a version 2 engine, which has no secret outside of them."""


class VaultKV1(VaultKV):
    """Secrets in a KV version 1 engine. It keeps no versions and no times, and a delete is final.

    It has no check-and-set: a change of unknown outcome is repeated only while the secret is as it was before. Another
    client's write of that same data is overwritten if it comes between.
    """

    def answers_first_read(self) -> bool:
        # Both versions answer in these folders.
        first = first_read()
        if first is None or (self._prefix + first.path).partition("/")[0] in _VERSION_2:
            return False
        return super().answers_first_read()

    def delete(self, path: str) -> None:
        """Remove the secret for good. It is read first, because the server also accepts the delete of an absent one."""
        reply = self._get(path)
        self._parse_secret(path, reply)
        follows = self._newest(path, reply)

        def deleted() -> bool | None:
            newest = self._newest(path, self._get(path))
            if not newest.live:
                return True
            return False if _is_unchanged(newest, follows) else None

        request = self._api.delete_secret(**self._at(path))
        confirm(request, send_change(self._session, request), path, self._session, deleted)

    def _proves_version(self, reply: Reply) -> bool:
        return is_unleased(reply)

    def _read_request(self, path: str) -> ApiRequest:
        return self._api.read_secret(**self._at(path))

    def _parse_secret(self, path: str, reply: Reply) -> Secret:
        return Secret(path, restored(self._content(reply, path)))

    def _write_request(self, item: PendingWrite) -> ApiRequest:
        # POST creates and replaces. Without a method, hvac would first read the secret to choose one.
        secret = prepared(item.path, item.data)
        return self._api.create_or_update_secret(secret=secret, method="POST", **self._at(item.path))

    def _following(self, item: PendingWrite, reply: Reply) -> PendingWrite:
        if reply.status in {400, 403}:
            return item
        with suppress(InvalidDataError):
            return item._replace(follows=self._newest(item.path, reply))
        return item

    def _resolve_write(self, item: PendingWrite, outcome: Outcome) -> None:
        path, form = item.path, prepared(item.path, item.data)

        def made() -> bool | None:
            newest = self._newest(path, self._get(path))
            if newest.live and same(newest.form, form):
                return True
            return False if _is_unchanged(newest, item.follows) else None

        confirm(self._write_request(item), outcome, path, self._session, made)

    def _newest(self, path: str, reply: Reply) -> Newest:
        """Return the newest secret according to the reply to a read. It has no version."""
        if is_absent(reply):
            return Newest(0, live=False)
        return Newest(0, live=True, form=self._content(reply, path))


def _is_unchanged(newest: Newest, before: Newest | None) -> bool:
    """Return True if the secret is as it was before a change. False if that could not be read."""
    return before is not None and newest.live == before.live and same(newest.form, before.form)
