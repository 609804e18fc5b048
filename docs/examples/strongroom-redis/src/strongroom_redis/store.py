"""The store: each method is one command or one script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from strongroom import Secret, Value
from strongroom.encoding import from_json, to_json
from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.paths import entries_below
from strongroom.secret import Version
from strongroom.store import Health, VersionInfo
from strongroom_redis import scripts

if TYPE_CHECKING:
    from redis import Redis

PAGE = 1_000

REFUSALS = frozenset({
    "BusyLoadingError", "ClusterDownError", "MasterDownError", "OutOfMemoryError", "ReadOnlyError", "TryAgainError",
})  # fmt: skip
"""Names of redis-py's errors for a server that does nothing for the moment."""

DENIED_IN_SCRIPT = "ACL failure in script"
"""Beginning of Redis's answer if the user lacks a command of a script. It lacks an error code."""


class RedisStore:
    """Secrets in one Redis server.

    redis-py has a timeout for each operation of a socket and none for a whole call, so the store does not declare
    `honors_deadline`: Strongroom enforces the deadline.

    Args:
        client: a client that repeats no command by itself and decodes no reply.
        prefix: beginning of all keys.
        max_versions: how many versions of a secret are kept.
    """

    def __init__(self, client: Redis, prefix: str, max_versions: int) -> None:
        self._client = client
        self._prefix = prefix
        self._max_versions = max_versions

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    # --- read, list, probe --------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the newest version."""
        return self._secret(path, "")

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`."""
        yield from sorted(entries_below(self.walk(prefix), prefix))

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield every path below `prefix`, a page at a time."""
        start = f"{prefix}/" if prefix else ""
        above, end = f"[{start}".encode(), f"[{start}".encode() + b"\xff"  # no path has this byte
        if not start:
            above, end = b"-", b"+"
        while True:
            page = self._run(None, lambda: self._client.zrangebylex(self._paths, above, end, 0, PAGE))  # noqa: B023
            yield from (path.decode() for path in page)
            if len(page) < PAGE:
                return
            above = b"(" + page[-1]

    def probe(self) -> Health:
        """Return the number of secrets."""
        return Health(ok=True, detail=f"{self._run(None, lambda: self._client.zcard(self._paths)):,} secrets")

    # --- write --------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> int:
        """Write a new version and return its number."""
        return self._write(path, data, "any")

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> int:
        """Write a new version if the newest one is `expected`."""
        return self._write(path, data, "absent" if expected is None else str(expected))

    def delete(self, path: str) -> None:
        """Mark the newest version as deleted."""
        self._found(path, self._script(path, scripts.DELETE, path, changes=True))

    def _write(self, path: str, data: Mapping[str, Value], expected: str) -> int:
        document = json.dumps(to_json(data))
        done, version = self._script(path, scripts.WRITE, path, document, expected, self._max_versions, changes=True)
        if not done:
            raise ConflictError(path, f"version {expected} was expected, the newest is {version}")
        return int(version)

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return the versions that are kept, oldest first."""
        found = [
            VersionInfo(
                int(version),
                _time(created),
                deleted=deleted is not None,
                destroyed=destroyed is not None,
                deleted_at=None if deleted is None else _time(deleted),
            )
            for version, created, deleted, destroyed in self._script(path, scripts.HISTORY)
        ]
        self._found(path, found)
        return sorted(found, key=lambda info: int(info.version))

    def read_version(self, path: str, version: Version) -> Secret:
        """Return exactly this version."""
        return self._secret(path, str(version))

    def kept_versions(self, path: str) -> int:
        """Return the limit of the configuration."""
        self._found(path, self._run(path, lambda: self._client.exists(self._key(path))))
        return self._max_versions

    def undelete(self, path: str, version: Version) -> None:
        """Make a deleted version readable again."""
        self._found(path, self._script(path, scripts.UNDELETE, path, str(version), changes=True))

    def destroy(self, path: str, version: Version) -> None:
        """Remove a version's data for good."""
        self._found(path, self._script(path, scripts.DESTROY, path, str(version), changes=True))

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the labels."""
        current, labels = self._run(path, lambda: self._client.hmget(self._key(path), ["current", "labels"]))
        self._found(path, current)
        return _labels(labels)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the labels."""
        self._found(path, self._script(path, scripts.LABEL, json.dumps(dict(metadata)), changes=True))

    # --- commands and their errors ------------------------------------------------------------------------------------

    @property
    def _paths(self) -> str:
        return f"{self._prefix}paths"

    def _key(self, path: str) -> str:
        return f"{self._prefix}secret:{path}"

    def _secret(self, path: str, version: str) -> Secret:
        reply = self._script(path, scripts.READ, version)
        if not reply or reply[1] is None or reply[3] is not None:
            raise SecretNotFoundError(path)
        number, data, created, _, labels = reply
        try:
            document = from_json(json.loads(data))
        except ValueError:  # its message may hold a value
            document = None
        if not isinstance(document, Mapping) or created is None:
            raise StoreError(path, "its hash has no JSON object", hint="Another program has written it")
        return Secret(path, document, int(number), _time(created), _labels(labels))

    @staticmethod
    def _found(path: str, reply: object) -> None:
        if not reply:
            raise SecretNotFoundError(path)

    def _script(self, path: str, script: str, *arguments: str | int, changes: bool = False) -> Any:
        """Return the reply of a script."""
        keys = (self._key(path), self._paths)
        return self._run(path, lambda: self._client.eval(script, len(keys), *keys, *arguments), changes=changes)

    def _run(self, path: str | None, command: Callable[[], Any], *, changes: bool = False) -> Any:
        """Return the reply of a command.

        A read is repeated once if its connection was lost: the server may have closed it while it was idle.
        """
        from redis import exceptions

        try:
            try:
                return command()
            except exceptions.ConnectionError as error:
                if changes or isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
                    raise
                return command()
        except exceptions.RedisError as error:
            raise _translated(error, path, changes=changes) from None


def _translated(error: Exception, path: str | None, *, changes: bool) -> StoreError:
    """Return Strongroom's error for one of redis-py, whose text may hold a value."""
    from redis import exceptions

    name = type(error).__name__
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            return AuthenticationError(path)
        case exceptions.NoPermissionError():
            return PermissionDeniedError(path)
        case exceptions.ResponseError() if str(error).startswith(DENIED_IN_SCRIPT):
            return PermissionDeniedError(path)
        case _ if name in REFUSALS:
            return StoreUnavailableError(path, name)
        case exceptions.ConnectionError() | exceptions.TimeoutError():
            return WriteOutcomeUnknownError(path, name) if changes else StoreUnavailableError(path, name)
    return StoreError(path, f"Redis answered with {name}")


def _time(seconds: bytes) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _labels(text: bytes | None) -> dict[str, str]:
    return {} if text is None else dict(json.loads(text))
