"""A service that accepts connections and never answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_server() -> Iterator[tuple[str, int]]:
    """Host and port of a listener on loopback that takes every connection and says nothing.

    A refused connection fails at once and proves no deadline; this is what a hung service looks like.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel completes the handshake, nobody accepts
        yield listener.getsockname()[:2]
