"""Refusals of the proxy: each is recorded, and the operator is told of the first for a destination.

Separate from the hooks of the proxy, which are many.
"""
# The extra `agents` is installed in a separate environment.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from mitmproxy import http

from strongroom.agents.rules import Refusal
from strongroom.agents.session import AgentSession
from strongroom.store import in_daemon

_R = TypeVar("_R")


class Refusals:
    """The refusals of one session.

    Args:
        session: records them.
        tell: tells the operator, in one line; called in a thread.
    """

    def __init__(self, session: AgentSession, tell: Callable[[str], object]) -> None:
        self._session = session
        self._tell = tell
        self._told: set[str] = set()

    async def record(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Record a refusal of the proxy itself, and tell it.

        Raises:
            AuditError: it cannot be recorded.
        """
        host, method, path = _address(flow)[0], flow.request.method, flow.request.path.partition("?")[0]
        await in_thread(partial(self._session.record_refusal, refusal, host, method, path))
        await self.tell(flow, refusal)

    async def tell(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Tell a refusal, if it is the first for its destination. The session has recorded it."""
        named = destination(flow)
        if named not in self._told:
            self._told.add(named)
            await in_thread(partial(self._tell, f"Refused {named} to the worker: {refusal.reason}"))


def destination(flow: http.HTTPFlow) -> str:
    """Return the host and the port of the tunnel, or those that the request names, as text."""
    host, port = _address(flow)
    return f"{host}:{port}"


def _address(flow: http.HTTPFlow) -> tuple[str, int]:
    address = flow.server_conn.address
    return address[:2] if address else (flow.request.host, flow.request.port)


async def in_thread(call: Callable[[], _R]) -> _R:
    """Return the result of a call that blocks."""
    return await asyncio.wrap_future(in_daemon(call, "strongroom-agent"))
