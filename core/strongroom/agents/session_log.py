"""The logs of `agent run` and `agent serve`: a private file of JSON lines for each session, in the user's state folder.

The first line tells about the session, each other one about a use, a refusal, or a new destination. Strongroom writes
no value and no query into it; the worker chooses hosts and paths. While the session runs, its process holds a lock on
the file. A line is not flushed to the disk: a request must not wait for it. The audit log is the record for others;
this one is for the operator who looks at the session.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from strongroom.errors import ConfigurationError, newer_format
from strongroom.events import Event, EventKind, listen
from strongroom.files import private

_FORMAT, _VERSION = "strongroom-agent-session", 1
_KEPT = 20
"""The number of logs that are kept."""

_MAX_SIZE = 1 << 24
"""The largest log, in bytes, before its last line: a hostile worker must not fill the disk."""

_MAX_REASONS = 1000
"""The most reasons that are counted apart: many name a host, which the worker chooses."""

_MOST_TOLD = 20
"""The most destinations of which a refusal is told: a hostile worker makes up as many as it likes."""

_MOST_SEEN = 1000
"""The most destinations that are remembered. After more, each is written again."""

_LONGEST_COMMAND = 100
_SUFFIX = ".jsonl"


class SessionLog:
    """Writes the log of one session, and counts, for a `with` block in which the worker runs.

    The operator is told of the first refusal for each of the first destinations. If the file cannot be written, the
    operator is told once, and the session continues.

    Args:
        command: the name of the worker's command, without its arguments, which may have a secret.
        rules: the names of the rules.
        end: when the session will end; None if the worker decides.
        tell: tells the operator, in one line.
        folder: the folder of all logs; by default that of this user.

    Attributes:
        name: the name of the session.
        uses: the number of uses by the name of the rule.
        refused: the number of refusals.
        reasons: the number of refusals by their reason, for the first reasons.
        size: the number of bytes in its log; 0 without a log.
    """

    def __init__(
        self,
        command: str,
        rules: Iterable[str],
        end: datetime | None,
        tell: Callable[[str], object],
        folder: Path | None = None,
    ) -> None:
        start = datetime.now(UTC)
        self.name = f"{start:%Y%m%dT%H%M%S}-{token_hex(2)}"
        self._about = {"command": command[:_LONGEST_COMMAND], "rules": list(rules), "end": end and _text(end)}
        self._tell = tell
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._stack = ExitStack()
        self.size = 0
        self.uses: Counter[str] = Counter()
        self.refused = 0
        self.reasons: Counter[str] = Counter()
        self._told: set[str] = set()
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        try:
            folder = private.make_folder(self._folder or default_folder())
            for old in recorded_sessions(folder)[_KEPT:]:
                old.remove()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            flags |= os.O_APPEND  # otherwise the next line overwrites a half of one that another process has added
            file = private.open_file(folder / f"{self.name}{_SUFFIX}", flags)
            self._stack.callback(os.close, file)
            self._stack.enter_context(private.lock(file, 1.0))
            self._file = file
        except (OSError, ConfigurationError) as error:
            self._fail(error)
        about = {"format": _FORMAT, "version": _VERSION, "session": self.name, "pid": os.getpid(), **self._about}
        self._append("session", about)
        self._stack.callback(listen(self._record))
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # an event may be on its way in another thread
            self._file = None
        self._stack.close()

    def connected(self, destination: str, unread: bool) -> bool:  # noqa: FBT001  # the proxy's signature
        """Record a destination, and return True, if the worker had not named it before.

        Args:
            destination: the host and the port.
            unread: no rule names it, so that its requests pass unread.
        """
        with self._lock:
            if destination in self._seen:
                return False
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(destination)
        self._append("destination", {"destination": destination, "unread": unread})
        return True

    def _record(self, event: Event) -> None:
        if event.kind is not EventKind.USE or (use := event.use) is None:
            return
        seconds = None if event.seconds is None else round(event.seconds, 3)
        fields = {**use._asdict(), "seconds": seconds}
        if event.outcome != "refused":
            with self._lock:
                self.uses[use.rule] += 1
            self._append("use", fields)
            return
        with self._lock:
            self.refused += 1
            if use.reason in self.reasons or len(self.reasons) < _MAX_REASONS:
                self.reasons[use.reason] += 1
            number = len(self._told)
            is_first = use.host not in self._told and number <= _MOST_TOLD
            if is_first:
                self._told.add(use.host)
        self._append("refusal", fields)
        if is_first and number < _MOST_TOLD:
            self._tell(f"Refused {use.host} to the worker: {use.reason}")
        elif is_first:
            self._tell("Refused more destinations to the worker, which are not shown here")

    def _append(self, event: str, fields: Mapping[str, object]) -> None:
        content = _line(event, {name: value for name, value in fields.items() if value not in (None, "")})
        with self._lock:
            if self._file is None:
                return
            try:
                self._write(self._file, content)
            except OSError as error:
                self._file, fault = None, error
            else:
                return
        self._fail(fault)

    def _write(self, file: int, content: bytes) -> None:
        is_full = self.size + len(content) > _MAX_SIZE
        if is_full:
            content = _line("full", {})
        written = os.write(file, content)
        self.size += written
        if written < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if is_full:
            raise OSError(errno.EFBIG, f"it is full, with {_MAX_SIZE >> 20} MiB")

    def _fail(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        self._tell(f"The log of this session cannot be written: {reason}. The worker is served without it")


def default_folder() -> Path:
    """Return the folder of all logs of this user, whether it exists or not.

    Raises:
        ConfigurationError: the user has no home folder.
    """
    return private.user_folder("state") / "agents"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(event: str, fields: Mapping[str, object]) -> bytes:
    line = json.dumps({"time": _text(datetime.now(UTC)), "event": event, **fields}, separators=(",", ":"))
    return line.encode("ascii") + b"\n"


# --- reading ----------------------------------------------------------------------------------------------------------


_FIELDS: Mapping[str, Mapping[str, type]] = {
    "session": {"session": str, "command": str, "pid": int, "version": int},
    "destination": {"destination": str, "unread": bool},
    "use": {"rule": str, "status": int},
    "refusal": {"status": int},
    "full": {},
}
"""The fields that a line of each event must have."""

_TEXTS = ("rule", "host", "method", "path", "reason")
"""Fields that a line may have, which are text."""


class RecordedSession:
    """Reads the log of a session, as it grows. A worker that runs as its operator can put any line into it.

    Args:
        file: the log.

    Attributes:
        name: the name of the session.
        about: the fields of its first line; empty before `read`, and if that line is damaged.
        uses: the number of uses that were read, by the name of the rule.
        refusals: the number of refusals that were read.
        last: the time of the last line that was read.
        damaged: the number of lines that were left out, since they are damaged or not of Strongroom.
    """

    def __init__(self, file: Path) -> None:
        self.name = file.stem
        self.about: Mapping[str, Any] = {}
        self.uses: Counter[str] = Counter()
        self.refusals = 0
        self.last = ""
        self.damaged = 0
        self._file = file
        self._offset = 0

    @property
    def is_running(self) -> bool:
        """True while a process holds the lock of the log."""
        with (
            suppress(OSError),
            private.open_lines(self._file) as stream,
            private.lock(stream.fileno(), 0, shared=True) as is_free,
        ):
            return not is_free
        return False

    def remove(self) -> None:
        """Remove the log of a session that has ended."""
        with suppress(OSError):
            if not self.is_running:
                self._file.unlink()

    def read(self, *, is_over: bool = False) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the lines since the last call, as they are and as their fields.

        Args:
            is_over: nothing writes the log any more, so that a line without its end is damaged.

        Raises:
            ConfigurationError: the log cannot be read, or was written by a later release.
        """
        with private.faults_as(ConfigurationError, f"The log of the session {self.name}"):
            with private.open_lines(self._file) as stream:
                stream.seek(self._offset)
                whole, _, cut = stream.read().rpartition(b"\n")
            self.damaged += is_over and bool(cut)
            if not whole:
                return []
            is_first = self._offset == 0
            self._offset += len(whole) + 1
            found: list[tuple[str, Mapping[str, Any]]] = []
            for number, content in enumerate(whole.split(b"\n")):
                try:
                    line = content.decode("ascii")
                    found.append((line, self._noted(json.loads(line), is_first=is_first and number == 0)))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    self.damaged += 1
            return found

    def _noted(self, fields: Mapping[str, Any], *, is_first: bool) -> Mapping[str, Any]:
        """Return the fields of a line, and count it.

        Raises:
            ValueError: it is not a line of a log. So do KeyError and TypeError.
            OSError: a later release wrote the log.
        """
        if is_first and isinstance(version := fields.get("version", 0), int) and version > _VERSION:
            raise OSError(errno.EINVAL, newer_format(version, _VERSION))
        _check(fields)
        if (fields["event"] == "session") is not is_first:
            raise ValueError("the first line, and no other, is about the session")
        if is_first:
            self.about = fields
        elif fields["event"] == "use":
            self.uses[fields["rule"]] += 1
        elif fields["event"] == "refusal":
            self.refusals += 1
        self.last = fields["time"]
        return fields


def _check(fields: Mapping[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError for what is not a line of a log."""
    needed = _FIELDS[fields["event"]].items()
    texts = {name: str for name in _TEXTS if name in fields}.items()
    moments = [fields[name] for name in ("time", "end") if name == "time" or name in fields]
    if not all(isinstance(fields[name], kind) for name, kind in (*needed, *texts)):
        raise ValueError("a field has another type")
    if any(datetime.fromisoformat(moment).tzinfo is None for moment in moments):
        raise ValueError("a time has no zone")


def recorded_sessions(folder: Path | None = None) -> list[RecordedSession]:
    """Return the sessions of this user, newest first.

    Raises:
        ConfigurationError: the user has no home folder.
    """
    files = (folder or default_folder()).glob(f"*{_SUFFIX}")
    return [RecordedSession(file) for file in sorted(files, reverse=True)]
