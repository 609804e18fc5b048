"""`strongroom agent log`, and the summary of a session."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.terminal import output, streams
from strongroom._cli.terminal.output import counted
from strongroom.errors import ConfigurationError, shown

if TYPE_CHECKING:
    from strongroom.agents.session_log import RecordedSession, SessionLog

_PERIOD = 0.5
"""Seconds between two looks at a log that is followed."""

_REASONS = 5
"""The most reasons in a summary."""


@click.command("log")
@click.argument("session", required=False)
@click.option("-f", "--follow", is_flag=True, help="Print new lines too, until the session ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines of the log as they are: one JSON object each.")
def log_command(session: str | None, *, follow: bool, as_json: bool) -> None:
    """Show the uses of secrets, the refusals and the destinations of a worker.

    SESSION is one `agent run` or `agent serve` of this user on this machine: by default the newest. `strongroom status`
    lists those that run. The logs of the last 20 are kept. A line has the time (UTC), the status, the
    rule, the method, the host and the path of a request. Strongroom writes no value and no query; a value that a worker
    knows and puts into a host or a path is in the log. Damaged lines are left out, and the exit code is 8.

    A worker that runs as you can change its log. For a record that it cannot change, keep an audit log elsewhere.

    Example: strongroom agent log --follow
    """
    recorded = _found(session)
    is_over = False
    while not is_over:
        is_running = recorded.is_running  # before the last lines are read
        for line, fields in recorded.read(is_over=not is_running):
            output.write(line.encode() if as_json else streams.escape(_text(fields).replace("\n", " ")).encode())
        is_over = not follow or not is_running
        try:
            if not is_over:
                time.sleep(_PERIOD)
        except KeyboardInterrupt:
            is_over = True  # the usual end, and no failure
    if recorded.damaged:
        output.say(f"{counted(recorded.damaged, 'line')} of the log not shown: damaged, or not of Strongroom")
        click.get_current_context().exit(ExitCode.PARTIAL)


def _found(name: str | None) -> RecordedSession:
    from strongroom.agents.session_log import recorded_sessions

    sessions = recorded_sessions()
    for session in sessions:
        if name in {None, session.name}:
            return session
    missing = "of an agent" if name is None else shown(name)
    hint = "Start one with strongroom agent run"
    if sessions:
        hint = f"There are {output.joined(session.name for session in sessions)}"
    raise ConfigurationError(f"This user has no session {missing}. {hint}")


def _text(fields: Mapping[str, Any]) -> str:
    """Return a line for people. Most of its text is that of the worker."""
    event, moment = fields["event"], fields["time"].replace("T", " ")[:19]
    if event == "session":
        end = fields["end"] and f", until {fields['end'].replace('T', ' ')[:16]}"
        return f"{moment} UTC  session {fields['session']}: {fields['command']}, pid {fields['pid']}{end}"
    if event == "destination":
        text = f"connects to {fields['destination']}{', which no rule names' if fields['unread'] else ''}"
    elif event == "full":
        text = "the log is full: the rest of the session is missing"
    else:
        request = f"{fields['method'] or '-'} {fields['host']}{fields['path']}"
        reason = fields["reason"] and f": {fields['reason']}"
        text = f"{fields['status'] or 'no answer'}  {fields['rule'] or '-'}  {request}{reason}"
    return f"{moment[5:]}  {text}"


def summary(log: SessionLog) -> Iterator[str]:
    """Yield the uses by rule and the refusals by reason, most first."""
    uses = ", ".join(f"{rule} {number:,}" for rule, number in log.uses.most_common())
    see = f" See strongroom agent log {log.name}" if log.size else ""
    yield f"Uses by rule: {uses or 'none'}. Refusals: {log.reasons.total():,}.{see}"
    reasons = log.reasons.most_common()
    for reason, number in reasons[:_REASONS]:
        yield f"{counted(number, 'refusal')}: {reason}"
    if more := sum(number for _, number in reasons[_REASONS:]):
        yield f"{counted(more, 'refusal')}: other reasons"
