"""Keysets: the keys of encrypted fields, as one secret holds them. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Self

from strongroom.errors import InvalidDataError, shown
from strongroom.secret import SensitiveBytes, SensitiveStr, Value

PRIMARY = "primary"
"""The key of a keyset that holds the id of the newest key, which encrypts."""

PREVIOUS = "previous"
"""The key of a keyset that holds the id of the key that still encrypts during the grace time of a rotation."""

SHORTEST_KEY = 32
"""Characters."""

KEY_ID = r"[a-z0-9_-]{1,32}"
"""The pattern of an id. A database may compare without case, and a text has a dot after it."""


@dataclass(frozen=True)
class Keyset:
    """The keys of a secret.

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

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Keyset cannot be pickled, since the pickle would hold its keys: call load in each process")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Value], path: str | None = None) -> Keyset:
        """Return the keyset that a secret holds.

        Raises:
            InvalidDataError: it holds none.
        """
        keys: dict[str, SensitiveBytes] = {}
        for key_id in data.keys() - {PRIMARY, PREVIOUS}:
            key = data[key_id]
            if not re.fullmatch(KEY_ID, key_id):
                raise InvalidDataError(path, f"the key {shown(key_id)} is not an id of at most 32 of a-z, 0-9, - and _")
            if not isinstance(key, str) or len(key) < SHORTEST_KEY:
                raise InvalidDataError(path, f"the key {key_id} is not a text of at least {SHORTEST_KEY} characters")
            keys[key_id] = SensitiveBytes(key.encode())
        primary, previous = data.get(PRIMARY), data.get(PREVIOUS)
        if primary is None and previous is None and len(keys) == 1:
            primary = next(iter(keys))
        if primary is None:
            raise InvalidDataError(path, f"it has {len(keys)} keys, and no {PRIMARY!r} that names the newest one")
        for name, named in ((PRIMARY, primary), (PREVIOUS, previous)):
            if named is not None and (not isinstance(named, str) or named not in keys):
                raise InvalidDataError(path, f"{name!r} names a key that it does not have")
        return cls(str(primary), None if previous is None else str(previous), keys)


def new_key(taken: Collection[str]) -> tuple[str, SensitiveStr]:
    """Return the id of a new key, which is not among those taken, and the key.

    The id has five digits: redaction takes a number of six for a value, and would hide the ids of texts in logs.
    """
    while (key_id := str(10_000 + secrets.randbelow(90_000))) in taken:
        pass
    return key_id, SensitiveStr(secrets.token_urlsafe(32))
