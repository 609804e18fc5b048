"""Locks that are free in a fork's child. A separate module, since the core and every backend use it."""

from __future__ import annotations

import os
from threading import RLock
from weakref import ReferenceType, WeakKeyDictionary, ref

_owners: WeakKeyDictionary[RLock, tuple[ReferenceType[object], str]] = WeakKeyDictionary()


def fork_safe_lock(owner: object, attribute: str) -> RLock:
    """Return an RLock for this attribute of an object or a module, which has another one in a fork's child.

    For a lock of data that the child continues to use. A thread of the parent may hold the old lock, and is not there
    to release it. A lock that the forking thread holds stays, and so does one that is free.

    Args:
        owner: the object that has the lock, such as `self`.
        attribute: the name under which it has it.
    """
    lock = RLock()
    _owners[lock] = ref(owner), attribute
    return lock


def _renew_in_child() -> None:
    for lock, (owner, attribute) in list(_owners.items()):
        if lock.acquire(blocking=False):  # it was free, or this thread will release it
            lock.release()
        elif (living := owner()) is not None:
            setattr(living, attribute, fork_safe_lock(living, attribute))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_in_child)
