"""The chain: an ordered list of links, the policy of whose answer counts, and the provenance of the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from strongroom import events
from strongroom._chain.answer import Extract, Issue, Place, Reading, ReadRequest, Resolution, WriteTarget
from strongroom._chain.link import Link
from strongroom._chain.resolver import LinkResult, Resolver, doubted
from strongroom._chain.writes import refuse_to_hide
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.paths import check_key, check_path, check_prefix, is_rotation_record
from strongroom.secret import Secret, SensitiveDict, Value, Version, check_data
from strongroom.store import Health, fails_fast, remaining, time_limit
from strongroom.store.deadline import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._chain.diagnosis import Explanation
    from strongroom._config import Composition

_R = TypeVar("_R")

logger = logging.getLogger("strongroom.secrets_manager")


class Chain:
    """Links, in the order in which they are queried.

    Its public methods check the paths, keys and data that they are given. Links, caches and guards trust them.

    Args:
        links: at least one.
        timeout: the total time of one call, in seconds.
        defaults: (path, key) -> the value that answers if every link confirms its absence.
        composed: (path, key) -> the other secrets that the value is composed of if every link confirms its absence.
        sources: the files that define the chain, in words: the last sentence of an absence's hint.
        locate: returns the path and key of an environment variable, for a read of its name; None for other names.
        offline: the setting that makes it offline, in words; empty if none does.

    Attributes:
        links: its links.
        peek: `Link.peek` of the first link: no other link could answer before it.
    """

    def __init__(
        self,
        links: Sequence[Link],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        defaults: Mapping[tuple[str, str], Value] | None = None,
        composed: Mapping[tuple[str, str], Composition] | None = None,
        sources: str = "",
        locate: Callable[[str], tuple[str, str] | None] = lambda _: None,
        offline: str = "",
    ) -> None:
        if not links:
            raise ConfigurationError("the chain is empty: name at least one store in `chain`")
        self.links = tuple(links)
        for link in self.links:
            link.join(self.links)
        self._timeout = timeout
        self._offline = offline
        self._resolver = Resolver(defaults or {}, composed or {}, sources, locate)
        self.peek = self.links[0].peek

    def __repr__(self) -> str:
        return f"Chain({', '.join(link.name for link in self.links)})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def resolve(
        self,
        path: str,
        key: str | None = None,
        *,
        extract: Extract | None = None,
        wanted: str = "",
        fresh: bool = False,
        allow_dynamic: Issue = True,
    ) -> Resolution:
        """Return the first answer that counts by each link's policy.

        Args:
            path: the secret's path.
            key: the requested key; None requests the whole secret.
            extract: returns another value of the secret, such as a URL made of its parts.
            wanted: the name of that value, for messages.
            fresh: query the stores, past the caches.
            allow_dynamic: False queries no store that issues a credential on every read; `lasting` only such a store
                whose credentials outlast the process.

        Raises:
            SecretNotFoundError: every link answered, and none has it.
            StoreUnavailableError: no link has it, and one could not answer: whether it exists is unknown.
            PermissionDeniedError, AuthenticationError: a link denied it, and its policy ends the read.
            UnsupportedOperationError: a store would answer that `allow_dynamic` excludes.
        """
        path = check_path(path)
        key = None if key is None else check_key(key, path)
        request = ReadRequest.of(key, extract, wanted, fresh=fresh, allow_dynamic=allow_dynamic)
        results: list[LinkResult] = []
        with time_limit(self._timeout):
            for link in self.links:
                if link.covers(path):
                    result = link.query(path, key, request)
                    results.append((link, result))
                    if link.ends_chain(result[0].answer):
                        break
            if doubted(results) is not None:
                self._insist({(path, key): results}, {(path, key): request})
            self._resolver.note(path, key, results)
            read = partial(self.resolve, fresh=fresh, allow_dynamic=allow_dynamic)
            return self._resolver.conclude(path, key, request, results, read)

    def resolve_accepted(self, path: str, key: str | None, grace: float, *, fresh: bool = False) -> list[Resolution]:
        """Return the resolution, then one for each other value that was current within `grace` seconds, newest first.

        The store that has the current value is asked for the others too.

        Raises:
            UnsupportedOperationError: that store is a service without versions.
            PermissionDeniedError, StoreUnavailableError: the earlier versions are denied, or not known.
        """
        from strongroom._chain.history import distinct, now_utc, query_history

        with time_limit(self._timeout):
            current = self.resolve(path, key, fresh=fresh)
            link = next((link for link in self.links if link.name == current.store), None)
            if link is None:  # a default, or composed of other secrets
                return [current]
            since = now_utc() - timedelta(seconds=min(grace, 1e9))  # a longer time has no date
            result = query_history(link, path, current.version, since, fresh=fresh)
            if result is None:
                return [current]
            self._resolver.note(path, key, [(link, result)], step="version")
            found = result[1]
        if isinstance(found, StrongroomError):
            raise found
        return distinct(current, found.data.values())

    def cached(self, path: str, key: str | None = None) -> Resolution | None:
        """Return what `resolve` would return if the first link of the path has it in memory, and current; else None.

        It waits for nothing, and asks no store. Under an audit log, which notes each read in a file, it returns None.
        """
        if events.auditors:
            return None
        request = ReadRequest.of(key)
        for link in self.links:
            if link.covers(path):
                if (result := link.query_cached(path, key, request)) is None:
                    return None
                self._resolver.note(path, key, [(link, result)])
                return self._resolver.conclude(path, key, request, [(link, result)], self.resolve)
        return None

    @property
    def forgotten(self) -> int:
        """How often a cache has dropped something, as before and after each write: an older read may be outdated."""
        return sum(link.forgotten for link in self.links)

    def explain(self, path: str, key: str | None = None) -> Explanation:
        """Return the result of `resolve`, and the answer of every link, including those that it would not query.

        Each store is queried past its cache, and has its own `timeout`. No store is waited for: during an election of a
        cluster it may be unavailable here where a read waits for the leader. Offline, the caches answer as for a read.

        Raises:
            InvalidPathError: the path can never name a secret.
        """
        from strongroom._chain.diagnosis import explained, query_each

        path = check_path(path)
        key = None if key is None else check_key(key, path)
        fresh = not self._offline
        request = ReadRequest.of(key, fresh=fresh, allow_dynamic=False)
        results, ages = query_each(self.links, path, key, request, self._timeout)
        self._resolver.note(path, key, results)
        read = partial(self.resolve, fresh=fresh, allow_dynamic=False)
        conclusion: Resolution | StrongroomError
        try:
            conclusion = self._resolver.conclude(path, key, request, results, read)
        except StrongroomError as error:
            conclusion = error.copy()  # without frames: it is kept
        return explained(self.links, request, results, ages, conclusion)

    def resolve_many(
        self, paths: Iterable[str], *, fresh: bool = False, allow_dynamic: bool = True
    ) -> dict[str, Resolution | StrongroomError]:
        """Return what `resolve` would return or raise for each path. Each link is queried with one batch."""
        places = ((path, None) for path in paths)
        with time_limit(self._timeout):
            outcomes = self._ask(places, fresh=fresh, allow_dynamic=allow_dynamic)
        return {path: outcome for (path, _), outcome in outcomes.items()}

    def resolve_keys(
        self, places: Iterable[tuple[str, str]], *, allow_dynamic: Issue = True
    ) -> dict[tuple[str, str], Resolution | StrongroomError]:
        """Return what `resolve` would return or raise for each path and key. A link with bulk reads is queried once.

        A batch has the time of one call in all. So has each read of a link without bulk reads.
        """
        outcomes = self._ask(places, allow_dynamic=allow_dynamic, each=self._timeout)
        return {(path, key): outcome for (path, key), outcome in outcomes.items() if key is not None}

    def _ask(
        self, places: Iterable[Place], *, fresh: bool = False, allow_dynamic: Issue, each: float | None = None
    ) -> dict[Place, Resolution | StrongroomError]:
        """Query the links with batches, then tell of each place as of one read. `each`: see `Link.query_many`."""
        outcomes: dict[Place, Resolution | StrongroomError | None] = dict.fromkeys(places)
        requests: dict[Place, ReadRequest] = {}
        whole = ReadRequest.of(None, fresh=fresh, allow_dynamic=allow_dynamic)
        for path, key in outcomes:
            try:
                if key is None:
                    requests[check_path(path), None] = whole
                else:
                    request = ReadRequest.of(key, fresh=fresh, allow_dynamic=allow_dynamic)
                    requests[check_path(path), check_key(key, path)] = request
            except StrongroomError as error:
                outcomes[path, key] = error.copy()
        results: dict[Place, list[LinkResult]] = {place: [] for place in requests}
        waiting = dict(requests)
        for link in self.links:
            asked = {place: request for place, request in waiting.items() if link.covers(place[0])}
            for place, result in link.query_many(asked, each=each):
                results[place].append((link, result))
                if link.ends_chain(result[0].answer):
                    del waiting[place]
        self._insist(results, requests)
        read = partial(self.resolve, fresh=fresh, allow_dynamic=allow_dynamic)
        for (path, key), answers in results.items():
            try:
                self._resolver.note(path, key, answers)
                outcomes[path, key] = self._resolver.conclude(path, key, requests[path, key], answers, read)
            except StrongroomError as error:
                outcomes[path, key] = error.copy()
        return {place: outcome for place, outcome in outcomes.items() if outcome is not None}

    def _insist(self, results: Mapping[Place, list[LinkResult]], requests: Mapping[Place, ReadRequest]) -> None:
        """Ask a link that was unavailable once more, and wait for it, if all later ones have confirmed the absence.

        It failed fast because they might have had the value. A server that throttles one request, or a cluster that
        elects a leader, answers soon. A read does not wait past the time at which the outage has lasted one timeout;
        afterwards one read in a second probes the store.
        """
        unread = {place: answers for place, answers in results.items() if doubted(answers) is not None}
        if not unread or fails_fast():  # somebody else can answer the caller
            return
        for link in reversed(self.links):
            asked: dict[Place, int] = {}
            patience = 0.0
            for place, answers in unread.items():
                at = doubted(answers)
                if at is not None and answers[at][0] is link:
                    left = self._timeout - link.connection.breaker_for(place[0]).lasted
                    if left > 0:
                        asked[place] = at
                        patience = max(patience, left)
                    else:
                        link.connection.breaker_for(place[0]).need()
            if asked and remaining() > 0:
                asked |= _cached_beside(asked, results, link)
                again = {place: requests[place]._replace(insists=True) for place in asked}
                with time_limit(patience):
                    for place, result in link.query_many(again):
                        before = results[place][asked[place]]
                        if isinstance(result[1], Reading) or not isinstance(before[1][1], Reading):
                            results[place][asked[place]] = link, result

    def list_secrets(
        self, prefix: str = "", *, recursive: bool = False, records: bool = False, readable: bool = False
    ) -> list[str]:
        """Return the names below `prefix` in all listable links, sorted.

        Args:
            prefix: the folder; the empty string is the top.
            recursive: return every path below it.
            records: include the records of rotations.
            readable: leave out the names that no read can have, such as `..`, with a warning.

        Raises:
            StoreError: a link could not answer. The list is never incomplete.
            UnsupportedOperationError: no link can be listed.
        """
        prefix = check_prefix(prefix)
        start = f"{prefix}/" if prefix and not recursive else ""
        names: set[str] = set()
        with time_limit(self._timeout):
            asked = [link for link in self.links if link.policy.may_cover_below(prefix)]
            listable = [link for link in asked if "listable" in link.connection.opened().capabilities]
            if not listable:
                raise UnsupportedOperationError(prefix or None, "no store of the chain can be listed")
            for link in listable:
                listed = link.walk(prefix) if recursive else link.list_entries(prefix)
                names.update(_readable(listed, start, link.name) if readable else listed)
        return sorted(name for name in names if records or not is_rotation_record(start + name))

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(
        self,
        path: str,
        data: Mapping[str, Value],
        *,
        store: str | None = None,
        replace: bool = False,
        create: bool = False,
        follow: Callable[[Mapping[str, Value], Mapping[str, Value], str], Mapping[str, Value]] | None = None,
    ) -> Version | None:
        """Set the keys of `data` in one store and keep the others; `replace` replaces the secret.

        With `create`, a key that the secret has already is a conflict. `follow` takes the secret's data before, `data`
        and the path, and returns other keys that change with `data`.

        Raises:
            ConflictError: other writers won, or the write would hide keys of a lower link.
            UnsupportedOperationError: no link of the chain can be written, or the named one does not cover this path.
        """
        path, data = check_path(path), check_data(path, data)
        with time_limit(self._timeout):
            link = self._target_link(path, store)
            if replace:
                return link.writes.replace(path, data)

            def combine(before: Secret | None) -> SensitiveDict:
                if before is None:
                    refuse_to_hide(path, data, link, self.links[link.position :])
                    return data
                if create and before.data.keys() & data.keys():
                    raise ConflictError(path, "it has the key already", store=link.name)
                followed = {} if follow is None else follow(before.data, data, path)
                return SensitiveDict({**before.data, **data, **followed})

            return link.writes.merge(path, combine)

    def delete(self, path: str, *, store: str | None = None) -> None:
        """Remove the secret from one store. From then on reads find the secret of a lower link, if it has one."""
        path = check_path(path)
        with time_limit(self._timeout):
            self._target_link(path, store).writes.delete(path)

    def at_target(
        self, path: str, store: str | None, operation: Callable[[GuardedStore], _R], *, changes: str = ""
    ) -> _R:
        """Return the operation's result on the store that `write` would go to, past its cache.

        Args:
            path: the secret's path.
            store: the store's name; None is the first that can be written.
            operation: takes the store.
            changes: the name of the change, such as `undelete`, if it is one. It drops the secret from the cache.
        """
        path = check_path(path)
        with time_limit(self._timeout):
            return self._target_link(path, store).at_store(path, operation, changes=changes)

    def roll_back(self, path: str, store: str | None, version: Version) -> Version | None:
        """Write the data of an old version to the store that `write` would go to, as its newest version."""
        path = check_path(path)
        with time_limit(self._timeout):
            return self._target_link(path, store).writes.roll_back(path, version)

    def version_at_target(
        self, path: str, store: str | None, operation: Callable[[GuardedStore], Secret | None]
    ) -> Secret | None:
        """Return the version of a secret that the operation returns: `at_target`, noted as a read."""
        path = check_path(path)
        with time_limit(self._timeout):
            link = self._target_link(path, store)
            result = link.query_version(path, operation)
            self._resolver.note(path, None, [(link, result)], step="version")
        _, found = result
        if isinstance(found, StrongroomError):
            raise found
        return found

    def write_target(self, path: str, *, store: str | None = None) -> WriteTarget:
        """Return the store that `write` and `delete` would go to. Opens the store, and changes nothing.

        Raises:
            UnsupportedOperationError: it cannot be written.
        """
        target = self.target(path, store)
        if "writable" not in target.capabilities:
            raise UnsupportedOperationError(path, "it cannot be written", store=target.store)
        return target

    def target(self, path: str, store: str | None) -> WriteTarget:
        """Return the store that `at_target` would call. Opens the store, and changes nothing."""
        path = check_path(path)
        with time_limit(self._timeout):
            link = self._target_link(path, store)
            return WriteTarget(link.name, link.connection.opened().capabilities, link.position)

    def check_store(self, store: str) -> None:
        """Raise ConfigurationError if the chain has no store of this name."""
        self._named_link(store)

    def _target_link(self, path: str, store: str | None) -> Link:
        """Return the link to write to: the named one, or the first that can be written.

        Raises:
            ConfigurationError: the chain lacks a link of this name.
            UnsupportedOperationError: it does not cover the path, no link can be written, or the chain is offline.
        """
        if self._offline:
            reason = f"{self._offline}: secrets are read from the cache on disk, and no store is asked or changed"
            raise UnsupportedOperationError(path, reason, hint="Go online for this")
        if store is not None:
            link = self._named_link(store)
            if not link.covers(path):
                raise UnsupportedOperationError(path, "its `paths` do not cover this path", store=store)
            return link
        for link in self.links:
            if link.covers(path) and "writable" in link.connection.opened().capabilities:
                return link
        raise UnsupportedOperationError(path, "no store of the chain can be written")

    def _named_link(self, store: object) -> Link:
        """Return the link of this name.

        Raises:
            ConfigurationError: the chain lacks it.
        """
        for link in self.links:
            if link.name == store:
                return link
        named = repr(store) if isinstance(store, str) else f"of type {type(store).__name__}"
        names = ", ".join(link.name for link in self.links)
        raise ConfigurationError(f"no store {named} in the chain: it has {names}")

    # --- all links ----------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Health]:
        """Return each store's health. All are probed now, at the same time."""
        from strongroom._chain.diagnosis import probe_all  # a read does not need it

        return probe_all({link.name: link.health for link in self.links}, self._timeout)

    def forget(self, path: str | None = None) -> None:
        """Drop `path`, or everything, from the caches; the next read is fresh."""
        for link in self.links:
            link.forget(path)

    def reset(self) -> None:
        """Prepare for use in the child of a fork: see `Link.reset`."""
        for link in self.links:
            link.reset()

    def close(self) -> None:
        """Close every store. Every later call is refused."""
        for link in self.links:
            link.close()


def _cached_beside(
    asked: Mapping[Place, int], results: Mapping[Place, Sequence[LinkResult]], link: Link
) -> dict[Place, int]:
    """Return the other keys of these paths that the link's cache has answered, each with the index of its result.

    They are read again too, since the keys of one path come from one version.
    """
    paths = {path for path, _ in asked}
    return {
        place: len(answers) - 1
        for place, answers in results.items()
        if place[0] in paths and place not in asked and answers[-1][0] is link and _is_cached(answers[-1])
    }


def _is_cached(result: LinkResult) -> bool:
    found = result[1][1]
    return isinstance(found, Reading) and found.cached


def _readable(names: Iterable[str], start: str, store: str) -> Iterator[str]:
    """Yield the listed names that are paths below `start`. Warn of others, such as `..` and the empty name."""
    other: str | None = None
    for name in names:
        try:
            check_path(start + name.removesuffix("/"))
        except StoreError:
            other = name
        else:
            yield name
    if other is not None:
        logger.warning("Store %s lists a name that no secret can have: %s is left out", store, ascii(other))
