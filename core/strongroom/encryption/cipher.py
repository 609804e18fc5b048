"""The cipher of a column: AES-256-GCM under a key that HKDF derives for it."""

from __future__ import annotations

import json
import os
import re
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any, NamedTuple

from strongroom._manager import SecretsManager
from strongroom.encryption.keyset import KEY_ID, Keyset
from strongroom.encryption.ring import Generation, Ring, ring_of
from strongroom.errors import (
    AlteredTextError,
    ConfigurationError,
    InvalidDataError,
    PlainTextError,
    StrongroomError,
    UnknownKeyError,
    shown,
)
from strongroom.secret import SensitiveBytes
from strongroom.secrets_manager import default_manager

_FORMAT = "sr1."
_PREFIX = re.compile(rf"sr1\.({KEY_ID})\.")
_NONCE = 12
_ENDS = tuple(f"{last}==" for last in "AQgw") + tuple(f"{last}=" for last in "AEIMQUYcgkosw048")
"""The ends of Base64 whose spare bits are zero. The module `binascii` accepts others too."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_Seal = Callable[[bytes, bytes, bytes | None], bytes]


class _Opener(NamedTuple):
    """Decryption of the texts with one prefix: in the present column, then in its former ones."""

    associated: bytes
    open: tuple[_Seal, ...]
    faults: tuple[type[Exception], ...]


class _Ciphers:
    """The ciphers of one column under one keyset."""

    __slots__ = ("_columns", "_keyset", "associated", "openers", "prefix", "seal")

    def __init__(self, keyset: Keyset, columns: tuple[str, ...]) -> None:
        self._keyset = keyset
        self._columns = columns
        self.prefix = f"{_FORMAT}{keyset.encrypting}."
        self.associated = self.prefix.encode()
        self.seal = _derived(keyset.keys[keyset.encrypting], columns[0]).encrypt
        self.openers: dict[str, _Opener] = {}

    def opener(self, key_id: str) -> _Opener | None:
        """Return the opener of a key; None if the keyset lacks it."""
        key = self._keyset.keys.get(key_id)
        if key is None:
            return None
        prefix = f"{_FORMAT}{key_id}."
        from cryptography.exceptions import InvalidTag

        opened = tuple(_derived(key, column).decrypt for column in self._columns)
        found = _Opener(prefix.encode(), opened, (InvalidTag, ValueError))  # a fault of Base64 is a ValueError
        self.openers[prefix] = found
        return found


def _derived(key: SensitiveBytes, column: str) -> Any:  # AESGCM, whose import costs more than a program without columns
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    about = b"strongroom sr1 column\0" + column.encode()
    return AESGCM(HKDF(SHA256(), length=32, salt=None, info=about).derive(key))


class FieldCipher:
    """Encrypts the values of one column. Threads may share it, and each process of a fork reads the keyset anew.

    A text is `sr1.KEY_ID.BASE64`. Two texts of one value differ, and their length tells that of the value.

    Args:
        path: the path of the keyset. A single key in it needs no `primary`.
        column: such as `customer.iban`; after a rename the new name and those before, whose texts are read too.
        legacy: returns the value for a text without the prefix `sr1.`: `str` accepts plain text. Without it such a text
            raises `PlainTextError`.
        manager: None is the default manager of the process, looked up at each use.

    Every method raises `StoreUnavailableError` if the keyset has to be read and the chain cannot answer, and
    `InvalidDataError` if the secret is not a keyset.
    """

    def __init__(
        self,
        path: str,
        column: str | tuple[str, ...],
        *,
        legacy: Callable[[str], Any] | None = None,
        manager: SecretsManager | None = None,
    ) -> None:
        columns = (column,) if isinstance(column, str) else tuple(column)
        if not columns or not all(columns):
            raise ConfigurationError("FieldCipher needs the name of a column, such as customer.iban")
        self.path = path
        self.columns = columns
        self._key = "\0".join(columns)
        self._legacy = legacy
        self._manager = manager
        self._bound: tuple[SecretsManager, Ring] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bound": None}  # a copy or a pickle takes neither keys nor the manager's connections

    def __repr__(self) -> str:
        return f"FieldCipher({self.path!r}, {self.columns[0]!r})"

    # --- text, bytes and JSON -----------------------------------------------------------------------------------------

    def encrypt(self, value: str, *, row: str | None = None) -> str:
        """Return the text for a value.

        Args:
            value: a text of any length.
            row: the identity of the row, such as `str(customer.id)`. Only `decrypt` with the same one accepts the text.

        Raises:
            InvalidDataError: the value has another type, or cannot be encoded as UTF-8.
        """
        try:
            return self._seal(value.encode(), row)
        except (AttributeError, TypeError, UnicodeEncodeError):
            kind = type(value).__name__
        del value
        raise InvalidDataError(self.path, f"{self.columns[0]} takes text that UTF-8 can encode, and got {kind}")

    def decrypt(self, text: str, *, row: str | None = None) -> str:
        """Return the value of a text.

        Raises:
            UnknownKeyError, AlteredTextError, PlainTextError: it cannot be decrypted.
            InvalidDataError: it is not a `str`, such as None.
        """
        found: str | StrongroomError = self._outcome(text, row, bytes.decode)
        del text
        if isinstance(found, StrongroomError):
            raise found
        return found

    def encrypt_bytes(self, value: bytes, *, row: str | None = None) -> str:
        """`encrypt` for bytes."""
        try:
            return self._seal(value, row)
        except TypeError:
            kind = type(value).__name__
        del value
        raise InvalidDataError(self.path, f"{self.columns[0]} takes bytes, and got {kind}")

    def decrypt_bytes(self, text: str, *, row: str | None = None) -> bytes:
        """`decrypt` for bytes."""
        found: bytes | StrongroomError = self._outcome(text, row, bytes)
        del text
        if isinstance(found, StrongroomError):
            raise found
        return found

    def encrypt_json(self, value: Any, *, row: str | None = None) -> str:
        """`encrypt` for a value that JSON can hold."""
        try:
            return self._seal(_ENCODER.encode(value).encode(), row)
        except (TypeError, ValueError, RecursionError):
            kind = type(value).__name__
        del value
        raise InvalidDataError(self.path, f"{self.columns[0]} takes what JSON can hold, and not this {kind}")

    def decrypt_json(self, text: str, *, row: str | None = None) -> Any:
        """`decrypt` for a value that JSON can hold."""
        found = self._outcome(text, row, json.loads)
        del text
        if isinstance(found, StrongroomError):
            raise found
        return found

    def is_current(self, text: str, *, row: str | None = None) -> bool:
        """Return True if the text has the key that encrypts now, and the present name of the column.

        Encrypt the other texts anew, and then no text needs an older key.
        """
        if not isinstance(text, str):
            raise self._no_text(text)
        if not text.startswith(self.current_prefix()):
            return False
        if len(self.columns) > 1:
            try:
                self._open(text, row, former=False)
            except AlteredTextError:
                return False
        return True

    def current_prefix(self) -> str:
        """Return the beginning of the texts of the key that encrypts now."""
        return self._encrypting().prefix

    # --- parts --------------------------------------------------------------------------------------------------------

    def _ring(self) -> Ring:
        manager = default_manager() if self._manager is None else self._manager
        bound = self._bound
        if bound is None or bound[0] is not manager:
            self._bound = bound = (manager, ring_of(manager, self.path))
        return bound[1]

    def _ciphers(self) -> _Ciphers:
        latest = self._ring().generation()
        return latest.ciphers.get(self._key) or self._derive(latest)

    def _derive(self, generation: Generation) -> _Ciphers:
        found: _Ciphers = generation.ciphers.setdefault(self._key, _Ciphers(generation.keyset, self.columns))
        return found

    def _encrypting(self) -> _Ciphers:
        ring = self._ring()
        if time.monotonic() > ring.recheck:
            ring.confirm()
        latest = ring.latest or ring.generation()
        return latest.ciphers.get(self._key) or self._derive(latest)

    def _seal(self, data: bytes, row: str | None) -> str:
        ciphers = self._encrypting()
        nonce = os.urandom(_NONCE)
        associated = ciphers.associated if row is None else _of_row(ciphers.associated, row)
        return ciphers.prefix + b2a_base64(nonce + ciphers.seal(nonce, data, associated), newline=False).decode()

    def _outcome(self, text: str, row: str | None, decode: Callable[[bytes], Any]) -> Any:
        """Return the value of a text, or the error without the frames, whose variables hold keys and the text."""
        try:
            return self._decoded(text, row, decode)
        except StrongroomError as error:
            return error.copy()

    def _decoded(self, text: str, row: str | None, decode: Callable[[bytes], Any]) -> Any:
        data = self._open(text, row)
        if data is None:
            return self._from_legacy(text)
        try:
            return decode(data)
        except ValueError:
            del data
        raise self._altered("holds a value of another type")

    def _open(self, text: str, row: str | None, *, former: bool = True) -> bytes | None:
        """Return the data of a text; None if it has no prefix, and has to be read as before the encryption."""
        if not isinstance(text, str):
            raise self._no_text(text)
        opener = self._ciphers().openers.get(text[: text.find(".", 4) + 1]) or self._opener(text)
        if opener is None:
            return None
        associated = opener.associated if row is None else _of_row(opener.associated, row)
        has_one_form = text[-1] != "=" or text.endswith(_ENDS)
        for decrypt in (opener.open if former else opener.open[:1]) if has_one_form else ():
            try:
                sealed = a2b_base64(text[len(opener.associated) :], strict_mode=True)
                return decrypt(sealed[:_NONCE], sealed[_NONCE:], associated)
            except opener.faults:
                continue
        del text, row
        raise self._altered(f"does not match its key in {shown(self.path)}. It may be of another column or row")

    def _no_text(self, found: object) -> InvalidDataError:
        return InvalidDataError(self.path, f"{self.columns[0]} has texts, and got {type(found).__name__}")

    def _altered(self, fault: str) -> AlteredTextError:
        message = f"Altered text: a text of {self.columns[0]} {fault}"
        return AlteredTextError(message, self.path, self.columns[0])

    def _opener(self, text: str) -> _Opener | None:
        """Return the opener of a text; None if it has no prefix, and there is a way to read such a text."""
        match = _PREFIX.match(text)
        if match is None:
            if self._legacy is not None:
                return None
            del text
            raise PlainTextError(
                f"Plain text: a value of {self.columns[0]} is not encrypted. Pass legacy= to read values from before "
                "the encryption, and rewrap the column",
                self.path,
                self.columns[0],
            )
        key_id = match[1]
        found = self._ciphers().opener(key_id)
        if found is None and (generation := self._ring().with_key(key_id)) is not None:
            found = self._derive(generation).opener(key_id)
        if found is None:
            del text, match
            raise UnknownKeyError(
                f"Unknown key: the keyset {shown(self.path)} has no key {key_id}, which encrypted a text of "
                f"{self.columns[0]}. Undo a rollback of the secret: strongroom history {shown(self.path)}",
                self.path,
                self.columns[0],
                key_id,
            )
        return found

    def _from_legacy(self, text: str) -> Any:
        assert self._legacy is not None  # noqa: S101  # `_opener` has raised
        try:
            return self._legacy(text)
        except Exception as error:  # noqa: BLE001  # of another library; its frames hold the key
            kind = type(error).__name__
        del text
        raise self._altered(f"has no key id, and legacy= raised {kind}")


def _of_row(associated: bytes, row: str) -> bytes:
    return associated + b"\0" + row.encode()
