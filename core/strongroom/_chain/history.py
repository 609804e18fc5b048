"""The values that a secret had before, as long as they count: cached beside the secret that replaced them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from strongroom._chain.answer import MISSING, Missing, Reading, Resolution, Result, failed
from strongroom.errors import (
    Answer,
    Attempt,
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret, SensitiveDict, Value, Version, same
from strongroom.store import VersionInfo
from strongroom.store.deadline import fail_fast

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._chain.cache import Snapshot
    from strongroom._chain.link import Link

_HINT = "Use a store with versions, such as version 2 of Vault's engine, or get_secret"
_DENIED = "The secret was read, but not its earlier versions: grant what `versions.history` and `versions.read` need"


def now_utc() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def replaced_since(
    path: str, history: Sequence[VersionInfo], current: Version | None, since: datetime
) -> Iterator[tuple[Version, datetime]]:
    """Yield each version that was current after `since`, newest first, with the time at which the next one replaced it.

    Args:
        path: the secret's path.
        history: every version, oldest first.
        current: the version that counts as the current one: it and those after it are left out.
        since: with a time zone.

    Raises:
        UnsupportedOperationError: the store does not tell when a version was written.
    """
    names = [info.version for info in history]
    end = names.index(current) if current in names else len(names) - 1
    for place in range(end, 0, -1):
        replaced = history[place].created
        if replaced is None:
            raise UnsupportedOperationError(path, "its store does not tell when a version was written", hint=_HINT)
        if replaced <= since:
            return
        if not (history[place - 1].deleted or history[place - 1].destroyed):
            yield history[place - 1].version, replaced


def query_history(link: Link, path: str, version: Version | None, since: datetime, *, fresh: bool) -> Result | None:
    """Return the data of the versions that `version` and those before it have replaced after `since`, newest first.

    They are the values of one reading. None if a store of this machine has no versions, such as the environment.
    """
    started = time.monotonic()
    try:
        store = link.connection.opened()
        if "versioned" in store.capabilities:
            kept = _read(link, path, version, since, fresh=fresh)
        elif "local" in store.capabilities:
            return None
        else:
            raise UnsupportedOperationError(path, "the store has no versions", store=link.name, hint=_HINT)
    except StrongroomError as error:
        if isinstance(error, PermissionDeniedError) and error.hint == PermissionDeniedError.default_hint:
            error = error.copy(hint=_DENIED)
        return failed(error, link.name, started)
    found = {name: data for name, data in kept.data.items() if datetime.fromisoformat(name.partition(" ")[2]) > since}
    reason = f"found, earlier versions: {len(found)}{', cached' if kept.cached else ''}"
    attempt = Attempt(link.name, Answer.FOUND, reason, time.monotonic() - started, kept.age if kept.cached else None)
    return attempt, kept._replace(data=SensitiveDict(found))


def distinct(current: Resolution, earlier: Iterable[Value]) -> list[Resolution]:
    """Return the resolution, then a copy of it for each other value that the earlier secrets have, newest first."""
    accepted = [current]
    for data in earlier:
        value: Value | Missing = data
        if current.key is not None:
            value = data.get(current.key, MISSING) if isinstance(data, SensitiveDict) else MISSING
        if not isinstance(value, Missing) and not any(same(value, other.value) for other in accepted):
            accepted.append(current.with_value(value))
    return accepted


def _read(link: Link, path: str, version: Version | None, since: datetime, *, fresh: bool) -> Reading:
    """Return the document of `_load`, from the cache if it has that for this version."""
    load = partial(link.at_store, path, partial(_load, path=path, version=version, since=since))
    if "local" in link.connection.opened().capabilities:
        return Reading.of(load())
    place = link.cache.history_of(path)

    def opened(snapshot: Snapshot | None) -> Reading | None:
        if snapshot is None or snapshot.fields is None or not _answers(snapshot, version, since):
            return None
        data = link.cache.open(snapshot.fields)
        return None if data is None else Reading(data, age=link.cache.age(snapshot), cached=True)

    if not fresh and (cached := opened(link.cache.current(place))) is not None:
        return cached
    stale = None if fresh else opened(link.cache.stale(place))
    try:
        with fail_fast(stale is not None):
            secret = link.cache.fetch(place, load, fresh=fresh)
            if not _answers(secret, version, since):  # another thread reads it for another version or a shorter time
                secret = link.cache.fetch(place, load, fresh=True)
    except StoreUnavailableError as outage:
        if stale is None:
            raise
        return stale._replace(outage=outage)
    except (PermissionDeniedError, AuthenticationError):
        link.cache.forget(place)  # a later outage must not serve a denied history
        raise
    return Reading.of(secret)


def _answers(known: Secret | Snapshot, version: Version | None, since: datetime) -> bool:
    """Return True if a document was read for this version, and back to the same time or further."""
    return known.version == version and known.created is not None and known.created <= since


def _load(store: GuardedStore, *, path: str, version: Version | None, since: datetime) -> Secret:
    """Return the earlier versions as one document: `NUMBER TIME` of each replacement, and the data.

    The times are in the names, since a value is masked in logs. The document's own `version` and `created` are the
    arguments that it answers.
    """
    kept: dict[str, Value] = {}
    for earlier, replaced in replaced_since(path, store.versions(path), version, since):
        try:
            kept[f"{len(kept)} {replaced.isoformat()}"] = store.read_version(path, earlier).data
        except SecretNotFoundError:  # it was deleted meanwhile
            continue
    return Secret(path, kept, version, since)
