"""TLS settings of a store, the faults of TLS, and the check of the servers' certificates."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from strongroom.errors import Check, CheckState, ConfigurationError
from strongroom_vault.http.messages import FaultKind, HttpFault

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


_ENDED = frozenset({"UNEXPECTED_EOF_WHILE_READING"})
"""Reasons for the end of the connection."""

_CERTIFICATE = "certificate"
_RENEW = "Renew it, and check its automatic renewal: clients cannot connect after it has expired"
_LATEST_RENEWAL = timedelta(days=14)
_LAST_PART = 5


class Authorities(NamedTuple):
    """Trusted authorities in PEM form: a file, a folder of files under their hashed names, or a text."""

    file: Path | None = None
    folder: Path | None = None
    text: str | None = None


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

    @property
    def authorities(self) -> Authorities:
        """The trusted authorities; by default the system's, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
        file, folder = (None, self.ca_cert) if _is_folder(self.ca_cert) else (self.ca_cert, self.ca_path)
        if file is None and self.ca_cert_bytes:
            return Authorities(text=self.ca_cert_bytes)
        if file is not None or folder is not None:
            return Authorities(file, folder)
        default = ssl.get_default_verify_paths()
        return Authorities(_path(default.cafile), _path(default.capath))

    def check(self) -> None:
        """Check the files.

        Raises:
            ConfigurationError: names the option whose file cannot be read or is not PEM.
        """
        self._context()

    def context(self) -> ssl.SSLContext:
        """Return a context with these settings.

        Raises:
            ConfigurationError: see `check`.
        """
        context = self._context()
        if self.ca_cert is None and self.ca_path is None and not self.ca_cert_bytes:
            context.load_default_certs()
        return context

    def _context(self) -> ssl.SSLContext:
        """Return a context without the system's authorities, which take some milliseconds to load."""
        # Python's default context would write the key log of SSLKEYLOGFILE, which reveals secrets.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if sys.version_info >= (3, 13):
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        self._trust(context)
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._identify(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        if self.ca_cert is None and self.ca_path is None and not self.ca_cert_bytes:
            return
        file, folder, text = self.authorities
        if folder is not None and not _is_folder(folder):
            raise ConfigurationError(f"ca_path: {folder} is not a folder")
        fault = None
        try:
            context.load_verify_locations(file, folder, text)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            fault = _reason(error, "no certificate in PEM form")
        if fault is not None:
            raise ConfigurationError(f"ca_cert: {file}: {fault}" if text is None else f"ca_cert_bytes: {fault}")

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


def _is_folder(path: Path | None) -> bool:
    return path is not None and os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises for a name that is too long


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def tls_fault(reason: str | None) -> HttpFault:
    """Return the fault of a failed handshake, from OpenSSL's reason, such as `TLSV1_ALERT_UNKNOWN_CA`."""
    if reason in _NO_TLS:
        return HttpFault(FaultKind.NO_TLS, "it does not speak TLS")
    if reason is None or reason in _ENDED:
        return HttpFault(FaultKind.UNREACHABLE, "the connection ended within the TLS handshake")
    return HttpFault(FaultKind.UNTRUSTED, f"TLS failed: {reason}")


def untrusted(reason: str) -> HttpFault:
    """Return the fault of a certificate that is not trusted."""
    return HttpFault(FaultKind.UNTRUSTED, f"its certificate is not trusted: {reason}")


def is_refusal(reason: str | None) -> bool:
    """Return True if the server refused the client's certificate, and so did not process the request.

    In TLS 1.3 such an alert may arrive after the client has finished its handshake and sent the request. Any other
    error at that point means a lost reply: the server may have processed the request.
    """
    return reason in _REFUSALS


def check_certificates(certificates: Mapping[str, bytes], now: datetime) -> Check:
    """Check the certificate that expires first.

    It is a warning two weeks before the end, or in the last fifth of its life if that is shorter: many certificates
    are issued for a day and renewed automatically.

    Args:
        certificates: address -> certificate in DER form; at least one.
        now: with a time zone.
    """
    from cryptography import x509

    lives: list[tuple[datetime, datetime, str]] = []
    for address, content in certificates.items():
        try:
            found = x509.load_der_x509_certificate(content)
        except ValueError:
            continue  # TLS has accepted it
        lives.append((found.not_valid_after_utc, found.not_valid_before_utc, address))
    if not lives:
        return Check(_CERTIFICATE, CheckState.OK, "its expiry cannot be read")
    ends, begins, address = min(lives)
    origin = f" of {address}" if len(lives) > 1 else ""
    if ends <= now:
        return Check(_CERTIFICATE, CheckState.WARNING, f"expired{origin} since {ends:%Y-%m-%d %H:%M} UTC", _RENEW)
    left = ends - now
    reason = f"valid until {ends:%Y-%m-%d %H:%M} UTC{origin}, {_rough(left)} from now"
    if left < min(_LATEST_RENEWAL, (ends - begins) / _LAST_PART):
        return Check(_CERTIFICATE, CheckState.WARNING, reason, _RENEW)
    return Check(_CERTIFICATE, CheckState.OK, reason)


def _reason(error: Exception, otherwise: str) -> str:
    """Return the system's reason, or `otherwise` if the content of the file is at fault."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return error.strerror
    return otherwise


def _rough(left: timedelta) -> str:
    hours = left // timedelta(hours=1)
    return f"{hours // 24} d" if hours >= 48 else f"{hours} h"
