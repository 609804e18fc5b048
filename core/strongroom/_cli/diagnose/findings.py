"""Findings about a configuration: its plugins, stores, rotations and required secrets. Nothing is printed here.

`config check` shows the faults, `doctor` the health, and `check` the required secrets and what ends soon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from strongroom import _plugins as plugins
from strongroom._cli.exit_codes import ExitCode, code_of
from strongroom._cli.read import secret_variables
from strongroom._cli.rotate import needs_attention, rotation_condition, rotation_statuses
from strongroom._cli.terminal import confirmation, output
from strongroom._config import SecretConfig
from strongroom._plugins.option_values import check_written
from strongroom.errors import Check, CheckState, ConfigurationError, StoreError, StrongroomError, shown

if TYPE_CHECKING:
    from strongroom._chain.chain import Chain
    from strongroom._chain.connection import Opener
    from strongroom._cli.options import Invocation
    from strongroom._config import Config
    from strongroom.required_secrets import Requirement
    from strongroom.rotate.rotations import Rotations, RotationStatus
    from strongroom.store import Health, SecretStore

_STATES = {
    ExitCode.DENIED: "denied",
    ExitCode.UNAVAILABLE: "unavailable",
    ExitCode.CONFIGURATION: "misconfigured",
}
_FAILED = "failed"
"""State of a store for every other exit code."""

_DAY = 86_400
_WARNED_DAYS = 30


def faults(invocation: Invocation) -> list[StrongroomError]:
    """Return the error in the configuration itself, or one error for each faulty store and rotation."""
    try:
        config, others = invocation.load(), invocation.load_others()
    except ConfigurationError as error:
        return [error]
    checks: list[tuple[Callable[[Config, str], None], Config, str]] = [
        (plugins.check, config, link.store) for link in config.chain
    ]
    if config.rotations:
        from strongroom.rotate.rotations import check_rotation

        checks += [(check_rotation, config, path) for path in config.rotations]
    checks += [(_check_elsewhere, other, link.store) for other in others for link in other.chain]
    found: dict[str, StrongroomError] = {}
    for check, configuration, name in checks:
        try:
            check(configuration, name)
        except StrongroomError as error:
            found.setdefault(str(error), error)  # report a fault that environments share once
    return list(found.values())


def _check_elsewhere(config: Config, store: str) -> None:
    """Validate the options of a store as they are written, for use in another environment."""
    check_written(config.store(store), plugins.schema(config, store), production=config.production)


# --- required secrets -------------------------------------------------------------------------------------------------


class EndingSecret(NamedTuple):
    """A secret of `[secrets]` that expires, and when in words."""

    variable: str
    row: SecretConfig
    expiry: str


_HELPER = "[helpers] "
"""Beginning of the names that rows of `[helpers]` have beside variables."""


def required_secrets(config: Config) -> Sequence[Requirement]:
    """Return the answer of the chain for each row of `[secrets]` and each key of `[helpers]`.

    No store creates a credential for this.
    """
    services = {
        f"{_HELPER}{row.name}" + (f" {key}" if row.username is None else ""): SecretConfig(
            row.path, key, origin=row.origin
        )
        for row in config.helpers
        for key in row.keys
    }
    rows = replace(config, secrets={**config.secrets, **services})
    return secret_variables.resolve_rows(rows, allow_dynamic=False)


def is_helper(answer: Requirement) -> bool:
    """Return True if the answer is that for a row of `[helpers]`."""
    return answer.variable.startswith(_HELPER)


def ignored_helpers(config: Config) -> str:
    """Return the file of the working directory whose `[helpers]` helpers ignore; by default the empty text."""
    return next((row.found_file for row in config.helpers if row.found_file), "")


IGNORED_HINT = "Move the table to the configuration of the user, or name the file in STRONGROOM_CONFIG"


def ending_secrets(config: Config, within: float = _WARNED_DAYS * _DAY) -> list[EndingSecret]:
    """Return each secret of `[secrets]` that has expired, or does within some seconds."""
    today = datetime.now(UTC).date()
    return [
        EndingSecret(variable, row, _expiry(row.expires, days))
        for variable, row in config.secrets.items()
        if row.expires is not None and (days := (row.expires - today).days) * _DAY <= within
    ]


def _expiry(expires: date, days: int) -> str:
    count = output.counted(abs(days), "day")
    if days < 0:
        return f"expired {count} ago, on {expires}"
    return f"expires in {count}, on {expires}" if days else f"expires today, {expires}"


# --- stores and rotations ---------------------------------------------------------------------------------------------


def health(config: Config) -> tuple[Mapping[str, Health], list[StrongroomError]]:
    """Return the health of each store in chain order, and the errors of rotations that healthy stores did not show.

    The stores are opened for this, and closed again. A rotation that is overdue or unfinished is a warning of its
    store.
    """
    from strongroom.store.deadline import require_paths

    paths = dict.fromkeys([*(row.path for row in config.secrets.values()), *(row.path for row in config.helpers)])
    with closing(chain_of(config)) as chain:
        with require_paths(paths):
            found = chain.health()
        if not config.rotations or not any(each.ok for each in found.values()):
            return found, []
        rotations, errors = pending_rotations(rotations_of(chain, config))
    now = datetime.now(UTC)
    checks = [(status.store, _check(status, now)) for status in rotations]
    checked = {
        name: each._replace(checks=(*each.checks, *(check for store, check in checks if store == name)))
        for name, each in found.items()
    }
    failed = {name for name, each in found.items() if not each.ok}  # its own checks say so
    return checked, [error for error in errors if not (isinstance(error, StoreError) and error.store in failed)]


def pending_rotations(rotations: Rotations, within: float = 0) -> tuple[list[RotationStatus], list[StrongroomError]]:
    """Return each rotation that is unfinished or due within some seconds, and the errors of those not read."""
    until = datetime.now(UTC) + timedelta(seconds=within)
    found, errors = rotation_statuses(rotations)
    return [status for status in found if needs_attention(status, until)], errors


def _check(status: RotationStatus, now: datetime) -> Check:
    path = shown(status.path)
    command = "undo" if status.state == "undoing" else "resume"
    hint = f"Run strongroom rotate {f'{command} ' if status.unfinished else ''}{path}, or the scheduler"
    return Check(f"rotation of {path}", CheckState.WARNING, rotation_condition(status, now), hint)


def chain_of(config: Config) -> Chain:
    """Return the configured chain. A store whose options are invalid raises the error when it is used, and not here."""
    from strongroom._chain.chain import Chain
    from strongroom._chain.link import Link

    links = [Link(link, _opener(config, link.store), config.cache) for link in config.chain]
    return Chain(links, timeout=config.timeout)


def rotations_of(chain: Chain, config: Config) -> Rotations:
    """Return the configured rotations, with their secrets in the stores of this chain."""
    from strongroom._chain.threads import Threads
    from strongroom.rotate.rotations import Rotations

    return Rotations(chain, Threads(config.timeout), config)


def _opener(config: Config, store: str) -> Opener:
    """Return the opener of a store, which raises any error in its options, so that the others are still checked."""
    try:
        return plugins.prepare(config, store)
    except StrongroomError as error:
        fault = error.copy()

    def fail() -> SecretStore:
        raise fault

    return fail


def state_of(found: Health) -> str:
    """Return the state of a store in one word: `ok`, or its fault, such as `unavailable`."""
    return CheckState.OK.value if found.error is None else _STATES.get(code_of(found.error), _FAILED)


def location_of(config: Config, store: str) -> str:
    """Return the location of the store, or an empty string if its options are invalid."""
    try:
        return confirmation.describe_location(plugins.store_settings(config, store))
    except StrongroomError:
        return ""
