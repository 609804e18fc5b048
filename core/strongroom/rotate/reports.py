"""Reports of a rotation: an audit event for each step, and errors that say which credential works and what to do next.

Events are on the logger `strongroom.audit`, with fields and without values.
"""

from __future__ import annotations

import logging

from strongroom.errors import (
    ConflictError,
    RotationError,
    StoreError,
    StrongroomError,
    UnfinishedRotationError,
    shown,
)
from strongroom.events import Event, EventKind, emit
from strongroom.rotate.state import SKEW, RotationState, pending_path

logger = logging.getLogger("strongroom.audit")

SEE_STATUS = "Run strongroom rotate status to see how far it is"


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

    The record has the attributes `event` (`rotation.` and the step), `secret_path`, `outcome` (`done` or `failed`),
    `error` (the class of the error, or None), `reason`, `store`, and those of `fields`, such as `rotation_id` and
    `rotator`. The event has the position of the store in the chain and the duration of the step too.
    """
    outcome, name, reason = "done", None, ""
    if error is not None:
        outcome, name, reason = "failed", type(error).__name__, reason_of(error, path)
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


def reason_of(error: StrongroomError, path: str) -> str:
    """Return what happened, and where if not at `path`: a message, or a store's reason and the hint of this error."""
    if isinstance(error, StoreError):
        place = f"{error.store}: " if error.store else ""
        other = f"{shown(error.path)}: " if error.path and error.path != path else ""
        hint = f". {error.hint}" if error.hint and error.hint != error.default_hint else ""
        return place + other + (error.reason or error.summary) + hint
    return str(error)


def undone(path: str, step: str, error: StrongroomError, *, back: bool) -> RotationError:
    """Return the error of a rotation that was undone.

    Args:
        path: the secret's path.
        step: the step that failed.
        error: its error.
        back: True if it was the undo of a rotation that was done.
    """
    what, end = "Rotation", "It was undone, and the old credential works. Remove the cause, then"
    if back:
        what, end = "Undo of the rotation", "The stored credential works, and the one before does not. To replace it,"
    return RotationError(
        f"{what} of {shown(path)} failed at step {step} ({reason_of(error, path)}). {end} "
        f"run: strongroom rotate {shown(path)}",
        path,
        str(step),
    )


def unfinished(path: str, step: str, error: StrongroomError, command: str) -> UnfinishedRotationError:
    """Return the error of a rotation that this command finishes."""
    return UnfinishedRotationError(
        f"Rotation of {shown(path)} stopped at step {step} ({reason_of(error, path)}). Both credentials stay "
        f"stored until a login proves one: in the secret, and at {shown(pending_path(path))}. "
        f"Remove the cause, then run: strongroom rotate {command} {shown(path)}",
        path,
        str(step),
    )


def busy(path: str, reason: str, store: str, state: RotationState | None) -> ConflictError:
    """Return the error of a rotation on which another process works. It is free when the lease in `state` has ended."""
    hint = SEE_STATUS
    if state is not None and state.unfinished and state.lease_until is not None:
        free = (state.lease_until + SKEW).isoformat(timespec="seconds")
        hint = (
            f"It is free at {free}. If that process has ended, run: strongroom rotate resume --take-over {shown(path)}"
        )
    return ConflictError(path, reason, store=store, hint=hint)
