"""One entry of the disk cache: how old it is, what may be served of it, and its sealed form."""

import json
import os
import struct
import time
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, Self

from strongroom._disk_cache.keys import Keys, entry_key
from strongroom.encoding import from_json, to_json
from strongroom.files.bounded import read_bytes
from strongroom.secret import AgedAbsence, AgedSecret, SensitiveDict, SensitiveStr, Version
from strongroom.store.deadline import boot_time

_SALT_SIZE = 16
_NONCE_SIZE = 12
_FORMAT = b"strongroom disk cache entry 2"
_FORMAT_1 = b"strongroom disk cache entry 1"
"""That of entries without the release of their plugin."""

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_CLOCK_TOLERANCE = 2.0
"""Seconds by which the wall clock may be adjusted before the age of older entries is doubtful."""


class Moment(NamedTuple):
    """A point in time on two clocks.

    Attributes:
        wall: seconds since 1970.
        since_boot: seconds on a clock that nobody sets.
        boot: the ID of this boot of the machine; empty where the system has none.
    """

    wall: float
    since_boot: float
    boot: str

    @classmethod
    def now(cls) -> Self:
        return cls(time.time(), boot_time(), _boot_id())

    def seconds_until(self, later: "Moment") -> float | None:
        """Return the seconds to a later moment of the same boot; None if the clocks do not agree about them."""
        wall, since_boot = later.wall - self.wall, later.since_boot - self.since_boot
        if self.boot != later.boot or since_boot < 0 or abs(wall - since_boot) > _CLOCK_TOLERANCE:
            return None
        return max(wall, since_boot)


def _boot_id() -> str:
    try:
        return read_bytes(_BOOT_ID, 64)[0].decode("ascii", "replace").strip()
    except OSError:
        return ""


class CacheEntry(NamedTuple):
    """A store's answer. `data` is None for a confirmed absence, with its `reason`.

    Attributes:
        path: the secret's path.
        asked: when the store was asked.
        ttl: for how many seconds from then on it is current.
        lifetime: for how many seconds from then on it may be served in an outage; an absence offline alone.
        expires: for how many seconds from then on the secret itself is valid; None if it does not expire.
        data, version, created, reason: the answer.
        release: the release of the store's plugin: see `StoreIdentity`. Empty in version 1 of entries.
    """

    path: str
    asked: Moment
    ttl: float
    lifetime: float
    expires: float | None = None
    data: SensitiveDict | None = None
    version: Version | None = None
    created: datetime | None = None
    reason: str = ""
    release: str = ""

    def age(self, now: Moment, latest: float) -> tuple[float, bool] | None:
        """Return the age in seconds, and whether it is certain. None means that the entry must not be served.

        Within one boot two clocks must agree. After a reboot the wall clock alone tells the age: such an entry is not
        certain, and only serves in an outage.

        Args:
            now: the present moment.
            latest: the wall clock at the newest entry of the cache: a clock that is behind it was set back.
        """
        age = self.asked.seconds_until(now)
        if age is not None:
            return age, True
        if self.asked.boot == now.boot or now.wall < max(latest, self.asked.wall):
            return None
        return now.wall - self.asked.wall, False

    def answer(self, age: float) -> AgedSecret | AgedAbsence:
        """Return the store's answer, which is `age` seconds old, as a secret or as an error to raise."""
        if self.data is None:
            return AgedAbsence(self.path, self.reason).aged(age)
        left = None if self.expires is None else max(0.0, self.expires - age)
        return AgedSecret(self.path, self.data, self.version, self.created, ttl=left).aged(age)

    # --- the sealed form ----------------------------------------------------------------------------------------------

    def to_text(self) -> str:
        data = None if self.data is None else {key: to_json(value) for key, value in self.data.items()}
        created = None if self.created is None else self.created.isoformat()
        lives = self.ttl, self.lifetime, self.expires
        return json.dumps([self.path, self.asked, lives, data, self.version, created, self.reason, self.release])

    @classmethod
    def of_text(cls, text: str) -> Self:
        content: Any = json.loads(text)
        path, asked, (ttl, lifetime, expires), fields, version, created, reason, *release = content
        data = None if fields is None else SensitiveDict((key, from_json(value)) for key, value in fields.items())
        made = None if created is None else datetime.fromisoformat(created)
        return cls(path, Moment(*asked), ttl, lifetime, expires, data, version, made, reason, *release)


class SealedEntry(NamedTuple):
    """An entry as it lies on disk. All but `sealed` are authenticated with it.

    Attributes:
        name: the digest of the store's identity and the path.
        path: the digest of the path.
        asked: when the store was asked, in microseconds since 1970.
        ends: when it is of no more use to anybody, in seconds since 1970.
        sealed: salt, nonce and ciphertext.
    """

    name: bytes
    path: bytes
    asked: int
    ends: int
    sealed: bytes

    def _bound(self, version: bytes = _FORMAT) -> bytes:
        """Return the associated data: the parts have a fixed size, so that no two rows have the same."""
        return version + struct.pack(">32s32sqq", self.name, self.path, self.asked, self.ends)

    @classmethod
    def seal(cls, ciphers: "Ciphers", name: bytes, path: bytes, entry: CacheEntry) -> Self:
        """Return the row of an entry, sealed under the key of its batch."""
        asked, ends = round(entry.asked.wall * 1e6), int(entry.asked.wall + entry.lifetime) + 1
        row = cls(name, path, asked, ends, b"")
        nonce = os.urandom(_NONCE_SIZE)
        text = entry.to_text().encode()
        ciphertext = ciphers.of(ciphers.salt).encrypt(nonce, text, row._bound())  # of this class
        return row._replace(sealed=ciphers.salt + nonce + ciphertext)

    def open(self, ciphers: "Ciphers") -> CacheEntry | None:
        """Return the entry; None if anything in the row was changed, or was sealed under another key."""
        from cryptography.exceptions import InvalidTag

        salt, rest = self.sealed[:_SALT_SIZE], self.sealed[_SALT_SIZE:]
        nonce, ciphertext = rest[:_NONCE_SIZE], rest[_NONCE_SIZE:]
        if len(nonce) != _NONCE_SIZE:
            return None
        for version in (_FORMAT, _FORMAT_1):
            with suppress(InvalidTag):
                text = ciphers.of(salt, version).decrypt(nonce, ciphertext, self._bound(version))
                return CacheEntry.of_text(SensitiveStr(text, "utf-8"))
        return None


class Ciphers:
    """The ciphers of the entries of one batch, and of those that it finds.

    Entries that are added together have one salt, and so one key: deriving it takes as long as sealing an entry. Two of
    a million random nonces meet under one key with a probability of 2^-57.
    """

    def __init__(self, keys: Keys) -> None:
        self.salt = os.urandom(_SALT_SIZE)
        self._keys = keys
        self._known: dict[tuple[bytes, bytes], Any] = {}

    def of(self, salt: bytes, version: bytes = _FORMAT) -> Any:  # an AESGCM: imported at first use
        """Return the cipher for a salt, in a version of the format."""
        cipher = self._known.get((salt, version))
        if cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            cipher = self._known[salt, version] = AESGCM(entry_key(self._keys, version + salt))
        return cipher
