"""The status of a rotation, for `rotate`, `check`, `doctor` and `status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError
from strongroom.formats import durations

if TYPE_CHECKING:
    from strongroom.rotate.rotations import RotationStatus
    from strongroom.secrets_manager import SecretsManager


def statuses(secrets: SecretsManager, paths: Sequence[str] = ()) -> tuple[list[RotationStatus], list[StrongroomError]]:
    """Return the status of each rotation, or of these, and the errors of those that could not be read."""
    found: list[RotationStatus] = []
    errors: list[StrongroomError] = []
    for path in paths or secrets.rotations.paths:
        try:
            found += secrets.rotations.status([path])
        except StrongroomError as error:
            errors.append(error.copy())
    return found, errors


def needs_attention(status: RotationStatus, until: datetime) -> bool:
    """Return True if the rotation is unfinished, or due by then."""
    return _is_stopped(status) or (status.due is not None and status.due <= until)


def condition(status: RotationStatus, now: datetime) -> str:
    """Return the condition of a rotation: unfinished, overdue, or when it is due."""
    if _is_stopped(status):
        return f"unfinished: {status.state}"
    if status.due is None:
        return status.state
    distance = durations.format_duration(abs((status.due - now).total_seconds()))
    return f"overdue by {distance}" if status.due < now else f"due in {distance}"


def described(status: RotationStatus) -> dict[str, Any]:
    """Return the JSON object of a status."""
    return {name: field for name, field in asdict(status).items() if name != "changed"}


def _is_stopped(status: RotationStatus) -> bool:
    return status.unfinished and status.grace_end is None
