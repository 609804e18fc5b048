"""TLS settings of a store, and the context that is made from them once."""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from strongroom.errors import ConfigurationError
from strongroom_vault.http.deadline_sockets import DeadlineTLSSocket
from strongroom_vault.http.request_policy import Fault, FaultKind

_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""Reasons that OpenSSL versions give for a plain HTTP answer."""

_REFUSALS = frozenset({
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "SSLV3_ALERT_NO_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "TLSV1_ALERT_ACCESS_DENIED",
    "TLSV1_ALERT_DECRYPT_ERROR",  # the signature of our certificate's key
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
})  # fmt: skip
"""Alerts of a server that refuses the client's certificate (RFC 8446, section 6.2), under OpenSSL's names."""


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """Trusted authorities and the client certificate.

    Attributes:
        ca_cert: a PEM file of authorities, or a folder of them under their hashed names (`openssl rehash`).
        ca_path: such a folder, under the name that Vault's clients use.
        client_cert: a PEM file with the client certificate, and with its key if `client_key` is None.
        client_key: a PEM file with the key of `client_cert`, without a passphrase.
        server_name: the name that the server's certificate must hold, instead of the host in the URL.
        skip_verify: disable verification of the server's certificate.
        ca_cert_bytes: authorities as PEM text, used if there is no `ca_cert`.
    """

    ca_cert: Path | None = None
    ca_path: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    server_name: str | None = None
    skip_verify: bool = False
    ca_cert_bytes: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for sockets with a deadline. By default it trusts the system's authorities.

        Raises:
            ConfigurationError: names the option whose file cannot be read or is not PEM.
        """
        folder = self.ca_cert if self.ca_cert is not None and self.ca_cert.is_dir() else self.ca_path
        file = None if self.ca_cert is None or self.ca_cert.is_dir() else self.ca_cert
        if folder is not None and not folder.is_dir():
            raise ConfigurationError(f"ca_path: {folder} is not a folder")
        context = self._text_context() if file is None and self.ca_cert_bytes else _file_context(file, folder)
        context.sslsocket_class = DeadlineTLSSocket
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._identify(context)
        return context

    def _text_context(self) -> ssl.SSLContext:
        try:
            return _verifying_context(cadata=self.ca_cert_bytes)
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
            # Without a password, OpenSSL would prompt for one on the terminal.
            context.load_cert_chain(self.client_cert, self.client_key, password=lambda: "")
        except (OSError, ValueError) as error:
            fault = _reason(error, "not a certificate and its key in PEM form, or the key has a passphrase")
        if fault is not None:
            raise ConfigurationError(f"client_cert: {self.client_cert}: {fault}")


def _file_context(file: Path | None, folder: Path | None) -> ssl.SSLContext:
    try:
        return _verifying_context(cafile=file, capath=folder)
    except OSError as error:  # ssl.SSLError is one
        fault = _reason(error, "no certificate in PEM form")
    raise ConfigurationError(f"ca_cert: {file}: {fault}")


def _verifying_context(
    *, cafile: Path | None = None, capath: Path | None = None, cadata: str | None = None
) -> ssl.SSLContext:
    """Return Python's default context, but without the key log of SSLKEYLOGFILE, which would reveal secrets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    if cafile or capath or cadata:
        context.load_verify_locations(cafile, capath, cadata)
    else:
        context.load_default_certs()
    return context


def tls_fault(cause: Exception) -> Fault:
    """Return why a handshake failed, without text of the server."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Fault(FaultKind.UNTRUSTED, f"its certificate is not trusted: {cause.verify_message}")
    reason = getattr(cause, "reason", None)
    if reason in _NO_TLS:
        return Fault(FaultKind.NO_TLS, "it does not speak TLS")
    return Fault(FaultKind.UNTRUSTED, f"TLS failed: {reason}" if isinstance(reason, str) else "TLS failed")


def is_refusal(error: ssl.SSLError) -> bool:
    """Return True if the server refused the client's certificate, and so did not process the request.

    In TLS 1.3 such an alert may arrive after the client has finished its handshake and sent the request. Any other
    error at that point means a lost reply: the server may have processed the request.
    """
    return error.reason in _REFUSALS


def _reason(error: Exception, otherwise: str) -> str:
    """Return the system's reason, or `otherwise` if the content of the file is at fault."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return error.strerror
    return otherwise
