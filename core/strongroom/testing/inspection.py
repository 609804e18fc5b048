"""The part of a store's contract that writes nothing, for a store that holds secrets. It needs no pytest.

`strongroom stores --check NAME` runs it against a configured store, and `StoreContract` against the store under test.
No value is in a result. A secret that another program changes meanwhile is not a failure.
"""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import NamedTuple

from strongroom._boundary.guard import GuardedStore
from strongroom._fingerprints import leaves
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError, StrongroomError
from strongroom.secret import Secret, same
from strongroom.store import Health, in_daemon, time_limit

MOST_NAMES = 1_001
"""How many names of a list are looked at: one more than the usual largest page of a service."""

_MOST_SECRETS = 10
_MOST_WALKED = 200
_SHORTEST_VALUE = 8
"""Shorter values, such as `5432`, are in many a log line by chance."""


class InspectionState(StrEnum):
    """The outcome of one check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Result(NamedTuple):
    """The result of one check.

    Attributes:
        name: the rule that is checked, in words.
        state: its outcome.
        detail: the result, the fault, or the reason why it was skipped.
        seconds: how long it took.
        error: the store's error, such as an outage; None if the store breaks a rule of the contract.
    """

    name: str
    state: InspectionState
    detail: str = ""
    seconds: float = 0.0
    error: StrongroomError | None = None


class _ViolationError(Exception):
    """The store breaks a rule of the contract. The message holds no value."""


class _Skip(Exception):  # noqa: N818  # not an error
    """The check does not apply. The message says why."""


class Inspection:
    """Checks of one open store, which read and list, and write nothing.

    Args:
        store: the store.
        known: paths that the application reads, for a store that cannot be listed.
        seconds: the time limit of each check.
    """

    def __init__(self, store: GuardedStore, known: Sequence[str] = (), seconds: float = 10.0) -> None:
        self._store = store
        self._known = known
        self._seconds = seconds
        self._secrets: dict[str, Secret] = {}

    def results(self) -> Iterator[Result]:
        """Yield the result of each check. The store is closed by the last but one."""
        checks: tuple[tuple[str, Callable[[], str]], ...] = (
            ("health is reported", self._health),
            ("absence is confirmed", self._absence),
            ("names are listed once", self._list),
            ("walk and list agree", self._walk),
            ("secrets are read", self._read),
            ("reads agree", self._agree),
            ("reads are safe in threads", self._threads),
            ("bulk reads agree", self._bulk),
            ("single keys agree", self._keys),
            ("versions agree", self._versions),
            ("closing twice is harmless", self._close),
        )
        printed, logged = io.StringIO(), _Log()
        for name, check in checks:
            with contextlib.redirect_stdout(printed), logged:
                result = self._outcome(name, check)
            yield result
        yield self._outcome("output and logs hold no value", lambda: self._silence(printed.getvalue(), logged.lines))

    def _outcome(self, name: str, check: Callable[[], str]) -> Result:
        began = time.monotonic()
        state, error = InspectionState.OK, None
        try:
            with time_limit(self._seconds):
                detail = check()
        except _Skip as reason:
            state, detail = InspectionState.SKIPPED, str(reason)
        except _ViolationError as fault:
            state, detail = InspectionState.FAILED, str(fault)
        except StrongroomError as fault:
            state, detail = InspectionState.FAILED, str(fault)
            # The guard raises a plain StoreError for an answer or an exception that no store may give.
            error = None if type(fault) is StoreError else fault.copy()
        return Result(name, state, detail, time.monotonic() - began, error)

    def _compare(self, first: Secret, second: Secret, what: str) -> None:
        """Raise if two reads of one version differ. A secret that has changed in the meantime is left out."""
        if first.version != second.version or same(first.data, second.data):
            return
        if second.version is None and same(second.data, self._store.read(first.path).data):
            return  # another program has written it
        keys = first.data.keys() | second.data.keys()
        wrong = sorted(key for key in keys if key not in first.data or key not in second.data)
        wrong = wrong or sorted(key for key in keys if not same(first.data[key], second.data[key]))
        raise _ViolationError(f"{what} differs: {first.path}#{wrong[0]}")

    def _require(self, capability: str) -> None:
        if capability not in self._store.capabilities:
            raise _Skip(f"the store is not {capability}")

    def _sample(self) -> dict[str, Secret]:
        if not self._secrets:
            raise _Skip("no secret was read")
        return self._secrets

    def _health(self) -> str:
        health: Health = self._store.probe()
        if health.error is not None:
            raise health.error
        return health.detail

    def _absence(self) -> str:
        path = f"strongroom-check-{secrets.token_hex(8)}"
        if "dynamic" in self._store.capabilities and self._store.makes(path):
            raise _Skip("a read could create a credential")
        try:
            self._store.read(path)
        except SecretNotFoundError:
            return ""
        except PermissionDeniedError:
            raise _Skip(f"the credentials may not read {path}") from None
        raise _ViolationError(f"a read of {path} returned a secret, expected SecretNotFoundError")

    def _list(self) -> str:
        self._require("listable")
        names = list(islice(self._store.list_entries(""), MOST_NAMES))
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise _ViolationError(f"list_entries() has {repeated!r} more than once")
        return f"{len(names)} names" if len(names) < MOST_NAMES else f"the first {MOST_NAMES:,} names"

    def _walk(self) -> str:
        self._require("listable")
        faults, paths = self._walk_faults()
        if faults:
            again, _ = self._walk_faults()  # another program may have written in between
            if lasting := sorted(faults & again):
                raise _ViolationError(lasting[0])
        return f"{paths} paths" if paths < _MOST_WALKED else f"the first {_MOST_WALKED} paths"

    def _walk_faults(self) -> tuple[set[str], int]:
        """Return how `walk` and `list_entries` differ at the top, in words, and the number of paths."""
        paths = list(islice(self._store.walk(""), _MOST_WALKED))
        names = set(islice(self._store.list_entries(""), MOST_NAMES))
        tops = {first + slash for first, slash, _ in (path.partition("/") for path in paths)}
        faults = {f"walk() has {path!r} more than once" for path in paths if paths.count(path) > 1}
        if len(names) < MOST_NAMES:
            faults |= {f"walk() has {name!r}, which list_entries() lacks" for name in tops - names}
        if len(paths) < _MOST_WALKED:
            secret_names = (name for name in names - tops if not name.endswith("/"))
            faults |= {f"list_entries() has {name!r}, which walk() lacks" for name in secret_names}
        return faults, len(paths)

    def _read(self) -> str:
        paths = list(dict.fromkeys(self._known))
        if "listable" in self._store.capabilities:
            paths += islice((path for path in self._store.walk("") if path not in self._known), _MOST_SECRETS)
        if "dynamic" in self._store.capabilities:
            paths = [path for path in paths if not self._store.makes(path)]
        if not paths:
            raise _Skip("no path is known: the store lists none, and [secrets] has no row")
        absent = denied = 0
        for path in paths[:_MOST_SECRETS]:
            try:
                self._secrets[path] = self._store.read(path)
            except SecretNotFoundError:
                absent += 1  # deleted, with a history: some services list that
            except PermissionDeniedError:
                denied += 1
        counts = {"read": len(self._secrets), "absent": absent, "denied": denied}
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count)

    def _agree(self) -> str:
        for path, secret in self._sample().items():
            self._compare(secret, self._store.read(path), "a second read")
        return ""

    def _threads(self) -> str:
        sample = self._sample()
        reads = [(path, in_daemon(partial(self._store.read, path), "check")) for path in sample for _ in range(2)]
        for path, future in reads:
            self._compare(sample[path], future.result(), "a read in another thread")
        return f"{len(reads)} threads"

    def _bulk(self) -> str:
        self._require("bulk")
        absent = f"strongroom-check-{secrets.token_hex(8)}"
        outcomes = list(self._store.read_many([*self._sample(), absent]))
        if sorted(path for path, _ in outcomes) != sorted([*self._secrets, absent]):
            raise _ViolationError("read_many() did not yield each path once")
        for path, outcome in outcomes:
            if path == absent:
                if not isinstance(outcome, SecretNotFoundError | PermissionDeniedError):
                    raise _ViolationError(f"read_many() returned {type(outcome).__name__} for an absent path")
            elif isinstance(outcome, StoreError):
                raise outcome
            else:
                self._compare(self._secrets[path], outcome, "read_many()")
        return f"{len(outcomes)} paths"

    def _keys(self) -> str:
        self._require("keyed")
        for path, secret in self._sample().items():
            for key, value in secret.data.items():
                if not same(self._store.read_key(path, key), value):
                    raise _ViolationError(f"read_key() and read() differ: {path}#{key}")
        return ""

    def _versions(self) -> str:
        self._require("versioned")
        for path, secret in self._sample().items():
            if secret.version is None:
                raise _ViolationError(f"read() returned no version of {path}")
            versions = self._store.versions(path)
            if secret.version not in {info.version for info in versions}:
                raise _ViolationError(f"versions() lacks version {secret.version} of {path}, which read() returned")
            self._compare(secret, self._store.read_version(path, secret.version), "read_version()")
            if self._store.kept_versions(path) < 1:
                raise _ViolationError(f"kept_versions() is below 1 for {path}")
        return ""

    def _close(self) -> str:
        self._store.close()
        self._store.close()
        return ""

    def _silence(self, printed: str, lines: Sequence[str]) -> str:
        texts = (leaf for secret in self._secrets.values() for leaf in leaves(secret.data) if isinstance(leaf, str))
        values = {text for text in texts if len(text) >= _SHORTEST_VALUE}
        for where, text in (("stdout", printed), *(("a log record", line) for line in lines)):
            if any(value in text for value in values):
                raise _ViolationError(f"a value is in {where}")
        if printed:
            raise _ViolationError("the store printed to stdout")
        return f"{len(lines)} log records"


class _Log(logging.Handler):
    """Collects the records of all loggers at every level, within `with` blocks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._before = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> None:
        root = logging.getLogger()
        self._before = root.level
        self._quiet = [handler for handler in root.handlers if handler.level == logging.NOTSET]
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        for handler in self._quiet:  # the records of DEBUG are for this handler alone
            handler.setLevel(self._before)

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.setLevel(self._before)
        root.removeHandler(self)
        for handler in self._quiet:
            handler.setLevel(logging.NOTSET)
