"""Secrets that expire and rotations that are due, for `check` and `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.options import Invocation
from strongroom.cli.terminal import output
from strongroom.config import durations
from strongroom.errors import Check, CheckState, StrongroomError, shown

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.rotate.rotations import RotationStatus
    from strongroom.secrets_manager import SecretsManager

_DAY = 86_400
_WARNED_DAYS = 30


def report(invocation: Invocation, within: float, *, as_json: bool) -> ExitCode:
    """Print the secrets and rotations that need attention within `within` seconds, and return the exit code."""
    now = datetime.now(UTC)
    with invocation.open() as secrets:
        found, errors = statuses(secrets)
        ending = [row for row in _dated(secrets.config) if row.days(now) * _DAY <= within]
    expiring = [status for status in found if _needs_attention(status, now + timedelta(seconds=within))]
    for error in errors:
        output.say(str(error))
    if as_json:
        from strongroom.cli.commands.rotate import described

        output.write_document(
            {
                "ok": not (expiring or ending or errors),
                "rotations": list(map(described, expiring)),
                "secrets": [
                    {"variable": row.variable, "path": row.path, "key": row.key, "expires": row.expires.isoformat()}
                    for row in ending
                ],
            }
        )
    else:
        rows = [(row.variable, output.state("warning", row.words(now)), "") for row in ending]
        rows += [(status.path, output.state("warning", words(status, now)), status.rotator) for status in expiring]
        output.write_listing(("secret", "rotation", "rotator"), rows)
    if errors:
        return code_of_all(errors)
    return ExitCode.DIFFERENT if expiring or ending else ExitCode.DONE


class _Dated(NamedTuple):
    """A row of `[secrets]` with the day on which it stops working."""

    variable: str
    path: str
    key: str
    expires: date

    def days(self, now: datetime) -> int:
        """Return the days that are left, by UTC."""
        return (self.expires - now.date()).days

    def words(self, now: datetime) -> str:
        """Return when it expires or expired."""
        days = self.days(now)
        count = output.counted(abs(days), "day")
        if days < 0:
            return f"expired {count} ago, on {self.expires}"
        return f"expires in {count}, on {self.expires}" if days else f"expires today, {self.expires}"


def _dated(config: Config) -> list[_Dated]:
    rows = config.secrets.items()
    return [_Dated(name, row.path, row.key, row.expires) for name, row in rows if row.expires is not None]


def warnings(config: Config) -> list[str]:
    """Return a line for each row of `[secrets]` that has expired or does within 30 days."""
    now = datetime.now(UTC)
    return [f"{row.variable} {row.words(now)}" for row in _dated(config) if row.days(now) <= _WARNED_DAYS]


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
