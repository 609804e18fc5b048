"""All ways to read agree: one read, a batch of paths, a batch of keys, a task's read, and an explanation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom._chain.answer import ReadRequest, Resolution
from strongroom._chain.chain import Chain
from strongroom._chain.diagnosis import Explanation
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, Config, LinkConfig
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.entry import Moment
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._manager.assembly import Parts
from strongroom._manager.manager import manager_of
from strongroom._plugins.identity import StoreIdentity
from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret, Value
from strongroom.store import Traits, fails_fast
from strongroom.store.concurrency import read_each
from support.clock import Clock
from support.stores import BulkReads

PATHS = ("a", "b", "c")
PLACES = tuple((path, key) for path in PATHS for key in ("k", "l"))
DYNAMIC = "a"
"""The path of which a dynamic store creates a credential."""

Outcome = Resolution | StrongroomError


def everywhere(keys: str) -> dict[str, str | None]:
    return dict.fromkeys(PATHS, keys)


@dataclass(frozen=True)
class Store:
    """A store as a test describes it.

    Attributes:
        kind: one of `KINDS`.
        policy: the settings of its link.
        opening: `opens`, or how the opening fails; `patience` fails unless the call waits.
        answers: for each path the keys of its secret, or the name of a failure; None is an absence.
        cached: for each path the keys that an earlier read has cached; None is nothing, and "" an absence.
        age: seconds since that read.
        is_out: an outage is known.
        ttl: for how many seconds its secrets are cached.
    """

    kind: str = "single"
    policy: dict[str, Any] = field(default_factory=dict)
    opening: str = "opens"
    answers: Mapping[str, str | None] = field(default_factory=lambda: everywhere("kl"))
    cached: Mapping[str, str | None] = field(default_factory=lambda: dict.fromkeys(PATHS))
    age: float = 0.0
    is_out: bool = False
    ttl: float = 300.0


@dataclass
class Service:
    """The service behind a `Store`. Its secrets have a new version at each read."""

    about: Store
    traits: Traits = field(default_factory=lambda: Traits(honors_deadline=True))
    earlier: bool = False
    reads: Counter[str] = field(default_factory=Counter)

    def read(self, path: str) -> Secret:
        answer = (self.about.cached if self.earlier else self.about.answers)[path]
        match answer:
            case None | "":
                raise SecretNotFoundError(path, "it is deleted")
            case "denied":
                raise PermissionDeniedError(path)
            case "broken":
                raise StoreError(path, "unreadable")
            case "out":
                raise StoreUnavailableError(path, "HTTP 503")
            case "path out":
                raise StoreUnavailableError(path, "HTTP 500").copy(path_only=True)
            case "patience" if fails_fast():
                raise StoreUnavailableError(path, "an election")
        self.reads[path] += 0 if self.earlier else 1
        keys, version = "kl" if answer == "patience" else answer, 1 + self.reads[path]
        return Secret(path, {key: f"{key} {version}" for key in keys}, version=version)

    def close(self) -> None:
        pass


class Bulk(BulkReads, Service):
    pass


class Keyed(Service):
    """Each key of a secret has its own versions."""

    def read_key(self, path: str, key: str) -> Value:
        data = Service(self.about).read(path).data
        if key not in data:
            raise SecretNotFoundError(path, f"it has no key {key}")
        return data[key]


class Dynamic(Service):
    def makes(self, path: str) -> bool:
        return path == DYNAMIC


KINDS: dict[str, type[Service]] = {
    "single": Service,
    "local": Service,
    "bulk": Bulk,
    "keyed": Keyed,
    "dynamic": Dynamic,
}


def link_of(number: int, about: Store, disk: StoreCache | None = None) -> Link:
    """Return a link whose cache, breaker and store are as described."""
    name, clock = f"s{number}", Clock()
    service = KINDS[about.kind](about, Traits(local=about.kind == "local", honors_deadline=True))

    def opener() -> Service:
        if about.opening == "denied":
            raise AuthenticationError(reason="the token has expired")
        if about.opening == "out" or (about.opening == "patience" and fails_fast()):
            raise StoreUnavailableError(reason="connection refused")
        return service

    link = Link(LinkConfig(name, **about.policy), opener, CacheConfig(ttl=about.ttl), disk)
    link.cache.clock = clock
    if about.opening == "opens":
        service.earlier = True
        for path in PATHS:
            if about.cached[path] is not None:
                link.query(path, None, ReadRequest.of(None))
        service.earlier = False
    clock.now += about.age
    if about.is_out:
        link.connection.breaker.failed(StoreUnavailableError(reason="known to be out", store=name))
    return link


def chain_of(stores: Sequence[Store], disk: StoreCache | None = None) -> Chain:
    """Return a chain of these stores. The first one has the disk cache."""
    links = [link_of(number, about, None if number else disk) for number, about in enumerate(stores)]
    return Chain(links, defaults={("c", "l"): "default"})


# --- worlds -----------------------------------------------------------------------------------------------------------

FAILURES = ("denied", "broken", "out", "path out", "patience")


CACHED = [None, None, "", "k", "kl"]


def stores_of(
    kinds: Sequence[str] = tuple(KINDS), *, patience: bool = True, cached: bool = True
) -> st.SearchStrategy[tuple[Store, ...]]:
    """Draw chains. Without `patience` no store is one that answers only callers that wait."""
    failures = [failure for failure in FAILURES if patience or failure != "patience"]
    openings = ["opens", "opens", "opens", "denied", "out", *(["patience"] if patience else [])]
    policies = st.fixed_dictionaries(
        {},
        optional={
            "on_unavailable": st.just("fail"),
            "on_denied": st.just("next"),
            "on_missing_key": st.just("fail"),
            "paths": st.sampled_from([("a", "b"), ("b",), ("b", "c")]),
        },
    )
    store = st.builds(
        Store,
        kind=st.sampled_from(kinds),
        policy=policies,
        opening=st.sampled_from(openings),
        answers=st.fixed_dictionaries(dict.fromkeys(PATHS, st.sampled_from([None, "k", "kl", "l", *failures]))),
        cached=st.fixed_dictionaries(dict.fromkeys(PATHS, st.sampled_from(CACHED if cached else [None]))),
        age=st.sampled_from([0.0, 100.0, 400.0, 5000.0]),
        is_out=st.booleans(),
        ttl=st.sampled_from([300.0, 300.0, 0.0]),
    )
    return st.lists(store, min_size=1, max_size=3).map(tuple)


def told(outcome: Outcome) -> tuple[object, ...]:
    """Return everything that a caller is told but durations."""
    if isinstance(outcome, Resolution):
        age = (outcome.version, outcome.age, outcome.cached, outcome.stale)
        return outcome.store, outcome.value, age, _attempts(outcome.attempts)
    return type(outcome), str(outcome), _attempts(outcome.attempts if isinstance(outcome, StoreError) else ())


def _attempts(attempts: Iterable[Any]) -> list[tuple[object, ...]]:
    return [(attempt.store, attempt.answer, attempt.reason, attempt.age) for attempt in attempts]


def one(chain: Chain, path: str, key: str | None = None, *, fresh: bool = False, allow_dynamic: bool = True) -> Outcome:
    try:
        return chain.resolve(path, key, fresh=fresh, allow_dynamic=allow_dynamic)
    except StrongroomError as error:
        return error


WAITS = everywhere("patience")
PARTLY_FOLLOWED = (Store("bulk", answers=WAITS), Store(policy={"paths": ("b",)}))
"""A store that answers callers that wait: those of `a` and `c`, for which nobody else can answer."""
OPENED_PARTLY_FOLLOWED = (Store("bulk", opening="patience"), Store(policy={"paths": ("b",)}))
OPENED_BY_WAITING = (Store("single", opening="patience"), Store())
INSISTED = (Store("bulk", answers=WAITS), Store(answers=everywhere(None)))
"""A store that is waited for once the next one has confirmed the absence."""
INSISTED_FOR_A_KEY = (Store(answers=WAITS, cached=everywhere("k"), age=100.0), Store(answers=everywhere(None)))
INSISTED_IN_A_ROW = (Store(answers=WAITS), Store(answers=everywhere("out")), Store(answers=everywhere("k")))
PARTLY_STALE = (Store("bulk", answers=WAITS, cached={"a": "kl", "b": None, "c": None}, age=400.0),)
UNCACHED = (Store(ttl=0.0), Store("dynamic", ttl=0.0), Store("local"))
LACKS_A_KEY = (Store(cached=everywhere("k"), age=100.0),)
CREDENTIAL = (Store("dynamic", cached=everywhere("kl")),)
KNOWN_OUTAGE = (Store(is_out=True),)


def batches(stores: Sequence[Store], *, by_key: bool = False) -> list[tuple[str, ...]]:
    """Return the paths to read together.

    An answer of one path ends a known outage for the others. If a store without bulk reads is asked for keys, an outage
    at one path is known at the next. Such paths are read each by itself.
    """
    outages = {"out", "patience"}
    for store in stores:
        if store.is_out or (by_key and store.kind != "bulk" and outages & set(store.answers.values())):
            return [(path,) for path in PATHS]
    return [PATHS]


# --- laws -------------------------------------------------------------------------------------------------------------


@given(stores_of(), st.booleans(), st.booleans())
@example(stores=PARTLY_FOLLOWED, fresh=True, allow_dynamic=True)
@example(stores=OPENED_PARTLY_FOLLOWED, fresh=False, allow_dynamic=True)
@example(stores=OPENED_BY_WAITING, fresh=False, allow_dynamic=False)
@example(stores=PARTLY_STALE, fresh=False, allow_dynamic=True)
@example(stores=INSISTED, fresh=False, allow_dynamic=True)
@example(stores=INSISTED_IN_A_ROW, fresh=True, allow_dynamic=True)
def test_each_path_of_a_batch_is_told_as_one_read(stores: tuple[Store, ...], fresh: bool, allow_dynamic: bool) -> None:
    for paths in batches(stores):
        batch = chain_of(stores).resolve_many(paths, fresh=fresh, allow_dynamic=allow_dynamic)
        for path, outcome in batch.items():
            expected = one(chain_of(stores), path, fresh=fresh, allow_dynamic=allow_dynamic)
            assert told(outcome) == told(expected), path


@given(stores_of(), st.booleans())
@example(stores=PARTLY_FOLLOWED, allow_dynamic=True)
@example(stores=OPENED_PARTLY_FOLLOWED, allow_dynamic=True)
@example(stores=PARTLY_STALE, allow_dynamic=True)
@example(stores=INSISTED, allow_dynamic=True)
@example(stores=INSISTED_IN_A_ROW, allow_dynamic=True)
@example(stores=INSISTED_FOR_A_KEY, allow_dynamic=True)
def test_each_key_of_a_batch_is_told_as_one_read(stores: tuple[Store, ...], allow_dynamic: bool) -> None:
    """If a key that a cached secret lacks needs another read, the other keys of its path may come from that too."""
    for paths in batches(stores, by_key=True):
        places = [place for place in PLACES if place[0] in paths]
        batch = chain_of(stores).resolve_keys(places, allow_dynamic=allow_dynamic)
        for place, outcome in batch.items():
            check_key(outcome, place, lambda: chain_of(stores), allow_dynamic=allow_dynamic)


def check_key(
    outcome: Outcome, place: tuple[str, str], chain: Callable[[], Chain], *, allow_dynamic: bool = True
) -> None:
    """Check a batch's outcome for a key. `chain` makes another chain like the one that was asked."""
    expected = one(chain(), *place, allow_dynamic=allow_dynamic)
    if told(outcome) != told(expected):
        assert isinstance(expected, Resolution)
        assert expected.cached
        assert told(outcome) == told(one(chain(), *place, fresh=True, allow_dynamic=allow_dynamic)), place


@given(stores_of(["single", "bulk", "dynamic", "local"]))
@example(stores=UNCACHED)
@example(stores=UNCACHED[1:])
@example(stores=UNCACHED[2:])
@example(stores=LACKS_A_KEY)
@example(stores=INSISTED_FOR_A_KEY)
def test_keys_of_one_path_come_from_one_version(stores: tuple[Store, ...]) -> None:
    """Of the same store, unless it reads each key by itself."""
    versions: dict[tuple[str, str], set[object]] = {}
    for outcome in chain_of(stores).resolve_keys(PLACES).values():
        if isinstance(outcome, Resolution) and outcome.version is not None:
            versions.setdefault((outcome.store, outcome.path), set()).add(outcome.version)
    assert all(len(found) == 1 for found in versions.values())


@given(stores_of(), st.booleans())
@example(stores=CREDENTIAL, allow_dynamic=False)
@example(stores=INSISTED, allow_dynamic=True)
def test_a_read_of_a_task_is_told_as_one_read(stores: tuple[Store, ...], allow_dynamic: bool) -> None:
    async def read(place: tuple[str, str]) -> Outcome:
        async with manager_of(Parts(Config(), list(chain_of(stores).links))) as manager:
            try:
                return await manager.aresolve(*place, allow_dynamic=allow_dynamic)
            except StrongroomError as error:
                return error

    async def read_all() -> list[Outcome]:
        return [await read(place) for place in PLACES if place != ("c", "l")]  # which has a default

    for outcome, place in zip(asyncio.run(read_all()), PLACES, strict=False):
        assert told(outcome) == told(one(chain_of(stores), *place, allow_dynamic=allow_dynamic)), place


@given(stores_of(patience=False))
@example(stores=KNOWN_OUTAGE)
@example(stores=(*KNOWN_OUTAGE, Store(answers=everywhere(None))))
@example(stores=(*KNOWN_OUTAGE, Store(answers=everywhere("l"), policy={"on_missing_key": "fail"}), Store()))
def test_an_explanation_concludes_as_a_read_past_the_caches(stores: tuple[Store, ...]) -> None:
    """Except for a store that answers only callers that wait: an explanation waits for none."""
    for path, key in (*PLACES, ("a", None)):
        explanation = chain_of(stores).explain(path, key)
        assert _concluded(explanation) == _expected(one(chain_of(stores), path, key, fresh=True, allow_dynamic=False))


def _concluded(explanation: Explanation) -> object:
    if explanation.served is not None:
        return explanation.served.attempt.store, explanation.served.value
    return type(explanation.error)


def _expected(outcome: Outcome) -> object:
    if isinstance(outcome, Resolution):
        return outcome.store, outcome.value
    not_asked = isinstance(outcome, UnsupportedOperationError) and outcome.attempts
    return type(None if not_asked else outcome)


# --- with a disk cache ------------------------------------------------------------------------------------------------


@settings(max_examples=settings.default.max_examples // 4)  # type: ignore[union-attr]  # each world has its own files
@given(
    stores_of(["single", "bulk"], cached=False),
    st.fixed_dictionaries(dict.fromkeys(PATHS, st.sampled_from([None, "", "k", "kl"]))),
    st.sampled_from([10.0, 100.0, 400.0]),
)
@example(stores=KNOWN_OUTAGE, entries={"a": "kl", "b": "k", "c": ""}, age=10.0)
@example(stores=(Store(is_out=True), Store()), entries=everywhere("kl"), age=400.0)
@example(stores=(Store("bulk", answers=WAITS),), entries={"a": "kl", "b": None, "c": "kl"}, age=400.0)
def test_what_the_disk_cache_has_is_told_in_one_way(
    stores: tuple[Store, ...], entries: dict[str, str | None], age: float
) -> None:
    """Each world has a copy of what another process has read from the first store."""
    now = Moment.now()
    with TemporaryDirectory() as folder:
        filled = Path(folder, "filled")
        filled.mkdir(0o700)
        store = Service(Store(answers=entries))
        cache = disk_cache(filled)
        with patch.object(Moment, "now", lambda: now):
            dict(cache.read_each([path for path in PATHS if entries[path] is not None], partial(read_each, store.read)))

        def chain() -> Chain:
            copied = disk_cache(Path(copytree(filled, Path(mkdtemp(dir=folder), "cache"))))
            return chain_of(stores, copied)

        later = now._replace(wall=now.wall + age, since_boot=now.since_boot + age)
        with patch.object(Moment, "now", lambda: later):
            for paths in batches(stores):
                for path, outcome in chain().resolve_many(paths).items():
                    assert told(outcome) == told(one(chain(), path)), path
            for paths in batches(stores, by_key=True):
                for place, outcome in chain().resolve_keys((path, key) for path in paths for key in "kl").items():
                    check_key(outcome, place, chain)


def disk_cache(folder: Path) -> StoreCache:
    return StoreCache(Container(folder, 1 << 22), "s0", lambda: StoreIdentity({}), CacheConfig())
