"""TLS contexts whose certificate follows a secret, without a restart and without a failed handshake.

::

    from strongroom.integrations.tls import create_server_context

    server = ThreadingHTTPServer(("", 8443), Handler)
    server.socket = create_server_context("tls/web").wrap_socket(server.socket, server_side=True)
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from socket import socket
from typing import Any

from cryptography.x509 import Certificate, load_pem_x509_certificate

from strongroom._manager import SecretsManager
from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError, StrongroomError
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.store.locks import fork_safe_lock

logger = logging.getLogger("strongroom.integrations.tls")

_CERTIFICATE = ("certificate", "tls.crt", "cert")
_CHAIN = ("ca_chain", "issuing_ca")
_KEY = ("private_key", "tls.key", "key")
"""Keys of a secret: those of Vault's engine `pki`, then of a Kubernetes secret."""

_LOOKS = 10
"""How often a watch looks at a certificate that is about to end, at least, in the rest of its life."""
_SHORT_LIFE = 300.0
"""Seconds. A certificate with more left is looked at as often as every other watched secret."""


def create_server_context(
    path: str, *, client_ca: str | os.PathLike[str] | None = None, manager: SecretsManager | None = None
) -> ssl.SSLContext:
    """Return a context for servers. Each new connection uses the newest certificate of the secret.

    Everything else is the application's to set on the context, and stays: ALPN, ciphers, versions, `num_tickets`.
    Connections that are open keep their certificate.

    Args:
        path: a secret with `certificate` and `private_key` in PEM form, and perhaps `ca_chain`, as Vault's PKI engine
            issues it; or with `tls.crt` and `tls.key`.
        client_ca: the file of the authority whose certificates clients must show, for mutual TLS. A client that
            resumes a session shows none again, also after its certificate has ended: `num_tickets = 0` on the context
            makes each connection of TLS 1.3 a full handshake.
        manager: None is the default manager of the process.

    Raises:
        StrongroomError: the secret cannot be read, or holds no such pair.
        OSError: `client_ca` cannot be read, or holds no certificate.
    """
    context = _FollowingContext(ssl.PROTOCOL_TLS_SERVER)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    context.follow(CredentialSource(path, manager))
    return context


def create_client_context(
    path: str, *, server_ca: str | os.PathLike[str] | None = None, manager: SecretsManager | None = None
) -> ssl.SSLContext:
    """Return a context for clients that show the newest certificate of the secret, for mutual TLS.

    It verifies the server's certificate and name, and connections that are open keep their certificate.

    Args:
        path: a secret as for `create_server_context`.
        server_ca: the file of the server's authority; by default the authorities of the system.
        manager: None is the default manager of the process.

    Raises:
        StrongroomError: the secret cannot be read, or holds no such pair.
        OSError: `server_ca` cannot be read, or holds no certificate.
    """
    context = _FollowingContext(ssl.PROTOCOL_TLS_CLIENT)
    if server_ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(server_ca)
    context.follow(CredentialSource(path, manager))
    return context


class _FollowingContext(ssl.SSLContext):
    """A context whose certificate is replaced in place.

    OpenSSL copies certificate and key into each new connection, so one in the middle of its handshake is not disturbed.
    It replaces the certificate before the key, so a lock keeps a connection from beginning between the two. A second
    context, chosen in the SNI callback, would lose the CA and the protocols that the application set on the first one.
    """

    def follow(self, source: CredentialSource) -> None:
        """Load the pair of the secret now, and after each change."""
        self._lock = fork_safe_lock(self, "_lock")
        self._key_type: type | None = None
        life = max(1.0, self._load(source.current()))

        def renew(context: _FollowingContext) -> None:
            try:
                context._load(source.current())
            except StrongroomError as error:
                logger.error("The certificate was not replaced. %s", error)  # noqa: TRY400  # its frames hold the key

        source.drain_on_change(self, renew, interval=life / _LOOKS if life < _SHORT_LIFE else None)

    def _load(self, login: ServerLogin) -> float:
        """Use the pair of a secret from now on. Return the seconds until its certificate ends."""
        try:
            with _pem_file(login) as file:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)  # a wrong pair would replace a good one
                certificate = load_pem_x509_certificate(_pem(login, _CERTIFICATE).encode())
                with self._lock:
                    self.load_cert_chain(file)
        except ssl.SSLError as error:
            reason = error.reason or "malformed"
        except UnicodeEncodeError:  # it holds the text
            reason = "not ASCII"
        except ValueError:
            reason = "malformed"
        else:
            self._warn_of_key_type(login.path, certificate)
            return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()
        raise InvalidDataError(login.path, f"its certificate and key cannot be used ({reason})")

    def _warn_of_key_type(self, path: str, certificate: Certificate) -> None:
        """OpenSSL keeps one pair for each type of key, and the old one would be shown to some clients until it ends."""
        key_type = type(certificate.public_key())
        if self._key_type not in (None, key_type):
            logger.warning("The key at %s has another type than before: restart, or clients may see the old one", path)
        self._key_type = key_type

    def wrap_socket(  # noqa: PLR0917  # the signature of `ssl`
        self,
        sock: socket,
        server_side: bool = False,  # noqa: FBT001, FBT002
        do_handshake_on_connect: bool = True,  # noqa: FBT001, FBT002
        suppress_ragged_eofs: bool = True,  # noqa: FBT001, FBT002
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        connected = _is_connected(sock)
        handshake = do_handshake_on_connect and not connected
        with self._lock:
            wrapped = super().wrap_socket(sock, server_side, handshake, suppress_ragged_eofs, server_hostname, session)
        if connected and do_handshake_on_connect:  # without the lock, since it waits for the other side
            try:
                wrapped.do_handshake()
            except (OSError, ValueError):
                wrapped.close()
                raise
        return wrapped

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        with self._lock:
            return super().wrap_bio(*arguments, **options)


def _is_connected(connection: socket) -> bool:
    """Return False for a socket that listens, or connects later: its handshake is not now."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


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
