"""The store interface: all that most plugins import. Special tools have separate modules here."""

from importlib import import_module
from typing import TYPE_CHECKING

from strongroom.store import protocols
from strongroom.store.daemon import in_daemon, within_deadline
from strongroom.store.deadline import fails_fast, remaining, required_paths, time_limit
from strongroom.store.locks import fork_safe_lock
from strongroom.store.option import Option, checked_by
from strongroom.store.protocols import *  # noqa: F403  # a new capability touches that module alone

if TYPE_CHECKING:
    from strongroom.store.asynchronous import AsyncSecretStore

__all__ = [
    "AsyncSecretStore",
    "Option",
    "checked_by",
    "fails_fast",
    "fork_safe_lock",
    "in_daemon",
    "remaining",
    "required_paths",
    "time_limit",
    "within_deadline",
]
__all__ += protocols.__all__


def __getattr__(name: str) -> object:
    """Import a name that few stores use at its first use (PEP 562)."""
    if name != "AsyncSecretStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.asynchronous").AsyncSecretStore
