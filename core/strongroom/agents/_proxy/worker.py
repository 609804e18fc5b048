"""The environment of a worker: placeholders, the proxy, and files by which its programs trust the session's authority.

Also the folder with these files and the worker's socket, and the protection of this process against the worker, which
usually runs under the same user.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import ssl
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from strongroom.errors import ConfigurationError
from strongroom.files import private

_PROXY = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "WSS_PROXY", "wss_proxy")
"""Variables that name the proxy. aiohttp reads WSS_PROXY alone for a websocket."""

_DIRECT = ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "WS_PROXY", "ws_proxy")
"""Variables that send some requests past the proxy. mitmproxy refuses aiohttp's requests for ws://."""

_BUNDLE = (
    "SSL_CERT_FILE",  # OpenSSL: Python, httpx, aiohttp, cargo, and curl and git of most systems
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "npm_config_cafile",  # wins over `cafile` of an npmrc, as the next one does over cargo's configuration
    "CARGO_HTTP_CAINFO",
    "NIX_SSL_CERT_FILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "DENO_CERT",
    "NODE_EXTRA_CA_CERTS",
)
"""Variables that name a file of all authorities, or a folder of such files."""

_REPLACED = frozenset(name.upper() for name in (*_PROXY, *_DIRECT, *_BUNDLE))
"""Variables of the operator that the worker does not inherit, in any case: npm reads all of them."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./\[\]\v-]*")
"""Text that a shell takes as it is after `NAME=`."""

_PR_SET_DUMPABLE = 4
_JAVA_PASSWORD = b"changeit"
"""The usual password of a Java trust store, which has no secret: Java wants one."""

_JAVA_OPTIONS = (
    "-Dhttps.proxyHost={host} -Dhttps.proxyPort={port} -Dhttp.proxyHost={host} -Dhttp.proxyPort={port} "
    "-Dhttp.nonProxyHosts= -Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12 "
    "-Djavax.net.ssl.trustStorePassword={password}"
)


class WorkerFolder:
    """The folder through which a worker gets files and a socket, for a `with` block.

    It is the operator's own. If its mode lets a group enter, that group is the worker's; nobody else may enter, and
    nobody else may write in it. A worker that runs as the operator may still change its files: no link in it is
    followed, and it is held open, since its path may lead elsewhere later.

    Args:
        path: an existing folder.

    Attributes:
        path: the folder.
        group: the number of the worker's group, or None if the worker runs as the operator.

    Raises:
        ConfigurationError: it cannot be opened, or others may enter it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with private.faults_as(ConfigurationError, f"Cannot open the folder of the worker: {path}"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        status = os.fstat(self._descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & 0o027:
            os.close(self._descriptor)
            raise ConfigurationError(
                f"The folder of the worker must be yours, and closed to others: {path}. Run chmod 700 on it; or chmod "
                "750, and chgrp with the worker's group"
            )
        self.group = status.st_gid if status.st_mode & 0o050 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def file(self, name: str) -> Path:
        """Return the path of a file in this folder, for this process alone: it does not lead elsewhere later."""
        return Path(f"/proc/self/fd/{self._descriptor}", name)

    def write(self, name: str, content: bytes) -> Path:
        """Replace a file, and return its path for the worker. Its mode is 0600, or 0640 for the worker's group.

        Raises:
            ConfigurationError: it is a link or another user's, or cannot be written.
        """
        shown = self.path / name
        with (
            private.faults_as(ConfigurationError, shown),
            private.lock_folder(self.file("")) as folder,
            folder.prepare(name, own_only=True, group=self.group) as replacement,
        ):
            replacement.commit(content)
        return shown

    @contextmanager
    def listen(self, name: str, backlog: int) -> Iterator[socket.socket]:
        """Listen on a Unix socket that the worker may use. A socket without a server is replaced.

        Raises:
            OSError: another process serves on it, or it cannot be made.
        """
        file = self.file(name)
        with socket.socket(socket.AF_UNIX) as listener:
            with suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as other:
                other.connect(str(file))
                raise OSError(errno.EADDRINUSE, f"{self.path / name} is in use")
            if file.is_socket():
                file.unlink()
            before = os.umask(0o177 if self.group is None else 0o117)  # a mode that is set later may be a link's
            try:
                listener.bind(str(file))
            finally:
                os.umask(before)
            try:
                if self.group is not None:
                    os.chown(file, -1, self.group, follow_symlinks=False)
                listener.listen(backlog)
                yield listener
            finally:
                with suppress(OSError):  # the worker may have put anything in its place
                    file.unlink()


def operator_authorities(environ: Mapping[str, str]) -> bytes:
    """Return the certificates of all authorities that some program of the operator trusts, as PEM.

    They are those of SSL_CERT_FILE, or of the system without it, and those that any other such variable names, each
    once. Nothing else that is in their files is returned, such as a key.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    system = ssl.get_default_verify_paths().cafile or _SYSTEM  # an OpenSSL whose default is elsewhere has none
    named = {"SSL_CERT_FILE": system, **{name: text for name, text in environ.items() if text}}
    found: dict[bytes, None] = {}
    for name in (*_BUNDLE, "NPM_CONFIG_CAFILE", "SSL_CERT_DIR"):
        for path in map(Path, filter(None, named.get(name, "").split(os.pathsep))):
            failed = f"The authorities of {name} cannot be read: {path}"
            with private.faults_as(ConfigurationError, failed, f". Set {name} to a file of certificates"):
                files = [file for file in sorted(path.iterdir()) if file.is_file()] if path.is_dir() else [path]
                found |= dict.fromkeys(part for file in files for part in _CERTIFICATE.findall(file.read_bytes()))
    return b"".join(certificate + b"\n" for certificate in found)


def _java_store(certificates: bytes) -> bytes:
    with warnings.catch_warnings():  # some old roots have a serial number that a later standard forbids
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        entries = [pkcs12.PKCS12Certificate(entry, None) for entry in x509.load_pem_x509_certificates(certificates)]
    encryption = serialization.BestAvailableEncryption(_JAVA_PASSWORD)
    return pkcs12.serialize_java_truststore(entries, encryption)


def worker_environment(
    folder: WorkerFolder,
    authorities: bytes,
    inherited: Mapping[str, str],
    placeholders: Mapping[str, str],
    proxy: tuple[str, int],
) -> dict[str, str]:
    """Write the authorities into the folder of the worker, and return its environment.

    Args:
        folder: the folder.
        authorities: the certificates that its programs trust, as PEM. Java gets them if there is a `java` on PATH.
        inherited: the operator's variables, without credentials.
        placeholders: the variables of the rules.
        proxy: the address and port of the proxy, as the worker sees them.
    """
    host, port = proxy
    kept = {name: text for name, text in inherited.items() if name.upper() not in _REPLACED}
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    ours: dict[str, str] = dict.fromkeys(_PROXY, url) | {"NODE_USE_ENV_PROXY": "1"}
    ours |= dict.fromkeys(_BUNDLE, str(folder.write("bundle.pem", authorities)))
    if shutil.which("java"):
        store = folder.write("bundle.p12", _java_store(authorities))
        options = _JAVA_OPTIONS.format(host=host, port=port, store=store, password=_JAVA_PASSWORD.decode())
        ours["JAVA_TOOL_OPTIONS"] = f"{kept.get('JAVA_TOOL_OPTIONS', '')} {options}".lstrip()
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


def env_file(variables: Mapping[str, str]) -> bytes:
    """Return the variables as lines that a shell and the option `--env-file` of docker read in the same way.

    A shell wants quotes around a blank, which docker would take for a part of the value. So the options of Java are
    separated by another white space, and nothing else may need quotes.

    Raises:
        ConfigurationError: a value needs quotes, since the path of the worker's folder does.
    """
    texts = {name: text.replace(" ", "\v") if name == "JAVA_TOOL_OPTIONS" else text for name, text in variables.items()}
    if faulty := next((name for name, text in texts.items() if not _PLAIN.fullmatch(text)), None):
        raise ConfigurationError(
            f"{faulty} in worker.env would need quotes, which --env-file of docker takes for a part of the value. "
            "Choose a folder whose path has letters, digits and ._/- only"
        )
    return os.fsencode("".join(f"{name}={text}\n" for name, text in texts.items()))
