"""The store interface: everything that a plugin author imports."""

from importlib import import_module
from typing import TYPE_CHECKING

from strongroom.store import protocols
from strongroom.store.daemon import in_daemon, within_deadline
from strongroom.store.deadline import (
    DEFAULT_TIMEOUT,
    boot_time,
    fail_fast,
    fails_fast,
    remaining,
    require_paths,
    required_paths,
    time_limit,
)
from strongroom.store.exit_hook import call_at_exit
from strongroom.store.load_spread import random_factor
from strongroom.store.locks import fork_safe_lock
from strongroom.store.option import Option, checked_by, is_loopback
from strongroom.store.protocols import *  # noqa: F403  # a new capability touches that module alone
from strongroom.store.surroundings import botocore_contents, named_contents

if TYPE_CHECKING:
    from strongroom.store.asynchronous import AsyncSecretStore
    from strongroom.store.program import Finished, run_program
    from strongroom.store.sdk_logging import silence_new_loggers, silenced_logs

__all__ = [
    "DEFAULT_TIMEOUT",
    "AsyncSecretStore",
    "Finished",
    "Option",
    "boot_time",
    "botocore_contents",
    "call_at_exit",
    "checked_by",
    "fail_fast",
    "fails_fast",
    "fork_safe_lock",
    "in_daemon",
    "is_loopback",
    "named_contents",
    "random_factor",
    "remaining",
    "require_paths",
    "required_paths",
    "run_program",
    "silence_new_loggers",
    "silenced_logs",
    "time_limit",
    "within_deadline",
]
__all__ += protocols.__all__

_MODULES = {
    "AsyncSecretStore": "asynchronous",
    "Finished": "program",
    "run_program": "program",
    "silence_new_loggers": "sdk_logging",
    "silenced_logs": "sdk_logging",
}
"""Names that few stores use, each imported at its first use (PEP 562)."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
