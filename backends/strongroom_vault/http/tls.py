"""The TLS settings of a store, and the context that is made of them once."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from strongroom.errors import ConfigurationError
from strongroom_vault.http.deadline_sockets import DeadlineTLSSocket
from strongroom_vault.http.request_policy import Fault, FaultKind

_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""What the versions of OpenSSL call an answer in plain HTTP."""


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """Whom to trust and who we are.

    Attributes:
        ca_cert: a PEM file of authorities, or a folder of them under their hashed names (`openssl rehash`).
        ca_path: such a folder, under the name that Vault's own clients give it.
        client_cert: a PEM file with our certificate, and with its key where `client_key` is None.
        client_key: a PEM file with the key of `client_cert`, without a passphrase.
        server_name: the name that the server's certificate has to hold, instead of the one in the URL.
        skip_verify: trust any certificate.
        ca_cert_bytes: authorities as PEM text, where there is no `ca_cert`.
    """

    ca_cert: Path | None = None
    ca_path: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    server_name: str | None = None
    skip_verify: bool = False
    ca_cert_bytes: str | None = None

    def context(self) -> ssl.SSLContext:
        """A context for connections that keep to the deadline. Without authorities of ours it trusts the system's.

        Raises:
            ConfigurationError: names the option whose file cannot be read or is not PEM.
        """
        folder = self.ca_cert if self.ca_cert is not None and self.ca_cert.is_dir() else self.ca_path
        file = None if self.ca_cert is None or self.ca_cert.is_dir() else self.ca_cert
        if folder is not None and not folder.is_dir():
            raise ConfigurationError(f"ca_path: {folder} is not a folder")
        context = self._trusting_text() if file is None and self.ca_cert_bytes else _trusting(file, folder)
        context.sslsocket_class = DeadlineTLSSocket
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._identify(context)
        return context

    def _trusting_text(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cadata=self.ca_cert_bytes)
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            pass
        raise ConfigurationError("ca_cert_bytes: it holds no certificate in PEM form")

    def _identify(self, context: ssl.SSLContext) -> None:
        if self.client_cert is None:
            if self.client_key is not None:
                raise ConfigurationError("client_key: it needs client_cert")
            return
        fault = None
        try:
            # Without a password of its own, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.client_cert, self.client_key, password=lambda: "")
        except (OSError, ValueError) as error:
            fault = _words(error, "not a certificate and its key in PEM form, or the key has a passphrase")
        if fault is not None:
            raise ConfigurationError(f"client_cert: {self.client_cert}: {fault}")


def _trusting(file: Path | None, folder: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:  # ssl.SSLError is one
        fault = _words(error, "no certificate in PEM form")
    raise ConfigurationError(f"ca_cert: {file}: {fault}")


def tls_fault(cause: Exception) -> Fault:
    """Why a handshake failed; nothing in the words is the other side's."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Fault(FaultKind.UNTRUSTED, f"its certificate is not to be trusted: {cause.verify_message}")
    reason = getattr(cause, "reason", None)
    if reason in _NO_TLS:
        return Fault(FaultKind.NO_TLS, "it does not speak TLS")
    return Fault(FaultKind.UNTRUSTED, f"TLS failed: {reason}" if isinstance(reason, str) else "TLS failed")


def _words(error: Exception, otherwise: str) -> str:
    """What the system says of the file, or that its content is not what it should be."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return error.strerror
    return otherwise
