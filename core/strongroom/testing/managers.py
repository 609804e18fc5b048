"""The inside of a manager, for tests that have to look at it or to move its time."""

from __future__ import annotations

from strongroom._manager.manager import parts_of

__all__ = ["parts_of"]
