"""A file of secrets as a store, in any format."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from strongroom._files.age import Encryption, is_encrypted
from strongroom._files.codec import Codec
from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.files.bounded import read_store_file
from strongroom.files.private import FolderLock, SymbolicLinkError, lock_folder
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveDict, Value, Version, protect_data, same
from strongroom.store import Health, Items, Traits, fork_safe_lock, remaining
from strongroom.store.concurrency import result_or_error

MAX_SIZE = 1 << 26
"""The largest file that is read or written, in bytes: 64 MiB."""

_SETTLED = 1_000_000_000
"""A file that changed within these nanoseconds may change again without new times, since file clocks are coarse."""

_Secrets: TypeAlias = dict[str, SensitiveDict]


class _Snapshot(NamedTuple):
    """The secrets of the file, and the times and size that it had when it was read."""

    stamp: tuple[int, ...]
    settled: bool
    secrets: _Secrets


class FileStore:
    """The secrets of one file.

    The parsed content is kept in memory while the size and times of the file stay the same, so a series of
    reads and writes parses it once. A write reads, changes and replaces the whole file under a
    lock of its folder. It overwrites an edit that another program makes meanwhile without that lock.

    Args:
        file: the file. A missing file is empty, and the first write creates it.
    """

    traits = Traits(local=True)

    def __init__(self, file: Path, codec: Codec, encryption: Encryption | None = None) -> None:
        self._file = file.absolute()
        self._codec = codec
        self._encryption = encryption or Encryption()
        self._snapshot: _Snapshot | None = None
        self._lock = fork_safe_lock(self, "_lock")

    def close(self) -> None:
        with self._lock:
            self._snapshot = None

    # --- read ---------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        secrets = self._read(path)
        if path not in secrets:
            raise SecretNotFoundError(path, f"{self._file} has no secret at this path")
        return Secret(path, secrets[path])

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        for path in paths:
            yield path, result_or_error(self.read, path)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the sorted names directly below `prefix`; a secret with others below it is both `name` and `name/`."""
        return iter(sorted(entries_below(self.walk(prefix), prefix)))

    def walk(self, prefix: str) -> Iterator[str]:
        """Return every path below `prefix`, in the order of the file."""
        start = f"{prefix}/" if prefix else ""
        try:
            secrets = self._read(prefix or None)
        except SecretNotFoundError:
            return iter(())
        return iter([path for path in secrets if path.startswith(start)])

    def probe(self) -> Health:
        """Return whether the file can be read now. A missing file is healthy and empty."""
        try:
            secrets = self._read(None)
        except SecretNotFoundError as absence:
            return Health(ok=True, detail=absence.reason)
        return Health(ok=True, detail=f"secrets in {self._file}: {len(secrets):,}")

    # --- write --------------------------------------------------------------------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        self._codec.vet(path, data)

    def vet_many(self, items: Items) -> Iterator[tuple[str, StoreError | None]]:
        """Yield for each path the error with which the file could not be read or written with all these secrets."""
        wanted = SensitiveDict((path, protect_data(data)) for path, data in items)
        with self._lock:
            outcome = result_or_error(self._changed, None, lambda secrets: secrets.update(wanted))
        yield from _for_each(wanted, outcome)

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Replace the secret, and with it the file."""
        self._codec.vet(path, data)
        self._change(path, lambda secrets: secrets.__setitem__(path, protect_data(data)))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Write the file once with all secrets. Yield an error for each secret that the format cannot hold."""
        taken = SensitiveDict()
        for path, data in items:
            try:
                self._codec.vet(path, data)
            except StoreError as error:
                yield path, error
                continue
            taken[path] = protect_data(data)
        if taken:
            yield from _for_each(taken, result_or_error(self._change, None, lambda secrets: secrets.update(taken)))

    def delete(self, path: str) -> None:
        """Remove the secret. The file stays, even without secrets."""
        for _, failure in self.delete_many([path]):
            if failure is not None:
                raise failure

    def delete_many(self, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
        """Write the file once without these secrets. Write nothing if it has none of them."""
        absence = SecretNotFoundError(None, f"{self._file} has no secret at this path")
        results: dict[str, StoreError | None] = dict.fromkeys(paths)

        def remove(secrets: _Secrets) -> None:
            results.update({path: absence for path in results if secrets.pop(path, None) is None})
            if all(results.values()):
                raise absence

        try:
            self._change(None, remove)
        except StoreError as error:
            results = {path: failure or error for path, failure in results.items()}
        for path, failure in results.items():
            yield path, None if failure is None else failure.copy(path=path)

    # --- the file -----------------------------------------------------------------------------------------------------

    def _read(self, path: str | None) -> _Secrets:
        """Return the secrets of the current file, which the caller must not change.

        Raises:
            SecretNotFoundError: there is no such file, so every secret of it is absent.
        """
        with self._lock:
            if (kept := self._kept()) is not None:
                return kept
            asked = time.time_ns()
            content, status = read_store_file(self._file, MAX_SIZE, path)
            stamp, secrets = _stamp(status), self._decoded(path, content)
            self._snapshot = _Snapshot(stamp, stamp[-1] + _SETTLED < asked, secrets)
            return secrets

    def _kept(self) -> _Secrets | None:
        """Return the parsed content if the file is unchanged."""
        if self._snapshot is None or not self._snapshot.settled:
            return None
        try:
            return self._snapshot.secrets if _stamp(self._file.stat()) == self._snapshot.stamp else None
        except OSError:
            return None

    def _decoded(self, path: str | None, content: bytes) -> _Secrets:
        failure: StoreError | None = None
        try:
            return self._codec.decode(self._encryption.decrypt(content))
        except StoreError as error:
            failure = type(error)(error.path or path, f"{self._file}: {error.reason}", hint=error.hint)
        del content
        raise failure

    def _change(self, path: str | None, change: Callable[[_Secrets], None]) -> None:
        """Apply a change to the secrets and replace the file."""
        failure: StoreError | None = None
        try:
            with self._lock, lock_folder(self._file.parent, remaining()) as folder:
                self._replace(path, folder, change)
        except TimeoutError as error:
            failure = StoreUnavailableError(path, f"{self._file}: {error.strerror}", hint="Try again")
        except SymbolicLinkError:
            failure = StoreError(path, f"{self._file} is a symbolic link", hint="Name the file that it leads to")
        except PermissionError:
            failure = PermissionDeniedError(
                path, f"{self._file} may not be written", hint="Let this user write in its folder"
            )
        except OSError as error:
            failure = StoreUnavailableError(
                path, f"{self._file}: {error.strerror or 'it cannot be written'}", hint="Check its disk and folder"
            )
        if failure is not None:
            raise failure

    def _replace(self, path: str | None, folder: FolderLock, change: Callable[[_Secrets], None]) -> None:
        content, secrets = self._changed(path, change)
        written = folder.replace(self._file.name, content)
        self._snapshot = _Snapshot(_stamp(written), settled=True, secrets=secrets)

    def _changed(self, path: str | None, change: Callable[[_Secrets], None]) -> tuple[bytes, _Secrets]:
        """Return the new content of the file, which can be read back, and its secrets."""
        before, old = self._now(path)
        secrets = dict(old)
        change(secrets)
        content = self._codec.encode(secrets, before)
        self._check(path, content, secrets, old)
        content = self._encryption.encrypt(content)
        if len(content) > MAX_SIZE:
            raise SecretTooLargeError(path, f"{self._file} would have more than {MAX_SIZE:,} bytes")
        return content, secrets

    def _check(self, path: str | None, content: bytes, secrets: _Secrets, old: _Secrets) -> None:
        """Decode the new content before it is written: all of it, or the changed secrets if they are independent."""
        changed = secrets
        if not self._codec.keeps_more:
            changed = {name: data for name, data in secrets.items() if old.get(name) is not data}
            content = self._codec.encode(changed, b"")
        if not same(self._codec.decode(content), changed):
            raise StoreError(path, f"{self._codec.name} would not read back as it was written; nothing was written")

    def _now(self, path: str | None) -> tuple[bytes, _Secrets]:
        """Return the current content as plain bytes and as secrets."""
        kept = self._kept()
        if kept is not None and self._encryption.encrypts and not self._encryption.decrypts:
            return b"", kept  # only this process knows its content
        try:
            content, _ = read_store_file(self._file, MAX_SIZE, path)
        except SecretNotFoundError:
            return b"", {}
        if is_encrypted(content) and not self._encryption.encrypts:
            reason = f"{self._file} is encrypted, and would be written in plain"
            raise StoreError(path, reason, hint="Name its recipients with the option encrypt_to")
        secrets = self._decoded(path, content) if kept is None else kept
        return self._encryption.decrypt(content), secrets


def _for_each(paths: Iterable[str], outcome: object) -> Iterator[tuple[str, StoreError | None]]:
    """Yield each path with a copy of the error, if the outcome of all is one."""
    for path in paths:
        yield path, outcome.copy(path=path) if isinstance(outcome, StoreError) else None


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """Return the identity, size and times of a file; the time of the last change comes last."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
