"""The store of Google Secret Manager: one secret there is one secret here, and each write is a version."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from strongroom.errors import (
    Check,
    CheckState,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
)
from strongroom.paths import entries_below
from strongroom.secret import Secret, Value, Version
from strongroom.store import Health, Items, Traits, VersionInfo
from strongroom.store.concurrency import read_each, write_each
from strongroom.store.one_value import FoldOption, Form, fold, form_in, form_to_write, labels_of, unfold
from strongroom_google.client import Client
from strongroom_google.errors import RefusedError, malformed
from strongroom_google.names import MAX_SIZE, check_labels, check_version, is_reserved, name_of, path_of

PAGE = 250
"""Secrets or versions in one reply."""

_KEPT = 100  # Google drops no version, and documents no number
_LATEST = "latest"
_NAME = re.compile(r"projects/[^/]+/(?:locations/[^/]+/)?secrets/([^/]+)")
_VERSION = re.compile(rf"{_NAME.pattern}/versions/([0-9]+)")
_crc_table: list[int] = []


class GoogleSecretManagerStore:
    """Secrets in Google Secret Manager, with their versions and labels.

    A read returns the newest version. If that is disabled, the read is denied, and if it is destroyed, the secret is
    absent: no older version takes its place. A delete removes the secret with all versions.

    `latest` may be late, by minutes or hours, and a version that was just added can be read by its number alone
    (https://docs.cloud.google.com/secret-manager/docs/reference/consistency). So the store notes the number of the
    newest version that it has seen of each secret, and never returns an older one.

    Args:
        client: calls Secret Manager.
        parent: the project, and for a regional secret its location: `projects/P/locations/L`.
        prefix: the prefix of every path, `""` or `like/this`.
        fold_option: the form of a secret of the single key `value`.
    """

    traits = Traits(final_deletes=True, consecutive=True)

    def __init__(self, client: Client, parent: str, prefix: str, fold_option: FoldOption) -> None:
        self._client = client
        self._parent = parent
        self._prefix = prefix
        self._fold_option: FoldOption = fold_option
        self._newest: dict[str, int] = {}  # path -> number

    def __repr__(self) -> str:
        return f"GoogleSecretManagerStore({self._parent!r}, {self._prefix!r})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the newest version.

        Raises:
            SecretNotFoundError: the secret does not exist, has no version, or its newest version is destroyed.
            PermissionDeniedError: Google denies it, or its newest version is disabled.
        """
        number, found = self._answer(path, _LATEST)
        if number < (seen := self._newest.get(path, 0)):
            by_number = self._answer(path, str(seen))
            if by_number[0]:
                number, found = by_number
            else:  # the secret was deleted, and perhaps written anew
                self._newest.pop(path, None)
        if isinstance(found, StoreError):
            raise found
        self._note(path, number)
        return found

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or error, with concurrent requests."""
        return read_each(self.read, paths)

    def list_entries(self, prefix: str) -> Iterator[str]:
        yield from entries_below(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`, also of those without a version."""
        for path, _ in self._listed(prefix):
            yield path

    def probe(self) -> Health:
        """Return whether Secret Manager answers. A denial of a listing is a warning: reads do not need it."""
        started = time.monotonic()
        checks = [Check("reachable", CheckState.OK, self._client.url), Check("authenticated", CheckState.OK)]
        try:
            self._client.call("ListSecrets", self._parent, None, bool, pageSize=1)
        except PermissionDeniedError as error:
            checks.append(Check("listing", CheckState.WARNING, error.reason, error.hint))
        latency = time.monotonic() - started
        facts = {"parent": self._parent, "latency": f"{latency:.4f}"}
        return Health(ok=True, detail=f"open: Secret Manager, {self._parent}", facts=facts, checks=tuple(checks))

    def close(self) -> None:
        self._client.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Add a version, and create the secret if it does not exist.

        A secret that exists keeps its labels, replication, KMS key and rotation.

        Raises:
            SecretTooLargeError: more than 65,536 bytes in the form in which it would be stored.
        """
        return self._write(path, data, self._form(path, data))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version:
        """Write in the form that the label `strongroom:fold` names, by default JSON."""
        return self._write(path, data, form_in(form))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Write concurrently; yield each path with its new version or error."""
        return write_each(self.write, items)

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check the name and the size, without a request if the form is known without one."""
        self._secret(path)
        _payload(path, data, self._form(path, data))

    def delete(self, path: str) -> None:
        """Delete the secret with all its versions, for good."""
        name = self._secret(path)
        self._client.call("DeleteSecret", name, path, _made, changes=True, settle=lambda: self._is_deleted(path))
        self._newest.pop(path, None)

    # --- versions and labels ------------------------------------------------------------------------------------------

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return every version, oldest first. A disabled version is `deleted`, and `undelete` enables it."""

        def parse(page: Any) -> list[VersionInfo]:
            return [_info(entry) for entry in page.get("versions", ())]

        listed = self._client.pages("ListSecretVersions", self._secret(path), path, parse, PAGE)
        found = {int(info.version): info for info in listed}
        for number in range(max(found, default=0) + 1, self._newest.get(path, 0) + 1):  # the list may be late too
            found[number] = self._version(path, number)
        if not found:
            raise SecretNotFoundError(path, "it has no version")
        return [found[number] for number in sorted(found)]

    def read_version(self, path: str, version: Version) -> Secret:
        """Return the version of this number or alias.

        Raises:
            SecretNotFoundError: there is no such version, or it is destroyed.
            PermissionDeniedError: Google denies it, or the version is disabled.
        """
        _, found = self._answer(path, check_version(version, path))
        if isinstance(found, StoreError):
            raise found
        return replace(found, version=version)

    def kept_versions(self, path: str) -> int:
        """Return 100: Google drops no version by itself."""
        self._all_labels(path)
        return _KEPT

    def undelete(self, path: str, version: Version) -> None:
        """Enable a disabled version, also one that Google is to destroy later."""
        self._set_state(path, version, "EnableSecretVersion")

    def destroy(self, path: str, version: Version) -> None:
        """Destroy a version. If the secret delays that (`version_destroy_ttl`), Google disables it until then."""
        self._set_state(path, version, "DestroySecretVersion", destroyed=True)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the labels of the secret, without those that Google sets itself."""
        return _labels(self._all_labels(path))

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield every path with its labels, from the listing."""
        for path, labels in self._listed(prefix):
            yield path, _labels(labels)

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        check_labels(labels, path)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Make these the labels, and keep those that Google sets itself."""
        check_labels(metadata, path)
        kept = {name: text for name, text in self._all_labels(path).items() if is_reserved(name)}
        body = {"labels": kept | dict(metadata)}
        self._client.call("UpdateSecret", self._secret(path), path, _made, changes=True, body=body, updateMask="labels")

    # ------------------------------------------------------------------------------------------------------------------

    def _secret(self, path: str) -> str:
        return f"{self._parent}/secrets/{name_of(f'{self._prefix}/{path}' if self._prefix else path)}"

    def _all_labels(self, path: str) -> Mapping[str, str]:
        return self._client.call("GetSecret", self._secret(path), path, lambda secret: dict(secret.get("labels", {})))

    def _version(self, path: str, version: Version) -> VersionInfo:
        name = f"{self._secret(path)}/versions/{check_version(version, path)}"
        return self._client.call("GetSecretVersion", name, path, _info)

    def _listed(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the path and the labels of each secret below `prefix`."""
        below = "/".join(filter(None, (self._prefix, prefix)))
        start, skipped = f"{below}/" if below else "", len(self._prefix) + 1 if self._prefix else 0

        def parse(page: Any) -> list[tuple[str | None, Mapping[str, str]]]:
            return [(path_of(_matched(_NAME, one)[1]), one.get("labels", {})) for one in page.get("secrets", ())]

        for path, labels in self._client.pages("ListSecrets", self._parent, prefix or None, parse, PAGE):
            if path is not None and path.startswith(start):
                yield path[skipped:], labels

    def _note(self, path: str, number: int) -> None:
        self._newest[path] = max(number, self._newest.get(path, 0))

    def _answer(self, path: str, version: str) -> tuple[int, Secret | StoreError]:
        """Return the number and the secret of the version of this number or alias.

        Without the secret, return the error of a version that cannot be read, with 0 if the version does not exist.

        Raises:
            PermissionDeniedError, AuthenticationError, StoreUnavailableError: Google does not tell.
        """
        name = f"{self._secret(path)}/versions/{version}"

        def parse(reply: Any) -> tuple[int, Secret | StoreError]:
            found = _matched(_VERSION, reply)
            content = base64.b64decode(reply["payload"]["data"])
            if found[1] != name.split("/")[-3]:
                raise malformed(path)
            if int(reply["payload"].get("dataCrc32c", crc32c(content))) != crc32c(content):
                raise malformed(path, "its reply is damaged, as the checksum shows")
            return int(found[2]), _secret(path, content, int(found[2]))

        try:
            return self._client.call("AccessSecretVersion", name, path, parse)
        except SecretNotFoundError as error:
            return 0, error.copy()
        except RefusedError as error:
            failure: StoreError = error.copy()
            is_inaccessible = error.kind == "FAILED_PRECONDITION"
        try:
            if is_inaccessible:
                info = self._version(path, version)
                return int(info.version), _inaccessible(info, path)
        except PermissionDeniedError as error:
            failure = error.copy(reason=f"its version {version} is disabled or destroyed, and {error.reason} is denied")
        raise failure

    def _set_state(self, path: str, version: Version, method: str, *, destroyed: bool = False) -> None:
        info = self._version(path, version)
        if info.destroyed and not destroyed:
            raise _destroyed(path, version)

        def settle() -> bool | None:
            return is_set(self._version(path, version)) or None

        def is_set(info: VersionInfo) -> bool:
            return not info.deleted and info.destroyed is destroyed

        if not is_set(info):
            name = f"{self._secret(path)}/versions/{info.version}"
            self._client.call(method, name, path, _made, changes=True, settle=settle, body={})

    def _write(self, path: str, data: Mapping[str, Value], form: Form | None) -> Version:
        name, content = self._secret(path), _payload(path, data, form)
        is_lost = False
        try:
            if number := self._add(path, name, content, may_lack=True):
                return number
            is_lost = True
        except SecretNotFoundError:
            pass
        # A regional secret has no replication.
        secret: dict[str, Any] = {} if "/locations/" in self._parent else {"replication": {"automatic": {}}}
        identifier = name.rpartition("/")[2]
        try:  # an empty secret changes nothing, so that this is repeated like a read
            self._client.call(
                "CreateSecret", self._parent, path, _made, changes=is_lost, body=secret, secretId=identifier
            )
        except RefusedError as error:
            if error.kind != "ALREADY_EXISTS":  # another writer has created it, or an attempt whose reply was lost
                raise
        return self._add(path, name, content)

    def _add(self, path: str, name: str, content: bytes, *, may_lack: bool = False) -> int:
        """Add a version, and return its number; 0 if the reply was lost and the secret, which `may_lack`, is absent."""

        def settle() -> int | None:
            return self._added(path, content) or (0 if may_lack and self._is_deleted(path) else None)

        number = self._client.call(
            "AddSecretVersion",
            name,
            path,
            lambda reply: int(_matched(_VERSION, reply)[2]),
            changes=True,
            settle=settle,
            body={"payload": {"data": base64.b64encode(content).decode(), "dataCrc32c": str(crc32c(content))}},
        )
        self._note(path, number)
        return number

    def _added(self, path: str, content: bytes) -> int | None:
        """Return the number of a new version with this content, or None. `latest` may not show it yet."""
        seen = self._newest.get(path, 0)
        number = seen + 1 if seen else max(1, self._answer(path, _LATEST)[0])
        while (found := self._answer(path, str(number)))[0]:
            if found[1] == _secret(path, content, number):
                return number
            number += 1
        return None

    def _is_deleted(self, path: str) -> Literal[True] | None:
        try:
            self._all_labels(path)
        except SecretNotFoundError:
            return True
        return None

    def _form(self, path: str, data: Mapping[str, Value]) -> Form | None:
        return form_to_write(data, self._fold_option, lambda: self.read(path))


def _made(_: object) -> Literal[True]:
    """Return the result of a change whose reply says nothing else."""
    return True


def _matched(pattern: re.Pattern[str], entry: Any) -> re.Match[str]:
    """Return the parts of the name of a secret or version. Raise TypeError or ValueError if it is not one of Google."""
    if (found := pattern.fullmatch(entry["name"])) is None:
        raise ValueError
    return found


def _info(entry: Any) -> VersionInfo:
    """Return a version of a reply: a disabled one is deleted."""
    state, ends = entry["state"], entry.get("scheduledDestroyTime") or entry.get("destroyTime")
    return VersionInfo(
        int(_matched(_VERSION, entry)[2]),
        datetime.fromisoformat(entry["createTime"]),
        deleted=state == "DISABLED",
        destroyed=state == "DESTROYED",
        deleted_at=None if ends is None else datetime.fromisoformat(ends),
    )


def _destroyed(path: str, version: Version) -> SecretNotFoundError:
    return SecretNotFoundError(path, f"its version {version} is destroyed")


def _inaccessible(info: VersionInfo, path: str) -> StoreError:
    """Return the error for a version that exists and cannot be read. Google's code does not tell why."""
    if info.destroyed:
        return _destroyed(path, info.version)
    if info.deleted:
        hint = "Enable it with `strongroom undelete`, or write a new version"
        return PermissionDeniedError(path, f"its version {info.version} is disabled", hint=hint)
    reason = f"its version {info.version} is enabled, and Google cannot decrypt it"
    return PermissionDeniedError(path, reason, hint="Check that the secret's KMS key is enabled")


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in labels.items() if not is_reserved(name)}


def _secret(path: str, payload: bytes, number: int | None = None) -> Secret:
    try:
        form, data = unfold(payload.decode())
    except UnicodeDecodeError:
        form, data = unfold(payload)
    return Secret(path, data, number, metadata=labels_of(form))


def _payload(path: str, data: Mapping[str, Value], form: Form | None) -> bytes:
    """Return the payload for Google, within its size limit."""
    content = fold(data, form)
    if isinstance(content, bytes) and not _is_binary(content):
        content = fold(data, None)  # it would come back as text
    payload = content.encode() if isinstance(content, str) else content
    if len(payload) > MAX_SIZE:
        raise SecretTooLargeError(path, f"its form at Google takes {len(payload):,} bytes, the most is {MAX_SIZE:,}")
    return payload


def _is_binary(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return True
    return False


def crc32c(content: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of the content, which Google checks and sends with each payload.

    64 KiB, the largest payload, take about 9 ms. Python's `zlib` has another polynomial.
    """
    table = _crc_table or _filled()
    crc = 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _filled() -> list[int]:
    entries = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901  # as the algorithm is written
        entries.append(byte)
    _crc_table[:] = entries
    return _crc_table
