"""Handshakes of TLS between two contexts, without a network."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

NAME = "web.example.com"
"""The name that clients verify."""


def certificate_of_server(_server: ssl.SSLSocket, client: ssl.SSLSocket) -> bytes | None:
    return client.getpeercert(binary_form=True)


def connect(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    look: Callable[[ssl.SSLSocket, ssl.SSLSocket], Any] = certificate_of_server,
) -> Any:
    """Make one connection between two contexts. Return what `look` does with both ends."""
    ours, theirs = socket.socketpair()
    served = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            served.append(server.wrap_socket(theirs, server_side=True))
            served[0].sendall(b"!")  # a client of TLS 1.3 learns only now that its certificate was refused

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=NAME) as secure:
            if secure.recv(1) != b"!":
                raise ConnectionError("the server ended the connection")
            thread.join()
            return look(served[0], secure)
    finally:
        thread.join()
        theirs.close()
        for end in served:
            end.close()
