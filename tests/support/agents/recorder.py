"""A server with TLS that keeps the bytes that it gets, as they are: another parser might hide what the proxy sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """A server on a free port of 127.0.0.1, for a `with` block. It answers each block of bytes that ends a head.

    An `answer` other than `ANSWER` ends the connection. `connections` are the bytes of each.
    """

    def __init__(self, certificate):
        self.connections: list[bytearray] = []
        self.answer = ANSWER
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["http/1.1"])
        certificate.configure_cert(self._context)

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def received(self):
        """All bytes of all connections."""
        return b"".join(map(bytes, self.connections))

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        mine = bytearray()
        with contextlib.suppress(OSError), self._context.wrap_socket(client, server_side=True) as connection:
            self.connections.append(mine)
            while part := connection.recv(65536):
                mine += part
                if b"\r\n\r\n" in part:
                    connection.sendall(self.answer)
                    if self.answer != ANSWER:
                        return
