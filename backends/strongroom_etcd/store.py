"""The store: one etcd key is one secret, and each change is a transaction that compares the key's revision."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from strongroom.encoding import to_json
from strongroom.errors import (
    Check,
    CheckState,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveDict, Value, Version, same
from strongroom.store import Health, Traits, VersionInfo, one_value
from strongroom_etcd.gateway import Gateway

PAGE = 500
"""Names in one reply. The longest ones make 3 MB together."""

BATCH = 100
"""Reads in one transaction; etcd's --max-txn-ops is 128."""

MAX_SIZE = 1_500_000
"""The most bytes of a secret: etcd accepts requests of 1.5 MiB, which the names of keys are a part of."""

_REACH = "Start this node, or remove it from `endpoints`"


class _Entry(NamedTuple):
    """A key of etcd. `revision` is that of its last change, and 0 if it does not exist."""

    revision: int
    content: bytes = b""

    def __repr__(self) -> str:
        return f"_Entry({self.revision})"


class EtcdStore:
    """Secrets in etcd.

    Reads are linearizable: without a quorum they are an outage and never a stale secret. httpx has no timeout for a
    whole call, so the store does not declare `honors_deadline`: Strongroom enforces the deadline.

    Args:
        gateway: sends the requests.
        prefix: beginning of all keys.
    """

    traits = Traits(disk_cache=True)

    def __init__(self, gateway: Gateway, prefix: str) -> None:
        self._gateway = gateway
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"EtcdStore({self._prefix!r})"

    def close(self) -> None:
        """Close all connections."""
        self._gateway.close()

    # --- read, list, probe --------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the secret; its version is the revision of its last change."""
        reply = self._gateway.call("kv/range", path, self._range(path)).body
        entry = _entry(reply, path)
        if not entry.revision:
            raise SecretNotFoundError(path)
        return Secret(path, unfold(entry.content), entry.revision)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`."""
        return entries_below(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield every path below `prefix`, a page at a time.

        A name that is not UTF-8 is shown with backslashes, which no path has.
        """
        start = self._key(f"{prefix}/" if prefix else "")
        end = start[:-1] + b"0"  # "0" follows the slash at the end of `start`
        while True:
            body = {"key": _b64(start), "range_end": _b64(end), "limit": PAGE, "keys_only": True}
            found = _listed(self._gateway.call("kv/range", prefix or None, body).body, "kvs", prefix or None)
            keys = [_bytes(entry.get("key"), prefix or None) for entry in found]
            for key in keys:
                yield key[len(self._prefix.encode()) :].decode(errors="backslashreplace")
            if len(keys) < PAGE:
                return
            start = keys[-1] + b"\0"

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        """Yield each path with its revision, for a watch: one request for a hundred secrets, without values."""
        rest = iter(paths)
        while batch := list(islice(rest, BATCH)):
            body = {"success": [{"request_range": self._range(path, keys_only=True)} for path in batch]}
            found = _listed(self._gateway.call("kv/txn", None, body).body, "responses", None)
            for path, response in zip(batch, found, strict=True):
                revision = _entry(response.get("response_range"), path).revision
                yield path, VersionInfo(revision) if revision else SecretNotFoundError(path)

    def probe(self) -> Health:
        """Return the number of secrets, which needs a quorum, and the state of each endpoint."""
        began = time.monotonic()
        top = self._key("")
        body = {"key": _b64(top), "range_end": _b64(top[:-1] + b"0"), "count_only": True}
        try:
            reply = self._gateway.call("kv/range", None, body).body
            text = f"secrets: {_number(reply, 'count', None):,}"
            checks = [Check("listing", CheckState.OK, text)]
        except PermissionDeniedError as error:
            text = "open"
            checks = [Check("listing", CheckState.WARNING, "secrets cannot be listed", error.hint)]
        facts = {"latency": f"{time.monotonic() - began:.4f}"}
        for endpoint in self._gateway.endpoints:
            try:
                status = self._gateway.ask(endpoint, "maintenance/status")
            except StoreError as error:
                checks.append(Check("endpoint", CheckState.WARNING, f"{endpoint}: {error.reason}", _REACH))
                continue
            facts["version"] = str(status.get("version", ""))
            alarms = status.get("errors")
            state = CheckState.WARNING if alarms else CheckState.OK
            hint = "Run `etcdctl endpoint status` and `etcdctl alarm list`" if alarms else ""
            checks.append(Check("endpoint", state, f"{endpoint}{': it has an alarm' if alarms else ''}", hint))
        return Health(ok=True, detail=text, facts=facts, checks=tuple(checks))

    # --- write --------------------------------------------------------------------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuse a secret that is too large, for the plan of a migration."""
        fold(data, path)

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Write the secret, whichever revision it has, and return the new one."""
        content = fold(data, path)
        while True:
            revision = self._put(path, content, self._revision(path))
            if revision is not None:
                return revision

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> int:
        """Write the secret if its revision is `expected`, and return the new one."""
        content = fold(data, path)
        is_revision = isinstance(expected, int) and expected > 0
        revision = self._put(path, content, int(expected or 0)) if is_revision or expected is None else None
        if revision is None:
            raise ConflictError(path, "its revision is not the expected one")
        return revision

    def delete(self, path: str) -> None:
        """Delete the key."""
        while revision := self._revision(path):
            operation = {"request_delete_range": {"key": _b64(self._key(path))}}
            done, entry, doubted = self._change(path, revision, operation)
            if done or (doubted and not entry.revision):
                return
            if doubted:
                raise _unknown(path)
        raise SecretNotFoundError(path)

    def _put(self, path: str, content: bytes, expected: int) -> int | None:
        """Return the new revision; None if the key has another revision than `expected`, and nothing was written."""
        operation = {"request_put": {"key": _b64(self._key(path)), "value": _b64(content)}}
        done, entry, doubted = self._change(path, expected, operation)
        if done or (doubted and entry.revision and entry.content == content):
            return entry.revision
        if doubted:
            raise _unknown(path)
        return None

    def _change(self, path: str, expected: int, operation: Mapping[str, Any]) -> tuple[bool, _Entry, bool]:
        """Change a key if its revision is `expected`.

        The transaction is repeated if its reply was lost: etcd executes it at most once, since the first execution
        changes the revision. If a repeated one finds another revision, the key shows which writer changed it.

        Returns:
            True and the new revision if this attempt made the change, otherwise False and the key as it is now; and
            whether an earlier attempt may have made it.
        """
        compare = {"key": _b64(self._key(path)), "target": "MOD", "result": "EQUAL", "mod_revision": str(expected)}
        body = {"compare": [compare], "success": [operation], "failure": [{"request_range": self._range(path)}]}
        reply, doubted = self._gateway.call("kv/txn", path, body, changes=True)
        if reply.get("succeeded") is True:  # etcd omits it after a failed comparison
            return True, _Entry(_number(reply["header"], "revision", path)), doubted
        [response] = _listed(reply, "responses", path)
        return False, _entry(response.get("response_range"), path), doubted

    # --- requests and replies -----------------------------------------------------------------------------------------

    def _key(self, path: str) -> bytes:
        return f"{self._prefix}{path}".encode()

    def _range(self, path: str, *, keys_only: bool = False) -> dict[str, Any]:
        return {"key": _b64(self._key(path)), "keys_only": keys_only}

    def _revision(self, path: str) -> int:
        """Return the revision of the key's last change, or 0 if it does not exist."""
        return _entry(self._gateway.call("kv/range", path, self._range(path, keys_only=True)).body, path).revision


def _unknown(path: str) -> WriteOutcomeUnknownError:
    return WriteOutcomeUnknownError(path, "the reply was lost, and another client has changed the secret since")


def _entry(reply: object, path: str | None) -> _Entry:
    """Return the one key in the reply to a range."""
    found = _listed(reply, "kvs", path)
    if not found:
        return _Entry(0)
    return _Entry(_number(found[0], "mod_revision", path), _bytes(found[0].get("value", ""), path))


def _listed(reply: object, field: str, path: str | None) -> list[Mapping[str, Any]]:
    """Return a list of objects in a reply, which omits an empty one."""
    found = reply.get(field, []) if isinstance(reply, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise _malformed(path)
    return found


def _number(reply: Mapping[str, Any], field: str, path: str | None) -> int:
    """Return a 64-bit integer, which the gateway writes as text, and omits if it is 0."""
    try:
        return int(reply.get(field, "0"))
    except (TypeError, ValueError):
        pass
    raise _malformed(path)


def _bytes(text: object, path: str | None) -> bytes:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else b64decode(b"?", validate=True)
    except ValueError:
        pass
    del text
    raise _malformed(path)


def _b64(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _malformed(path: str | None) -> StoreUnavailableError:
    return StoreUnavailableError(path, "the reply lacks etcd's fields")


# --- a secret as the bytes of one key, without loss: see `strongroom.store.one_value` ---------------------------------


def unfold(content: bytes) -> SensitiveDict:
    """Return the keys of what etcd has: text if it is UTF-8, otherwise bytes."""
    try:
        return one_value.unfold(content.decode())[1]
    except UnicodeDecodeError:
        return one_value.unfold(content)[1]


def fold(data: Mapping[str, Value], path: str) -> bytes:
    """Return the bytes for a secret: plain if they can be read back exactly, otherwise JSON.

    A secret of the single key `value` is its plain text or bytes, as other programs write them.

    Raises:
        SecretTooLargeError: they are more than `MAX_SIZE`.
    """
    content = _plain(data)
    if content is None:
        content = one_value.as_json({key: to_json(item) for key, item in data.items()}).encode()
    if len(content) > MAX_SIZE:
        raise SecretTooLargeError(path, f"{len(content):,} bytes, the most is {MAX_SIZE:,}")
    return content


def _plain(data: Mapping[str, Value]) -> bytes | None:
    value = data[one_value.VALUE] if set(data) == {one_value.VALUE} else None
    content = value.encode() if isinstance(value, str) else value
    return content if isinstance(content, bytes) and same(unfold(content), data) else None
