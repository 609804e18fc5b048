"""The module-level functions: `SecretsManager`'s methods on one default manager, made at first use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

from strongroom._chain.answer import MISSING
from strongroom._chain.resolution import Resolution
from strongroom._manager import SecretsManager
from strongroom._manager.batch import SecretBatch
from strongroom.errors import SecretNotFoundError
from strongroom.secret import SensitiveDict, SensitiveStr, Value, Version, conceal
from strongroom.store import Health, call_at_exit, reentrant_lock

__all__ = [
    "Resolution",
    "SecretNotFoundError",
    "SecretsManager",
    "aclose",
    "adelete_secret",
    "aget_api_key",
    "aget_database_url",
    "aget_jwt_secret",
    "aget_secret",
    "aget_secrets",
    "ahealth",
    "ainterpolate",
    "alist_secrets",
    "apreload",
    "aresolve",
    "aset_secret",
    "close",
    "default_manager",
    "delete_secret",
    "get_api_key",
    "get_database_url",
    "get_jwt_secret",
    "get_secret",
    "get_secrets",
    "health",
    "interpolate",
    "invalidate",
    "list_secrets",
    "preload",
    "resolve",
    "set_default_manager",
    "set_secret",
]

_T = TypeVar("_T")
_D = TypeVar("_D")

_default: SecretsManager | None = None
_making = reentrant_lock()


def set_default_manager(manager: SecretsManager | None) -> SecretsManager | None:
    """Set the manager that the functions of this module use, and return the previous one, which stays open.

    Args:
        manager: None lets the next call create one from the configuration.
    """
    global _default  # the one default manager of the process is the point
    with _making:
        before, _default = _default, manager
        return before


def close() -> None:
    """Close the default manager, if there is one. The next call creates another."""
    if (manager := set_default_manager(None)) is not None:
        manager.close()


async def aclose() -> None:
    """`close`, off the event loop."""
    if (manager := set_default_manager(None)) is not None:
        await manager.aclose()


def _current() -> SecretsManager | None:
    return _default


def default_manager() -> SecretsManager:
    """Return the manager that the functions of this module use. The first call creates it from the configuration."""
    global _default  # noqa: PLW0603
    if _default is None:
        with _making:
            if _default is None:
                made = SecretsManager()
                _default = _current() or made  # a signal handler may have made one meanwhile
                call_at_exit(_close_at_exit)
    return _default


def _close_at_exit() -> None:
    """Close the default manager: not only a token of Vault is a session that a server would keep."""
    if (manager := _current()) is not None:
        manager.close()


@overload
def get_secret(path: str, key: None = None, *, fresh: bool = False) -> SensitiveDict: ...
@overload
def get_secret(path: str, key: None = None, *, default: _D, fresh: bool = False) -> SensitiveDict | _D: ...
@overload
def get_secret(path: str, key: str, *, fresh: bool = False) -> SensitiveStr: ...
@overload
def get_secret(path: str, key: str, *, default: _D, fresh: bool = False) -> SensitiveStr | _D: ...
@overload
def get_secret(path: str, key: str | None = None, *, as_: type[_T], fresh: bool = False) -> _T: ...
@overload
def get_secret(path: str, key: str | None = None, *, as_: type[_T], default: _D, fresh: bool = False) -> _T | _D: ...
def get_secret(
    path: str, key: str | None = None, *, as_: type[Any] | None = None, default: Any = MISSING, fresh: bool = False
) -> Any:
    """Return a secret, or one key of it: `SecretsManager.get_secret` on the default manager."""
    get: Any = default_manager().get_secret
    return get(path, key, as_=as_, default=default, fresh=fresh)


@overload
async def aget_secret(path: str, key: None = None, *, fresh: bool = False) -> SensitiveDict: ...
@overload
async def aget_secret(path: str, key: None = None, *, default: _D, fresh: bool = False) -> SensitiveDict | _D: ...
@overload
async def aget_secret(path: str, key: str, *, fresh: bool = False) -> SensitiveStr: ...
@overload
async def aget_secret(path: str, key: str, *, default: _D, fresh: bool = False) -> SensitiveStr | _D: ...
@overload
async def aget_secret(path: str, key: str | None = None, *, as_: type[_T], fresh: bool = False) -> _T: ...
@overload
async def aget_secret(
    path: str, key: str | None = None, *, as_: type[_T], default: _D, fresh: bool = False
) -> _T | _D: ...
async def aget_secret(
    path: str, key: str | None = None, *, as_: type[Any] | None = None, default: Any = MISSING, fresh: bool = False
) -> Any:
    """`SecretsManager.aget_secret` on the default manager."""
    get: Any = default_manager().aget_secret
    return await get(path, key, as_=as_, default=default, fresh=fresh)


def set_secret(
    path: str, data: Mapping[str, Value], *, store: str | None = None, replace: bool = False
) -> Version | None:
    """Set keys of a secret and keep the others: `SecretsManager.set_secret` on the default manager."""
    data = conceal(data)
    return default_manager().set_secret(path, data, store=store, replace=replace)


async def aset_secret(
    path: str, data: Mapping[str, Value], *, store: str | None = None, replace: bool = False
) -> Version | None:
    """`SecretsManager.aset_secret` on the default manager."""
    data = conceal(data)
    return await default_manager().aset_secret(path, data, store=store, replace=replace)


@overload
def interpolate(value: str, *, fresh: bool = False) -> str: ...
@overload
def interpolate(value: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]: ...
def interpolate(value: Any, *, fresh: bool = False) -> Any:
    """Return text or a mapping with its references resolved: `SecretsManager.interpolate` on the default manager."""
    return default_manager().interpolate(value, fresh=fresh)


@overload
async def ainterpolate(value: str, *, fresh: bool = False) -> str: ...
@overload
async def ainterpolate(value: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]: ...
async def ainterpolate(value: Any, *, fresh: bool = False) -> Any:
    """`SecretsManager.ainterpolate` on the default manager."""
    return await default_manager().ainterpolate(value, fresh=fresh)


def list_secrets(prefix: str = "", *, recursive: bool = False) -> list[str]:
    """Return the names below a prefix: `SecretsManager.list_secrets` on the default manager."""
    return default_manager().list_secrets(prefix, recursive=recursive)


async def alist_secrets(prefix: str = "", *, recursive: bool = False) -> list[str]:
    """`SecretsManager.alist_secrets` on the default manager."""
    return await default_manager().alist_secrets(prefix, recursive=recursive)


def delete_secret(path: str, *, store: str | None = None) -> None:
    """Remove a secret from one store: `SecretsManager.delete_secret` on the default manager."""
    default_manager().delete_secret(path, store=store)


async def adelete_secret(path: str, *, store: str | None = None) -> None:
    """`SecretsManager.adelete_secret` on the default manager."""
    await default_manager().adelete_secret(path, store=store)


def get_secrets(paths: Iterable[str], *, strict: bool = False, fresh: bool = False) -> SecretBatch:
    """Return many secrets at once: `SecretsManager.get_secrets` on the default manager."""
    return default_manager().get_secrets(paths, strict=strict, fresh=fresh)


async def aget_secrets(paths: Iterable[str], *, strict: bool = False, fresh: bool = False) -> SecretBatch:
    """`SecretsManager.aget_secrets` on the default manager."""
    return await default_manager().aget_secrets(paths, strict=strict, fresh=fresh)


def preload(prefix: str = "", *, strict: bool = False) -> SecretBatch:
    """Read every secret below a prefix into the cache: `SecretsManager.preload` on the default manager."""
    return default_manager().preload(prefix, strict=strict)


async def apreload(prefix: str = "", *, strict: bool = False) -> SecretBatch:
    """`SecretsManager.apreload` on the default manager."""
    return await default_manager().apreload(prefix, strict=strict)


def resolve(path: str, key: str | None = None, *, fresh: bool = False, allow_dynamic: bool = True) -> Resolution:
    """Return a secret with its provenance: `SecretsManager.resolve` on the default manager."""
    return default_manager().resolve(path, key, fresh=fresh, allow_dynamic=allow_dynamic)


async def aresolve(path: str, key: str | None = None, *, fresh: bool = False, allow_dynamic: bool = True) -> Resolution:
    """`SecretsManager.aresolve` on the default manager."""
    return await default_manager().aresolve(path, key, fresh=fresh, allow_dynamic=allow_dynamic)


def invalidate(path: str | None = None) -> None:
    """Empty the cache: `SecretsManager.invalidate` on the default manager."""
    default_manager().invalidate(path)


def health() -> dict[str, Health]:
    """Return each store's health: `SecretsManager.health` on the default manager."""
    return default_manager().health()


async def ahealth() -> dict[str, Health]:
    """`SecretsManager.ahealth` on the default manager."""
    return await default_manager().ahealth()


def get_database_url(*, scheme: str | None = None) -> SensitiveStr:
    """Return the database's URL: `SecretsManager.get_database_url` on the default manager."""
    return default_manager().get_database_url(scheme=scheme)


async def aget_database_url(*, scheme: str | None = None) -> SensitiveStr:
    """`SecretsManager.aget_database_url` on the default manager."""
    return await default_manager().aget_database_url(scheme=scheme)


def get_api_key(service: str) -> SensitiveStr:
    """Return a service's API key: `SecretsManager.get_api_key` on the default manager."""
    return default_manager().get_api_key(service)


async def aget_api_key(service: str) -> SensitiveStr:
    """`SecretsManager.aget_api_key` on the default manager."""
    return await default_manager().aget_api_key(service)


def get_jwt_secret() -> SensitiveStr:
    """Return the secret that signs tokens: `SecretsManager.get_jwt_secret` on the default manager."""
    return default_manager().get_jwt_secret()


async def aget_jwt_secret() -> SensitiveStr:
    """`SecretsManager.aget_jwt_secret` on the default manager."""
    return await default_manager().aget_jwt_secret()
