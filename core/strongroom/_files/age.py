"""Files encrypted with age (https://age-encryption.org), by pyrage, from the extra `age`."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strongroom.errors import AuthenticationError, ConfigurationError
from strongroom.files.bounded import read_text
from strongroom.secret import SensitiveStr

_BINARY = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_MAX_IDENTITY = 1 << 16


class Encryption:
    """The recipients that a file is encrypted to, and the identities that decrypt it.

    Args:
        recipients: age's public keys, `age1…`, or SSH's, `ssh-ed25519 …`; without any, plain text is written.
        identity: a file of age's private keys, a line each, or one SSH private key without a passphrase.

    Raises:
        ConfigurationError: a recipient or an identity is malformed, or pyrage is not installed.
    """

    def __init__(self, recipients: Sequence[str] = (), identity: Path | None = None) -> None:
        pyrage = _pyrage() if recipients or identity else None
        self._recipients = [_recipient(pyrage, text) for text in recipients]
        self._identities = _identities(pyrage, identity) if identity else []

    @property
    def encrypts(self) -> bool:
        return bool(self._recipients)

    @property
    def decrypts(self) -> bool:
        return bool(self._identities)

    def encrypt(self, content: bytes) -> bytes:
        """Encrypt the content for the recipients; without any, return it unchanged."""
        if not self._recipients:
            return content
        encrypted: bytes = _pyrage().encrypt(content, self._recipients)
        return encrypted

    def decrypt(self, content: bytes) -> bytes:
        """Decrypt the content; return it unchanged if it is not encrypted.

        Raises:
            AuthenticationError: no identity is configured, or it is encrypted to others.
        """
        if not is_encrypted(content):
            return content
        if not self._identities:
            raise AuthenticationError(
                None, "it is encrypted with age", hint="Name the file of your identity with the option identity"
            )
        pyrage = _pyrage()
        try:
            decrypted: bytes = pyrage.decrypt(_start(content), self._identities)
        except pyrage.DecryptError:
            decrypted = b""
        else:
            return decrypted
        raise AuthenticationError(
            None,
            "it is not encrypted to this identity, or is damaged",
            hint="Check that the option identity names the right file",
        )


def is_encrypted(content: bytes) -> bool:
    """Return True for the format of age, binary or armored."""
    return _start(content).startswith((_BINARY, _ARMOR))


def _start(content: bytes) -> bytes:
    """Return the content without white space before the armor, which age ignores, or a byte order mark."""
    start = content.removeprefix(codecs.BOM_UTF8).lstrip()
    return start if start.startswith(_ARMOR) else content


def _pyrage() -> Any:  # it has no type hints
    try:
        import pyrage
    except ModuleNotFoundError:
        pyrage = None
    if pyrage is None:
        raise ConfigurationError(
            'The options encrypt_to and identity need pyrage, which is not installed: pip install "strongroom[age]"'
        )
    return pyrage


def _recipient(pyrage: Any, text: str) -> Any:
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text.strip())
    except pyrage.RecipientError:
        pass
    # The text is not shown: it may be a private key, pasted by mistake.
    raise ConfigurationError("The option encrypt_to: not an age recipient: it begins with age1, ssh-ed25519 or ssh-rsa")


def _identities(pyrage: Any, file: Path) -> list[Any]:
    text = read_text(file, "The option identity", _MAX_IDENTITY)
    try:
        if text.lstrip().startswith("-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = [SensitiveStr(line.strip()) for line in text.splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise ConfigurationError(f"The option identity: no age identity is in {file}")
    return found
