"""SecretsManager: the secrets of an application, from a configured chain of stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from strongroom.chain.chain import Resolution
from strongroom.chain.query import MISSING
from strongroom.errors import SecretNotFoundError
from strongroom.manager.arguments import api_key_path, check_flag, requested_key, strings
from strongroom.manager.batch import SecretBatch
from strongroom.manager.blocking import BlockingManager, found_or_failed
from strongroom.secret import SensitiveDict, SensitiveStr, Value, Version, conceal
from strongroom.store import Health

if TYPE_CHECKING:
    from strongroom.chain.explanation import Explanation
    from strongroom.rotate.rotations import RotationStatus
    from strongroom.watch.change import Change

_T = TypeVar("_T")
_D = TypeVar("_D")


class SecretsManager(BlockingManager):
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @overload
    async def aget_secret(self, path: str, key: None = None, *, fresh: bool = False) -> SensitiveDict: ...
    @overload
    async def aget_secret(
        self, path: str, key: None = None, *, default: _D, fresh: bool = False
    ) -> SensitiveDict | _D: ...
    @overload
    async def aget_secret(self, path: str, key: str, *, fresh: bool = False) -> SensitiveStr: ...
    @overload
    async def aget_secret(self, path: str, key: str, *, default: _D, fresh: bool = False) -> SensitiveStr | _D: ...
    @overload
    async def aget_secret(self, path: str, key: str | None = None, *, as_: type[_T], fresh: bool = False) -> _T: ...
    @overload
    async def aget_secret(
        self, path: str, key: str | None = None, *, as_: type[_T], default: _D, fresh: bool = False
    ) -> _T | _D: ...
    async def aget_secret(
        self,
        path: str,
        key: str | None = None,
        *,
        as_: type[Any] | None = None,
        default: Any = MISSING,
        fresh: bool = False,
    ) -> Any:
        """`get_secret`. A cached secret is returned without a thread."""
        try:
            if key is not None and as_ is None and not fresh and (text := self._peek(path, key)) is not None:
                return text
        except TypeError:
            pass
        path, key = requested_key(path, key, as_)
        try:
            found = await self._threads.run_if_needed(
                lambda blocking: self._chain.resolve(path, key, fresh=fresh, blocking=blocking)
            )
        except SecretNotFoundError:
            if default is MISSING:
                raise
            return default
        return self._requested(found, as_)

    async def aget_secrets(self, paths: Iterable[str], *, strict: bool = False, fresh: bool = False) -> SecretBatch:
        """`get_secrets`. Cached secrets, and those of asynchronous stores, are returned without a thread."""
        paths = strings(paths)
        outcomes = await self._threads.run_if_needed(
            lambda blocking: self._chain.resolve_many(paths, fresh=fresh, blocking=blocking)
        )
        return self._batch(outcomes, strict=strict)

    async def apreload(self, prefix: str = "", *, strict: bool = False) -> SecretBatch:
        """`preload`, off the event loop; asynchronous stores are awaited in it."""
        paths = await self.alist_secrets(prefix, recursive=True)
        outcomes = await self._threads.run_if_needed(
            lambda blocking: self._chain.resolve_many(paths, allow_dynamic=False, blocking=blocking)
        )
        return self._batch(found_or_failed(outcomes), strict=strict)

    async def aresolve(
        self, path: str, key: str | None = None, *, fresh: bool = False, allow_dynamic: bool = True
    ) -> Resolution:
        """`resolve`. A cached secret is returned without a thread."""
        return await self._threads.run_if_needed(
            lambda blocking: self._chain.resolve(path, key, fresh=fresh, allow_dynamic=allow_dynamic, blocking=blocking)
        )

    async def aexplain(self, path: str, key: str | None = None) -> Explanation:
        """`explain`, off the event loop; asynchronous stores are awaited in it."""
        return await self._threads.drive(self._chain.explain_steps(path, key))

    @overload
    async def ainterpolate(self, value: str, *, fresh: bool = False) -> str: ...
    @overload
    async def ainterpolate(self, value: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]: ...
    async def ainterpolate(self, value: Any, *, fresh: bool = False) -> Any:
        """`interpolate`, off the event loop; asynchronous stores are awaited in it."""
        from strongroom.manager.references import interpolate

        wanted: dict[tuple[str, str], SensitiveStr] = {}
        interpolate(value, lambda path, key: wanted.setdefault((path, key), SensitiveStr()))
        for path, key in wanted:
            wanted[path, key] = await self.aget_secret(path, key, fresh=fresh)
        return interpolate(value, lambda path, key: wanted[path, key])

    async def alist_secrets(self, prefix: str = "", *, recursive: bool = False) -> list[str]:
        """`list_secrets`, off the event loop; asynchronous stores are awaited in it."""
        return await self._threads.drive(self._chain.list_steps(prefix, recursive=recursive))

    async def aget_database_url(self, *, scheme: str | None = None) -> SensitiveStr:
        """`get_database_url`. A cached secret is returned without a thread."""
        return await self._threads.run_if_needed(lambda blocking: self._database_url(scheme, blocking=blocking))

    async def aget_api_key(self, service: str) -> SensitiveStr:
        """`get_api_key`. A cached secret is returned without a thread."""
        return await self.aget_secret(api_key_path(service), "key")

    async def aget_jwt_secret(self) -> SensitiveStr:
        """`get_jwt_secret`. A cached secret is returned without a thread."""
        return await self.aget_secret("auth/jwt", "secret")

    async def aset_secret(
        self, path: str, data: Mapping[str, Value], *, store: str | None = None, replace: bool = False
    ) -> Version | None:
        """`set_secret`, off the event loop; an asynchronous store is awaited in it."""
        data = conceal(data)
        check_flag("replace", replace)
        return await self._threads.drive(self._chain.write_steps(path, data, store=store, replace=replace))

    async def agenerate_missing(self, *, store: str | None = None) -> list[str]:
        """`generate_missing`, off the event loop; asynchronous stores are awaited in it."""
        return await self._threads.drive(self._generate_missing(store))

    async def adelete_secret(self, path: str, *, store: str | None = None) -> None:
        """`delete_secret`, off the event loop; an asynchronous store is awaited in it."""
        await self._threads.drive(self._chain.delete_steps(path, store=store))

    async def rotate(self, path: str) -> RotationStatus:
        """Rotate the secret now, off the event loop. `rotations.rotate(path)` is the blocking form."""
        return await self.rotations.arotate(path)

    def awatch(self, paths: Iterable[str], *, interval: float | None = None) -> AsyncGenerator[Change, None]:
        """Yield a `Change` whenever one of these secrets has changed: see `watch`. Closing the generator ends it."""
        return self._watcher.changes(strings(paths), interval, self._threads)

    async def ahealth(self) -> dict[str, Health]:
        """`health`, off the event loop; an asynchronous store is awaited in it."""
        from strongroom.chain.probe import await_all  # a read does not need it

        return await await_all(self._chain.probes(), self._config.timeout, self._threads.drive)

    async def aclose(self) -> None:
        """`close`, off the event loop; asynchronous stores are closed in it. It continues if the task is cancelled."""
        await self._threads.drive_to_end(self._close_steps())
