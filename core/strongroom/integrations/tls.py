"""TLS contexts whose certificate follows a secret, without a restart and without a failed handshake.

::

    from strongroom.integrations.tls import create_server_context

    server = ThreadingHTTPServer(("", 8443), Handler)
    server.socket = create_server_context("tls/web").wrap_socket(server.socket, server_side=True)
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from strongroom._manager import SecretsManager
from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError
from strongroom.integrations.credentials import CredentialSource, ServerLogin

_CERTIFICATE = ("certificate", "tls.crt", "cert")
_CHAIN = ("ca_chain", "issuing_ca")
_KEY = ("private_key", "tls.key", "key")
"""Keys of a secret: those of Vault's engine `pki`, then of a Kubernetes secret."""


def create_server_context(path: str, *, manager: SecretsManager | None = None) -> ssl.SSLContext:
    """Return a context for servers. Each handshake uses the newest certificate of the secret.

    OpenSSL asks for the context of a handshake in its SNI callback, also if the client names no server. Connections
    that are open keep their certificate.

    Args:
        path: a secret with `certificate` and `private_key` in PEM form, and perhaps `ca_chain`, as Vault's PKI engine
            issues it; or with `tls.crt` and `tls.key`.
        manager: None is the default manager of the process.

    Raises:
        StrongroomError: the secret cannot be read, or holds no such pair.
    """
    source = CredentialSource(path, manager)
    context = _loaded(source.current())
    newest = [context]

    def choose(connection: ssl.SSLObject, _name: str | None, _default: ssl.SSLContext) -> None:
        connection.context = newest[0]

    def renew(_context: ssl.SSLContext) -> None:
        newest[0] = _loaded(source.current())

    context.sni_callback = choose
    source.drain_on_change(context, renew)
    return context


def _loaded(login: ServerLogin) -> ssl.SSLContext:
    """Return a server context with the pair of a secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without the key log of SSLKEYLOGFILE
    try:
        with _pem_file(login) as file:
            context.load_cert_chain(file)
    except ssl.SSLError as error:
        reason = error.reason or "malformed"
    except UnicodeEncodeError:  # it holds the text
        reason = "not ASCII"
    else:
        return context
    raise InvalidDataError(login.path, f"its certificate and key cannot be used ({reason})")


@contextmanager
def _pem_file(login: ServerLogin) -> Iterator[str]:
    """Yield the name of a file with key and certificates. `ssl` reads only files: this one is in memory on Linux."""
    pem = "\n".join((_pem(login, _KEY), _pem(login, _CERTIFICATE), _pem(login, _CHAIN, required=False)))
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("strongroom-tls", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(pem)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:  # mode 0600
            file.write(pem)
            file.flush()
            yield file.name


def _pem(login: ServerLogin, keys: tuple[str, ...], *, required: bool = True) -> str:
    for key in keys:
        value = login.data.get(key)
        if isinstance(value, list):
            return "\n".join(map(str, value))
        if value:
            return as_text(value, login.path, key).reveal()
    if required:
        raise InvalidDataError(login.path, f"it has none of the keys {', '.join(keys)}")
    return ""
