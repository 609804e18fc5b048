"""The store interface: all that most plugins import. Special tools have separate modules here."""

from strongroom.store import protocols
from strongroom.store.concurrency import in_daemon, within_deadline
from strongroom.store.deadline import fails_fast, remaining, required_paths, time_limit
from strongroom.store.option import Option, checked_by
from strongroom.store.process import fork_safe_lock
from strongroom.store.protocols import *  # noqa: F403  # a new capability touches that module alone

__all__ = [
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
