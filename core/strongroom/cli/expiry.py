"""Overdue and approaching rotations, for `check --expiring` and `doctor`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.invocation import Invocation
from strongroom.cli.terminal import output
from strongroom.config import durations
from strongroom.errors import Check, CheckState, StrongroomError, shown

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.rotate.rotations import RotationStatus
    from strongroom.secrets_manager import SecretsManager


def report(invocation: Invocation, within: float, *, as_json: bool) -> ExitCode:
    """Print the rotations that need attention within `within` seconds, and return the exit code."""
    now = datetime.now(UTC)
    with invocation.open() as secrets:
        found, errors = statuses(secrets)
        color = not invocation.no_color
    expiring = [status for status in found if _needs_attention(status, now + timedelta(seconds=within))]
    for error in errors:
        output.say(str(error))
    if as_json:
        from strongroom.cli.commands.rotate import described

        output.write_document({"ok": not (expiring or errors), "rotations": list(map(described, expiring))})
    elif output.is_terminal():
        rows = [(status.path, output.state("warning", words(status, now)), status.rotator) for status in expiring]
        output.write_table(("secret", "rotation", "rotator"), rows, color=color)
    else:
        output.write_rows((status.path, words(status, now), status.rotator) for status in expiring)
    if errors:
        return code_of_all(errors)
    return ExitCode.DIFFERENT if expiring else ExitCode.DONE


def statuses(secrets: SecretsManager) -> tuple[list[RotationStatus], list[StrongroomError]]:
    """Return the status of each rotation, and the errors of those that could not be read."""
    found: list[RotationStatus] = []
    errors: list[StrongroomError] = []
    for path in secrets.rotations.paths:
        try:
            found += secrets.rotations.status([path])
        except StrongroomError as error:
            errors.append(error.copy())
    return found, errors


def checks(config: Config) -> list[tuple[str, Check]]:
    """Return store and check of each rotation that is overdue or unfinished, for `doctor`."""
    if not config.rotations:
        return []
    from strongroom.secrets_manager import SecretsManager

    now = datetime.now(UTC)
    with SecretsManager.from_config(config) as secrets:
        found, _ = statuses(secrets)  # a store that cannot be read fails its own checks
    return [(status.store, _check(status, now)) for status in found if _needs_attention(status, now)]


def _check(status: RotationStatus, now: datetime) -> Check:
    path = shown(status.path)
    command = "undo" if status.state == "undoing" else "resume"
    hint = f"Run strongroom rotate {f'{command} ' if status.unfinished else ''}{path}, or the scheduler"
    return Check(f"rotation of {path}", CheckState.WARNING, words(status, now), hint)


def _needs_attention(status: RotationStatus, until: datetime) -> bool:
    if status.unfinished and status.grace_end is None:
        return True
    return status.due is not None and status.due <= until


def words(status: RotationStatus, now: datetime) -> str:
    """Return the condition of a rotation: unfinished, overdue, or when it is due."""
    if status.unfinished and status.grace_end is None:
        return f"unfinished: {status.state}"
    if status.due is None:
        return status.state
    distance = durations.format_duration(abs((status.due - now).total_seconds()))
    return f"overdue by {distance}" if status.due < now else f"due in {distance}"
