"""A service that accepts connections and never answers. Separate from the contracts: it needs no pytest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_server() -> Iterator[tuple[str, int]]:
    """Yield host and port of a listener on loopback that accepts every connection and never answers.

    It simulates a hung service. A refused connection would fail at once and prove no deadline.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel completes the handshake, nobody accepts
        yield listener.getsockname()[:2]
