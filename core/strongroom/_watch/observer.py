"""Detection of changes: the answers of each link at the watched paths, compared with those before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeAlias

from strongroom._chain.answer import Reading, ReadRequest
from strongroom._chain.link import Link
from strongroom._redaction.digest import Digester
from strongroom._watch.watch import Change
from strongroom.errors import Answer, SecretNotFoundError, StoreUnavailableError, StrongroomError
from strongroom.secret import Version, changed_keys
from strongroom.store import VersionInfo, time_limit
from strongroom.store.deadline import fail_fast

_NEVER = datetime.min.replace(tzinfo=UTC)


class Sighting(NamedTuple):
    """A link's answer at a path, without values.

    Attributes:
        answer: the link's last answer.
        confirmed: its last answer that was neither an outage nor a denial: FOUND, NOT_FOUND, or None before the first.
        version: the version at that time.
        created: its creation time.
        digests: key -> digest of its value at that time.
    """

    answer: Answer
    confirmed: Answer | None = None
    version: Version | None = None
    created: datetime | None = None
    digests: Mapping[str, bytes] = {}


class Served(NamedTuple):
    """The chain's answer at a path: the store that has the secret, and its sighting. No store: it is absent."""

    store: str = ""
    sighting: Sighting = Sighting(Answer.NOT_FOUND, Answer.NOT_FOUND)

    @property
    def absent(self) -> bool:
        """No store of the chain has the secret."""
        return not self.store


@dataclass
class Subject:
    """A watched path.

    Attributes:
        sightings: the answer of each link there, by the link's name.
        served: the last certain answer of the chain, with its change delivered; None before the first.
        changed: the time of the last change.
    """

    path: str
    sightings: dict[str, Sighting] = field(default_factory=dict)
    served: Served | None = None
    changed: datetime = _NEVER


Found: TypeAlias = "tuple[Subject, Served, Change]"
"""A change, which counts as delivered when its `Served` is the subject's."""


class Observer:
    """Looks at paths through the links of a chain.

    It keeps digests under a random key and no values.

    Args:
        timeout: the total time of one look, in seconds.
    """

    def __init__(self, links: Sequence[Link], timeout: float) -> None:
        self._links = links
        self._timeout = timeout
        self._digester = Digester(os.urandom(32))

    def begin(self, paths: Iterable[str]) -> list[Subject]:
        """Return subjects with the answers that a caller would get now, from the caches if they are current."""
        subjects = [Subject(path) for path in paths]
        self._look(subjects, lambda *_: True, partial(self._read, fresh=False))
        for subject in subjects:
            served, _ = self._conclude(subject)
            subject.served = served
        return subjects

    def look(self, subjects: Sequence[Subject], is_due: Callable[[Link, str], bool]) -> list[Found]:
        """Query the links that are due, past their caches, and return the changes in the order of their times.

        A secret that has not changed stays in its cache for another `ttl`.

        Args:
            subjects: the watched paths.
            is_due: whether a link is queried for a path. If not, its last answer counts.
        """
        self._look(subjects, is_due, self._compare)
        now = datetime.now(UTC)
        found = [change for subject in subjects if (change := self._change(subject, now)) is not None]
        return sorted(found, key=lambda change: change[2].time)

    # --- one look -----------------------------------------------------------------------------------------------------

    def _look(
        self,
        subjects: Sequence[Subject],
        is_due: Callable[[Link, str], bool],
        query: Callable[[Link, Mapping[str, Sighting | None]], Mapping[str, Sighting]],
    ) -> None:
        waiting = {subject.path: subject for subject in subjects}
        with time_limit(self._timeout), fail_fast():  # the next look asks again
            for link in self._links:
                known = {
                    path: subject.sightings.get(link.name) for path, subject in waiting.items() if link.covers(path)
                }
                due = {path: known[path] for path in known if known[path] is None or is_due(link, path)}
                found = query(link, due) if due else {}
                for path, sighting in found.items():
                    waiting[path].sightings[link.name] = sighting
                for path in known:
                    answer = waiting[path].sightings[link.name].answer
                    if answer is Answer.FOUND or link.ends_chain(answer):
                        del waiting[path]

    def _compare(self, link: Link, known: Mapping[str, Sighting | None]) -> Mapping[str, Sighting]:
        """Return the sightings of a link. Only secrets whose version is not the known one are read."""
        sightings: dict[str, Sighting] = {}
        unread: dict[str, Sighting | None] = {}
        newest = link.newest_versions(known)
        for path, before in known.items():
            version = newest.get(path)
            if before is None:
                unread[path] = before
            elif isinstance(version, StoreUnavailableError):
                sightings[path] = before._replace(answer=Answer.UNAVAILABLE)
            elif _is_unchanged(before, version) and link.cache.confirm(path, before.version, before.created):
                sightings[path] = before._replace(answer=before.confirmed or before.answer)
            else:
                unread[path] = before
        return sightings | self._read(link, unread, fresh=True)

    def _read(self, link: Link, known: Mapping[str, Sighting | None], *, fresh: bool) -> dict[str, Sighting]:
        """Read secrets. One that a read would create is read through the cache, so that a watch creates no more."""
        dynamic = link.creating(known)
        others = [path for path in known if path not in set(dynamic)]
        sightings: dict[str, Sighting] = {}
        for paths, is_fresh in ((dynamic, False), (others, fresh)):
            request = ReadRequest.of(None, fresh=is_fresh)
            for (path, _), (attempt, found) in link.query_many({(path, None): request for path in paths}):
                sightings[path] = self._sighting(attempt.answer, found, known[path])
        return sightings

    def _sighting(self, answer: Answer, found: Reading | StrongroomError, before: Sighting | None) -> Sighting:
        if isinstance(found, Reading):
            return Sighting(answer, answer, found.version, found.created, self._digester.each(found.data))
        if answer is Answer.NOT_FOUND:
            return Sighting(answer, answer)
        return Sighting(answer) if before is None else before._replace(answer=answer)

    # --- conclusions --------------------------------------------------------------------------------------------------

    def _conclude(self, subject: Subject) -> tuple[Served | None, bool]:
        """Return the chain's answer, or None if it is uncertain; and whether an earlier link is in an outage."""
        outage = denial = False
        for link in self._links:
            if not link.covers(subject.path) or (sighting := subject.sightings.get(link.name)) is None:
                continue
            if sighting.answer is Answer.FOUND:
                return Served(link.name, sighting), outage
            if link.ends_chain(sighting.answer):
                return None, outage
            outage = outage or sighting.answer is Answer.UNAVAILABLE
            denial = denial or sighting.answer is Answer.DENIED
        return (None if outage or denial else Served()), outage

    def _change(self, subject: Subject, now: datetime) -> Found | None:
        """Return the change since the last delivered one, or None."""
        served, outage = self._conclude(subject)
        before = subject.served
        if served is None:
            return None
        if before is None:
            subject.served = served
            return None
        if outage and served.store != before.store:
            return None  # a fallback answers during an outage
        keys = changed_keys(before.sighting.digests, served.sighting.digests)
        is_new = served.store == before.store and served.sighting.version != before.sighting.version
        if not keys and not is_new and served.absent == before.absent:
            subject.served = served
            return None
        created = served.sighting.created
        if created is None or created <= subject.changed:  # an old version came back after a later change
            created = now
        change = Change(
            path=subject.path,
            kind="created" if before.absent else "deleted" if served.absent else "updated",
            keys=keys,
            old_version=before.sighting.version,
            new_version=served.sighting.version,
            store=served.store or before.store,
            time=created,
        )
        return subject, served, change


def _is_unchanged(known: Sighting, newest: VersionInfo | StrongroomError | None) -> bool:
    if isinstance(newest, VersionInfo) and not newest.deleted and not newest.destroyed:
        is_same = (known.version, known.created) == (newest.version, newest.created)
        return known.confirmed is Answer.FOUND and is_same
    is_absent = isinstance(newest, VersionInfo | SecretNotFoundError)
    return known.confirmed is Answer.NOT_FOUND and is_absent
