"""Audit events of rotations, on the logger `strongroom.audit`: one for each step, with fields and without values.

Separate, because rotations by a service have them too.
"""

from __future__ import annotations

import logging

from strongroom.errors import StoreError, StrongroomError, shown
from strongroom.events import Event, EventKind, emit

logger = logging.getLogger("strongroom.audit")


def record(
    step: str,
    path: str,
    *,
    store: str,
    link: int | None,
    seconds: float,
    error: StrongroomError | None = None,
    **fields: str,
) -> None:
    """Log one step of a rotation at the level INFO, or WARNING if it failed.

    The record has the attributes `event` (`rotation.STEP`), `secret_path`, `outcome` (`done` or `failed`), `error` (the
    class of the error, or None), `reason`, `store`, and those of `fields`, such as `rotation_id` and `rotator`. The
    event has the position of the store in the chain and the duration of the step too.
    """
    outcome, name, reason = "done", None, ""
    if error is not None:
        outcome, name, reason = "failed", type(error).__name__, reason_of(error)
    about = {
        "event": f"rotation.{step}",
        "secret_path": path,
        "outcome": outcome,
        "error": name,
        "reason": reason,
        "store": store,
        **fields,
    }
    emit(Event(EventKind.ROTATION, store, path, link, seconds, step=step, outcome=outcome, error=name or ""))
    level = logging.INFO if error is None else logging.WARNING
    detail = f" ({reason})" if reason else ""
    logger.log(level, "Rotation of %s: %s %s%s", shown(path), step, outcome, detail, extra=about)


def reason_of(error: StrongroomError) -> str:
    """Return what happened, in a few words: the reason of a store's error, or the message of another one."""
    if isinstance(error, StoreError):
        place = f"{error.store}: " if error.store else ""
        return place + (error.reason or error.summary)
    return str(error)
