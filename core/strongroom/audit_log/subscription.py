"""The audit log of this process: writes a record for each event, and fails the call whose record cannot be written.

A read is recorded before its value is returned, and a change, or the request of a worker with a value, before it is
sent. What can no longer be prevented, such as the result of a change, is recorded afterwards; if that fails, there is a
warning, and later a record of the gap.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakValueDictionary

from strongroom._config import AuditConfig, Config
from strongroom._config.trust import require_trusted_origin
from strongroom.audit_log.log_file import Hasher, LogFile
from strongroom.errors import AuditError, ConfigurationError
from strongroom.events import Event, EventKind, audit
from strongroom.files import private
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock
from strongroom.store.deadline import scoped

logger = logging.getLogger("strongroom.audit_log")

_CHANGES = {EventKind.WRITE, EventKind.ROTATION, EventKind.MIGRATION}
_UNRECORDED = {EventKind.OUTAGE, EventKind.RECOVERY}
"""Nobody acts in these events."""
_FAILED = {
    "WriteOutcomeUnknownError": "unknown",
    "StoreUnavailableError": "unavailable",
    "PermissionDeniedError": "denied",
    "AuthenticationError": "denied",
    "ConflictError": "conflict",
}
"""The outcome of a change that failed with this class; that of any other is `failed`."""


_MAX_LENGTH = 500
"""The longest reason, in characters."""

_reason: ContextVar[str] = ContextVar("strongroom_audit_reason", default="")


@contextmanager
def reason(text: str) -> Iterator[None]:
    """Give the reason of the reads and changes in this block. The inner of two blocks counts.

    It belongs to the thread or task, and to the calls that it awaits.

    Args:
        text: such as a ticket. It is stored as it is, so it must not have a secret.

    Raises:
        TypeError: it is not text, or it is the value of a secret.
        ValueError: it is empty or has more than 500 characters.
    """
    given: object = text
    if not isinstance(given, str) or isinstance(given, SensitiveStr):
        raise TypeError(f"a reason is text without secrets, not {type(text).__name__}")
    if not text or len(text) > _MAX_LENGTH:
        raise ValueError(f"a reason has 1 to {_MAX_LENGTH} characters, not {len(text)}")
    with scoped(_reason, text):
        yield


class AuditLog:
    """Records events in one file."""

    def __init__(self, config: AuditConfig, file: Path) -> None:
        self._config = config
        self._path = file
        self._file: LogFile | None = None
        self._process = {"user": _user(), "host": socket.gethostname(), "program": Path(*sys.argv[:1]).name}
        if config.application:
            self._process["application"] = config.application
        self._lost = 0
        self._warned = False
        self._lock = fork_safe_lock(self, "_lock")

    def __call__(self, event: Event) -> None:
        """Record an event.

        Raises:
            AuditError: the record could not be written, and without it nothing must happen.
        """
        entry = _entry(event)
        if entry is None:
            return
        syncs = self._config.sync
        fault = self._append(entry, sync=syncs == "always" or (syncs == "changes" and event.kind in _CHANGES))
        if fault and self._config.on_failure == "fail" and not _is_over(event):
            raise AuditError(
                f"The audit log {self._path} cannot be written: {fault}. "
                "Nothing is read or changed without a record: remove the cause"
            )
        with self._lock:
            self._lost += bool(fault)
            warned, self._warned = self._warned, bool(fault)
        if fault and not warned:
            logger.warning("The audit log %s cannot be written: %s. Records are missing", self._path, fault)
        elif warned and not fault:
            logger.warning("The audit log %s can be written again", self._path)

    def _append(self, entry: dict[str, object], *, sync: bool) -> str:
        """Append a record, after one of the records that are missing. Return why it could not be written, or ""."""
        begin = {"time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}
        text = _reason.get()
        end = {**self._process, "pid": os.getpid(), **({"reason": text} if text else {})}
        with self._lock:  # one of several threads records the gap
            lost, self._lost = self._lost, 0
        gap = [{**begin, "event": "log", "outcome": "gap", "lost": lost, **end}] if lost else []
        torn = {**begin, "event": "log", "outcome": "torn", **end}
        try:
            if self._file is None:
                self._file = LogFile(self._path, Hasher(read_key(self._config)), max_size=self._config.max_size)
            self._file.append([*gap, {**begin, **entry, **end}], torn, sync=sync)
            lost = 0
        except OSError as error:
            return error.strerror or type(error).__name__
        finally:
            with self._lock:
                self._lost += lost
        return ""


def _entry(event: Event) -> dict[str, object] | None:
    """Return the fields of an event's record, or None if it has none."""
    if event.kind in _UNRECORDED:
        return None
    about, outcome = "read", event.kind.value
    if event.kind in _CHANGES or event.kind is EventKind.USE:
        about, outcome = event.kind.value, event.outcome
        if event.kind is EventKind.WRITE and outcome != "started":
            outcome = _FAILED.get(event.error, "failed") if event.error else "written"
    elif event.kind is EventKind.MISS:
        outcome = "absent"
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
    if (use := event.use) is not None:
        request = {"request_host": use.host, "method": use.method, "request_path": use.path, "status": use.status or ""}
        optional |= {"rule": use.rule, **request, "refusal": use.reason}
    return {**fields, **{name: value for name, value in optional.items() if value not in {None, ""}}}


def _is_over(event: Event) -> bool:
    """Return True for the result of something that cannot be prevented any more."""
    begins = event.kind in {EventKind.WRITE, EventKind.USE}
    return event.kind is EventKind.ROTATION or (begins and event.outcome != "started")


def _user() -> str:
    """Return the name of the effective user, or the number of one without a name, as in a container.

    Raises:
        ConfigurationError: the system has no such users.
    """
    try:
        import pwd
    except ImportError:
        raise ConfigurationError("The audit log needs the users and file locks of POSIX: remove [audit]") from None
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


# --- the logs of this process -----------------------------------------------------------------------------------------

_open: WeakValueDictionary[tuple[Path, AuditConfig], AuditLog] = WeakValueDictionary()
_lock = fork_safe_lock(sys.modules[__name__], "_lock")


def begin(config: Config) -> Callable[[], None]:
    """Record the events of this process from now on. Return the function that ends this.

    Several managers of one configuration have one log.

    Raises:
        ConfigurationError: a file that is not trusted names the log or its key, or this system is not POSIX.
    """
    file = log_file(config)
    with _lock:
        log = _open.get((file, config.audit))
        if log is None:
            log = _open[file, config.audit] = AuditLog(config.audit, file)
        return audit(log)


def log_file(config: Config) -> Path:
    """Return the absolute path of the configured log.

    Raises:
        ConfigurationError: no log is configured, or a file that is not trusted names it or its key.
    """
    for setting in ("audit.file", "audit.key_file"):
        require_trusted_origin(config, setting, "names the audit log or its key")
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
        key = private.read_or_create_key(file) if create else private.read(file)
        shared = file.stat().st_mode & 0o077
    except OSError as error:
        raise OSError(error.errno, f"the key {file}: {error.strerror or 'it cannot be used'}") from None
    if shared or len(key) != private.KEY_SIZE:
        fault = "others have access to it: run chmod 600" if shared else "it is not a key of 32 bytes"
        raise OSError(errno.EPERM, f"the key {file}: {fault}")
    return key
