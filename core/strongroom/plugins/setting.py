"""A resolved option: its value and its origin."""

from __future__ import annotations

from typing import NamedTuple

from strongroom.config import Rank
from strongroom.secret import REDACTED


class Setting(NamedTuple):
    """An option's value and its origin.

    Attributes:
        value: the value that the plugin gets.
        origin: the source in words.
        secret: whether the value is never shown.
        rank: the source's place in the order of precedence.
        declared: as `found`, for the file that says where the value comes from.
        found: the file that gave it, where that was found in the working directory and nobody named it.
        address: whether it holds the URL of a service, or a list of them.
        place: whether it locates the store's secrets other than by an address.
    """

    value: object
    origin: str
    secret: bool
    rank: Rank
    found: str = ""
    address: bool = False
    place: bool = False
    declared: str = ""

    def __repr__(self) -> str:
        return f"Setting({REDACTED if self.secret else repr(self.value)}, origin={self.origin!r})"
