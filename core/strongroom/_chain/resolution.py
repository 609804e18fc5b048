"""Result of a read, of a batch, and of the choice where to write: values with their provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import NamedTuple, Self, TypeAlias

from strongroom.errors import Attempt, StrongroomError
from strongroom.secret import SensitiveDict, Value, Version, protect

DEFAULT_STORE = "default"
"""The store that a `Resolution` names if a default of `[secrets]` answered."""


class Resolution:
    """A value and its provenance.

    Attributes:
        path: the requested path.
        key: the requested key, or None for the whole secret.
        value: the stored value, in redacted types. Not in the `repr`.
        store: the name of the store that has it.
        version: the store's name for its version, or None.
        age: seconds since the store answered.
        cached: True if it comes from the link's cache.
        stale: True if it comes from the cache past its time to live, because the store is unavailable.
        ttl: for how many seconds from now on it is valid, or None if it does not expire.
        attempts: the answers of the links before, and of this one.
    """

    # Not a dataclass, whose methods each process would compile, and not a tuple, whose values a log in JSON would have.
    __slots__ = ("age", "attempts", "cached", "key", "path", "stale", "store", "ttl", "value", "version")

    def __init__(
        self,
        path: str,
        key: str | None,
        value: Value,
        store: str,
        *,
        version: Version | None,
        age: float,
        cached: bool,
        stale: bool,
        attempts: tuple[Attempt, ...],
        ttl: float | None = None,
    ) -> None:
        self.path = path
        self.key = key
        self.value = value
        self.store = store
        self.version = version
        self.age = age
        self.cached = cached
        self.stale = stale
        self.attempts = attempts
        self.ttl = ttl

    def copy(self) -> Self:
        """Return a resolution that shares nothing mutable with this one."""
        found = copy(self)
        found.value = protect(self.value)
        if self.key is None and isinstance(found.value, SensitiveDict):
            found.value.of_store(self.path, self.store)
        return found

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__slots__ if name != "value")
        return f"Resolution({', '.join(shown)})"


class WriteTarget(NamedTuple):
    """The store that a write would go to.

    Attributes:
        store: the store's name.
        capabilities: the names of its capabilities beyond reading, such as `versioned` or `recoverable`.
        link: its position in the chain, from 1; None for a store outside of a chain.
    """

    store: str
    capabilities: frozenset[str]
    link: int | None = None


class SecretBatch(dict[str, SensitiveDict]):
    """The secrets by path, with the error of every other path in `errors`.

    Attributes:
        errors: by path. `SecretNotFoundError` is a confirmed absence; an outage or a denial has its own class.
    """

    def __init__(self, outcomes: Mapping[str, Resolution | StrongroomError]) -> None:
        super().__init__(
            (path, outcome.value)
            for path, outcome in outcomes.items()
            if isinstance(outcome, Resolution) and isinstance(outcome.value, SensitiveDict)
        )
        self.errors = {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, StrongroomError)}

    def __repr__(self) -> str:
        return f"SecretBatch({len(self)} secrets, {len(self.errors)} errors)"

    def raise_first_error(self) -> None:
        """Raise the error of the first path that has one."""
        for error in self.errors.values():
            raise error


Read: TypeAlias = Callable[[str, str], Resolution]
"""Path and key -> the resolution."""
