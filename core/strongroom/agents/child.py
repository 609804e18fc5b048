"""The environment of a worker: placeholders, the proxy, and files by which its programs trust the session's authority.

Also the protection of this process against the worker, which usually runs under the same user.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import ssl
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from strongroom.errors import ConfigurationError

_PROXY = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
_DIRECT = ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")
"""Variables that send some requests past the proxy."""

_BUNDLE = (
    "SSL_CERT_FILE",  # OpenSSL: Python, httpx, aiohttp, cargo, and curl and git of most systems
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
)
_PR_SET_DUMPABLE = 4
_JAVA_PASSWORD = b"changeit"
"""The usual password of a Java trust store, which has no secret: Java wants one."""


class TrustFiles:
    """Files with certificates, in a folder of this session.

    Args:
        folder: an existing folder, which the worker can read.
        authority: the certificate of the session's authority, as PEM.
        roots: the certificates of other authorities, as PEM: see `system_roots`.

    Attributes:
        authority: the file with the session's authority.
        bundle: the file with all authorities.
        java: a trust store of all authorities, if there is a `java` on PATH; otherwise None.
    """

    def __init__(self, folder: Path, authority: bytes, roots: bytes) -> None:
        self.authority = folder / "authority.pem"
        self.bundle = folder / "bundle.pem"
        self.java = folder / "bundle.p12" if shutil.which("java") else None
        both = roots.rstrip(b"\n") + b"\n" + authority
        _write(self.authority, authority)
        _write(self.bundle, both)
        if self.java is not None:
            _write(self.java, _java_store(both))


def system_roots(environ: Mapping[str, str]) -> bytes:
    """Return the certificates of the authorities that programs of this system trust, as PEM.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    found = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if not found or not Path(found).exists():
        found = "/etc/ssl/certs/ca-certificates.crt"  # of an OpenSSL whose default is elsewhere
    try:
        return Path(found).read_bytes()
    except OSError as error:
        fault = error.strerror
    raise ConfigurationError(f"The authorities of this system cannot be read: {found}: {fault}. Set SSL_CERT_FILE")


def _write(file: Path, certificates: bytes) -> None:
    """Write a file that another user may read too, since it has no secret: the folder decides who reaches it."""
    file.write_bytes(certificates)
    file.chmod(0o644)


def _java_store(certificates: bytes) -> bytes:
    with warnings.catch_warnings():  # some old roots have a serial number that a later standard forbids
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        entries = [pkcs12.PKCS12Certificate(entry, None) for entry in x509.load_pem_x509_certificates(certificates)]
    encryption = serialization.BestAvailableEncryption(_JAVA_PASSWORD)
    return pkcs12.serialize_java_truststore(entries, encryption)


def worker_environment(
    inherited: Mapping[str, str],
    placeholders: Mapping[str, str],
    trust: TrustFiles,
    proxy: tuple[str, int],
    reveals: Callable[[str], bool],
) -> dict[str, str]:
    """Return the environment of a worker.

    Args:
        inherited: the operator's variables, without the credentials of stores.
        placeholders: the variables of the rules.
        trust: the files of the session.
        proxy: the address and port of the proxy, as the worker sees them.
        reveals: returns True for text that has a value of the session. Such an inherited variable is left out.
    """
    host, port = proxy
    address = f"http://{host}:{port}"
    kept = {name: text for name, text in inherited.items() if name not in _DIRECT and not reveals(text)}
    ours: dict[str, str] = {**dict.fromkeys(_PROXY, address), **dict.fromkeys(_BUNDLE, str(trust.bundle))}
    ours["NODE_EXTRA_CA_CERTS"] = str(trust.authority)
    ours["NODE_USE_ENV_PROXY"] = "1"
    if trust.java is not None:
        options = {
            "https.proxyHost": host,
            "https.proxyPort": str(port),
            "http.proxyHost": host,
            "http.proxyPort": str(port),
            "http.nonProxyHosts": "",
            "javax.net.ssl.trustStore": str(trust.java),
            "javax.net.ssl.trustStoreType": "PKCS12",
            "javax.net.ssl.trustStorePassword": _JAVA_PASSWORD.decode(),
        }
        given = [kept["JAVA_TOOL_OPTIONS"]] if "JAVA_TOOL_OPTIONS" in kept else []
        ours["JAVA_TOOL_OPTIONS"] = " ".join((*given, *(f"-D{name}={value}" for name, value in options.items())))
    return {**kept, **ours, **placeholders}


def forbid_inspection(credentials: Iterable[str]) -> None:
    """Keep other processes of this user from reading this process's memory, environment and descriptors.

    A program that this process starts is not protected: `exec` ends it.

    Args:
        credentials: variables that are also overwritten in the block of memory that `/proc/PID/environ` shows.
            `os.environ` keeps them.

    Raises:
        ConfigurationError: the system is not Linux, or refuses.
    """
    if sys.platform != "linux":
        raise ConfigurationError("This system cannot protect a process from others of the same user: use Linux")
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise ConfigurationError("The system refuses to protect this process: prctl PR_SET_DUMPABLE failed")
    library.getenv.restype = ctypes.c_void_p
    for name in credentials:
        if (start := library.getenv(os.fsencode(name))) is not None:
            ctypes.memset(start, 0, len(ctypes.string_at(start)))
