"""The cipher of a column: AES-256-GCM under a key that HKDF derives for it."""

from __future__ import annotations

import json
import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from strongroom._manager import SecretsManager
from strongroom.encryption.keyset import KEY_ID, Keyset, KeysetHandle, handle_of
from strongroom.errors import (
    AlteredTextError,
    InvalidDataError,
    PlainTextError,
    StrongroomError,
    UnknownKeyError,
    shown,
)
from strongroom.secret import SensitiveBytes
from strongroom.secrets_manager import default_manager

if TYPE_CHECKING:  # its import costs more than a program without columns
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_P = ParamSpec("_P")
_R = TypeVar("_R")

_PREFIX = re.compile(rf"sr1\.({KEY_ID})\.")
_NONCE = 12
_ENDS = tuple(f"{last}==" for last in "AQgw") + tuple(f"{last}=" for last in "AEIMQUYcgkosw048")
"""The ends of Base64 whose spare bits are zero. The module `binascii` accepts others too."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def prefix_of(key_id: str) -> str:
    """Return the beginning of the texts of a key."""
    return f"sr1.{key_id}."


class _Ciphers(dict[str, "tuple[AESGCM, ...]"]):
    """The ciphers of a column under the keys of a keyset, by the prefix of their texts.

    Those of a key are one for the present name of the column, and then one for each former name.
    """

    def __init__(self, keyset: Keyset, columns: tuple[str, ...]) -> None:
        from cryptography.exceptions import InvalidTag

        super().__init__()
        self.keyset = keyset
        self.faults = (InvalidTag, ValueError)  # of a text; one of Base64 is a ValueError
        for key_id, key in keyset.keys.items():
            self[prefix_of(key_id)] = tuple(_derived(key, column) for column in columns)
        self.prefix = prefix_of(keyset.encrypting)
        self.associated = self.prefix.encode()
        self.encrypt = self[self.prefix][0].encrypt


def _derived(key: SensitiveBytes, column: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    about = b"strongroom sr1 column\0" + column.encode()
    return AESGCM(HKDF(SHA256(), length=32, salt=None, info=about).derive(key))


def _without_frames(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Raise the errors of a method without its frames, whose variables hold values: reporters of errors send them."""

    @wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except StrongroomError as error:
            failure = error.copy()
        del args, kwargs
        raise failure

    return call


class FieldCipher:
    """Encrypts the values of one column. Threads may share it, and each process of a fork reads the keyset anew.

    A text is `sr1.KEY_ID.BASE64`. Two texts of one value differ, and their length tells that of the value. The first
    use derives the keys of the column, so keep the object.

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
        self.path = path
        self.columns = (column,) if isinstance(column, str) else column
        self._legacy = legacy
        self._manager = manager
        self._bound: tuple[SecretsManager, KeysetHandle] | None = None
        self._latest: _Ciphers | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or a pickle, which takes neither keys nor the manager's connections."""
        return {**self.__dict__, "_bound": None, "_latest": None}

    def __repr__(self) -> str:
        return f"FieldCipher({self.path!r}, {self.columns[0]!r})"

    # --- text, bytes and JSON -----------------------------------------------------------------------------------------

    @_without_frames
    def encrypt(self, value: str, *, row: str | None = None) -> str:
        """Return the text for a value.

        Args:
            value: a text of any length.
            row: the identity of the row, such as `str(customer.id)`. Only `decrypt` with the same one accepts the text.

        Raises:
            InvalidDataError: the value has another type, or cannot be encoded as UTF-8.
        """
        return self._encrypted(value, row, str.encode, "text that UTF-8 can encode")

    @_without_frames
    def decrypt(self, text: str, *, row: str | None = None) -> str:
        """Return the value of a text.

        Raises:
            UnknownKeyError, AlteredTextError, PlainTextError: it cannot be decrypted.
            InvalidDataError: it is not a `str`, such as None.
        """
        return self._decrypted(text, row, bytes.decode)

    @_without_frames
    def encrypt_bytes(self, value: bytes, *, row: str | None = None) -> str:
        """`encrypt` for bytes."""
        return self._encrypted(value, row, memoryview, "bytes")

    @_without_frames
    def decrypt_bytes(self, text: str, *, row: str | None = None) -> bytes:
        """`decrypt` for bytes."""
        return self._decrypted(text, row, bytes)

    @_without_frames
    def encrypt_json(self, value: Any, *, row: str | None = None) -> str:
        """`encrypt` for a value that JSON can hold."""
        return self._encrypted(value, row, lambda it: _ENCODER.encode(it).encode(), "what JSON can hold")

    @_without_frames
    def decrypt_json(self, text: str, *, row: str | None = None) -> Any:
        """`decrypt` for a value that JSON can hold."""
        return self._decrypted(text, row, json.loads)

    @_without_frames
    def is_current(self, text: str, *, row: str | None = None) -> bool:
        """Return True if the text has the key that encrypts now, and the present name of the column.

        Encrypt the other texts anew, and then no text needs an older key.
        """
        prefix = self._prefix(text)
        if prefix != self.current_prefix():
            return False
        try:
            if len(self.columns) > 1:
                self._opened(text, prefix, row, names=1)
        except AlteredTextError:
            return False
        return True

    def current_prefix(self) -> str:
        """Return the beginning of the texts of the key that encrypts now."""
        return self._ciphers(self._handle().confirmed()).prefix

    # --- parts --------------------------------------------------------------------------------------------------------

    def _handle(self) -> KeysetHandle:
        manager = default_manager() if self._manager is None else self._manager
        bound = self._bound
        if bound is None or bound[0] is not manager:
            self._bound = bound = (manager, handle_of(manager, self.path))
        return bound[1]

    def _ciphers(self, keyset: Keyset) -> _Ciphers:
        latest = self._latest
        if latest is None or latest.keyset is not keyset:
            self._latest = latest = _Ciphers(keyset, self.columns)
        return latest

    def _encrypted(self, value: _R, row: str | None, encode: Callable[[_R], bytes | memoryview], wanted: str) -> str:
        try:
            data = encode(value)
        except (TypeError, ValueError, RecursionError):
            reason = f"{self.columns[0]} takes {wanted}, and not this {type(value).__name__}"
            raise InvalidDataError(self.path, reason) from None
        ciphers = self._ciphers(self._handle().confirmed())
        associated = ciphers.associated if row is None else self._of_row(ciphers.associated, row)
        nonce = os.urandom(_NONCE)
        sealed = nonce + ciphers.encrypt(nonce, data, associated)
        return ciphers.prefix + b2a_base64(sealed, newline=False).decode()

    def _decrypted(self, text: str, row: str | None, decode: Callable[[bytes], _R]) -> _R:
        prefix = self._prefix(text)
        if self._legacy is not None and not _PREFIX.match(prefix):
            try:
                value: _R = self._legacy(text)
            except Exception as error:  # noqa: BLE001  # of another library; its frames hold the key
                raise self._altered(f"has no key id, and legacy= raised {type(error).__name__}") from None
            return value
        data = self._opened(text, prefix, row)
        try:
            return decode(data)
        except ValueError:
            raise self._altered("holds a value of another type") from None

    def _opened(self, text: str, prefix: str, row: str | None, *, names: int | None = None) -> bytes:
        """Return the data of a text. `names` is the number of names to try, the present one first; None is all."""
        ciphers = self._ciphers(self._handle().keyset())
        if prefix not in ciphers:
            ciphers = self._ciphers(self._with_key_of(prefix))
        associated = prefix.encode() if row is None else self._of_row(prefix.encode(), row)
        has_one_form = text[-1] != "=" or text.endswith(_ENDS)
        for cipher in ciphers[prefix][:names] if has_one_form else ():
            try:
                sealed = a2b_base64(text[len(prefix) :], strict_mode=True)
                return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], associated)
            except ciphers.faults:
                continue
        raise self._altered(f"does not match its key in {shown(self.path)}. It may be of another column or row")

    def _prefix(self, text: str) -> str:
        """Return the part of a text that names its key; anything else of a plain text."""
        if not isinstance(text, str):
            raise InvalidDataError(self.path, f"{self.columns[0]} has texts, and got {type(text).__name__}")
        return text[: text.find(".", 4) + 1]

    def _with_key_of(self, prefix: str) -> Keyset:
        match = _PREFIX.match(prefix)
        if match is None:
            raise PlainTextError(
                f"Plain text: a value of {self.columns[0]} is not encrypted. Pass legacy= to read values from before "
                "the encryption, and rewrap the column",
                self.path,
                self.columns[0],
            )
        key_id = match[1]
        keyset = self._handle().with_key(key_id)
        if key_id not in keyset.keys:
            raise UnknownKeyError(
                f"Unknown key: the keyset {shown(self.path)} has no key {key_id}, which encrypted a text of "
                f"{self.columns[0]}. Undo a rollback of the secret: strongroom history {shown(self.path)}",
                self.path,
                self.columns[0],
                key_id,
            )
        return keyset

    def _altered(self, fault: str) -> AlteredTextError:
        message = f"Altered text: a text of {self.columns[0]} {fault}"
        return AlteredTextError(message, self.path, self.columns[0])

    def _of_row(self, associated: bytes, row: str) -> bytes:
        if not isinstance(row, str):
            reason = f"row= takes text, such as str(customer.id), and got {type(row).__name__}"
            raise InvalidDataError(self.path, reason)
        return associated + b"\0" + row.encode()
