"""Versions and labels of a KV version 2 engine: the metadata, which has separate policies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Version
from strongroom.store import VersionInfo
from strongroom_vault.responses import malformed, member
from strongroom_vault.store.kv import VaultKV
from strongroom_vault.store.write_reconciliation import confirm, send_change

if TYPE_CHECKING:
    from strongroom_vault.http.hvac_adapter import API, ApiRequest
    from strongroom_vault.http.messages import Reply
    from strongroom_vault.session.session import Session

_REVISION = "current_metadata_version"
"""OpenBao numbers the changes of a secret's metadata, and checks the number on a write. Vault does neither."""


_MOST_LABELS, _LONGEST_NAME, _LONGEST_TEXT = 64, 128, 512
"""Limits of custom metadata: number of labels, bytes in a name, bytes in a text."""


_KEPT_BY_DEFAULT = 10
"""The number of versions that an engine keeps by default."""

_SPARSE = 10
"""With more secrets for each wanted one, a list of the folder costs more than the wanted secrets' metadata."""

_PAUSE = 600.0
"""Seconds until a refused request is tried again: a policy may have changed."""

_NEVER = (None, "", "0s")
"""Values of `delete_version_after` that delete nothing."""


class VaultKV2Metadata(VaultKV):
    """Metadata of the secrets in a version 2 engine.

    Every method needs the right to read `<mount>/metadata/<path>`, which the right to read the secret does not include.
    The metadata is read before undelete and destroy, because the server accepts these for absent versions too.
    """

    def __init__(self, session: Session, api: API, prefix: str) -> None:
        super().__init__(session, api, prefix)
        self._unlisted = _Pause()
        self._unreadable = _Pause()

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return each version that the engine keeps, oldest first. It drops the oldest above `max_versions`."""
        reply = self._get_metadata(path)
        now = now_of(reply)
        entries = self._entries(reply, path)
        return [_described(number, entries[number], now) for number in sorted(entries)]

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        """Yield each path with its newest version or its error, in any order.

        The secrets of one folder take one request if the server has `detailed-metadata` (OpenBao) and the token may
        list it. Otherwise the metadata of each is read, many at a time. A folder whose metadata is denied is not
        requested again for some minutes.
        """
        folders: dict[str, list[str]] = {}
        for path in paths:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
        crowded = [folder for folder, below in folders.items() if len(below) > 1 and self._unlisted.admits(folder)]
        listed: set[str] = set()
        for folder, found in self._many(crowded, self._detailed_list_request, self._parse_folder):
            if isinstance(found, StoreUnavailableError):
                yield from ((path, found.copy(path=path)) for path in folders[folder])
            elif isinstance(found, StoreError) or found is None:
                self._unlisted.add(folder)
                continue
            else:
                yield from ((path, found.get(path) or SecretNotFoundError(path)) for path in folders[folder])
                if len(found) > _SPARSE * len(folders[folder]):
                    self._unlisted.add(folder)
            listed.add(folder)
        for folder, below in folders.items():
            if folder not in listed:
                yield from self._newest_one_by_one(folder, below)

    def _newest_one_by_one(self, folder: str, paths: Sequence[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        denied = UnsupportedOperationError(None, "its metadata may not be read")
        if not self._unreadable.admits(folder):
            yield from ((path, denied.copy(path=path)) for path in paths)
            return
        for path, found in self._many(paths, self._metadata_request, self._parse_newest):
            if found is None:
                self._unreadable.add(folder)
            yield path, denied.copy(path=path) if found is None else found

    def kept_versions(self, path: str) -> int:
        """Return how many versions are kept: the larger setting of the secret and of the engine.

        It is 1 if either deletes versions after a time, or if the newest version has a deletion time, which it got when
        it was written. The right to read `<mount>/config` is needed too.
        """
        secret = self._get_metadata(path)
        entries = self._entries(secret, path)
        engine = self._session.request(self._api.read_configuration(mount_point=self._session.mount))
        settings = [self._content(reply, path) for reply in (secret, engine)]
        due = moment(entries[max(entries)].get("deletion_time")) is not None
        if due or any(each.get("delete_version_after") not in _NEVER for each in settings):
            return 1
        most = [each.get("max_versions") for each in settings]
        return max((number for number in most if isinstance(number, int)), default=0) or _KEPT_BY_DEFAULT

    def undelete(self, path: str, version: Version) -> None:
        """Make a deleted version readable again. The time of a `delete_version_after` begins anew."""
        before = self._info(path, version)
        if before.destroyed:
            raise SecretNotFoundError(path, f"version {version} is destroyed")
        request = self._api.undelete_secret_versions(versions=[int(version)], **self._at(path))

        def undeleted() -> bool | None:
            info = self._info(path, version)
            if not info.deleted:
                return True
            return False if info.deleted_at == before.deleted_at else None  # None: it was deleted again

        confirm(request, send_change(self._session, request), path, self._session, undeleted)

    def destroy(self, path: str, version: Version) -> None:
        """Remove that version's data for good."""
        self._info(path, version)
        request = self._api.destroy_secret_versions(versions=[int(version)], **self._at(path))

        def destroyed() -> bool:
            return self._info(path, version).destroyed

        confirm(request, send_change(self._session, request), path, self._session, destroyed)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the secret's `custom_metadata`."""
        reply = self._get_metadata(path)
        self._entries(reply, path)
        return labels(self._content(reply, path))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Refuse labels beyond the engine's limits."""
        check_custom_metadata(labels, path)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the secret's `custom_metadata`. All its other settings stay.

        Raises:
            InvalidDataError: the engine does not accept these labels.
            ConflictError: on OpenBao, its metadata was changed at the same time.
        """
        check_custom_metadata(metadata, path)
        revision = self._revision(path)
        content: dict[str, Any] = {"custom_metadata": dict(metadata)}
        if revision is not None:
            content["metadata_cas"] = revision
        from strongroom_vault.http.hvac_adapter import ApiRequest

        # hvac's `update_metadata` would also set `delete_version_after`; a field that is not sent stays.
        target = f"/v1/{quote(self._session.mount)}/metadata/{quote(self._full_path(path))}"
        request = ApiRequest("POST", target, content)
        outcome = send_change(self._session, request)
        if not isinstance(outcome, WriteOutcomeUnknownError) and outcome.status == 400 and not outcome.repeats:
            if self._revision(path) != revision:
                raise ConflictError(path, "its metadata was changed at the same time", hint="Read it again")
            raise InvalidDataError(path, f"{self._session.location} refuses these labels (HTTP 400)")

        def written() -> bool | None:
            if self.read_metadata(path) == metadata:
                return True
            return False if revision is not None and self._revision(path) == revision else None

        confirm(request, outcome, path, self._session, written)

    def _get_metadata(self, path: str) -> Reply:
        return self._session.request(self._metadata_request(path))

    def _metadata_request(self, path: str) -> ApiRequest:
        return self._api.read_secret_metadata(**self._at(path))

    def _detailed_list_request(self, folder: str) -> ApiRequest:
        from strongroom_vault.http.hvac_adapter import ApiRequest

        # hvac has no method for it.
        below = self._full_path(folder) if folder else self._prefix.removesuffix("/")
        return ApiRequest("LIST", f"/v1/{quote(self._session.mount)}/detailed-metadata/{quote(below)}")

    def _parse_folder(self, folder: str, reply: Reply) -> dict[str, VersionInfo] | None:
        """Return the newest version of each secret in a folder; None if the server has no such list or denies it."""
        if reply.status in {403, 404, 405}:
            return None  # an empty folder too: only the metadata of a secret confirms its absence
        secrets = member(self._content(reply, folder or None), "key_info")
        if secrets is None:
            raise malformed(folder or None, self._session.location)
        now = now_of(reply)
        found = ((name, newest_version(member(secrets, name), now)) for name in secrets if not name.endswith("/"))
        return {f"{folder}/{name}" if folder else name: newest for name, newest in found if newest is not None}

    def _parse_newest(self, path: str, reply: Reply) -> VersionInfo | None:
        """Return the newest version of a secret; None if its metadata is denied."""
        if reply.status == 403:
            return None
        newest = newest_version(self._content(reply, path), now_of(reply))
        if newest is None:
            raise SecretNotFoundError(path, "it has metadata and no version")
        return newest

    def _entries(self, reply: Reply, path: str) -> dict[int, Mapping[str, Any]]:
        """Return version -> its metadata. Metadata without a version is not a secret."""
        versions = member(self._content(reply, path), "versions")
        if versions is None:
            raise malformed(path, self._session.location)
        entries: dict[int, Mapping[str, Any]] = {}
        for number in versions:
            entry = member(versions, number)
            if entry is None or not number.isdecimal():
                raise malformed(path, self._session.location)
            entries[int(number)] = entry
        if not entries:
            raise SecretNotFoundError(path, "it has metadata and no version")
        return entries

    def _info(self, path: str, version: Version) -> VersionInfo:
        known = (info for info in self.versions(path) if info.version == version)
        if (info := next(known, None)) is None:
            raise SecretNotFoundError(path, f"version {version} does not exist or is no longer kept")
        return info

    def _revision(self, path: str) -> int | None:
        """Return the revision of the metadata, if the server numbers it; raise if there is no secret."""
        reply = self._get_metadata(path)
        self._entries(reply, path)
        revision = self._content(reply, path).get(_REVISION)
        return revision if isinstance(revision, int) else None


class _Pause:
    """Folders in which a kind of request is not tried again for some minutes."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, folder: str) -> None:
        self._until[folder] = time.monotonic() + _PAUSE

    def admits(self, folder: str) -> bool:
        return time.monotonic() >= self._until.get(folder, 0.0)


def newest_version(content: Mapping[str, Any] | None, now: datetime) -> VersionInfo | None:
    """Return the newest version in a secret's metadata; None if it has none."""
    number = None if content is None else content.get("current_version")
    entry = member(member(content, "versions"), str(number))
    return _described(number, entry, now) if isinstance(number, int) and entry is not None else None


def labels(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the `custom_metadata` in a secret's metadata."""
    return {name: str(label) for name, label in (member(content, "custom_metadata") or {}).items()}


def check_custom_metadata(labels: Mapping[str, str], path: str) -> None:
    """Refuse labels that the engine does not accept, with a reason that the engine does not give.

    See https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#custom_metadata.

    Raises:
        InvalidDataError: names the label and the rule, never the label's text.
    """
    if len(labels) > _MOST_LABELS:
        raise InvalidDataError(path, f"{len(labels)} labels, the engine takes {_MOST_LABELS}")
    for name, text in labels.items():
        if not _prints(name, _LONGEST_NAME):
            rule = f"the engine takes 1 to {_LONGEST_NAME} bytes, all of which print"
            raise InvalidDataError(path, f"label {name!r} cannot be the name of a label: {rule}")
        if not _prints(text, _LONGEST_TEXT):
            rule = f"the engine takes 1 to {_LONGEST_TEXT} bytes, all of which print"
            raise InvalidDataError(path, f"what label {name!r} says is not within its limits: {rule}")


def _prints(text: str, most: int) -> bool:
    return text.isprintable() and 0 < len(text.encode()) <= most


def moment(text: object) -> datetime | None:
    """Return a time that the server wrote; None if the text is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def now_of(reply: Reply) -> datetime:
    """Return the server's time, for comparison with its times.

    The header is truncated to seconds. One second is added, so that a version that was just deleted counts as deleted.
    """
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(reply.headers["date"]) + timedelta(seconds=1)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _described(number: int, entry: Mapping[str, Any], now: datetime) -> VersionInfo:
    destroyed, deleted_at = entry.get("destroyed") is True, moment(entry.get("deletion_time"))
    return VersionInfo(
        number,
        moment(entry.get("created_time")),
        deleted=not destroyed and deleted_at is not None and deleted_at <= now,
        destroyed=destroyed,
        deleted_at=deleted_at,
    )
