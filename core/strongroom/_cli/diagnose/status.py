"""`strongroom status`, with the rows of the status: for the tables of a terminal, and for lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.filesize import decimal

from strongroom._cli.diagnose.chain_status import (
    AgentStatus,
    ChainStatus,
    LinkStatus,
    MigrationStatus,
    RotationRow,
    document,
)
from strongroom._cli.diagnose.doctor import advised
from strongroom._cli.diagnose.monitor import Monitor
from strongroom._cli.exit_codes import code_of_all
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.rotate import rotation_condition
from strongroom._cli.terminal import output
from strongroom._cli.terminal.output import Cell, counted, joined, state
from strongroom.errors import CheckState, shown
from strongroom.formats.durations import format_duration

if TYPE_CHECKING:
    from strongroom.rotate.rotations import RotationStatus

paths_option = click.option("--paths", is_flag=True, help="Show the paths of secrets too.")


@click.command("status")
@paths_option
@json_option()
@current
def status_command(invocation: Invocation, *, paths: bool, as_json: bool) -> None:
    """Show the chain and its health, the cache on disk, rotations, migrations and running agents.

    Migrations and agents are those of this user on this machine. No value is shown. The exit code is that of the
    gravest fault of a store.

    Example: strongroom status --json
    """
    with Monitor(invocation.load(), paths=paths) as monitor:
        monitor.probe()
        status, errors = monitor.status(), monitor.errors()
    if as_json:
        output.write_document(document(status, paths=paths), version=2)  # version 1 had `processes`
    else:
        for name, columns, rows in sections(status, paths=paths):
            output.write_listing(columns, rows, ((name, *output.texts(row)) for row in rows))
    click.get_current_context().exit(code_of_all(errors))


_BAR = 8


class Section(NamedTuple):
    """A table of the status: its name in a pipe, its columns, and its rows."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell | str, ...]]


def sections(status: ChainStatus, *, paths: bool) -> Iterator[Section]:
    """Yield the sections that have something to show, the most important first: a small screen cuts the rest."""
    now = status.time
    yield Section("chain", ("link", "status", "took", "details"), [*_links(status)])
    if status.migrations:
        rows = [_migration(migration, now) for migration in status.migrations]
        yield Section("migration", ("migration", "state", "progress", "age"), rows)
    if status.agents:
        rows = [_agent(agent, now) for agent in status.agents]
        yield Section("agent", ("agent", "uses", "refusals", "last", "age"), rows)
    if status.rotations:
        rows = [_rotation(row, number, now, paths=paths) for number, row in enumerate(status.rotations, 1)]
        yield Section("rotation", ("rotation", "state", "next", "rotator", "store"), rows)
    if (disk := status.disk_cache) is not None:
        holds = disk.fault or f"{counted(disk.entries, 'entry', 'entries')}, {decimal(disk.size)}"
        yield Section("cache", ("cache", "holds"), [(state("warning" if disk.fault else "ok", "disk"), holds)])


def _links(status: ChainStatus) -> Iterator[tuple[Cell | str, ...]]:
    for number, link in enumerate(status.links, 1):
        took = "" if link.seconds is None else f"{link.seconds * 1000:.0f} ms"
        details = link.location or link.detail if link.ok else link.detail
        yield f"{number} {link.policy.store}", state(link.state), took, details
        yield from _checks(link)


def _checks(link: LinkStatus) -> Iterator[tuple[Cell | str, ...]]:
    for check in link.checks:
        if check.state is not CheckState.OK:
            yield f"  {check.name}", state(check.state.value), "", advised(check.detail, check.hint)


def _rotation(row: RotationRow, number: int, now: datetime, *, paths: bool) -> tuple[Cell | str, ...]:
    name = row.path if paths else f"rotation {number}"
    if row.status is None:
        return name, state("warning", "unknown"), row.fault, row.rotator, row.store
    found = row.status
    style = "warning" if found.overdue or found.unfinished else found.state
    return name, state(style, found.state), next_event(found, now), found.rotator, found.store


def next_event(status: RotationStatus, now: datetime) -> str:
    """Return what happens next to a rotation, and when; an empty string if its state says it all."""
    if status.grace_end is not None:
        left = (status.grace_end - now).total_seconds()
        return f"revokes in {format_duration(_rounded(left))}" if left >= 1 else "revocation is due"
    text = rotation_condition(status, now)
    return "" if text == status.state else text


def _migration(migration: MigrationStatus, now: datetime) -> tuple[Cell | str, ...]:
    stores = f"{joined(migration.sources)} → {shown(migration.target)}" if migration.target else ""
    share = migration.done / migration.total if migration.total else 1.0
    filled = int(share * _BAR)
    progress = f"{'█' * filled}{'░' * (_BAR - filled)} {migration.done}/{migration.total}"
    return f"{migration.run}\n{stores}", state(migration.state), progress, _ago(migration.started, now)


def _agent(agent: AgentStatus, now: datetime) -> tuple[Cell | str, ...]:
    uses = ", ".join(f"{rule} {number:,}" for rule, number in agent.uses.items()) or "none"
    refusals = state("warning", f"{agent.refusals:,}") if agent.refusals else "none"
    return f"{shown(agent.command)}\n{agent.session}", uses, refusals, _ago(agent.last, now), _ago(agent.started, now)


def _ago(moment: datetime, now: datetime) -> str:
    seconds = max(0.0, (now - moment).total_seconds())
    return "less than 1 s" if seconds < 1 else format_duration(_rounded(seconds))


def _rounded(seconds: float) -> float:
    """Return the duration in its largest unit alone: 3 min 20 s is 3 min."""
    for unit in (86_400, 3600, 60):
        if seconds >= unit:
            return seconds // unit * unit
    return seconds // 1
