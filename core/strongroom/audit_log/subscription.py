"""The audit log of this process: writes a record for each event, and fails the call whose record cannot be written.

A read is recorded before its value is returned, and a change before it is sent. What can no longer be prevented, the
result of a change and the step of a rotation, is recorded afterwards; if that fails, there is a warning, and later a
record of the gap.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from strongroom.audit_log.actor import Actor
from strongroom.audit_log.log_file import LogFile
from strongroom.audit_log.record import Hasher
from strongroom.config import AuditConfig, Config
from strongroom.config.trust import require_trusted_origin
from strongroom.errors import AuditError, ConfigurationError
from strongroom.events import Event, EventKind, audit
from strongroom.files import private_file
from strongroom.store import reentrant_lock

logger = logging.getLogger("strongroom.audit_log")

_READS = {
    EventKind.READ: "read",
    EventKind.HIT: "hit",
    EventKind.STALE: "stale",
    EventKind.MISS: "absent",
    EventKind.DENIED: "denied",
    EventKind.UNAVAILABLE: "unavailable",
    EventKind.FAILED: "failed",
}
"""The outcome of each kind of read."""
_OTHERS = {EventKind.WRITE: "write", EventKind.ROTATION: "rotation", EventKind.MIGRATION: "migration"}
"""The event of each other kind that is recorded. Outages are not: nobody acts."""
_FAILED = {
    "WriteOutcomeUnknownError": "unknown",
    "StoreUnavailableError": "unavailable",
    "PermissionDeniedError": "denied",
    "AuthenticationError": "denied",
    "ConflictError": "conflict",
}
"""The outcome of a change that failed with this class; that of any other is `failed`."""


class AuditLog:
    """Records events in one file."""

    def __init__(self, config: AuditConfig, file: Path) -> None:
        self._config = config
        self._path = file
        self._actor = Actor(config.application)
        self._file: LogFile | None = None
        self._lost = 0
        self._warned = False
        self._lock = reentrant_lock()

    def __call__(self, event: Event) -> None:
        """Record an event.

        Raises:
            AuditError: the record could not be written, and without it nothing must happen.
        """
        entry = _entry(event)
        if entry is None:
            return
        syncs = self._config.sync
        try:
            self._append(entry, sync=syncs == "always" or (syncs == "changes" and event.kind in _OTHERS))
        except OSError as error:
            reason = error.strerror or type(error).__name__
        else:
            if self._warned:
                self._warned = False
                logger.warning("The audit log %s can be written again", self._path)
            return
        if self._config.on_failure == "fail" and not _is_over(event):
            raise AuditError(
                f"The audit log {self._path} cannot be written: {reason}. "
                "Nothing is read or changed without a record: remove the cause"
            )
        with self._lock:
            self._lost += 1
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning("The audit log %s cannot be written: %s. Records are missing", self._path, reason)

    def _append(self, entry: dict[str, object], *, sync: bool) -> None:
        if self._file is None:
            self._file = LogFile(self._path, Hasher(read_key(self._config)), max_size=self._config.max_size)
        begin = {"time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}
        actor = self._actor.fields()
        with self._lock:  # one of several threads records the gap
            lost, self._lost = self._lost, 0
        gap = [{**begin, "event": "log", "outcome": "gap", "lost": lost, **actor}] if lost else []
        torn = {**begin, "event": "log", "outcome": "torn", **actor}
        try:
            self._file.append([*gap, {**begin, **entry, **actor}], torn, sync=sync)
        except BaseException:
            with self._lock:
                self._lost += lost
            raise


def _entry(event: Event) -> dict[str, object] | None:
    """Return the fields of an event's record, or None if it has none."""
    if (read := _READS.get(event.kind)) is not None:
        about, outcome = "read", read
    elif (other := _OTHERS.get(event.kind)) is not None:
        about, outcome = other, event.outcome
        if event.kind is EventKind.WRITE and outcome != "started":
            outcome = _FAILED.get(event.error, "failed") if event.error else "written"
    else:
        return None
    fields: dict[str, object] = {"event": about, "outcome": outcome}
    optional = {
        "action": event.step,
        "path": event.path,
        "key": event.key,
        "store": event.store,
        "link": event.link,
        "age": None if event.age is None else round(event.age, 3),
        "seconds": None if event.seconds is None else round(event.seconds, 6),
        "error": event.error,
    }
    return {**fields, **{name: value for name, value in optional.items() if value not in {None, ""}}}


def _is_over(event: Event) -> bool:
    """Return True for the result of something that cannot be prevented any more."""
    return event.kind is EventKind.ROTATION or (event.kind is EventKind.WRITE and event.outcome != "started")


# --- the logs of this process -----------------------------------------------------------------------------------------


class _Open(NamedTuple):
    managers: int
    end: Callable[[], None]


_open: dict[tuple[Path, AuditConfig], _Open] = {}
_lock = reentrant_lock()


def begin(config: Config) -> Callable[[], None]:
    """Record the events of this process from now on. Return the function that ends this.

    Several managers of one configuration have one log.

    Raises:
        ConfigurationError: a file that is not trusted names the log or its key.
    """
    file = log_file(config)
    place = file, config.audit
    with _lock:
        before = _open.get(place)
        managers, stop = (0, audit(AuditLog(config.audit, file))) if before is None else before
        _open[place] = _Open(managers + 1, stop)
    ended = False

    def end() -> None:
        nonlocal ended
        with _lock:
            if ended:
                return
            ended = True
            now = _open[place]
            if now.managers > 1:
                _open[place] = now._replace(managers=now.managers - 1)
            else:
                del _open[place]
                now.end()

    return end


def log_file(config: Config) -> Path:
    """Return the absolute path of the configured log.

    Raises:
        ConfigurationError: no log is configured, or a file that is not trusted names it or its key.
    """
    for setting in ("audit.file", "audit.key_file"):
        require_trusted_origin(config, setting, "it names the audit log or its key")
    if config.audit.file is None:
        raise ConfigurationError("No audit log is configured: name a file, or set file in [audit]")
    return config.audit.file.absolute()


def read_key(config: AuditConfig, *, create: bool = True) -> bytes | None:
    """Return the key of the log, or None for a plain chain. The first writer creates it.

    Raises:
        OSError: it cannot be read or created, or others can read it.
    """
    if config.key_file is None:
        return None
    file = config.key_file.absolute()
    try:
        key = private_file.read_or_create_key(file) if create else private_file.read(file)
        shared = file.stat().st_mode & 0o077
    except OSError as error:
        raise OSError(error.errno, f"the key {file}: {error.strerror or 'it cannot be used'}") from None
    if shared or len(key) != private_file.KEY_SIZE:
        fault = "others have access to it: run chmod 600" if shared else "it is not a key of 32 bytes"
        raise OSError(errno.EPERM, f"the key {file}: {fault}")
    return key
