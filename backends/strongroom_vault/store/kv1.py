"""The store of a KV version 1 engine: one version of each secret, no check-and-set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from strongroom.secret import Secret, Value, same
from strongroom_vault.responses import is_absent
from strongroom_vault.store.kv import Item, ListingAPI, VaultKV
from strongroom_vault.store.payload import prepared, restored
from strongroom_vault.store.write_reconciliation import Outcome, confirm, send_change

if TYPE_CHECKING:
    from strongroom_vault.http.hvac_adapter import ApiRequest
    from strongroom_vault.http.request_policy import Reply
    from strongroom_vault.session.session import Session


class KV1API(ListingAPI, Protocol):
    """The methods of hvac's `KvV1` that are used."""

    def read_secret(self, path: str, mount_point: str) -> ApiRequest:
        """GET the secret."""
        ...

    def create_or_update_secret(
        self, path: str, secret: Mapping[str, Any], method: str, mount_point: str
    ) -> ApiRequest:
        """POST or PUT the secret."""
        ...

    def delete_secret(self, path: str, mount_point: str) -> ApiRequest:
        """DELETE the secret."""
        ...


class VaultKV1(VaultKV):
    """Secrets in a KV version 1 engine. It keeps no versions and no times, and a delete is final.

    Args:
        session: sends the requests, for the engine's mount.
        api: hvac's API class for version 1.
        prefix: the folder of all paths, `""` or `like/this`.
    """

    def __init__(self, session: Session, api: KV1API, prefix: str) -> None:
        super().__init__(session, api, prefix)
        self._api = api

    def read(self, path: str) -> Secret:
        """Return the secret at `path`."""
        return self._parse_secret(path, self._session.request(self._read_request(path)))

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Replace the whole secret."""
        item = Item(path, data)
        self._resolve_write(item, send_change(self._session, self._write_request(item)))

    def delete(self, path: str) -> None:
        """Remove the secret for good. It is read first, because the server also accepts the delete of an absent one."""
        self.read(path)
        request = self._api.delete_secret(path=self._full_path(path), mount_point=self._session.mount)
        confirm(request, send_change(self._session, request), path, self._session, lambda: is_absent(self._get(path)))

    def _get(self, path: str) -> Reply:
        return self._session.request(self._read_request(path))

    def _read_request(self, path: str) -> ApiRequest:
        return self._api.read_secret(path=self._full_path(path), mount_point=self._session.mount)

    def _parse_secret(self, path: str, reply: Reply) -> Secret:
        return Secret(path, restored(self._content(reply, path)))

    def _write_request(self, item: Item) -> ApiRequest:
        # POST creates and replaces. Without a method, hvac would first read the secret to choose one.
        return self._api.create_or_update_secret(
            path=self._full_path(item.path),
            secret=prepared(item.path, item.data),
            method="POST",
            mount_point=self._session.mount,
        )

    def _resolve_write(self, item: Item, outcome: Outcome) -> None:
        path, form = item.path, prepared(item.path, item.data)
        request = self._write_request(item)
        confirm(request, outcome, path, self._session, lambda: same(self._content(self._get(path), path), form))
