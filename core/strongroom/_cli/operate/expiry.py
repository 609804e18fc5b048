"""Secrets that expire and rotations that are due, for `check` and `doctor`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.options import Invocation
from strongroom._cli.rotate.rotation_status import condition, described, needs_attention, statuses
from strongroom._cli.terminal import output
from strongroom.errors import Check, CheckState, shown

if TYPE_CHECKING:
    from strongroom._config import Config, SecretConfig
    from strongroom.rotate.rotations import RotationStatus

_DAY = 86_400
_WARNED_DAYS = 30


def report(invocation: Invocation, within: float, *, as_json: bool) -> ExitCode:
    """Print the secrets and rotations that need attention within `within` seconds, and return the exit code."""
    now = datetime.now(UTC)
    with invocation.open() as secrets:
        found, errors = statuses(secrets)
        ending = _ending(secrets.config, now, within)
    expiring = [status for status in found if needs_attention(status, now + timedelta(seconds=within))]
    for error in errors:
        output.say(str(error))
    if as_json:
        output.write_document(
            {
                "ok": not (expiring or ending or errors),
                "rotations": list(map(described, expiring)),
                "secrets": [
                    {"variable": variable, "path": row.path, "key": row.key, "expires": str(row.expires)}
                    for variable, row, _ in ending
                ],
            }
        )
    else:
        rows = [(variable, output.state("warning", expiry), "") for variable, _, expiry in ending]
        rows += [(status.path, output.state("warning", condition(status, now)), status.rotator) for status in expiring]
        output.write_listing(("secret", "rotation", "rotator"), rows)
    if errors:
        return code_of_all(errors)
    return ExitCode.DIFFERENT if expiring or ending else ExitCode.DONE


def _ending(config: Config, now: datetime, within: float) -> list[tuple[str, SecretConfig, str]]:
    """Return variable and row of each secret of `[secrets]` that expires within these seconds, and when in words."""
    return [
        (variable, row, _expiry(row.expires, days))
        for variable, row in config.secrets.items()
        if row.expires is not None and (days := (row.expires - now.date()).days) * _DAY <= within
    ]


def _expiry(expires: date, days: int) -> str:
    count = output.counted(abs(days), "day")
    if days < 0:
        return f"expired {count} ago, on {expires}"
    return f"expires in {count}, on {expires}" if days else f"expires today, {expires}"


def warnings(config: Config) -> list[str]:
    """Return a line for each row of `[secrets]` that has expired or does within 30 days."""
    ending = _ending(config, datetime.now(UTC), _WARNED_DAYS * _DAY)
    return [f"{variable} {expiry}" for variable, _, expiry in ending]


def checks(config: Config) -> list[tuple[str, Check]]:
    """Return store and check of each rotation that is overdue or unfinished, for `doctor`."""
    if not config.rotations:
        return []
    from strongroom.secrets_manager import SecretsManager

    now = datetime.now(UTC)
    with SecretsManager.from_config(config) as secrets:
        found, _ = statuses(secrets)  # a store that cannot be read fails its own checks
    return [(status.store, _check(status, now)) for status in found if needs_attention(status, now)]


def _check(status: RotationStatus, now: datetime) -> Check:
    path = shown(status.path)
    command = "undo" if status.state == "undoing" else "resume"
    hint = f"Run strongroom rotate {f'{command} ' if status.unfinished else ''}{path}, or the scheduler"
    return Check(f"rotation of {path}", CheckState.WARNING, condition(status, now), hint)
