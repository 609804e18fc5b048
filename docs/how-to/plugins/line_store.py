"""A store with an asynchronous client: a server that answers a line of JSON with a line of JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from strongroom import InvalidDataError, PermissionDeniedError, Secret, SecretNotFoundError, StoreUnavailableError
from strongroom.encoding import from_json, to_json
from strongroom.secret import Value
from strongroom.store import AsyncSecretStore, Option

_LONGEST_LINE = 1 << 24


class LineStore(AsyncSecretStore):
    """Secrets of a line server, over one connection for each request."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address = host, port
        self._token = token

    async def aread(self, path: str) -> Secret:
        """Return the secret at `path`."""
        reply = await self._ask("read", path)
        return Secret(path, {key: from_json(value) for key, value in reply["data"].items()})

    async def alist_entries(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below `prefix`."""
        for name in (await self._ask("list", prefix))["names"]:
            yield name

    async def awrite(self, path: str, data: Mapping[str, Value]) -> None:
        """Replace the whole secret."""
        await self._ask("write", path, data={key: to_json(value) for key, value in data.items()})

    async def adelete(self, path: str) -> None:
        """Delete the secret."""
        await self._ask("delete", path)

    async def aclose(self) -> None:
        """Do nothing: no connection stays open."""

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
