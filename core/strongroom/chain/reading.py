"""The answer of a link: a secret's data, with its age and origin."""

from datetime import datetime
from typing import NamedTuple, Self

from strongroom.errors import StoreUnavailableError
from strongroom.secret import AgedSecret, Secret, SensitiveDict, Version, age_of, protect_data


class Reading(NamedTuple):
    """A secret's data as a link has it, and where the data comes from. `age` and `ttl` are in seconds.

    `outage` is set if the data is stale: the error for which the store could not be queried. A key that a stale reading
    lacks is unknown, not missing. `on_disk` is True if the data comes from the disk cache.
    """

    data: SensitiveDict
    version: Version | None = None
    created: datetime | None = None
    age: float = 0.0
    cached: bool = False
    outage: StoreUnavailableError | None = None
    ttl: float | None = None
    on_disk: bool = False

    @property
    def stale(self) -> bool:
        """It is past its time to live, and served because the store is unavailable."""
        return self.outage is not None

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Return the reading of a secret that has just been read, or that comes from the disk cache."""
        data, cached = protect_data(secret.data), isinstance(secret, AgedSecret)
        return cls(data, secret.version, secret.created, age_of(secret), cached, ttl=secret.ttl, on_disk=cached)
