"""The part of the disk cache that holds the answers of one store, as the configuration enables it."""

import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from strongroom._config import CacheConfig, Config
from strongroom._config.trust import require_trusted_origin
from strongroom._disk_cache.container import EVERYTHING, Container, DamagedError, Mark, Place, fault_of
from strongroom._disk_cache.entry import CacheEntry, Ciphers, Moment, SealedEntry
from strongroom._disk_cache.keys import Keys
from strongroom._plugins.identity import StoreIdentity, identity
from strongroom._redaction.digest import Digester
from strongroom.errors import ConfigurationError, SecretNotFoundError, StrongroomError
from strongroom.files.private import user_folder
from strongroom.secret import AgedAbsence, AgedSecret, Secret, SensitiveDict
from strongroom.store import remaining
from strongroom.store.deadline import fail_fast

logger = logging.getLogger("strongroom.secrets_manager")

Identity: TypeAlias = "Callable[[], StoreIdentity | None]"
"""Returns what decides which secret a path of the store is, and who reads it; None if the cache must not have it."""

Answer: TypeAlias = "Secret | StrongroomError"
_Placed: TypeAlias = tuple[Keys, dict[str, Place]]
Ask: TypeAlias = "Callable[[Sequence[str]], Iterable[tuple[str, Answer]]]"

_R = TypeVar("_R")
_LONGEST_READ = 60.0
"""Seconds after which the answer of a read is not kept: the mark of a write in between may be gone."""


class _Found(NamedTuple):
    """An entry, its age in seconds, and whether its age (see `CacheEntry.age`) and its path are certain."""

    entry: CacheEntry
    age: float
    certain: bool


class _Look(NamedTuple):
    """The entries of some paths, and the right to add the answers of a read that begins now.

    Attributes:
        keys: the keys of the cache.
        places: path -> place.
        found: path -> entry.
        marks: digest of the path -> its state. A write that comes after it makes the answer worthless.
        asked: the present moment.
        started: the monotonic clock, in seconds.
    """

    keys: Keys
    places: Mapping[str, Place]
    found: Mapping[str, _Found]
    marks: Mapping[bytes, Mark]
    asked: Moment
    started: float


class StoreCache:
    """The answers of one store on disk. A failure of the cache is a miss, and is logged once.

    Args:
        identity: the identity of the store. It is called at the first use, and again after a failure.
        config: the lifetimes of entries.
        in_outages: no entry is current: each answers in an outage of the store only.
    """

    def __init__(
        self, container: Container, store: str, identity: Identity, config: CacheConfig, *, in_outages: bool = False
    ) -> None:
        self._container = container
        self._store = store
        self._identity = identity
        self._config = config
        self._in_outages = in_outages
        self._known: StoreIdentity | None = None
        self._warned = False
        self._disabled = config.ttl <= 0

    def covers(self, path: str) -> bool:
        if self._disabled or any(fnmatchcase(path, pattern) for pattern in self._config.never):
            return False
        return self._identified() is not None

    def _identified(self) -> StoreIdentity | None:
        """Return the identity of the store; None if the cache has nothing of it, or its options cannot be read."""
        if self._known is None:
            try:
                self._known = self._identity()
            except StrongroomError:
                return None  # opening the store raises it too
            self._disabled = self._disabled or self._known is None
        return self._known

    # --- reading ------------------------------------------------------------------------------------------------------

    def current(self, path: str) -> AgedSecret | AgedAbsence | None:
        """Return the answer for a path if it is current."""
        return self._current([path]).get(path)

    def stale(self, path: str) -> AgedSecret | None:
        """Return the secret at a path if an outage may still serve it.

        An absence never is: the store may have the secret by now. Offline on purpose, it is `current` for as long.
        """
        return self.stale_many([path]).get(path)

    def stale_many(self, paths: Sequence[str]) -> dict[str, AgedSecret]:
        """Return `stale` of each path that has one, from one look."""
        look = self._look(paths)
        return {} if look is None else {path: secret for path in paths if (secret := self._stale_in(look, path))}

    def age(self, path: str) -> float | None:
        """Return the age of the entry of a path in seconds, current or not, or None without an entry."""
        look = self._look([path])
        return look.found[path].age if look is not None and path in look.found else None

    def fetch(self, path: str, load: Callable[[], Secret], *, fresh: bool = False) -> Secret:
        """Return the secret at a path: `read_each` of one, which asks with `load`.

        Raises:
            SecretNotFoundError: the store does not have it, as `load` found out, or an entry of the cache.
            StoreError: what `load` raises.
        """

        def ask(_: Sequence[str]) -> Iterator[tuple[str, Answer]]:
            try:
                yield path, load()
            except StrongroomError as error:
                yield path, error

        ((_, answer),) = self.read_each([path], ask, fresh=fresh)
        if isinstance(answer, StrongroomError):
            raise answer
        return answer

    def read_each(self, paths: Sequence[str], ask: Ask, *, fresh: bool = False) -> Iterator[tuple[str, Answer]]:
        """Yield the answer for each path: from the cache if it is current there, otherwise from `ask`.

        Of several processes that have a miss, one asks; the others wait for its entry, for half of the time that the
        call has. `ask` gets the missing paths, and fails fast for those that a stale secret may answer.
        """
        known = {} if fresh else self._current(paths)
        yield from known.items()
        paths = [path for path in paths if path not in known]
        if not paths:
            return
        placed = None if fresh or self._in_outages else self._attempt(partial(self._places, paths, create=True))
        names = [] if placed is None else [place.name for place in placed[1].values()]
        with self._container.turns.take(names, remaining() / 2):
            look = self._look(paths, placed, create=True, fresh=fresh)
            known = {} if look is None else self._current_in(look)  # of another process that has had the turn
            yield from known.items()
            paths = [path for path in paths if path not in known]
            stale = {path: None for path in paths if look is not None and self._stale_in(look, path)}
            others = [path for path in paths if path not in stale]
            answers: dict[str, Answer] = {}
            try:
                for batch, has_stale in ((stale, True), (others, False)):
                    asked = iter(ask(list(batch)) if batch else ())
                    while True:
                        with fail_fast(has_stale):
                            found = next(asked, None)
                        if found is None:
                            break
                        answers[found[0]] = found[1]
                        yield found
            finally:
                self._keep(look, answers)

    # --- entries ------------------------------------------------------------------------------------------------------

    def _look(
        self, paths: Sequence[str], known: _Placed | None = None, *, create: bool = False, fresh: bool = False
    ) -> _Look | None:
        """Look for paths, within one transaction; `fresh` opens no entry. None if the cache cannot be used.

        `known` are their places, unless the keys have changed since.
        """

        def look() -> _Look | None:
            placed = self._places(paths, known, create=create)
            if placed is None:
                return None
            keys, places = placed
            view = self._container.look(keys, places.values(), create=create)
            ciphers, now, found, damaged = Ciphers(keys), Moment.now(), dict[str, _Found](), list[bytes]()
            for path, place in {} if fresh else places.items():
                row = view.rows.get(place.name) or self._former_row(keys, path, view.others)
                if row is None:
                    continue
                entry = row.open(ciphers)
                if entry is None or entry.path != path:
                    damaged.append(row.name)
                elif (age := entry.age(now, view.latest)) is None:
                    self._warn("the clock was set since entries were added, which do not count")
                else:
                    seconds, is_certain = age
                    found[path] = _Found(entry, seconds, is_certain and entry.release == self._release)
            if damaged:
                self._warn("an entry is damaged")
                self._container.drop(keys, damaged)
            return _Look(keys, places, found, view.marks, now, time.monotonic())

        return self._attempt(look)

    def _places(self, paths: Sequence[str], known: _Placed | None = None, *, create: bool = False) -> _Placed | None:
        """Return the keys, and the place of each path that the cache may hold.

        None before the first entry of the cache, without such paths, or if the store's options cannot be read.
        """
        covered = [path for path in paths if self.covers(path)]
        if not covered or (identity := self._identified()) is None:
            return None
        keys = self._container.keys(create=create)
        if keys is None or (known is not None and known[0] is keys):
            return None if keys is None else known
        digester = Digester(keys.names)
        store, places = digester.digest(identity.lasting), dict[str, Place]()
        for path in covered:
            name = digester.digest({"store": store, "path": path})
            places[path] = Place(name, digester.digest({"path": path}))
        return keys, places

    def _former_row(self, keys: Keys, path: str, others: Sequence[SealedEntry]) -> SealedEntry | None:
        """Return the row of a path that an earlier release of Strongroom added, whose names were other digests."""
        names = self._former_names(keys, path) if others else ()
        return next((row for row in others if row.name in names), None)

    def _former_names(self, keys: Keys, path: str) -> list[bytes]:
        former = None if self._known is None else self._known.former
        if former is None:
            return []
        digester = Digester(keys.names)
        return [digester.digest({"store": store, "path": path}) for store in (digester.digest(former), former)]

    @property
    def _release(self) -> str:
        return "" if self._known is None else self._known.release

    def _current(self, paths: Sequence[str]) -> dict[str, AgedSecret | AgedAbsence]:
        look = None if self._in_outages and not self._config.offline else self._look(paths)
        return {} if look is None else self._current_in(look)

    def _current_in(self, look: _Look) -> dict[str, AgedSecret | AgedAbsence]:
        return {path: found.entry.answer(found.age) for path, found in look.found.items() if self._is_current(found)}

    def _is_current(self, found: _Found) -> bool:
        absent = found.entry.data is None
        longest = min(self._config.ttl, self._config.missing_ttl) if absent else self._config.ttl
        if absent and self._config.offline:  # nobody can ask: it stands for as long as a stale secret does
            return found.age < min(found.entry.lifetime, longest + self._config.max_stale)
        if self._in_outages:
            return False
        return found.certain and found.age < min(found.entry.ttl, longest)

    def _stale_in(self, look: _Look, path: str) -> AgedSecret | None:
        found = look.found.get(path)
        longest = self._config.ttl + self._config.max_stale
        if found is None or found.age >= min(found.entry.lifetime, longest):
            return None
        answer = found.entry.answer(found.age)
        return answer if isinstance(answer, AgedSecret) else None

    # --- adding -------------------------------------------------------------------------------------------------------

    def _keep(self, look: _Look | None, answers: Mapping[str, Answer]) -> None:
        """Add the answers of a read that are secrets or confirmed absences, unless a write came between."""
        if look is None or time.monotonic() - look.started > _LONGEST_READ:
            return
        ciphers, rows = Ciphers(look.keys), list[tuple[SealedEntry, Mark]]()
        for path, answer in answers.items():
            if path not in look.places or not isinstance(answer, Secret | SecretNotFoundError):
                continue
            if isinstance(answer, Secret) and answer.ends is not None:  # as a lease, a credential that ends stays off
                continue
            entry, place = self._made(path, look.asked, answer), look.places[path]
            if entry.lifetime > 0:
                rows.append((SealedEntry.seal(ciphers, *place, entry), look.marks[place.path]))
        if rows:
            self._attempt(partial(self._container.add, look.keys, rows))

    def _made(self, path: str, asked: Moment, answer: Secret | SecretNotFoundError) -> CacheEntry:
        if isinstance(answer, SecretNotFoundError):
            ttl = min(self._config.ttl, self._config.missing_ttl)
            lifetime = ttl + self._config.max_stale  # it answers offline
            return CacheEntry(path, asked, ttl, lifetime, reason=answer.reason, release=self._release)
        ttl, lifetime = self._config.ttl, self._config.ttl + self._config.max_stale
        if answer.ttl is not None:
            ttl, lifetime = min(ttl, answer.ttl), min(lifetime, answer.ttl)
        data = SensitiveDict(answer.data)
        about = answer.version, answer.created
        return CacheEntry(path, asked, ttl, lifetime, answer.ttl, data, *about, release=self._release)

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, path: str | None = None) -> None:
        """Drop a path in all stores, or everything, for all processes. A read under way does not add it again.

        If the entry cannot be removed, the whole file of entries is. If that fails too, this process uses the cache no
        more, and others may serve the entry until it expires.
        """
        if path is None or self.covers(path):
            self._forget([path or ""], every=path is None)

    def forget_denied(self, paths: Sequence[str]) -> None:
        """Drop the entries of this identity at these paths, for all processes: others may read the paths."""
        if paths:
            self._forget(paths, denied=True)

    def _forget(self, paths: Sequence[str], *, every: bool = False, denied: bool = False) -> None:
        if self._disabled:
            return
        try:
            placed = self._places(paths)
        except OSError as error:
            self._warn(fault_of(error))
            return
        if placed is None:
            return
        keys, places = placed
        gone = [place._replace(path=EVERYTHING) if every else place for place in places.values()]
        if denied:  # else every name of the path is dropped
            gone += [Place(name, places[path].path) for path in places for name in self._former_names(keys, path)]
        try:
            self._container.turns.require_locks()
            self._container.forget(keys, gone, denied=denied)
        except (OSError, sqlite3.Error, DamagedError) as error:
            self._warn(fault_of(error))
            try:
                self._container.remove(self._container.file(keys))
            except OSError:
                self._disabled = True

    # --- faults -------------------------------------------------------------------------------------------------------

    def _attempt(self, operation: Callable[[], _R]) -> _R | None:
        """Return the operation's result, or None if the cache cannot be used."""
        try:
            self._container.turns.require_locks()
            return operation()
        except DamagedError as error:
            self._warn(fault_of(error))
            self._discard()
        except (OSError, sqlite3.Error) as error:
            self._warn(fault_of(error))
        return None

    def _discard(self) -> None:
        """Remove a damaged file, so that the next entry has a new one."""
        try:
            keys = self._container.keys()
            if keys is not None:
                self._container.remove(self._container.file(keys))
        except OSError as error:
            self._warn(fault_of(error))

    def _warn(self, fault: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("The disk cache of store %s is not used: %s", self._store, fault)


# --- the configured caches --------------------------------------------------------------------------------------------


def cache_folder(config: Config) -> Path:
    """Return the folder of the disk cache.

    Raises:
        ConfigurationError: a file that is not trusted names it, or the user has no home folder.
    """
    if config.cache.folder is None:
        return user_folder("cache") / "secrets"
    require_trusted_origin(config, "cache.folder", "names the folder of the disk cache")
    return config.cache.folder.absolute()


def _container(config: Config) -> Container | None:
    """Return the files of the disk cache; None with a warning if the user has no home folder: each read is a miss."""
    try:
        return Container(cache_folder(config), config.cache.max_bytes)
    except ConfigurationError as error:
        if config.cache.folder is not None:
            raise
        logger.warning("The disk cache is not used: %s", error)
        return None


def disk_caches(config: Config, opened: Collection[str]) -> dict[str, StoreCache]:
    """Return the disk cache of each store of the chain that may have one: the first read tells whether it has.

    Args:
        config: the configuration.
        opened: the stores that the application opened, whose options are not known.

    Raises:
        ConfigurationError: a file that is not trusted names the folder.
    """
    container = _container(config)
    if container is None:
        return {}
    only = config.cached_in_outages
    return {
        link.store: StoreCache(
            container, link.store, partial(identity, config, link.store), config.cache, in_outages=only
        )
        for link in config.chain
        if link.disk and link.store not in opened
    }


def forget_everything(config: Config) -> None:
    """Drop every entry of the disk cache, after a change of stores that went past their links, such as a migration.

    A failure is logged, as that of any other write: see `StoreCache.forget`.
    """
    if config.cache.disk and (container := _container(config)) is not None:
        StoreCache(container, "of any name", lambda: StoreIdentity({}), config.cache).forget()
