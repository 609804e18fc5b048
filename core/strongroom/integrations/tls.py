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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from socket import socket
from typing import Any, NoReturn

from cryptography.x509 import Certificate, load_pem_x509_certificate

from strongroom._credentials import CERTIFICATE, CHAIN, PRIVATE_KEY, read_pem
from strongroom._manager import SecretsManager
from strongroom.errors import InvalidDataError, StrongroomError
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.store.process import fork_safe_lock

logger = logging.getLogger("strongroom.integrations.tls")

_LOOKS = 10
"""How often a watch looks at a certificate that is about to end, at least, in the rest of its life."""
_SHORT_LIFE = 300.0
"""Seconds. A certificate with more left is looked at as often as every other watched secret, and so is an ended one."""
_SHORTEST_LIFE = 1.0
"""Seconds. A certificate with less left is looked at as if it had this much."""


def create_server_context(
    path: str, *, client_ca: str | os.PathLike[str] | None = None, manager: SecretsManager | None = None
) -> ssl.SSLContext:
    """Return a context for servers. Each new connection uses the newest certificate of the secret.

    Everything else is the application's to set on the context, and stays: ALPN, ciphers, versions, `num_tickets`.
    Connections that are open keep their certificate.

    Args:
        path: a secret with `certificate` and `private_key` in PEM form, and perhaps `ca_chain`, as Vault's PKI engine
            issues it; or with `tls.crt` and `tls.key`.
        client_ca: the file of the authorities whose certificates clients must show, for mutual TLS. An authority that
            is added to it is trusted within the next look at the secret; one that is removed, until the process ends. A
            client that resumes a session shows no certificate again, also after its own has ended: `num_tickets = 0` on
            the context makes each connection of TLS 1.3 a full handshake.
        manager: None is the default manager of the process.

    Raises:
        StrongroomError: the secret cannot be read, or holds no such pair.
        OSError: `client_ca` cannot be read, or holds no certificate.
    """
    context = _FollowingContext(ssl.PROTOCOL_TLS_SERVER)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    context.follow(CredentialSource(path, manager), client_ca)
    return context


def create_client_context(
    path: str, *, server_ca: str | os.PathLike[str] | None = None, manager: SecretsManager | None = None
) -> ssl.SSLContext:
    """Return a context for clients that show the newest certificate of the secret, for mutual TLS.

    It verifies the server's certificate and name, and connections that are open keep their certificate.

    Args:
        path: a secret as for `create_server_context`.
        server_ca: the file of the server's authorities, which is followed as `client_ca` is; by default the authorities
            of the system, which are not.
        manager: None is the default manager of the process.

    Raises:
        StrongroomError: the secret cannot be read, or holds no such pair.
        OSError: `server_ca` cannot be read, or holds no certificate.
    """
    context = _FollowingContext(ssl.PROTOCOL_TLS_CLIENT)
    if server_ca is None:
        context.load_default_certs()
    context.follow(CredentialSource(path, manager), server_ca)
    return context


class _FollowingContext(ssl.SSLContext):
    """A context whose certificate is replaced in place.

    OpenSSL copies certificate and key into each new connection, so one in the middle of its handshake is not disturbed.
    It replaces the certificate before the key, so a lock keeps a connection from beginning between the two. A second
    context, chosen in the SNI callback, would lose the CA and the protocols that the application set on the first one.
    """

    def follow(self, source: CredentialSource, authorities: str | os.PathLike[str] | None) -> None:
        """Load the pair of the secret and the file of the authorities now, and after each change."""
        self._lock = fork_safe_lock(self, "_lock")
        self._key_type: type | None = None
        self._pending: Callable[[], ServerLogin] | None = None
        self._refusal = ""
        self._pause: float | None = None
        self._authorities = None if authorities is None else _Authorities(authorities)
        if self._authorities is not None:
            self._authorities.load(self)
        login = source.current()
        certificate = _checked(login)
        if fault := _fault(certificate):
            logger.error("The certificate at %s is not accepted by peers now: %s", login.path, fault)
        # It is used nevertheless: the secret has no better one, and the clock may be wrong.
        self._use(login, certificate)

        def renew(context: _FollowingContext) -> None:
            context.renew(source.current)

        source.drain_on_change(self, renew, pace=_FollowingContext._after_look)

    def renew(self, current: Callable[[], ServerLogin]) -> None:
        """Use the pair of the secret from now on. One that cannot be used now is tried again after each look."""
        self._pending, self._refusal = current, ""
        self._try(current)

    def _try(self, current: Callable[[], ServerLogin]) -> None:
        try:
            login = current()
            certificate = _checked(login)
            if fault := _fault(certificate):
                raise _unusable(login.path, fault)
            self._use(login, certificate)
        except (StrongroomError, OSError) as error:
            before, self._refusal = self._refusal, str(error)
            if before != self._refusal:
                logger.error("The certificate was not replaced. %s", error)  # noqa: TRY400  # its frames hold the key
        else:
            self._pending = None

    def _use(self, login: ServerLogin, certificate: Certificate) -> None:
        with _pem_file(login) as file, self._lock:
            self.load_cert_chain(file, password=_refuse_password)
        self._end, self._pause = certificate.not_valid_after_utc, None
        self._warn_of_key_type(login.path, certificate)

    def _after_look(self) -> float | None:
        """Try a pending pair, and read the file of the authorities. Return the longest time until the next look."""
        if self._pending is not None:
            self._try(self._pending)
        if self._authorities is not None:
            self._authorities.follow(self)
        left = (self._end - _now()).total_seconds()
        if not 0 < left < _SHORT_LIFE:
            self._pause = None
        elif self._pause is None:
            self._pause = max(left, _SHORTEST_LIFE) / _LOOKS
        return self._pause

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


class _Authorities:
    """A file of authorities, which are added to a context when the file changes.

    `ssl` cannot remove one from a context. A new context would lose the settings of the application on the first one.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._file = file
        self._stamp: object = None
        self._certificates: set[bytes] = set()

    def load(self, context: ssl.SSLContext) -> None:
        """Let a context trust the authorities of the file.

        Raises:
            OSError: the file cannot be read, or holds no certificate.
        """
        self._stamp = self._current_stamp()
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.load_verify_locations(self._file)  # half of a damaged file would be trusted
        context.load_verify_locations(self._file)
        before, self._certificates = self._certificates, set(found.get_ca_certs(binary_form=True))
        if removed := before - self._certificates:
            text = "Authorities were removed from %s (%d): restart, or they are trusted until the process ends"
            logger.warning(text, self._file, len(removed))

    def follow(self, context: ssl.SSLContext) -> None:
        """Load the file again if it has changed."""
        if self._current_stamp() == self._stamp:
            return
        try:
            self.load(context)
        except OSError as error:
            reason = "no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
            logger.error("The authorities were not replaced. %s: %s", self._file, reason)  # noqa: TRY400

    def _current_stamp(self) -> object:
        try:
            found = os.stat(self._file)  # noqa: PTH116  # a string, or a path
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _EncryptedKeyError(Exception):
    """The private key has a passphrase."""


def _refuse_password() -> NoReturn:
    """Raise an error where OpenSSL would prompt for the passphrase of a key on the terminal."""
    raise _EncryptedKeyError


def _checked(login: ServerLogin) -> Certificate:
    """Return the certificate of a secret whose pair OpenSSL accepts.

    Raises:
        InvalidDataError: the secret has no such pair.
    """
    try:
        with _pem_file(login) as file:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, password=_refuse_password)
        return load_pem_x509_certificate(read_pem(login.path, login.data, CERTIFICATE).encode())
    except _EncryptedKeyError:
        reason = "encrypted"
    except ssl.SSLError as error:
        reason = error.reason or "malformed"
    except UnicodeEncodeError:  # it holds the text
        reason = "not ASCII"
    except ValueError:
        reason = "malformed"
    raise _unusable(login.path, reason)


def _unusable(path: str, reason: str) -> InvalidDataError:
    return InvalidDataError(path, f"its certificate and key cannot be used ({reason})")


def _fault(certificate: Certificate) -> str:
    """Return why no peer would accept the certificate now, or the empty string."""
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, _now()
    if now < begin:
        return f"not valid before {begin:%Y-%m-%d %H:%M:%S} UTC"
    return f"ended at {end:%Y-%m-%d %H:%M:%S} UTC" if end < now else ""


def _now() -> datetime:
    return datetime.now(UTC)


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
    path, data = login.path, login.data
    chain = read_pem(path, data, CHAIN, required=False)
    pem = "\n".join((read_pem(path, data, PRIVATE_KEY), read_pem(path, data, CERTIFICATE), chain))
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
