"""The encrypted cache: what it holds, for how long, for whom, and what it never brings back."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._chain import seal as seal_module
from strongroom._chain.cache import Flight, MemoryCache
from strongroom._chain.seal import Sealed, Sealer
from strongroom._config import CacheConfig
from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.events import cache_hits
from strongroom.secret import Secret, Value
from strongroom.store import time_limit
from support.clock import LONG, Clock

CANARY = "canary-b7e1-value"


@pytest.fixture
def clock() -> Clock:
    return Clock()


class JoinedCache(MemoryCache):
    """A cache that tells how many threads have joined a flight."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._joined = threading.Semaphore(0)

    def wait(self, path: str, joined: Future[Secret]) -> Secret:
        self._joined.release()
        return super().wait(path, joined)

    def wait_for_joined(self, count: int) -> None:
        """Wait until this many threads have joined."""
        for _ in range(count):
            assert self._joined.acquire(timeout=LONG)


@pytest.fixture
def cache(clock: Clock) -> JoinedCache:
    return JoinedCache("vault", CacheConfig(ttl=300, missing_ttl=30, max_stale=3600, max_entries=3), clock=clock)


def put(cache: MemoryCache, path: str, **data: Value) -> None:
    cache.fetch(path, lambda: Secret(path=path, data=data), fresh=True)


def absent(path: str) -> Secret:
    raise SecretNotFoundError(path, "no such path")


def opened(cache: MemoryCache, path: str, key: str | None = None) -> dict[str, Value] | None:
    snapshot = cache.current(path, key)
    return None if snapshot is None or snapshot.fields is None else cache.open(snapshot.fields)


# --- sealing ----------------------------------------------------------------------------------------------------------


def unsealed(sealer: Sealer, sealed: Sealed) -> Value:
    return sealer.open({"k": sealed})["k"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_a_sealed_value_opens_as_itself(value: Value) -> None:
    """Whatever a secret may hold comes out of the cache with its value and its type."""
    sealer = Sealer()
    back = unsealed(sealer, sealer.seal(value, "vault", "a/b", "key"))
    assert back == value
    assert isinstance(back, bool) == isinstance(value, bool)


def test_a_lone_surrogate_that_a_store_holds_is_cached_exactly() -> None:
    sealer = Sealer()
    assert unsealed(sealer, sealer.seal("a\ud800b", "vault", "a", "k")) == "a\ud800b"


@pytest.mark.parametrize("part", ["nonce", "ciphertext", "bound"])
def test_a_flipped_byte_breaks_the_seal(part: str) -> None:
    sealer = Sealer()
    sealed = sealer.seal(CANARY, "vault", "a", "k")
    changed = bytearray(getattr(sealed, part))
    changed[0] ^= 1
    with pytest.raises(sealer.broken_seal):
        unsealed(sealer, sealed._replace(**{part: bytes(changed)}))


@pytest.mark.parametrize("other", [("env", "a", "k"), ("vault", "b", "k"), ("vault", "a", "j"), ("vaul", "ta", "k")])
def test_a_seal_is_bound_to_link_path_and_key(other: tuple[str, ...]) -> None:
    """A ciphertext put in another's place does not open there."""
    sealer = Sealer()
    mine, theirs = sealer.seal(CANARY, "vault", "a", "k"), sealer.seal("x", *other)
    with pytest.raises(sealer.broken_seal):
        unsealed(sealer, theirs._replace(nonce=mine.nonce, ciphertext=mine.ciphertext))


def test_a_name_with_a_space_is_not_two_names() -> None:
    sealer = Sealer()
    mine, theirs = sealer.seal(CANARY, "vault", "a b", "k"), sealer.seal("x", "vault", "a", "b k")
    with pytest.raises(sealer.broken_seal):
        unsealed(sealer, theirs._replace(nonce=mine.nonce, ciphertext=mine.ciphertext))


def test_a_string_is_not_mistaken_for_json() -> None:
    """The kind is part of the seal: the string "5" and the number 5 cannot be swapped."""
    sealer = Sealer()
    text, number = sealer.seal("5", "v", "a", "k"), sealer.seal(5, "v", "a", "k")
    assert (unsealed(sealer, text), unsealed(sealer, number)) == ("5", 5)
    with pytest.raises(sealer.broken_seal):
        unsealed(sealer, number._replace(nonce=text.nonce, ciphertext=text.ciphertext))


def test_every_seal_has_its_own_nonce() -> None:
    sealer = Sealer()
    assert len({sealer.seal("same", "v", "a", "k").nonce for _ in range(1000)}) == 1000


def test_two_sealers_have_two_keys() -> None:
    one, other = Sealer(), Sealer()
    with pytest.raises(other.broken_seal):
        unsealed(other, one.seal(CANARY, "v", "a", "k"))


def test_a_reset_makes_a_new_key(cache: MemoryCache) -> None:
    """The child of a fork has its parent's key until then."""
    put(cache, "a", k="v")
    snapshot = cache.current("a")
    assert snapshot is not None
    cache.reset()
    assert cache.open(snapshot.fields or {}) is None


def test_a_key_is_changed_before_its_nonces_run_out(cache: MemoryCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many seals as one key may make, what it sealed is forgotten and a new key takes over."""
    monkeypatch.setattr(seal_module, "_SEALS_PER_KEY", 2)
    cache.reset()
    put(cache, "a", one="1", two="2")
    put(cache, "b", three="3")
    assert opened(cache, "a") is None
    assert cache.text("a", "one") is None
    assert opened(cache, "b") == {"three": "3"}


# --- what is held -----------------------------------------------------------------------------------------------------


def test_nothing_of_the_cache_shows_a_value(cache: MemoryCache) -> None:
    """No attribute, however deep, holds the plaintext: a core dump's reader needs the key too."""
    put(cache, "a", key=CANARY, nested={"inner": [CANARY]})

    def walk(thing: object, seen: set[int]) -> Iterator[object]:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        yield thing
        inside: list[object] = []
        if isinstance(thing, dict):
            inside = [*thing, *thing.values()]
        elif isinstance(thing, list | tuple | set):
            inside = list(thing)
        inside += [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
        inside += list(getattr(thing, "__dict__", {}).values())
        for item in inside:
            yield from walk(item, seen)

    things = list(walk(cache, set()))
    assert len(things) > 20
    assert not [thing for thing in things if isinstance(thing, str) and CANARY in thing]
    assert not [thing for thing in things if isinstance(thing, bytes) and CANARY.encode() in thing]
    assert CANARY not in repr(cache)


def test_a_field_is_served_as_text_until_its_time_is_up(cache: MemoryCache, clock: Clock) -> None:
    put(cache, "a", name="x", port=5432, flag=True)
    assert [cache.text("a", key) for key in ("name", "port", "flag")] == ["x", "5432", "true"]
    clock.now += 300
    assert cache.text("a", "name") is None
    assert opened(cache, "a") is None


def test_null_and_bytes_are_never_served_as_text(cache: MemoryCache) -> None:
    """They have none: `as_text` refuses them, so the shortcut must not answer."""
    put(cache, "a", null=None, raw=b"\x00")
    assert cache.text("a", "null") is None
    assert cache.text("a", "raw") is None
    assert opened(cache, "a") == {"null": None, "raw": b"\x00"}


def test_a_string_that_is_not_unicode_is_served_whole(cache: MemoryCache) -> None:
    put(cache, "a", odd="\ud800")
    assert cache.text("a", "odd") is None
    assert opened(cache, "a") == {"odd": "\ud800"}


def test_jitter_only_shortens(clock: Clock) -> None:
    """An entry lives between nine tenths of its time and all of it."""
    lives = []
    for _ in range(200):
        cache = MemoryCache("v", CacheConfig(ttl=100), clock=clock)
        put(cache, "a", k="v")
        snapshot = cache.current("a")
        assert snapshot is not None
        lives.append(snapshot.until - clock.now)
    assert 90 <= min(lives) < 92
    assert 98 < max(lives) <= 100


def test_an_absence_is_believed_for_a_shorter_time(cache: MemoryCache, clock: Clock) -> None:
    with pytest.raises(SecretNotFoundError):
        cache.fetch("a", lambda: absent("a"))
    snapshot = cache.current("a")
    assert snapshot is not None
    assert (snapshot.fields, snapshot.reason) == (None, "no such path")
    clock.now += 30
    assert cache.current("a") is None


def test_the_absence_of_a_key_is_believed_no_longer_than_that_of_a_path(cache: MemoryCache, clock: Clock) -> None:
    put(cache, "a", k="v")
    assert cache.current("a", "other") is not None
    clock.now += 30
    assert cache.current("a", "other") is None
    assert cache.current("a", "k") is not None


def test_an_absence_is_never_stale(cache: MemoryCache, clock: Clock) -> None:
    """In an outage nobody knows whether the secret is still absent."""
    with pytest.raises(SecretNotFoundError):
        cache.fetch("a", lambda: absent("a"))
    clock.now += 31
    assert cache.stale("a") is None


def test_a_secret_is_stale_for_its_time_and_no_longer(cache: MemoryCache, clock: Clock) -> None:
    put(cache, "a", k="v")
    clock.now += 300 + 3500
    assert cache.stale("a") is not None
    clock.now += 101
    assert cache.stale("a") is None


def test_an_outage_is_never_remembered(cache: MemoryCache) -> None:
    def fails() -> Secret:
        raise StoreUnavailableError("a", "refused")

    with pytest.raises(StoreUnavailableError):
        cache.fetch("a", fails)
    assert (cache.current("a"), cache.stale("a"), len(cache)) == (None, None, 0)


def test_a_denial_is_never_remembered(cache: MemoryCache) -> None:
    def fails() -> Secret:
        raise PermissionDeniedError("a")

    with pytest.raises(PermissionDeniedError):
        cache.fetch("a", fails)
    assert len(cache) == 0


def test_the_oldest_entry_makes_room(cache: MemoryCache) -> None:
    for path in "abcd":
        put(cache, path, k="v")
    assert [path for path in "abcd" if cache.current(path)] == ["b", "c", "d"]
    assert cache.text("a", "k") is None


def test_the_oldest_secrets_make_room_for_the_bytes_of_a_new_one(clock: Clock) -> None:
    """What the cache takes in memory, Python's objects included, stays below `max_bytes`."""
    most = 256 * 1024
    cache = MemoryCache("v", CacheConfig(max_bytes=most), clock=clock)
    put(cache, "first", k="v")
    tracemalloc.start()
    try:
        for number in range(40):
            put(cache, f"large/{number}", k="v" * 20_000)
        for number in range(1_000):
            put(cache, f"small/{number}", k="v")
        # Not all of the process: after some tests a fake works in a thread, and a filter of logs notes each value.
        ours = [tracemalloc.Filter(True, "*/strongroom/_chain/*"), tracemalloc.Filter(True, __file__)]
        size = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
        assert most / 3 < size < most  # objects that Python reuses are not counted
    finally:
        tracemalloc.stop()
    assert cache.text("first", "k") is None
    assert cache.current("large/39") is None
    assert cache.text("small/999", "k") == "v"
    assert cache.text("small/780", "k") == "v"


def usage(cache: MemoryCache) -> tuple[int, int]:
    """Return the number of entries and their bytes, as the cache counts them."""
    return len(cache), cache._secrets.size + cache._absences.size


def usage_with(fill: Callable[[MemoryCache], object]) -> tuple[int, int]:
    """Return the size of a new cache after `fill`."""
    other = MemoryCache("vault", CacheConfig())
    fill(other)
    return usage(other)


def absent_at(cache: MemoryCache, path: str) -> None:
    with contextlib.suppress(SecretNotFoundError):
        cache.fetch(path, lambda: absent(path), fresh=True)


def test_bytes_are_counted_once_for_each_path(cache: MemoryCache) -> None:
    """A secret that is read again and again, grows, shrinks, is dropped or becomes absent leaves nothing behind."""
    for number in range(50):
        put(cache, "a", k="v" * number)
        put(cache, "b", k="v")
        cache.forget("b")
        absent_at(cache, "a")
    assert usage(cache) == usage_with(lambda other: absent_at(other, "a"))
    put(cache, "a", k="v")
    assert usage(cache) == usage_with(lambda other: put(other, "a", k="v"))
    cache.forget()
    assert usage(cache) == (0, 0)


def test_each_read_that_the_cache_answers_is_one_hit(cache: MemoryCache, clock: Clock) -> None:
    """A single field and a whole secret alike; an expired one is no hit."""
    put(cache, "a", k="v")
    before = cache_hits()["vault"]
    assert cache.text("a", "k") == "v"
    assert cache.whole("a") == {"k": "v"}
    assert cache_hits()["vault"] - before == 2
    clock.now += 301
    assert (cache.text("a", "k"), cache.whole("a")) == (None, None)
    assert cache_hits()["vault"] - before == 2


def test_an_emptied_cache_has_its_whole_room_again(clock: Clock) -> None:
    """Also after it is filled and emptied many times."""
    cache = MemoryCache("v", CacheConfig(max_bytes=200_000), clock=clock)
    for _ in range(5):
        put(cache, "large", k="v" * 100_000)
        assert cache.text("large", "k") is not None
        cache.forget()
        assert usage(cache) == (0, 0)


def test_a_secret_above_the_whole_cache_displaces_nothing(clock: Clock) -> None:
    cache = MemoryCache("v", CacheConfig(max_bytes=100_000), clock=clock)
    put(cache, "small", k="v")
    put(cache, "large", k="old")
    put(cache, "large", k="v" * 200_000)
    assert cache.text("small", "k") == "v"
    assert (cache.text("large", "k"), cache.current("large"), cache.stale("large")) == (None, None, None)


def test_a_secret_that_grew_displaces_others_for_its_new_size(clock: Clock) -> None:
    cache = MemoryCache("v", CacheConfig(max_bytes=100_000), clock=clock)
    for path in ("other", "grows"):
        put(cache, path, k="v" * 40_000)
    assert cache.text("other", "k") is not None
    put(cache, "grows", k="v" * 70_000)
    assert cache.text("other", "k") is None
    assert cache.text("grows", "k") == "v" * 70_000


def test_absences_displace_absences_alone(cache: MemoryCache) -> None:
    put(cache, "present", k="v")
    for number in range(10):
        with pytest.raises(SecretNotFoundError):
            cache.fetch(f"absent/{number}", partial(absent, f"absent/{number}"))
    assert cache.text("present", "k") == "v"
    assert [n for n in range(10) if cache.current(f"absent/{n}")] == [7, 8, 9]


def test_absences_are_bounded_in_bytes_too(clock: Clock) -> None:
    cache = MemoryCache("v", CacheConfig(max_bytes=80_000), clock=clock)
    for number in range(100):
        with pytest.raises(SecretNotFoundError):
            cache.fetch(f"absent/{number}", partial(absent, f"absent/{number}"))
    assert 5 < len(cache) <= 20
    assert cache.current("absent/99") is not None


def test_a_key_that_went_away_is_not_served(cache: MemoryCache) -> None:
    put(cache, "a", old="1", kept="2")
    put(cache, "a", kept="3")
    assert cache.text("a", "old") is None
    assert cache.text("a", "kept") == "3"


def test_a_lifetime_of_zero_caches_nothing(clock: Clock) -> None:
    cache = MemoryCache("v", CacheConfig(ttl=0), clock=clock)
    put(cache, "a", k="v")
    assert (cache.current("a"), cache.stale("a"), cache.text("a", "k"), len(cache)) == (None, None, None, 0)


def test_a_lifetime_of_zero_seals_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing takes a tenth of a read, and nobody would open the seal. Threads share the read all the same."""
    sealed: list[str] = []
    monkeypatch.setattr(Sealer, "seal", lambda _, value, *owner: sealed.append(owner[-1]))
    cache = MemoryCache("v", CacheConfig(ttl=0), clock=clock)
    joined: list[Future[Secret] | None] = []

    def load() -> Secret:
        joined.append(cache.join_or_lead("a", Flight()))
        return Secret("a", {"k": CANARY})

    cache.fetch("a", load)
    assert joined[0] is not None
    assert (joined[0].result(0).data, cache.flights, sealed) == ({"k": CANARY}, {}, [])


def test_a_broken_seal_is_a_miss(cache: MemoryCache) -> None:
    put(cache, "a", k="v")
    snapshot = cache.current("a")
    assert snapshot is not None
    assert snapshot.fields is not None
    sealed = snapshot.fields["k"]
    changed = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
    assert cache.open({"k": sealed._replace(ciphertext=changed)}) is None
    until, decrypt, nonce, _, bound = cache._fields["a"]["k"]  # no public call damages an entry
    cache._fields["a"]["k"] = (until, decrypt, nonce, changed, bound)
    assert cache.text("a", "k") is None


def test_each_reading_is_its_own(cache: MemoryCache) -> None:
    """What a caller does to a secret that it was given changes nobody else's."""
    put(cache, "a", nested={"x": [1]})
    first: Any = opened(cache, "a")
    first["nested"]["x"].append(2)
    assert opened(cache, "a") == {"nested": {"x": [1]}}


# --- flights and writes -----------------------------------------------------------------------------------------------


class Load:
    """A read that waits until a test lets it end."""

    def __init__(self, **data: Value) -> None:
        self.data = data
        self.count = 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> Secret:
        self.count += 1
        secret = Secret(path="a", data=self.data)
        self.begun.set()
        assert self.go.wait(LONG)
        return secret


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_a_cold_stampede_is_one_read(cache: JoinedCache, pool: ThreadPoolExecutor) -> None:
    load = Load(k="v")
    reads = [pool.submit(cache.fetch, "a", load) for _ in range(16)]
    assert load.begun.wait(LONG)
    cache.wait_for_joined(15)
    load.go.set()
    assert [read.result().data["k"] for read in reads] == ["v"] * 16
    assert load.count == 1


def test_those_who_wait_get_the_readers_error_as_their_own(cache: JoinedCache, pool: ThreadPoolExecutor) -> None:
    """The class and the words are the same; the object is not, since raising one writes to it."""
    begun, go = threading.Event(), threading.Event()

    def fails() -> Secret:
        begun.set()
        assert go.wait(LONG)
        raise PermissionDeniedError("a", "no policy")

    reads = [pool.submit(cache.fetch, "a", fails) for _ in range(4)]
    assert begun.wait(LONG)
    cache.wait_for_joined(3)
    go.set()
    errors = [read.exception() for read in reads]
    assert {(type(error), str(error)) for error in errors} == {(PermissionDeniedError, str(errors[0]))}
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("stray", [KeyboardInterrupt, ZeroDivisionError])
def test_a_reader_that_is_interrupted_leaves_nobody_waiting(
    cache: JoinedCache, pool: ThreadPoolExecutor, stray: type[BaseException]
) -> None:
    begun, go = threading.Event(), threading.Event()

    def dies() -> Secret:
        begun.set()
        assert go.wait(LONG)
        raise stray

    leader = pool.submit(cache.fetch, "a", dies)
    assert begun.wait(LONG)
    waiter = pool.submit(cache.fetch, "a", dies)
    cache.wait_for_joined(1)
    go.set()
    assert isinstance(leader.exception(), stray)
    assert isinstance(waiter.exception(), StoreUnavailableError)
    assert cache.join_or_lead("a", Flight()) is None


def test_a_waiter_waits_its_own_time(cache: MemoryCache, pool: ThreadPoolExecutor) -> None:
    load = Load(k="v")
    leader = pool.submit(cache.fetch, "a", load)
    assert load.begun.wait(LONG)
    with time_limit(0.01), pytest.raises(StoreUnavailableError, match="took too long"):
        cache.fetch("a", load)
    load.go.set()
    assert leader.result().data == {"k": "v"}


def test_a_read_that_began_before_a_write_does_not_fill_the_cache(cache: MemoryCache, pool: ThreadPoolExecutor) -> None:
    """Its answer may be older than the write: its own caller gets it, nobody else does."""
    old = Load(k="old")
    reader = pool.submit(cache.fetch, "a", old)
    assert old.begun.wait(LONG)
    cache.forget("a")
    old.go.set()
    assert reader.result().data == {"k": "old"}
    assert (cache.current("a"), cache.text("a", "k")) == (None, None)


def test_nobody_joins_a_read_that_began_before_a_write(cache: MemoryCache, pool: ThreadPoolExecutor) -> None:
    old = Load(k="old")
    reader = pool.submit(cache.fetch, "a", old)
    assert old.begun.wait(LONG)
    cache.forget("a")
    assert cache.fetch("a", lambda: Secret(path="a", data={"k": "new"})).data == {"k": "new"}
    old.go.set()
    reader.result()
    assert cache.text("a", "k") == "new"


def test_forgetting_everything_cancels_every_read(cache: MemoryCache, pool: ThreadPoolExecutor) -> None:
    old = Load(k="old")
    reader = pool.submit(cache.fetch, "a", old)
    assert old.begun.wait(LONG)
    cache.forget()
    old.go.set()
    reader.result()
    assert len(cache) == 0


def test_a_fresh_read_joins_no_older_one(cache: MemoryCache, pool: ThreadPoolExecutor) -> None:
    old = Load(k="old")
    reader = pool.submit(cache.fetch, "a", old)
    assert old.begun.wait(LONG)
    assert cache.fetch("a", lambda: Secret(path="a", data={"k": "new"}), fresh=True).data == {"k": "new"}
    old.go.set()
    reader.result()
    assert cache.text("a", "k") == "new"


def test_a_value_that_cannot_be_sealed_leaves_nobody_waiting(cache: MemoryCache) -> None:
    strange: Any = {"k": object()}
    with pytest.raises(TypeError):
        cache.fetch("a", lambda: Secret(path="a", data=strange))
    assert cache.join_or_lead("a", Flight()) is None


def test_a_store_error_keeps_its_own_class_for_waiters(cache: MemoryCache) -> None:
    class OddError(StoreError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("a", f"{one} and {two}")

    twin = OddError(1, 2).copy()
    assert (type(twin), twin.reason, str(twin)) == (OddError, "1 and 2", str(OddError(1, 2)))


def test_a_confirmed_secret_stays_for_another_ttl(cache: MemoryCache, clock: Clock) -> None:
    created = datetime(2026, 1, 1, tzinfo=UTC)
    cache.fetch("a", lambda: Secret("a", {"k": "v"}, 3, created))
    for _ in range(3):
        clock.now += 200
        assert cache.confirm("a", 3, created)
        assert (cache.text("a", "k"), cache.current("a").version) == ("v", 3)
    clock.now += 300
    assert (cache.text("a", "k"), cache.current("a")) == (None, None)


def test_only_the_cached_version_is_confirmed(cache: MemoryCache, clock: Clock) -> None:
    created = datetime(2026, 1, 1, tzinfo=UTC)
    cache.fetch("a", lambda: Secret("a", {"k": "v"}, 3, created))
    assert not cache.confirm("a", 4, created)
    assert not cache.confirm("a", 3, created + timedelta(seconds=1)), "a deleted secret was made anew"
    assert not cache.confirm("b", 3, created)
    assert not cache.confirm("a", None, None)
    clock.now += 300
    assert cache.text("a", "k") is None


def test_a_confirmed_secret_is_read_again_before_ttl_and_max_stale_are_over(clock: Clock) -> None:
    """The check of a version may be allowed to a token that may no longer read the secret."""
    cache = MemoryCache("v", CacheConfig(ttl=300, max_stale=600), clock=clock)
    cache.fetch("a", lambda: Secret("a", {"k": "v"}, 1))
    began = clock.now
    while cache.confirm("a", 1, None):
        clock.now += 100
    assert began + 500 <= clock.now <= began + 900
    clock.now = began + 900
    assert cache.text("a", "k") is None


def test_an_absence_is_confirmed_for_its_own_ttl(cache: MemoryCache, clock: Clock) -> None:
    with contextlib.suppress(SecretNotFoundError):
        cache.fetch("a", lambda: absent("a"))
    clock.now += 25
    assert cache.confirm("a", None, None)
    clock.now += 25
    assert cache.current("a").fields is None
    clock.now += 30
    assert cache.current("a") is None


def test_nothing_is_confirmed_for_longer_than_its_lease(cache: MemoryCache, clock: Clock) -> None:
    cache.fetch("a", lambda: Secret("a", {"k": "v"}, 1, ttl=400))
    clock.now += 200
    assert not cache.confirm("a", 1, None)


def test_a_refresh_leaves_no_moment_without_the_secret(cache: MemoryCache) -> None:
    """Readers take no lock: between any two steps of a refresh they find the old or the new values."""
    put(cache, "a", k="old", gone="x")
    seen = set()

    class Watching(dict):
        def __setitem__(self, key, value):
            look()
            super().__setitem__(key, value)
            look()

        def pop(self, *arguments):
            look()
            value = super().pop(*arguments)
            look()
            return value

    def look() -> None:
        seen.add((cache.text("a", "k"), cache.current("a") is not None))

    # No public call looks between two steps of another one.
    cache._fields, cache._secrets.snapshots = Watching(cache._fields), Watching(cache._secrets.snapshots)
    put(cache, "a", k="new")
    assert seen == {("old", True), ("new", True)}
    assert (cache.text("a", "k"), cache.text("a", "gone")) == ("new", None)
