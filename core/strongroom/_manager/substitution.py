"""Substitution of one manager for all others of the process, for `strongroom.testing.override`.

An application may create its managers anywhere: at import, in a factory, in the code under test. All that are alive,
and all that are made while a substitute is set, read and write through the chain of the substitute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from strongroom._manager.construction import ConfiguredManager

_managers: WeakSet[ConfiguredManager] = WeakSet()
_substitutes: list[ConfiguredManager] = []
"""The substitutes of nested blocks. The last one counts."""


def add(manager: ConfiguredManager) -> None:
    """Add a manager that was made just now."""
    _managers.add(manager)
    if _substitutes:
        manager._answer_like(_substitutes[-1])  # noqa: SLF001  # of this package


def is_active() -> bool:
    """Return True if another manager answers for all managers."""
    return bool(_substitutes)


def push(substitute: ConfiguredManager) -> None:
    """Let every manager answer like this one."""
    _substitutes.append(substitute)
    _apply(substitute)


def pop() -> None:
    """End the last substitution: the one before it counts again."""
    _substitutes.pop()
    _apply(_substitutes[-1] if _substitutes else None)


def _apply(substitute: ConfiguredManager | None) -> None:
    for manager in list(_managers):
        manager._answer_like(substitute)  # noqa: SLF001  # of this package
