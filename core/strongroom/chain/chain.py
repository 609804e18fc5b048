"""The chain of responsibility: which link's answer counts, and where it came from. Policy and provenance only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.chain.link import Link, Reading
from strongroom.chain.result import Outcome, Take, Wanted, ask, ask_many, makes, words
from strongroom.errors import (
    Answer,
    Attempt,
    ConfigurationError,
    ConflictError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.paths import check_key, check_path, check_prefix
from strongroom.secret import SensitiveDict, Value, Version, check_data, conceal, protect
from strongroom.store import DEFAULT_TIMEOUT, Health, remaining, time_limit

if TYPE_CHECKING:
    from strongroom.chain.explanation import Explanation
    from strongroom.store.guard import GuardedStore

logger = logging.getLogger("strongroom.secrets_manager")

DEFAULT_STORE = "default"
"""The store that a `Resolution` names where a default of `[secrets]` answered."""

_MOST_WARNINGS = 1000
_SHARE = 0.6
"""How much of the time that is left one link may take while another one follows."""
_ITS_OWN_TIME: AbstractContextManager[None] = nullcontext()
_DOUBTS = frozenset({Answer.UNAVAILABLE, Answer.DENIED})
"""Answers after which it is not known whether the secret exists."""


_R = TypeVar("_R")


@dataclass(frozen=True)
class Resolution:
    """A value, and where it came from.

    Attributes:
        path: the path that was asked for.
        key: the key that was asked for, or None for the whole secret.
        value: what is stored there, in redacted types. Not in the `repr`.
        store: the name of the store that has it.
        version: the store's name for its version, or None.
        age: seconds since the store said so.
        cached: it comes from that link's cache.
        stale: it comes from the cache, past its time, because the store is unavailable.
        ttl: for how many seconds from now on it is good, or None where it does not end.
        attempts: the answers of the links before, and of this one.
    """

    path: str
    key: str | None
    value: Value = field(repr=False)
    store: str
    version: Version | None
    age: float
    cached: bool
    stale: bool
    attempts: tuple[Attempt, ...]
    ttl: float | None = None


class WriteTarget(NamedTuple):
    """Where a write would go.

    Attributes:
        store: the store's name.
        capabilities: the names of what it can do beyond reading, such as `versioned` or `recoverable`.
    """

    store: str
    capabilities: frozenset[str]


class Chain:
    """Links, in the order in which they are asked.

    Args:
        links: at least one.
        timeout: the most that one call may take in total, in seconds.
        defaults: what answers for a path and key that every link says it does not have.

    Attributes:
        peek: `Link.peek` of the first link: before it there is no other that could answer.
    """

    def __init__(
        self,
        links: Sequence[Link],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        defaults: Mapping[tuple[str, str], Value] | None = None,
    ) -> None:
        if not links:
            raise ConfigurationError("the chain is empty: name at least one store in `chain`")
        self._links = tuple(links)
        self._timeout = timeout
        self._warned: set[tuple[str, str, str]] = set()
        self._defaults = {place: protect(value) for place, value in (defaults or {}).items()}
        self.peek = self._links[0].peek

    def __repr__(self) -> str:
        return f"Chain({', '.join(link.name for link in self._links)})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def resolve(
        self,
        path: str,
        key: str | None = None,
        *,
        take: Take | None = None,
        wanted: str = "",
        fresh: bool = False,
        allow_dynamic: bool = True,
        blocking: bool = True,
    ) -> Resolution:
        """The first link's answer that counts, by each link's policy.

        Args:
            path: of the secret.
            key: the key that is wanted; None wants the whole secret.
            take: wants something else of the secret, such as a URL made of its parts.
            wanted: what `take` wants, in words, for messages.
            fresh: ask the stores, whatever the caches hold.
            allow_dynamic: False queries no store that creates a credential on every read.
            blocking: False raises `link.WouldBlockError` where only I/O could answer.

        Raises:
            SecretNotFoundError: every link answered, and none has it.
            StoreUnavailableError: no link has it, and one could not answer: whether it exists is unknown.
            PermissionDeniedError, AuthenticationError: a link denied it, and its policy does not go on.
            UnsupportedOperationError: `allow_dynamic` is False, and a store that creates secrets would have to answer.
        """
        path = check_path(path)
        key = None if key is None else check_key(key, path)
        with time_limit(self._timeout):
            how = Wanted.of(key, take, wanted, fresh=fresh, allow_dynamic=allow_dynamic, blocking=blocking)
            return self._conclude(path, key, self._asked(path, key, how))

    def explain(self, path: str, key: str | None = None) -> Explanation:
        """What `resolve` comes to, and what every link answers, also those that it would not ask.

        Each store is asked past its cache, and has its own `timeout` for it.

        Raises:
            InvalidPathError: the path can never name a secret.
        """
        from strongroom.chain.explanation import Explanation, LinkAnswer

        path = check_path(path)
        key = None if key is None else check_key(key, path)
        how = Wanted.of(key, fresh=True, allow_dynamic=False)
        asked = [(link, ask(link, path, key, how)) for link in self._links if link.covers(path)]
        answers = tuple(
            LinkAnswer(outcome.attempt, reading.version, reading.created, found=True, value=outcome.value)
            if (reading := outcome.reading)
            else LinkAnswer(outcome.attempt)
            for _, outcome in asked
        )
        passed_over = tuple(link.name for link in self._links if not link.covers(path))
        try:
            found = self._conclude(path, key, asked)
        except StrongroomError as error:
            if isinstance(error, StoreError) and error.attempts and error.attempts[-1].answer is Answer.NOT_ASKED:
                return Explanation(answers, passed_over)
            # Without the frames that it came through: it is kept, and they hold whatever they held.
            return Explanation(answers, passed_over, error=error.copy())
        last = found.attempts[-1]
        default = LinkAnswer(last, found=True, value=found.value)
        return Explanation(
            answers, passed_over, next((answer for answer in answers if answer.attempt is last), default)
        )

    def _asked(self, path: str, key: str | None, how: Wanted) -> Iterator[tuple[Link, Outcome]]:
        """Each link that is asked for the path, and what asking it came to; asked as they are taken."""
        for link in self._links:
            if link.covers(path):
                with self._share(link, [path]):
                    outcome = ask(link, path, key, how)
                yield link, outcome

    def _share(self, link: Link, paths: Sequence[str]) -> AbstractContextManager[None]:
        """Leaves some of the call's time to the link that follows: a store that hangs takes all that it is given."""
        share = remaining() * _SHARE
        if share >= link.policy.timeout:
            return _ITS_OWN_TIME
        below = self._links[self._links.index(link) + 1 :]
        is_followed = any(follower.covers(path) for follower in below for path in paths)
        return time_limit(share) if is_followed else _ITS_OWN_TIME

    def _conclude(self, path: str, key: str | None, asked: Iterable[tuple[Link, Outcome]]) -> Resolution:
        """What the links' answers come to. It takes no more of them than count."""
        attempts: list[Attempt] = []
        failure: StrongroomError | None = None
        for link, outcome in asked:
            attempts.append(outcome.attempt)
            self._tell(path, link, outcome)
            if outcome.reading is not None:
                return _resolution(path, key, outcome.value, outcome.reading, attempts)
            if outcome.ends:
                # A link that is sure of an absence cannot be sure for those before it that could not answer.
                if failure is None or outcome.attempt.answer is not Answer.KEY_MISSING:
                    failure = outcome.error
                break
            if outcome.attempt.answer in _DOUBTS:
                failure = failure or outcome.error
        failure = failure or _not_found(path, attempts)
        if key is not None and (path, key) in self._defaults and isinstance(failure, SecretNotFoundError):
            default = self._defaults[path, key]
            attempts.append(Attempt(DEFAULT_STORE, Answer.FOUND, "the default of [secrets]"))
            return _resolution(path, key, default, Reading(SensitiveDict({key: default})), attempts)
        raise failure.copy(attempts=tuple(attempts)) if isinstance(failure, StoreError) else failure.copy()

    def resolve_many(
        self, paths: Iterable[str], *, fresh: bool = False, allow_dynamic: bool = True
    ) -> dict[str, Resolution | StrongroomError]:
        """What `resolve` would return or raise for each path. What a link lacks goes to the next one as one batch."""
        outcomes: dict[str, list[tuple[Link, Outcome]]] = {}
        results: dict[str, Resolution | StrongroomError] = {}
        wanted = dict.fromkeys(paths)
        for path in wanted:
            try:
                outcomes[check_path(path)] = []
            except StrongroomError as error:
                results[path] = error
        how = Wanted.of(None, fresh=fresh, allow_dynamic=allow_dynamic)
        with time_limit(self._timeout):
            for link in self._links:
                batch = [path for path, asked in outcomes.items() if link.covers(path) and _goes_on(asked)]
                with self._share(link, batch):
                    for path, outcome in ask_many(link, batch, how):
                        outcomes[path].append((link, outcome))
            for path, asked in outcomes.items():
                try:
                    results[path] = self._conclude(path, None, asked)
                except StrongroomError as error:
                    results[path] = error.copy()
        return {path: results[path] for path in wanted}

    def list_secrets(self, prefix: str = "", *, recursive: bool = False) -> list[str]:
        """The union of what the listable links have below `prefix`, sorted.

        Raises:
            StoreError: any of them could not answer. The list is never shorter than it should be.
            UnsupportedOperationError: no link can be listed.
        """
        prefix = check_prefix(prefix)
        names: set[str] = set()
        with time_limit(self._timeout):
            listable = [link for link in self._links if link.may_cover_below(prefix) and link.is_listable()]
            if not listable:
                raise UnsupportedOperationError(prefix or None, "no store of the chain can be listed")
            for link in listable:
                names.update(link.walk(prefix) if recursive else link.list_entries(prefix))
        return sorted(names)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(
        self, path: str, data: Mapping[str, Value], *, store: str | None = None, replace: bool = False
    ) -> Version | None:
        """Sets the keys of `data` in one store and keeps its others; `replace` replaces the secret.

        Raises:
            ConflictError: others kept writing, or the write would hide keys that only a lower link has.
            UnsupportedOperationError: no link of the chain can be written, or the one that is named is not asked for
                this path.
        """
        data = conceal(data)
        data, path = check_data(path, data), check_path(path)
        with time_limit(self._timeout):
            link = self._target(path, store)
            if replace:
                return link.write(path, data)
            return link.merge(path, data, lambda merged: self._refuse_to_hide(path, merged, link))

    def delete(self, path: str, *, store: str | None = None) -> None:
        """Removes the secret from one store. A lower link's secret at the same path is read again from then on."""
        path = check_path(path)
        with time_limit(self._timeout):
            self._target(path, store).delete(path)

    def at_target(
        self, path: str, store: str | None, operation: Callable[[GuardedStore], _R], *, changes: bool = False
    ) -> _R:
        """What an operation comes to on the store that `write` would go to, past its cache.

        Args:
            path: of the secret.
            store: its name; None is the first that can be written.
            operation: what is asked of the store.
            changes: it changes the secret, so that what is cached of it is dropped.
        """
        path = check_path(path)
        with time_limit(self._timeout):
            return self._target(path, store).at_store(path, operation, changes=changes)

    def write_target(self, path: str, *, store: str | None = None) -> WriteTarget:
        """Where `write` and `delete` would go. It opens the store, and changes nothing.

        Raises:
            UnsupportedOperationError: it cannot be written.
        """
        path = check_path(path)
        with time_limit(self._timeout):
            link = self._target(path, store)
            capabilities = link.capabilities()
        if "writable" not in capabilities:
            raise UnsupportedOperationError(path, "it cannot be written", store=link.name)
        return WriteTarget(link.name, capabilities)

    def _target(self, path: str, store: str | None) -> Link:
        """The link to write to: the one that is named, else the first that can be written."""
        if store is not None:
            for link in self._links:
                if link.name == store:
                    if not link.covers(path):
                        raise UnsupportedOperationError(path, "its `paths` do not cover this path", store=store)
                    return link
            names = ", ".join(link.name for link in self._links)
            raise ConfigurationError(f"no store {store!r} in the chain: it has {names}")
        for link in self._links:
            if link.covers(path) and link.is_writable():
                return link
        raise UnsupportedOperationError(path, "no store of the chain can be written")

    def _refuse_to_hide(self, path: str, merged: SensitiveDict, target: Link) -> None:
        """Refuses a new secret that would hide keys of a lower link: whole reads would lose them."""
        below = self._links[self._links.index(target) + 1 :]
        for link in below:
            if not link.covers(path):
                continue
            if makes(link, path):
                reason = f"it would hide what store {link.name} makes there"
                raise ConflictError(path, reason, store=target.name, hint="Write it elsewhere, or pass replace=True")
            try:
                hidden = sorted(link.read(path, fresh=True).data.keys() - merged.keys())
            except SecretNotFoundError:
                continue
            if hidden:
                reason = f"it would hide the keys {', '.join(hidden)}, which only store {link.name} has"
                raise ConflictError(path, reason, store=target.name, hint="Set these too, or pass replace=True")

    # --- all links ----------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Health]:
        """How each link's store is, all asked now and at the same time."""
        from strongroom.chain.probe import ask_together  # a read has no use for it

        with time_limit(self._timeout):
            return ask_together({link.name: link.health for link in self._links})

    def forget(self, path: str | None = None) -> None:
        """Drops what the caches hold of `path`, or everything; the next read is fresh."""
        for link in self._links:
            link.forget(path)

    def reset(self) -> None:
        """What a fork's child must do first: see `Link.reset`."""
        for link in self._links:
            link.reset()

    def close(self) -> None:
        """Closes every store; every later call is refused."""
        for link in self._links:
            link.close()

    # --- what is said -------------------------------------------------------------------------------------------------

    def _tell(self, path: str, link: Link, outcome: Outcome) -> None:
        attempt = outcome.attempt
        logger.debug("%s: store %s: %s (%.1f ms)", path, link.name, words(attempt), attempt.seconds * 1000)
        if attempt.answer is Answer.KEY_MISSING and not outcome.ends:
            warning = (link.name, path, attempt.reason)
            if warning not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add(warning)
                logger.warning("Store %s has %s, but %s", link.name, path, attempt.reason)


def _goes_on(asked: Sequence[tuple[Link, Outcome]]) -> bool:
    """Whether the next link is asked, after these."""
    return not asked or not asked[-1][1].ends


def _resolution(path: str, key: str | None, value: Value, reading: Reading, attempts: Sequence[Attempt]) -> Resolution:
    """What the last attempt found."""
    return Resolution(
        path=path,
        key=key,
        value=protect(value),
        store=attempts[-1].store,
        version=reading.version,
        age=reading.age,
        cached=reading.cached,
        stale=reading.stale,
        attempts=tuple(attempts),
        ttl=reading.ttl,
    )


def _not_found(path: str, attempts: Sequence[Attempt]) -> SecretNotFoundError:
    if attempts:
        return SecretNotFoundError(path, "no store of the chain has it")
    return SecretNotFoundError(path, "no link of the chain covers this path", hint="Check `paths` in the chain")
