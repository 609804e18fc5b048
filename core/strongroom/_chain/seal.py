"""Sealing one value: AES-256-GCM under a key that never leaves the process."""

import itertools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from strongroom.encoding import from_json, to_json_text
from strongroom.secret import SensitiveDict, SensitiveStr, Value, conceal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_LENGTH = 32
_NONCE_LENGTH = 12
_SEALS_PER_KEY = 2**32  # NIST SP 800-38D, 8.3: the most under one key, however the nonces are made


class Sealed(NamedTuple):
    """A sealed value. Only its `Sealer` can open it, and only for the same owner and kind.

    `is_string` tells a string from JSON. `has_text` says that the plaintext is the value's text in UTF-8: it is not for
    null and bytes, which `encoding.as_text` refuses, nor for a string with a lone surrogate.
    """

    nonce: bytes
    ciphertext: bytes
    bound: bytes
    is_string: bool
    has_text: bool


class Sealer:
    """Seals values under a key made here, which nothing else ever sees.

    Each seal is bound to its owner (link, path, key) and to its kind, so that two of them cannot be swapped.
    The cipher is imported at the first seal: a chain of stores on this machine caches nothing, and starts without it.
    """

    def __init__(self) -> None:
        self._key: bytes = conceal(os.urandom(_KEY_LENGTH))
        self._numbers = itertools.count(1)  # its `next` is atomic
        self._sealed = 0
        self._opened: AESGCM | None = None

    @property
    def _cipher(self) -> "AESGCM":
        # A cached_property takes a lock (Python 3.11), which the child of a fork would have without its thread.
        cipher = self._opened
        if cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            cipher = self._opened = AESGCM(self._key)
        return cipher

    @property
    def decrypt(self) -> Callable[[bytes, bytes, bytes], bytes]:
        """Nonce, ciphertext and associated data -> plaintext."""
        return self._cipher.decrypt

    @property
    def broken_seal(self) -> type[Exception]:
        """The exception of `open` and `decrypt`."""
        from cryptography.exceptions import InvalidTag

        return InvalidTag

    @property
    def spent(self) -> bool:
        """True if the key has sealed as often as one key may."""
        return self._sealed >= _SEALS_PER_KEY

    def seal(self, value: Value, *owner: str) -> Sealed:
        """Return the value, sealed for `owner`: link, path and key."""
        text, kind = (value, "string") if isinstance(value, str) else (to_json_text(value), "json")
        # An unambiguous form, each name with its length: ("a", "bc") and ("ab", "c") differ.
        bound = (kind + "".join([f" {len(name)}:{name}" for name in owner])).encode("utf-8", "surrogatepass")
        # A count is used once for sure under a key that only this object has, and costs no system call.
        self._sealed = number = next(self._numbers)
        nonce = number.to_bytes(_NONCE_LENGTH, "big")
        has_text = value is not None and not isinstance(value, bytes)
        try:
            plaintext = text.encode()
        except UnicodeEncodeError:
            # A store may hold a string with a lone surrogate; it is cached as exactly as any other.
            plaintext, has_text = text.encode("utf-8", "surrogatepass"), False
        return Sealed(nonce, self._cipher.encrypt(nonce, plaintext, bound), bound, kind == "string", has_text)

    def open(self, fields: Mapping[str, Sealed]) -> SensitiveDict:
        """Return the sealed values in redacted types, as a new mapping.

        Raises:
            broken_seal: one was sealed under another key or for another owner, or it was changed.
        """
        decrypt, data = self.decrypt, SensitiveDict()
        for name, (nonce, ciphertext, bound, is_string, _) in fields.items():
            text = SensitiveStr(decrypt(nonce, ciphertext, bound), "utf-8", "surrogatepass")
            if is_string:
                data[name] = text
            else:
                import json

                data[name] = from_json(json.loads(text))
        return data
