"""SecretsManager: the secrets of an application, from a configured chain of stores."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, overload

from strongroom._chain.answer import MISSING, Issue, Resolution, SecretBatch, WriteTarget
from strongroom._chain.threads import in_loop, off_loop, off_loop_in_turn, off_loop_to_the_end, off_loop_untimed
from strongroom._manager.assembly import ChainEntry, Parts, assemble, chain_entries, open_stores
from strongroom.encoding import as_text
from strongroom.errors import InvalidDataError, SecretNotFoundError, StrongroomError
from strongroom.formats.durations import ALLOWED, parse_duration
from strongroom.paths import check_key, check_path, check_paths, check_separate
from strongroom.secret import SensitiveDict, SensitiveStr, Value, Version, conceal, conceal_deeply
from strongroom.store import Health, in_daemon

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom._chain.diagnosis import Explanation
    from strongroom._chain.threads import Threads
    from strongroom._config import Config
    from strongroom._manager.versions import Versions
    from strongroom._watch.watch import Change, Watch
    from strongroom.rotate.rotations import Rotations, RotationStatus

_T = TypeVar("_T")
_D = TypeVar("_D")


class SecretsManager:
    """Secrets by path and key, from a chain of stores.

    Nothing is opened before the first use. One manager serves all threads and tasks of a process, and its children
    after a fork.

    Args:
        vault_url: the address of Vault or OpenBao, or a list of them. Unless a chain is configured, the chain is Vault,
            then the environment, then `./.env`.
        vault_token: its token.
        cache_ttl: how long a secret is served from the cache, in seconds. 300 by default.
        enable_fallback: False leaves the environment and `./.env` out of the chain.
        chain: store names, tables as in a configuration file, or open stores, in the order in which they are queried.
            A table may also have the `plugin` and the options of its store.
            An open store is named after its class; it is closed with the manager, and shared with a fork's children.
        environment: the environment of the configuration file.
        disk_cache: share answers with the other processes of this user through an encrypted cache on disk. By default
            that is `disk` of `[cache]`, which is off.
        audit: the file of the audit log, or a mapping with the settings of `[audit]`.

    Raises:
        ConfigurationError: an argument, a variable or the file is wrong.
        TypeError: `enable_fallback` or `disk_cache` is not a bool: the text "false" would count as true.
        PluginError: a store of the chain is not installed, or installed twice.
    """

    def __init__(
        self,
        vault_url: str | Sequence[str] | None = None,
        vault_token: str | None = None,
        cache_ttl: float | None = None,
        enable_fallback: bool = True,  # noqa: FBT001, FBT002  # callers pass it by position
        *,
        chain: Sequence[ChainEntry] | None = None,
        environment: str | None = None,
        disk_cache: bool | None = None,
        audit: str | os.PathLike[str] | Mapping[str, object] | None = None,
    ) -> None:
        # From here on no frame holds the token, or a password in an address, in a type whose repr would show it.
        vault_url, vault_token = conceal(vault_url), conceal(vault_token)
        if isinstance(chain, list | tuple):
            chain = [conceal_deeply(entry) if isinstance(entry, Mapping) else entry for entry in chain]
        from strongroom._config import discovery

        _check_flag("enable_fallback", enable_fallback)
        if disk_cache is not None:
            _check_flag("disk_cache", disk_cache)
        stores = open_stores(chain or ())
        config = discovery.load(
            environment=environment,
            vault_url=vault_url,
            vault_token=vault_token,
            cache_ttl=cache_ttl,
            disk_cache=disk_cache,
            audit=audit,
            enable_fallback=enable_fallback,
            chain=chain if chain is None or isinstance(chain, str) else chain_entries(chain, stores),
        )
        self._parts = assemble(config, stores, sources="" if chain else config.sources)

    @classmethod
    def from_config(
        cls, config: Config | Mapping[str, object] | Path | str | None = None, *, environment: str | None = None
    ) -> Self:
        """Return a manager for a configuration, a file, or the configuration that the process finds.

        Args:
            config: a `Config`, the path of a file, or the content of one as a mapping. None looks in the usual places.
            environment: the environment of the file.

        Raises:
            ConfigurationError: the file or a variable is wrong.
        """
        from pathlib import Path

        from strongroom._config import Config, discovery

        if isinstance(config, Mapping):
            config = discovery.load(document=conceal_deeply(config), environment=environment)
        elif not isinstance(config, Config):
            file = None if config is None else Path(config)
            config = discovery.load(config_file=file, environment=environment)
        manager = cls.__new__(cls)
        manager._parts = assemble(config, {}, sources=config.sources)  # noqa: SLF001  # the other constructor
        return manager

    def __repr__(self) -> str:
        parts = getattr(self, "_parts", None)  # a traceback may show a manager that was not made
        return f"SecretsManager({'' if parts is None else parts.chain!r})"

    def __reduce__(self) -> NoReturn:
        """Refuse `copy` and `pickle`: the copy would have the same connections, locks and key."""
        raise TypeError("A SecretsManager cannot be copied or pickled: share it, or make another one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def config(self) -> Config:
        """The configuration of this manager."""
        return self._parts.config

    def close(self) -> None:
        """End every watch, close every store and empty the cache. Every later call is refused.

        Writes of async functions that are in progress are made before.
        """
        self._parts.close()

    async def aclose(self) -> None:
        """`close`, off the event loop. It continues if the task is cancelled."""
        import asyncio

        await asyncio.wrap_future(in_daemon(self.close, "strongroom close"))

    @property
    def _threads(self) -> Threads:
        return self._parts.threads

    # --- reading ------------------------------------------------------------------------------------------------------

    @overload
    def get_secret(self, path: str, key: None = None, *, fresh: bool = False) -> SensitiveDict: ...
    @overload
    def get_secret(self, path: str, key: None = None, *, default: _D, fresh: bool = False) -> SensitiveDict | _D: ...
    @overload
    def get_secret(self, path: str, key: str, *, fresh: bool = False) -> SensitiveStr: ...
    @overload
    def get_secret(self, path: str, key: str, *, default: _D, fresh: bool = False) -> SensitiveStr | _D: ...
    @overload
    def get_secret(self, path: str, key: str | None = None, *, as_: type[_T], fresh: bool = False) -> _T: ...
    @overload
    def get_secret(
        self, path: str, key: str | None = None, *, as_: type[_T], default: _D, fresh: bool = False
    ) -> _T | _D: ...
    def get_secret(
        self,
        path: str,
        key: str | None = None,
        *,
        as_: type[Any] | None = None,
        default: Any = MISSING,
        fresh: bool = False,
    ) -> Any:
        """Return a secret, or one key of it, from the first store of the chain that has it.

        Args:
            path: such as `database/connection`.
            key: such as `url`. Without it the whole secret is returned, as a dict whose `repr` shows no value.
            as_: the type of the key's value: str, bytes, int, float, bool, dict, list, or object for the stored value.
                Without it the value is text: a number, boolean or container as JSON. With the extra `typed`, any type
                that pydantic validates, such as Path, Decimal or list[str]. A whole secret can be a dataclass, a
                TypedDict, a pydantic model or a msgspec Struct, whose text has redacted types. If the row of
                `[secrets]` has `as_path`, Path is the path of a private file with the value, until `close`.
            default: returned if every store confirms that it does not have it. An outage still raises.
            fresh: query the stores, past the cache.

        Raises:
            SecretNotFoundError: no store has it; the message has each store's answer.
            StoreUnavailableError: no store has it, and one could not answer.
            AuthenticationError, PermissionDeniedError: a store that may have it refused.
            InvalidPathError: the path can never name a secret; or it is `PATH#KEY`: the hint is the call to write.
            InvalidDataError: the value is not of the requested type. Names every key that does not fit.
            TypeError: `as_` is not one of these types, or needs the extra `typed`.
        """
        try:
            if key is not None and (as_ is None or as_ is str) and not fresh:
                peek = self._parts.peek  # Python 3.11 looks a method up slowly if it is an attribute of the object
                if (text := peek(path, key)) is not None:
                    return text
            elif key is None and as_ is None and not fresh and (whole := self._parts.peek_whole(path)) is not None:
                return whole
        except TypeError:  # a list as the path or the key: the read below names the fault
            pass
        try:
            check_separate(path, key, "get_secret")
            self._parts.types.check(path, key, as_)
            found = self._parts.chain.resolve(path, key, fresh=fresh)
        except SecretNotFoundError:
            if default is MISSING:
                raise
            return default
        return self._parts.types.requested(found, as_)

    aget_secret = off_loop(get_secret)

    @in_loop(get_secret)
    async def _aget_secret(
        self,
        path: str,
        key: str | None = None,
        *,
        as_: type[Any] | None = None,
        default: Any = MISSING,
        fresh: bool = False,
    ) -> Any:
        try:
            if key is not None and (as_ is None or as_ is str) and not fresh:
                peek = self._parts.peek
                if (text := peek(path, key)) is not None:
                    return text
            elif key is None and as_ is None and not fresh and (whole := self._parts.peek_whole(path)) is not None:
                return whole
        except TypeError:  # as above
            pass
        check_separate(path, key, "aget_secret")
        self._parts.types.check(path, key, as_)
        if self._parts.types.file_name(path, key, as_) is not None:  # it writes a file
            get: Any = self.get_secret
            return await self._threads.run_in_time(lambda: get(path, key, as_=as_, default=default, fresh=fresh))
        try:
            found = await self._aresolve(path, key, fresh=fresh)
        except SecretNotFoundError:
            if default is MISSING:
                raise
            return default
        return self._parts.types.requested(found, as_)

    @overload
    def get_accepted(
        self, path: str, key: None = None, *, grace: str | float, fresh: bool = False
    ) -> list[SensitiveDict]: ...
    @overload
    def get_accepted(self, path: str, key: str, *, grace: str | float, fresh: bool = False) -> list[SensitiveStr]: ...
    @overload
    def get_accepted(
        self, path: str, key: str | None = None, *, grace: str | float, as_: type[_T], fresh: bool = False
    ) -> list[_T]: ...
    def get_accepted(
        self,
        path: str,
        key: str | None = None,
        *,
        grace: str | float,
        as_: type[Any] | None = None,
        fresh: bool = False,
    ) -> Any:
        """Return the current value, then each other one that was current within the last `grace`, newest first.

        Verify with all of them, and a signature of the previous key is valid until `grace` after it was replaced. The
        earlier values come from the versions of the store that has the current one, and are cached with it. Deleted and
        destroyed versions are left out. The pending value of a rotation is not accepted before it is promoted.

        Args:
            path: such as `webhooks/stripe`.
            key: such as `secret`. Without it, whole secrets are returned.
            grace: such as `"1h"`, or seconds. It counts from the time at which the store has written the next version.
            as_: the type of the values: see `get_secret`. An earlier value that does not fit is left out.
            fresh: query the store, past the cache.

        Returns:
            At least the current value. A store of this machine without versions, such as the environment, has no other.

        Raises:
            UnsupportedOperationError: a service without versions has the secret.
            PermissionDeniedError: the secret or its history is denied.
            StoreUnavailableError: the current or the earlier values are not known.
            SecretNotFoundError, InvalidDataError, TypeError: see `get_secret`.
            ValueError: `grace` is not a duration.
        """
        check_separate(path, key, "get_accepted")
        self._parts.types.check(path, key, as_)
        if self._parts.types.file_name(path, key, as_) is not None:
            raise TypeError("as_ is Path, and the row of [secrets] has one file: read the values without as_")
        if (seconds := parse_duration(grace)) is None:
            raise ValueError(f"grace is {ALLOWED}")
        current, *earlier = self._parts.chain.resolve_accepted(path, key, seconds, fresh=fresh)
        accepted = [self._parts.types.requested(current, as_)]
        for found in earlier:
            with suppress(InvalidDataError):
                accepted.append(self._parts.types.requested(found, as_))
        return accepted

    aget_accepted = off_loop(get_accepted)

    def get_secrets(self, paths: Iterable[str], *, strict: bool = False, fresh: bool = False) -> SecretBatch:
        """Return many secrets at once. Each store is queried with one batch.

        Args:
            paths: such as `["database/connection", "auth/jwt"]`.
            strict: raise the error of the first path that was not read.
            fresh: query the stores, past the cache.

        Returns:
            The secrets by path; `errors` has the error of every other path.

        Raises:
            StrongroomError: only if `strict`: the error of the first path that was not read.
            InvalidPathError: a path is not a string.
        """
        return self._batch(self._parts.chain.resolve_many(check_paths(paths), fresh=fresh), strict=strict)

    aget_secrets = off_loop(get_secrets)

    def preload(self, prefix: str = "", *, strict: bool = False) -> SecretBatch:
        """Read every secret below `prefix` into the cache, in one batch.

        Args:
            prefix: the empty string is every secret that the stores of the chain can list.
            strict: raise the error of the first path that was not read.

        Returns:
            The batch of `get_secrets`, without listed paths that hold no secret, such as deleted ones.

        Raises:
            StoreError: a store of the chain could not be listed.
        """
        return self._preloaded(self._parts.chain.list_secrets(prefix, recursive=True), strict=strict)

    apreload = off_loop_untimed(preload)

    def resolve(
        self, path: str, key: str | None = None, *, fresh: bool = False, allow_dynamic: Issue = True
    ) -> Resolution:
        """Return the value as it is stored, with its provenance: store, version, age, and each link's answer.

        Args:
            path: such as `database/connection`.
            key: such as `url`; None is the whole secret.
            fresh: query the stores, past the cache.
            allow_dynamic: False queries no store that issues a credential on every read; `"lasting"` only such a store
                whose credentials outlast the process.

        Raises:
            UnsupportedOperationError: a store would have to answer that `allow_dynamic` excludes. The last of the
                error's `attempts` is `Answer.NOT_ASKED`.
            SecretNotFoundError, StoreError: see `get_secret`.
        """
        check_separate(path, key, "resolve")
        return self._parts.chain.resolve(path, key, fresh=fresh, allow_dynamic=allow_dynamic)

    aresolve = off_loop(resolve)

    @in_loop(resolve)
    async def _aresolve(
        self, path: str, key: str | None = None, *, fresh: bool = False, allow_dynamic: Issue = True
    ) -> Resolution:
        check_separate(path, key, "aresolve")
        chain, path, key = self._parts.chain, check_path(path), None if key is None else check_key(key, path)
        if not fresh and allow_dynamic is True and (cached := chain.cached(path, key)) is not None:
            return cached
        if fresh or allow_dynamic is not True:
            resolve = partial(chain.resolve, path, key, fresh=fresh, allow_dynamic=allow_dynamic)
            return await self._threads.run_in_time(resolve)
        return await self._threads.read(chain, path, key)

    def explain(self, path: str, key: str | None = None) -> Explanation:
        """Return the result of `resolve` and the answer of every store, including those that it would not query.

        Failures are part of the result.

        Raises:
            InvalidPathError: the path can never name a secret.
        """
        check_separate(path, key, "explain")
        return self._parts.chain.explain(path, key)

    aexplain = off_loop_untimed(explain)

    @overload
    def interpolate(self, value: str, *, fresh: bool = False) -> str: ...
    @overload
    def interpolate(self, value: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]: ...
    def interpolate(self, value: Any, *, fresh: bool = False) -> Any:
        """Return text, or a mapping, with the value of a secret for each reference `strongroom://PATH#KEY` in it.

        Nothing else in the text is replaced. Values come as text: a number, boolean or container as JSON.

        Args:
            value: text, or a mapping of text, mappings and lists, such as a parsed configuration file.
            fresh: query the stores, past the cache.

        Raises:
            InvalidPathError: `strongroom://` is not followed by PATH#KEY.
            SecretNotFoundError, StoreError: see `get_secret`.
            TypeError: the value is neither text nor a mapping.
        """
        from strongroom._manager.references import interpolate

        return interpolate(value, lambda path, key: self.get_secret(path, key, fresh=fresh))

    ainterpolate = off_loop_untimed(interpolate)

    def list_secrets(self, prefix: str = "", *, recursive: bool = False) -> list[str]:
        """Return the names directly below `prefix`, folders ending in `/`; `recursive` returns every path below it.

        A name that no read can have, such as `..`, is left out with a warning. `preload` reports it as an error.

        Raises:
            StoreError: a store of the chain could not be listed. The list is never incomplete.
        """
        return self._parts.chain.list_secrets(prefix, recursive=recursive, readable=True)

    alist_secrets = off_loop(list_secrets)

    def get_database_url(self, *, scheme: str | None = None) -> SensitiveStr:
        """Return the `url` of `database/connection`, or a URL composed of its host, port, user, password and name.

        A composed URL has `sslmode`, several hosts and the folder of a Unix socket in its query. All parts come from
        one store. If no store has it, the default that `[secrets]` has for `database/connection#url`, or the value that
        it composes, is returned.

        Args:
            scheme: the scheme of the returned URL, such as `postgresql+asyncpg`: it takes the place of that of a stored
                URL. By default a stored URL is returned unchanged, and a composed one is `postgresql://…`.

        Raises:
            SecretNotFoundError, StoreError: see `get_secret`.
            InvalidDataError: a part is not valid; or `scheme` is given, and the stored `url` is not a URL.
            ValueError: `scheme` is not the scheme of a URL.
        """
        from strongroom._credentials.database_address import (
            DATABASE_PATH,
            WANTED,
            check_scheme,
            database_url,
            with_scheme,
        )

        check_scheme(scheme)
        try:
            url = self._parts.chain.resolve(
                DATABASE_PATH, extract=lambda data: database_url(data, scheme), wanted=WANTED
            ).value
        except SecretNotFoundError:
            if (DATABASE_PATH, "url") not in self._parts.replacements:
                raise
            url = self._parts.chain.resolve(DATABASE_PATH, "url").value
            url = with_scheme(as_text(url, DATABASE_PATH, "url"), scheme)
        return as_text(url, DATABASE_PATH, "url")

    aget_database_url = off_loop(get_database_url)

    def get_api_key(self, service: str) -> SensitiveStr:
        """Return the `key` of `api-keys/<service>`."""
        return self.get_secret(_api_key_path(service), "key")

    async def aget_api_key(self, service: str) -> SensitiveStr:
        """`get_api_key`. A cached secret is returned without a thread."""
        return await self.aget_secret(_api_key_path(service), "key")

    def get_jwt_secret(self) -> SensitiveStr:
        """Return the `secret` of `auth/jwt`."""
        return self.get_secret("auth/jwt", "secret")

    async def aget_jwt_secret(self) -> SensitiveStr:
        """`get_jwt_secret`. A cached secret is returned without a thread."""
        return await self.aget_secret("auth/jwt", "secret")

    def _preloaded(self, paths: Iterable[str], *, strict: bool) -> SecretBatch:
        outcomes = self._parts.chain.resolve_many(paths, allow_dynamic=False)
        found = {path: one for path, one in outcomes.items() if not isinstance(one, SecretNotFoundError)}
        return self._batch(found, strict=strict)

    def _batch(self, outcomes: Mapping[str, Resolution | StrongroomError], *, strict: bool) -> SecretBatch:
        batch = SecretBatch(self._parts.types.apply_to_all(outcomes))
        if strict:
            batch.raise_first_error()
        return batch

    # --- writing ------------------------------------------------------------------------------------------------------

    def generate_missing(self, *, store: str | None = None) -> list[str]:
        """Create the required secrets that no store has and whose row has `generate`, and return their variables.

        A secret that another process creates meanwhile is kept.

        Args:
            store: the name of a store of the chain. By default the first one that can be written.

        Raises:
            StoreUnavailableError, PermissionDeniedError: it is not known whether a secret exists, or it was refused.
            UnsupportedOperationError: no store of the chain can be written.
        """
        from strongroom._manager.declared_secrets import generate_missing

        if store is not None:
            self._parts.chain.check_store(store)
        return generate_missing(self._parts.chain, self._parts.config.secrets, store)

    agenerate_missing = off_loop_to_the_end(generate_missing)

    def set_secret(
        self, path: str, data: Mapping[str, Value], *, store: str | None = None, replace: bool = False
    ) -> Version | None:
        """Set the keys of `data` and keep the secret's others; `replace=True` replaces the secret.

        A new user or password replaces the one inside the secret's `url` too, unless `data` has a `url`. A merge runs
        under check-and-set if the store has it, and is repeated after a conflict.

        Args:
            path: such as `database/connection`.
            data: keys and values: text, bytes, numbers, booleans, null, and lists and mappings of these.
            store: the name of a store of the chain. By default the first one that can be written.
            replace: drop the keys that `data` does not have.

        Returns:
            The store's name for the new version, or None if it has no versions.

        Raises:
            ConflictError: other writers won, or the new secret would hide keys of a lower store.
            InvalidPathError, InvalidDataError, SecretTooLargeError: it could not be stored exactly; or the secret's
                `url` holds the user or password in a form that cannot be replaced.
            UnsupportedOperationError: no store of the chain can be written, or the named one does not cover this path.
            WriteOutcomeUnknownError: the write may or may not have been made.
        """
        from strongroom._credentials.database_address import changed_url

        data = conceal(data)
        check_separate(path, None, "set_secret")
        _check_flag("replace", replace)
        return self._parts.chain.write(path, data, store=store, replace=replace, follow=changed_url)

    aset_secret = off_loop_in_turn(set_secret)

    def delete_secret(self, path: str, *, store: str | None = None) -> None:
        """Remove the secret from one store, by default the first that can be written.

        Raises:
            SecretNotFoundError: that store has none.
        """
        self._parts.chain.delete(path, store=store)

    adelete_secret = off_loop_in_turn(delete_secret)

    def write_target(self, path: str, *, store: str | None = None) -> WriteTarget:
        """Return the store that `set_secret` and `delete_secret` would change, with its capabilities.

        Raises:
            ConfigurationError: the chain has no store of that name.
            UnsupportedOperationError: no store of the chain, or not that one, can be written, or is read for this path.
        """
        return self._parts.chain.write_target(path, store=store)

    @property
    def versions(self) -> Versions:
        """Version history and labels of the secrets in the store that writes go to."""
        from strongroom._manager.versions import Versions

        return Versions(self._parts.chain, self._threads)

    @property
    def rotations(self) -> Rotations:
        """Rotation of the secrets that have a table `[rotation."PATH"]` in the configuration."""
        from strongroom.rotate.rotations import Rotations

        return Rotations(self._parts.chain, self._threads, self._parts.config)

    async def rotate(self, path: str) -> RotationStatus:
        """Rotate the secret now, off the event loop. `rotations.rotate(path)` is the blocking form."""
        return await self.rotations.arotate(path)

    # --- watching -----------------------------------------------------------------------------------------------------

    def watch(
        self, paths: Iterable[str], callback: Callable[[Change], object], *, interval: float | None = None
    ) -> Watch:
        """Call `callback` with a `Change` whenever one of these secrets has changed, in a background thread.

        Several changes between two looks are one call. An outage causes no call; a change during it causes one
        afterwards. Watched secrets are refreshed before they leave the cache. A forked child starts its own thread.

        Args:
            paths: such as `["database/connection"]`. Their present values are read first, unless they are cached.
            callback: is called in one thread, in order. Its exceptions are logged, and so is a call that has not
                returned after ten seconds, since every other watch waits for it.
            interval: the seconds between two looks; by default `watch_interval` of each link, which is 30.

        Returns:
            The watch. Its `close` ends it, and so does `close` of the manager.

        Raises:
            InvalidPathError: a path can never name a secret.
            ValueError: `interval` is not above zero.
        """
        return self._parts.watcher.watch(check_paths(paths), callback, interval)

    def awatch(self, paths: Iterable[str], *, interval: float | None = None) -> AsyncGenerator[Change, None]:
        """Yield a `Change` whenever one of these secrets has changed: see `watch`. Closing the generator ends it."""
        return self._parts.watcher.changes(check_paths(paths), interval, self._threads)

    # --- maintenance --------------------------------------------------------------------------------------------------

    def invalidate(self, path: str | None = None) -> None:
        """Drop `path`, or everything, from the cache; the next read is fresh."""
        self._parts.chain.forget(None if path is None else check_path(path))

    def health(self) -> dict[str, Health]:
        """Return each store's health, probed now. An unhealthy store is reported, not raised."""
        return self._parts.chain.health()

    ahealth = off_loop_untimed(health)


def manager_of(parts: Parts) -> SecretsManager:
    """Return a manager with these parts."""
    manager = SecretsManager.__new__(SecretsManager)
    manager._parts = parts  # noqa: SLF001  # of this module's class
    return manager


def parts_of(manager: SecretsManager) -> Parts:
    """Return the parts of a manager."""
    return manager._parts  # noqa: SLF001  # of this module's class


def resolve_keys(
    manager: SecretsManager, places: Iterable[tuple[str, str]], *, allow_dynamic: Issue
) -> dict[tuple[str, str], Resolution | StrongroomError]:
    """Return what `SecretsManager.resolve` would return or raise for each path and key, read as one batch."""
    return parts_of(manager).chain.resolve_keys(places, allow_dynamic=allow_dynamic)


def preloaded_with_records(manager: SecretsManager) -> SecretBatch:
    """Return the result of a strict `preload` together with the records of rotations, which `scan` looks into."""
    listed = parts_of(manager).chain.list_secrets(recursive=True, records=True)
    return manager._preloaded(listed, strict=True)  # noqa: SLF001  # of this module's class


def _api_key_path(service: str) -> str:
    return f"api-keys/{check_path(service)}"


def _check_flag(name: str, value: object) -> None:
    """Refuse a flag that is not a bool: text from a variable, such as "false", would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {type(value).__name__}")
