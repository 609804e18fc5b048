"""Encrypted fields of a database, whose key comes from the chain and rotates.

::

    from strongroom.encryption import FieldCipher

    cipher = FieldCipher("columns/customer", "customer.iban")
    text = cipher.encrypt("DE89 3704 0044 0532 0130 00")    # sr1.48291.…
    iban = cipher.decrypt(text)

The keyset is one secret with all keys, `{"primary": "48291", "48291": "…", "61332": "…"}`, or a single key. A text
names its key. The cipher is AES-256-GCM with a random nonce, under a key that HKDF derives for the column, so that no
text of another column is accepted. The keyset is read once and watched. A text of an unknown key lets it be read past
the cache, at most once a second; no other text makes a request. `strongroom.integrations.sqlalchemy` has column types.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

from strongroom._manager import SecretsManager
from strongroom.errors import (
    AlteredTextError,
    Answer,
    ConfigurationError,
    DecryptionError,
    InvalidDataError,
    PlainTextError,
    StoreUnavailableError,
    StrongroomError,
    UnknownKeyError,
    shown,
)
from strongroom.secret import SensitiveBytes, SensitiveStr, Value
from strongroom.secrets_manager import default_manager
from strongroom.store import fork_safe_lock

__all__ = [
    "PREVIOUS",
    "PRIMARY",
    "AlteredTextError",
    "DecryptionError",
    "FieldCipher",
    "Keyset",
    "PlainTextError",
    "UnknownKeyError",
    "aload",
    "load",
    "new_key",
]

logger = logging.getLogger("strongroom.encryption")

PRIMARY = "primary"
"""The key of a keyset that holds the id of the newest key, which encrypts."""

PREVIOUS = "previous"
"""The key of a keyset that holds the id of the key that still encrypts during the grace time of a rotation."""

SHORTEST_KEY = 32
"""Characters."""

FRESH_READ_PAUSE = 1.0
"""The shortest time between two reads of a keyset past the cache, in seconds."""

RECHECK = 10.0
"""For how many seconds a process encrypts before it asks the cache of the chain whether the keyset still counts."""

_KEY_ID = r"[a-z0-9_-]{1,32}"
_FORMAT = "sr1."
_PREFIX = re.compile(rf"sr1\.({_KEY_ID})\.")
_NONCE = 12
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_Seal = Callable[[bytes, bytes, bytes | None], bytes]


# --- keysets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keyset:
    """The keys of a secret. Pure.

    Attributes:
        encrypting: the id of the key that encrypts: `previous` if the secret has it, otherwise `primary`.
        keys: the keys by their ids.
        primary: the id of the newest key.
        previous: the id of the key before it during the grace time of a rotation; None otherwise.
    """

    primary: str
    previous: str | None
    keys: Mapping[str, SensitiveBytes] = field(repr=False)

    @property
    def encrypting(self) -> str:
        return self.previous or self.primary

    @classmethod
    def parse(cls, data: Mapping[str, Value], path: str | None = None) -> Keyset:
        """Return the keyset that a secret holds.

        Raises:
            InvalidDataError: it holds none.
        """
        keys: dict[str, SensitiveBytes] = {}
        for key_id in data.keys() - {PRIMARY, PREVIOUS}:
            key = data[key_id]
            if not re.fullmatch(_KEY_ID, key_id):
                raise InvalidDataError(path, f"the key {shown(key_id)} is not an id of at most 32 of a-z, 0-9, - and _")
            if not isinstance(key, str) or len(key) < SHORTEST_KEY:
                del key, data
                raise InvalidDataError(path, f"the key {key_id} is not a text of at least {SHORTEST_KEY} characters")
            keys[key_id] = SensitiveBytes(key.encode())
        primary, previous = data.get(PRIMARY), data.get(PREVIOUS)
        if primary is None and previous is None and len(keys) == 1:
            primary = next(iter(keys))
        if primary is None:
            raise InvalidDataError(path, f"it has {len(keys)} keys, and no {PRIMARY!r} that names the newest one")
        for name, named in ((PRIMARY, primary), (PREVIOUS, previous)):
            if named is not None and named not in keys:
                raise InvalidDataError(path, f"{name!r} names a key that it does not have")
        return cls(str(primary), None if previous is None else str(previous), keys)


def new_key(taken: Collection[str]) -> tuple[str, SensitiveStr]:
    """Return the id of a new key, which is not among those taken, and the key.

    The id has five digits: redaction takes a number of six for a value, and would hide the ids of texts in logs.
    """
    while (key_id := str(10_000 + secrets.randbelow(90_000))) in taken:
        pass
    return key_id, SensitiveStr(secrets.token_urlsafe(32))


def load(path: str, *, manager: SecretsManager | None = None, fresh: bool = False) -> Keyset:
    """Read a keyset at the start of a process, so that no later use has to wait for it, and return it.

    Args:
        path: its path.
        manager: None is the default manager of the process.
        fresh: read it past the cache, also if this process knows it.

    Raises:
        StrongroomError: it cannot be read, or is not a keyset.
    """
    ring = _ring(manager or default_manager(), path)
    return (ring.renewed() if fresh else ring.generation()).keyset


async def aload(path: str, *, manager: SecretsManager | None = None, fresh: bool = False) -> Keyset:
    """`load`, off the event loop. Without it, the first use in an event loop blocks the loop for one read."""
    return await asyncio.to_thread(load, path, manager=manager, fresh=fresh)


# --- the keyset of a process ------------------------------------------------------------------------------------------


class _Generation:
    """A keyset, and the ciphers that are derived from it, which end with it."""

    __slots__ = ("ciphers", "keyset")

    def __init__(self, keyset: Keyset) -> None:
        self.keyset = keyset
        self.ciphers: dict[str, _Ciphers] = {}


class _Ring:
    """The keyset at one path, as a process knows it. It is renewed by a watch, and by texts of unknown keys.

    A key that was once read is kept: somebody may have rolled the secret back, and texts of that key are there.
    """

    def __init__(self, manager: SecretsManager, path: str) -> None:
        self.path = path
        self.recheck = -inf
        self.latest: _Generation | None = None
        self._manager = ref(manager)
        self._is_watched = False
        self._fresh_at = -inf
        self._absent: set[str] = set()  # ids that the last read past the cache did not find
        self._lock = fork_safe_lock(self, "_lock")
        _rings_of_process.add(self)

    def generation(self) -> _Generation:
        """Return the keyset, which the first call reads."""
        if (latest := self.latest) is not None:
            return latest
        with self._lock:
            return self.latest or self._read()

    def confirm(self) -> None:
        """Ask the cache of the chain whether the keyset still counts: it must not encrypt long after its outage.

        Raises:
            StoreUnavailableError: the store has not answered for longer than the cache serves a stale secret.
        """
        with self._lock:
            if time.monotonic() > self.recheck:
                self._read()

    def renewed(self) -> _Generation:
        """Return the keyset past the cache."""
        with self._lock:
            return self._read(fresh=True)

    def with_key(self, key_id: str) -> _Generation | None:
        """Return the keyset if it has this key. It is read past the cache if no read has begun since this call.

        Raises:
            StoreUnavailableError: a store that may have the key does not answer.
        """
        seen = time.monotonic()
        with self._lock:
            latest = self.generation()
            if key_id in latest.keyset.keys:
                return latest
            now = time.monotonic()
            if self._fresh_at < seen and not (key_id in self._absent and now - self._fresh_at < FRESH_READ_PAUSE):
                time.sleep(max(0.0, self._fresh_at + FRESH_READ_PAUSE - now))
                self._fresh_at = time.monotonic()
                self._absent.clear()
                latest = self._read(fresh=True)
            if key_id in latest.keyset.keys:
                return latest
            self._absent.add(key_id)
            return None

    def forget(self) -> None:
        """Drop the keys, in the child of a fork."""
        self.latest = None
        self.recheck = self._fresh_at = -inf

    def _read(self, *, fresh: bool = False) -> _Generation:
        manager = self._manager()
        if manager is None:
            raise ConfigurationError("The manager of an encrypted column does not exist any more")
        found = manager.resolve(self.path, fresh=fresh)
        if fresh and any(attempt.answer is Answer.UNAVAILABLE for attempt in found.attempts):
            reason = "a store that does not answer may have the key of a text"
            raise StoreUnavailableError(self.path, reason, attempts=found.attempts)
        data = found.value
        generation = self._renew(Keyset.parse(data if isinstance(data, Mapping) else {}, self.path))
        if not self._is_watched:
            living = ref(self)
            manager.watch([self.path], lambda _change: _follow(living))
            self._is_watched = True
        return generation

    def _renew(self, keyset: Keyset) -> _Generation:
        self.recheck = time.monotonic() + RECHECK
        if self.latest is not None:
            before = self.latest.keyset
            if lost := sorted(before.keys.keys() - keyset.keys.keys()):
                keyset = Keyset(keyset.primary, keyset.previous, {**before.keys, **keyset.keys})
                if keyset != before:
                    logger.warning(
                        "The keyset %s has lost keys that this process keeps: %s", self.path, ", ".join(lost)
                    )
            if keyset == before:
                return self.latest
        self.latest = generation = _Generation(keyset)
        return generation

    def follow(self) -> None:
        """Read the keyset after a change. One that cannot be used leaves the keyset as it is."""
        try:
            with self._lock:
                self._read()
        except StrongroomError as error:
            logger.error("The keyset was not renewed. %s", error)  # noqa: TRY400  # its frames hold the keys


def _follow(ring: ref[_Ring]) -> None:
    if (living := ring()) is not None:
        living.follow()


_rings: WeakKeyDictionary[SecretsManager, dict[str, _Ring]] = WeakKeyDictionary()
_rings_of_process: WeakSet[_Ring] = WeakSet()


def _ring(manager: SecretsManager, path: str) -> _Ring:
    rings = _rings.setdefault(manager, {})
    found = rings.get(path)
    return rings.setdefault(path, _Ring(manager, path)) if found is None else found


def _forget_in_child() -> None:
    for ring in list(_rings_of_process):
        ring.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


# --- ciphers ----------------------------------------------------------------------------------------------------------


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
        self._bound: tuple[SecretsManager, _Ring] | None = None

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
        """
        data = self._open(text, row)
        if data is None:
            found: str = self._from_legacy(text)
            return found
        try:
            return data.decode()
        except UnicodeDecodeError:
            del data
        raise self._altered("holds bytes, and not UTF-8")

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
        data = self._open(text, row)
        if data is None:
            found: bytes = self._from_legacy(text)
            return found
        return data

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
        data = self._open(text, row)
        if data is None:
            return self._from_legacy(text)
        try:
            return json.loads(data)
        except ValueError:
            del data
        raise self._altered("holds no JSON")

    def is_current(self, text: str, *, row: str | None = None) -> bool:
        """Return True if the text has the key that encrypts now, and the present name of the column.

        Encrypt what is not current anew, and then no text needs an older key.
        """
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

    def _ring(self) -> _Ring:
        manager = default_manager() if self._manager is None else self._manager
        bound = self._bound
        if bound is None or bound[0] is not manager:
            self._bound = bound = (manager, _ring(manager, self.path))
        return bound[1]

    def _ciphers(self) -> _Ciphers:
        latest = self._ring().generation()
        return latest.ciphers.get(self._key) or self._derive(latest)

    def _derive(self, generation: _Generation) -> _Ciphers:
        return generation.ciphers.setdefault(self._key, _Ciphers(generation.keyset, self.columns))

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

    def _open(self, text: str, row: str | None, *, former: bool = True) -> bytes | None:
        """Return the data of a text; None if it has no prefix, and has to be read as before the encryption."""
        opener = self._ciphers().openers.get(text[: text.find(".", 4) + 1]) or self._opener(text)
        if opener is None:
            return None
        associated = opener.associated if row is None else _of_row(opener.associated, row)
        for decrypt in opener.open if former else opener.open[:1]:
            try:
                sealed = a2b_base64(text[len(opener.associated) :], strict_mode=True)
                return decrypt(sealed[:_NONCE], sealed[_NONCE:], associated)
            except opener.faults:
                continue
        del text, row
        raise self._altered(f"does not match its key in {shown(self.path)}. It may be of another column or row")

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
