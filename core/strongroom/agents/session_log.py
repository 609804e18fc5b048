"""The logs of `agent run` and `agent serve`: a private file of JSON lines for each session, in the user's state folder.

The first line tells about the session, each other one about a use, a refusal, or a new destination. Strongroom writes
no value and no query into it; the worker chooses hosts and paths. While the session runs, its process holds a lock on
the file. A line is not flushed to the disk: a request must not wait for it. The audit log is the record for others;
this one is for the operator who looks at the session.
"""

from __future__ import annotations

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

from strongroom.errors import ConfigurationError, NewerFormatError, newer_format
from strongroom.events import Event, EventKind, listen
from strongroom.files import private

_FORMAT, _VERSION = "strongroom-agent-session", 1
_KEPT = 20
"""The number of logs that are kept."""

_MAX_SIZE = 1 << 24
"""The largest log, in bytes, before its last line: a hostile worker must not fill the disk."""

_MOST_KEPT = 1000
"""The most reasons that are counted apart, and the most destinations that are remembered before all are forgotten."""

_MOST_TOLD = 20
"""The most reasons that the operator is told: many name a host, and a hostile worker makes up as many as it likes."""

_MORE = f"reasons beyond the first {_MOST_KEPT:,}"
_SUFFIX = ".jsonl"


class SessionLog:
    """Writes the log of one session, and counts, for a `with` block in which the worker runs.

    The operator is told of the first refusals for different reasons. If the file cannot be written, the operator is
    told once, and the session continues.

    Args:
        command: the name of the worker's command, without its arguments, which may have a secret.
        rules: the names of the rules.
        end: when the session will end; None if the worker decides.
        tell: tells the operator, in one line.

    Attributes:
        name: the name of the session.
        uses: the number of uses by the name of the rule.
        reasons: the number of refusals by their reason.
        size: the number of bytes in its log; 0 without a log.
    """

    def __init__(self, command: str, rules: Iterable[str], end: datetime | None, tell: Callable[[str], object]) -> None:
        self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(2)}"
        self.uses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.size = 0
        about = {"format": _FORMAT, "version": _VERSION, "session": self.name, "pid": os.getpid()}
        self._about = {**about, "command": command, "rules": list(rules), "end": end and _text(end)}
        self._tell = tell
        self._lock = threading.Lock()
        self._file: int | None = None
        self._stack = ExitStack()
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        try:
            folder = private.make_folder(_folder())
            for old in recorded_sessions()[_KEPT:]:
                old.remove()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            flags |= os.O_APPEND  # otherwise the next line overwrites a half of one that another process has added
            file = private.open_file(folder / f"{self.name}{_SUFFIX}", flags)
            self._stack.callback(os.close, file)
            self._stack.enter_context(private.lock(file, 1.0))
            self._file = file
        except OSError as error:
            self._fail(error.strerror)
        except ConfigurationError as error:
            self._fail(error)
        self._append("session", self._about)
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
            if len(self._seen) >= _MOST_KEPT:
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
            known = len(self.reasons)
            reason = use.reason if use.reason in self.reasons or known < _MOST_KEPT else _MORE
            self.reasons[reason] += 1
            is_new = len(self.reasons) > known
        self._append("refusal", fields)
        if is_new and known < _MOST_TOLD:
            self._tell(f"Refused {use.host} to the worker: {use.reason}")
        elif is_new and known == _MOST_TOLD:
            self._tell("Refused more to the worker, for reasons that are not shown here")

    def _append(self, event: str, fields: Mapping[str, object]) -> None:
        content = _line(event, {name: value for name, value in fields.items() if value not in (None, "")})
        with self._lock:
            if self._file is None:
                return
            fault = ""
            if self.size + len(content) > _MAX_SIZE:
                content, fault = _line("full", {}), f"it is full, with {_MAX_SIZE >> 20} MiB"
            try:
                self.size += os.write(self._file, content)
            except OSError as error:
                fault = error.strerror or str(error)
            if fault:
                self._file = None
        if fault:
            self._fail(fault)

    def _fail(self, fault: object) -> None:
        self._tell(f"The log of this session cannot be written: {fault}. The worker is served without it")


def _folder() -> Path:
    """Return the folder of all logs of this user, whether it exists or not. Without a home folder, raise an error."""
    return private.user_folder("state") / "agents"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(event: str, fields: Mapping[str, object]) -> bytes:
    line = json.dumps({"time": _text(datetime.now(UTC)), "event": event, **fields}, separators=(",", ":"))
    return line.encode("ascii") + b"\n"


# --- reading ----------------------------------------------------------------------------------------------------------


_BLANK = dict.fromkeys(("end", "rule", "host", "method", "path", "reason"), "")
"""The texts that a line lacks if they are empty."""


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
        """Return the lines since the last call, as they are and as their fields, with empty texts for missing ones.

        Args:
            is_over: nothing writes the log any more, so that a line without its end is damaged.

        Raises:
            ConfigurationError: the log cannot be read, or was written by a later release.
        """
        found: list[tuple[str, Mapping[str, Any]]] = []
        fault = f"The log of the session {self.name}"
        with private.faults_as(ConfigurationError, fault), private.open_lines(self._file) as stream:
            stream.seek(self._offset)
            *whole, cut = stream.read().split(b"\n")
        self.damaged += is_over and bool(cut)
        for content in whole:
            is_first = self._offset == 0
            self._offset += len(content) + 1
            try:
                line = content.decode("ascii")
                fields = _BLANK | json.loads(line)
                self._note(fields, is_first=is_first)
                found.append((line, fields))
            except (ValueError, KeyError, TypeError, RecursionError):
                self.damaged += 1
        return found

    def _note(self, fields: Mapping[str, Any], *, is_first: bool) -> None:
        """Count a line.

        Raises:
            ValueError: it is not a line of a log. So do KeyError and TypeError.
            NewerFormatError: a later release wrote the log.
        """
        if is_first and isinstance(version := fields.get("version"), int) and version > _VERSION:
            raise NewerFormatError(f"The log of the session {self.name}: {newer_format(version, _VERSION)}")
        if not all(isinstance(fields[name], str) for name in _BLANK):
            raise ValueError("a text has another type")
        if any(datetime.fromisoformat(fields[name] or fields["time"]).tzinfo is None for name in ("time", "end")):
            raise ValueError("a time has no zone")
        match fields:
            case {"event": "session", "session": str(), "command": str(), "pid": int(), "version": int()} if is_first:
                self.about = fields
            case {"event": "use", "rule": rule, "status": int()} if rule:
                self.uses[rule] += 1
            case {"event": "refusal", "status": int()}:
                self.refusals += 1
            case {"event": "destination", "destination": str(), "unread": bool()} | {"event": "full"}:
                pass
            case _:
                raise ValueError("it is not a line of this release, or not in its place")
        self.last = fields["time"]


def recorded_sessions() -> list[RecordedSession]:
    """Return the sessions of this user, newest first.

    Raises:
        ConfigurationError: the user has no home folder.
    """
    return [RecordedSession(file) for file in sorted(_folder().glob(f"*{_SUFFIX}"), reverse=True)]
