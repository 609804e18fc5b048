"""A store with an asynchronous client: a server that answers a line of JSON with a line of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, TypeVar

from strongroom import Secret, Value
from strongroom.encoding import from_json, to_json
from strongroom.errors import (
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import Option, Traits, fork_safe_lock, remaining

_R = TypeVar("_R")
_LONGEST_LINE = 1 << 24


class EventLoop:
    """One event loop in one daemon thread. The child of a fork starts a new one."""

    def __init__(self) -> None:
        self._lock, self._process = fork_safe_lock(self, "_lock"), 0

    def run(self, call: Coroutine[Any, Any, _R], overrun: type[StoreUnavailableError] = StoreUnavailableError) -> _R:
        """Return the result of the coroutine, or raise `overrun` when the time is over."""
        with self._lock:
            if self._process != os.getpid():
                runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                self._loop, self._process = runner.get_loop(), os.getpid()
                threading.Thread(target=_serve, args=(runner,), daemon=True).start()
        result = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return result.result(remaining())
        except TimeoutError:
            raise overrun(reason="it did not answer in time") from None
        finally:
            result.cancel()  # it does nothing if the call is over

    def close(self) -> None:
        with self._lock:
            if self._process == os.getpid():
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._process = 0


def _serve(runner: asyncio.Runner) -> None:
    with runner:  # its end cancels the coroutines that are left
        runner.get_loop().run_forever()


class LineStore:
    """Secrets of a line server, over one connection for each request."""

    traits = Traits(honors_deadline=True)  # EventLoop.run waits for `remaining()` at most

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address = host, port
        self._token = token
        self._loop = EventLoop()

    def read(self, path: str) -> Secret:
        """Return the secret at `path`."""
        return self._loop.run(self._read(path))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or its error. Sixteen requests are in progress at a time."""

        async def outcome(path: str) -> tuple[str, Secret | StoreError]:
            try:
                return path, await self._read(path)
            except StoreError as error:
                return path, error

        async def outcomes(some: list[str]) -> list[tuple[str, Secret | StoreError]]:
            return await asyncio.gather(*map(outcome, some))

        left = iter(paths)
        while some := list(islice(left, 16)):
            yield from self._loop.run(outcomes(some))

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`."""
        yield from self._loop.run(self._ask("list", prefix))["names"]

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Replace the whole secret."""
        content = {key: to_json(value) for key, value in data.items()}
        self._loop.run(self._ask("write", path, data=content), WriteOutcomeUnknownError)

    def delete(self, path: str) -> None:
        """Delete the secret."""
        self._loop.run(self._ask("delete", path), WriteOutcomeUnknownError)

    def close(self) -> None:
        """End the event loop. No connection stays open."""
        self._loop.close()

    async def _read(self, path: str) -> Secret:
        reply = await self._ask("read", path)
        return Secret(path, {key: from_json(value) for key, value in reply["data"].items()})

    async def _ask(self, operation: str, path: str, **more: object) -> dict[str, Any]:
        request = {"operation": operation, "path": path, "token": self._token, **more}
        try:
            reader, writer = await asyncio.open_connection(*self._address, limit=_LONGEST_LINE)
        except OSError as error:
            raise StoreUnavailableError(path, f"no connection ({type(error).__name__})") from None
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        except OSError as error:
            raise StoreUnavailableError(path, type(error).__name__) from None
        finally:
            writer.close()
        if not line:
            raise StoreUnavailableError(path, "the server closed the connection")
        reply: dict[str, Any] = json.loads(line)
        if (error_class := _ERRORS.get(reply["status"])) is not None:
            raise error_class(path)
        return reply


_ERRORS = {"absent": SecretNotFoundError, "denied": PermissionDeniedError, "invalid": InvalidDataError}


def open_line(
    *,
    host: Annotated[str, Option("the server's host name", address=True)],
    port: Annotated[int, Option("its port")] = 7000,
    token: Annotated[str, Option("the token to log in with", secret=True, sent_to="host")],
) -> LineStore:
    """Open a line server. Nothing is connected yet."""
    return LineStore(host, port, token)
