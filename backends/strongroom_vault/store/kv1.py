"""The store of a KV version 1 engine: one version of each secret, no check-and-set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from strongroom.secret import Secret, Value
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import is_absent
from strongroom_vault.session.session import Session
from strongroom_vault.store.kv import Item, ListingAPI, VaultKV
from strongroom_vault.store.payload import prepared, restored
from strongroom_vault.store.write_reconciliation import Outcome, confirm, same, send


class KV1API(ListingAPI, Protocol):
    """What is used of hvac's `KvV1`."""

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
        api: makes the requests of version 1.
        prefix: what every path is below, `""` or `like/this`.
    """

    def __init__(self, session: Session, api: KV1API, prefix: str) -> None:
        super().__init__(session, api, prefix)
        self._api = api

    def read(self, path: str) -> Secret:
        """The secret at `path`."""
        return self._secret(path, self._get(path))

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Replaces the whole secret."""
        item = Item(path, data)
        self._written(item, send(self._session, self._write_ask(item)))

    def delete(self, path: str) -> None:
        """Removes the secret for good. The server answers alike whether there was one, so that it is read first."""
        self.read(path)
        ask = self._api.delete_secret(path=self._full(path), mount_point=self._session.mount)
        confirm(send(self._session, ask), path, self._session, lambda: is_absent(self._get(path)))

    def _get(self, path: str) -> Reply:
        return self._session.request(self._read_ask(path))

    def _read_ask(self, path: str) -> ApiRequest:
        return self._api.read_secret(path=self._full(path), mount_point=self._session.mount)

    def _secret(self, path: str, reply: Reply) -> Secret:
        return Secret(path, restored(self._content(reply, path)))

    def _write_ask(self, item: Item) -> ApiRequest:
        # POST both creates and replaces. Without a method, hvac would read the secret first, to choose one.
        return self._api.create_or_update_secret(
            path=self._full(item.path),
            secret=prepared(item.path, item.data),
            method="POST",
            mount_point=self._session.mount,
        )

    def _written(self, item: Item, outcome: Outcome) -> None:
        path, form = item.path, prepared(item.path, item.data)
        confirm(outcome, path, self._session, lambda: same(self._content(self._get(path), path), form))
