"""Setting up a server of our own, for development: the steps of `strongroom vault setup`, and nobody to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TypeVar

from strongroom_vault.dev.server import DevServer
from strongroom_vault.session.session import Session
from strongroom_vault.setup import structure
from strongroom_vault.setup.connection import connect
from strongroom_vault.setup.inspection import look
from strongroom_vault.setup.runner import apply
from strongroom_vault.setup.steps import Wanted, plan

_R = TypeVar("_R")


def set_up(server: DevServer, mounts: Iterable[str]) -> None:
    """Mounts a KV version 2 engine at each of these, and writes the guide's policies for the first.

    Raises:
        PluginError: as `connect` does.
        StoreError: the server does not take it.
    """
    first, *others = mounts
    for wanted in (Wanted(first, policies=structure.policies(first, "")), *map(Wanted, others)):
        with_server(server, wanted, lambda _: None)


def with_server(server: DevServer, wanted: Wanted, then: Callable[[Session], _R]) -> _R:
    """Gives the server what is wanted, and returns what is done then in the same session.

    Raises:
        PluginError: as `connect` does.
        StoreError: the server does not take it.
    """
    with closing(connect(url=server.url, token=server.token, mount=wanted.mount)) as session:
        for _ in apply(session, wanted, plan(wanted, look(session, wanted))):
            pass
        return then(session)
