"""The certificate authority of one session. Its key is only in the memory of this process."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from strongroom._config import RuleConfig
from strongroom.agents._rules.policy import named_hosts

_LIFE = timedelta(hours=168)
"""A worker in a container may run for days. The key is gone when the session ends."""

_SKEW = timedelta(hours=1)
"""How far the clocks of the worker and this process may differ."""


class Authority:
    """A certificate authority for the hosts of the rules alone.

    Args:
        rules: the rules; None for every host.

    Attributes:
        hosts: these hosts, for whose subdomains its certificates are valid too; None for every host.
        key: its private key.
        certificate: its certificate, with critical name constraints for these hosts.
    """

    def __init__(self, rules: Iterable[RuleConfig] | None) -> None:
        self.hosts = None if rules is None else frozenset(host.removeprefix("*.") for host in named_hosts(rules))
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = self.key.public_key()
        serial = x509.random_serial_number()  # in the name too: a session may have several
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Strongroom agent session {serial % 10**8:08}")])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(name, name, public, serial, now - _SKEW, now + _LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if self.hosts is not None:
            builder = builder.add_extension(_constraints(sorted(self.hosts)), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def covers(self, host: str) -> bool:
        """Return True if its certificates are valid for a host."""
        return self.hosts is None or host in self.hosts or any(host.endswith(f".{own}") for own in self.hosts)


_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _constraints(hosts: Sequence[str]) -> x509.NameConstraints:
    """Permit the hosts of the rules. Their subdomains cannot be excluded; the proxy issues no certificate for these."""
    names = [certificate_name(host) for host in hosts]
    addresses = [x509.IPAddress(ipaddress.ip_network(name.value)) for name in names if isinstance(name, x509.IPAddress)]
    every_address = [x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")]
    permitted = [*(name for name in names if isinstance(name, x509.DNSName)), *addresses]
    return x509.NameConstraints(permitted, None if addresses else every_address)


def certificate_name(host: str) -> x509.GeneralName:
    """Return the name of a host, or its address, for a certificate."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
