"""A proxy of a company, which knows every name: it leads each tunnel to a port of this machine."""

from __future__ import annotations

import socket
import threading


class CompanyProxy:
    """A proxy on a free port, for a `with` block.

    `targets` are the `HOST:PORT` of the tunnels that it opened, and `credentials` what each request brought.
    """

    def __init__(self, port, *, refuses=False):
        self._port = port
        self._refuses = refuses
        self.targets: list[str] = []
        self.credentials: list[str] = []

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (part := client.recv(1)):
                    return
                head += part
            first, *headers = head.decode().split("\r\n")
            self.targets.append(first.split(" ")[1])
            self.credentials += [line.partition(": ")[2] for line in headers if line.lower().startswith("proxy-auth")]
            if self._refuses:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self._port)) as upstream:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
                back.start()
                _copy(client, upstream)
                back.join(10)


def _copy(source, target):
    try:
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
