"""The functions of the module: `SecretsManager`'s methods on one default manager, which the first call creates.

Applications import the functions and the manager from `strongroom`. The records that only a manager returns have their
home here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from strongroom._chain.answer import Resolution, SecretBatch, WriteTarget
from strongroom._lazy_names import lazy_names
from strongroom._manager import SecretsManager
from strongroom._watch.watch import Watch
from strongroom.store import fork_safe_lock
from strongroom.store.process import call_at_exit

if TYPE_CHECKING:
    from strongroom._chain.diagnosis import Explanation, LinkAnswer
    from strongroom._config import Config
    from strongroom._manager.versions import Versions
else:
    __getattr__, __dir__, _ = lazy_names(
        __name__,
        {
            "strongroom._chain.diagnosis": "Explanation LinkAnswer",
            "strongroom._config": "Config",
            "strongroom._manager.versions": "Versions",
        },
    )

__all__ = [
    "Config",
    "Explanation",
    "LinkAnswer",
    "Resolution",
    "SecretBatch",
    "SecretsManager",
    "Versions",
    "Watch",
    "WriteTarget",
    "aclose",
    "adelete_secret",
    "aget_accepted",
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
    "get_accepted",
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

_P = ParamSpec("_P")
_R = TypeVar("_R")

_default: SecretsManager | None = None
_making = fork_safe_lock(sys.modules[__name__], "_making")


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
    """Close the default manager off the event loop, if there is one. The next call creates another."""
    if (manager := set_default_manager(None)) is not None:
        await manager.aclose()


def default_manager() -> SecretsManager:
    """Return the manager that the functions of this module use. The first call creates it from the configuration."""
    global _default  # noqa: PLW0603
    if _default is None:
        with _making:
            if _default is None:
                _default = SecretsManager()
                call_at_exit(_close_at_exit)
    return _default


def _close_at_exit() -> None:
    """Close the default manager: not only a token of Vault is a session that a server would keep."""
    if (manager := _default) is not None:
        manager.close()


def _on_default(method: Callable[Concatenate[SecretsManager, _P], _R]) -> Callable[_P, _R]:
    """Return a method of the manager as a function that calls it on the default manager.

    Type checkers keep all overloads of the method.
    """

    @wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            result: _R = getattr(default_manager(), call.__name__)(*args, **kwargs)
            return result
        finally:
            del args, kwargs  # a traceback that prints local variables would show them

    _place(call, method)
    return call


def _off_loop_on_default(
    method: Callable[Concatenate[SecretsManager, _P], _R],
) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Return the asynchronous form of a method as a coroutine function that calls it on the default manager.

    It takes the blocking method: pyright keeps overloads only of a method that is written out.
    """

    @wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            if _default is None:  # making it reads files
                import asyncio

                await asyncio.to_thread(default_manager)
            begun: Coroutine[Any, Any, _R] = getattr(default_manager(), call.__name__)(*args, **kwargs)
        finally:
            del args, kwargs
        return await begun

    call.__name__ = f"a{method.__name__}"
    _place(call, method)
    return call


def _place(call: Any, method: Callable[..., Any]) -> None:
    """Give a function its name in this module, for `pickle`, and the method's signature without `self`, for `help`."""
    signature = inspect.signature(method)
    call.__module__, call.__qualname__ = __name__, call.__name__
    call.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])


get_secret = _on_default(SecretsManager.get_secret)
aget_secret = _off_loop_on_default(SecretsManager.get_secret)
get_accepted = _on_default(SecretsManager.get_accepted)
aget_accepted = _off_loop_on_default(SecretsManager.get_accepted)
set_secret = _on_default(SecretsManager.set_secret)
aset_secret = _off_loop_on_default(SecretsManager.set_secret)
interpolate = _on_default(SecretsManager.interpolate)
ainterpolate = _off_loop_on_default(SecretsManager.interpolate)
list_secrets = _on_default(SecretsManager.list_secrets)
alist_secrets = _off_loop_on_default(SecretsManager.list_secrets)
delete_secret = _on_default(SecretsManager.delete_secret)
adelete_secret = _off_loop_on_default(SecretsManager.delete_secret)
get_secrets = _on_default(SecretsManager.get_secrets)
aget_secrets = _off_loop_on_default(SecretsManager.get_secrets)
preload = _on_default(SecretsManager.preload)
apreload = _off_loop_on_default(SecretsManager.preload)
resolve = _on_default(SecretsManager.resolve)
aresolve = _off_loop_on_default(SecretsManager.resolve)
invalidate = _on_default(SecretsManager.invalidate)
health = _on_default(SecretsManager.health)
ahealth = _off_loop_on_default(SecretsManager.health)
get_database_url = _on_default(SecretsManager.get_database_url)
aget_database_url = _off_loop_on_default(SecretsManager.get_database_url)
get_api_key = _on_default(SecretsManager.get_api_key)
aget_api_key = _off_loop_on_default(SecretsManager.get_api_key)
get_jwt_secret = _on_default(SecretsManager.get_jwt_secret)
aget_jwt_secret = _off_loop_on_default(SecretsManager.get_jwt_secret)
