"""Errors of a rotation: what failed, which credential works, and the next command."""

from __future__ import annotations

from strongroom.errors import ConflictError, RotationError, StrongroomError, UnfinishedRotationError, shown
from strongroom.rotate.audit import reason_of
from strongroom.rotate.state import SKEW, RotationState, pending_path

SEE_STATUS = "Run strongroom rotate status to see how far it is"


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
        f"{what} of {shown(path)} failed at step {step} ({reason_of(error)}). {end} "
        f"run: strongroom rotate {shown(path)}",
        path,
        str(step),
    )


def unfinished(path: str, step: str, error: StrongroomError, command: str) -> UnfinishedRotationError:
    """Return the error of a rotation that this command finishes."""
    return UnfinishedRotationError(
        f"Rotation of {shown(path)} stopped at step {step} ({reason_of(error)}). Both credentials stay "
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
