"""`strongroom check`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from strongroom._cli.diagnose import findings
from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.options import Invocation, current, json_option, offline_options, read_duration
from strongroom._cli.read import secret_variables
from strongroom._cli.rotate import rotation_condition, rotation_document
from strongroom._cli.terminal import output
from strongroom.errors import MissingFileError, StoreError
from strongroom.required_secrets import Rounds

if TYPE_CHECKING:
    from strongroom.required_secrets import Requirement
    from strongroom.secret import Value


@click.command("check")
@click.option("--wait", callback=read_duration, metavar="DURATION", help="Retry for at most this long.")
@click.option(
    "--expiring",
    callback=read_duration,
    metavar="DURATION",
    help="Report secrets that expire, and rotations that are due, within this time, instead.",
)
@json_option("Print a JSON object with one entry for each variable.")
@offline_options
@current
def check_command(invocation: Invocation, wait: float | None, expiring: float | None, *, as_json: bool) -> None:
    """Check that every row of [secrets] and [helpers] resolves, and show from which store.

    No value is shown. A required secret that no store has is missing. An outage or a denial is never treated as an
    absence. The exit code is 0 if the application has all it needs; otherwise it is the code of the gravest problem.
    --wait also waits for files that options refer to, such as a token file.

    --expiring looks at `expires` of [secrets] and at the tables [rotation] instead. The exit code is 10 if a secret
    expires within that time, or a rotation is overdue, unfinished, or due.

    Example, in an init container: strongroom check --wait 60s
    """
    if expiring is not None:
        if wait is not None:
            raise click.UsageError("--wait and --expiring exclude each other")
        click.get_current_context().exit(_report_ending(invocation, expiring, as_json=as_json))
    config = invocation.load()
    answers = poll(lambda: findings.required_secrets(config), wait or 0.0)
    unmet = [answer for answer in answers if not answer.met]
    if as_json:
        output.write_document(_described(answers))
    else:
        output.write_listing(("variable", "secret", "need", "status"), _cells(answers), map(_fields, answers))
    for ending in findings.ending_secrets(config):
        output.say(f"warning: {ending.variable} {ending.expiry}")
    if file := findings.ignored_helpers(config):
        output.say(f"warning: no helper reads [helpers] of {file}. {findings.IGNORED_HINT}")
    if unmet:
        names = ", ".join(answer.variable for answer in unmet)
        output.say(f"{len(unmet)} of {output.counted(len(answers), 'variable')} did not resolve: {names}")
    click.get_current_context().exit(secret_variables.exit_code(answers))


def poll(
    ask: Callable[[], Sequence[Requirement]],
    limit: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sequence[Requirement]:
    """Resolve until every row is met, a retry cannot help, or the time is over, and return the last answers.

    A missing file that an option refers to is waited for too: an agent in another container may write a token there.

    Args:
        ask: resolves all rows once. The last round starts when the time is over.
        limit: time limit in seconds; zero asks once.
        clock: monotonic clock in seconds.
        sleep: sleeps for a number of seconds.

    Raises:
        MissingFileError: the file is still missing when the time is over.
        ConfigurationError: the configuration is invalid; raised at once.
    """
    rounds, printed = Rounds(limit, clock()), ""
    while True:
        try:
            answers = ask()
        except MissingFileError as error:
            if (pause := rounds.pause(clock(), transient=True)) is None:
                raise
            waiting = str(error)
        else:
            unmet = [answer for answer in answers if not answer.met]
            pause = rounds.pause(clock(), transient=bool(unmet) and all(answer.is_transient for answer in unmet))
            if pause is None:
                return answers
            waiting = "; ".join(f"{answer.variable} is {answer.state}" for answer in unmet)
        if waiting != printed:
            printed = waiting
            output.say(f"Waiting: {waiting}")
        sleep(pause)


def _report_ending(invocation: Invocation, within: float, *, as_json: bool) -> ExitCode:
    """Print the secrets and rotations that need attention within `within` seconds, and return the exit code."""
    now = datetime.now(UTC)
    with invocation.open() as secrets:
        rotations, errors = findings.pending_rotations(secrets.rotations, within)
        ending = findings.ending_secrets(secrets.config, within)
    for error in errors:
        output.say(str(error))
    if as_json:
        output.write_document(
            {
                "ok": not (rotations or ending or errors),
                "rotations": list(map(rotation_document, rotations)),
                "secrets": [
                    {"variable": variable, "path": row.path, "key": row.key, "expires": str(row.expires)}
                    for variable, row, _ in ending
                ],
            }
        )
    else:
        rows = [(variable, output.state("warning", expiry), "") for variable, _, expiry in ending]
        rows += [
            (status.path, output.state("warning", rotation_condition(status, now)), status.rotator)
            for status in rotations
        ]
        output.write_listing(("secret", "rotation", "rotator"), rows)
    if errors:
        return code_of_all(errors)
    return ExitCode.DIFFERENT if rotations or ending else ExitCode.DONE


def _described(answers: Sequence[Requirement]) -> dict[str, Value]:
    return {
        "ok": all(answer.met for answer in answers),
        "secrets": [_secret(answer) for answer in answers if not findings.is_helper(answer)],
        "helpers": [
            {"row": answer.variable, **{name: value for name, value in _secret(answer).items() if name in _OF_HELPERS}}
            for answer in answers
            if findings.is_helper(answer)
        ],
    }


_OF_HELPERS = ("path", "key", "state", "store", "secret_version", "reasons")


def _secret(answer: Requirement) -> dict[str, Value]:
    return {
        "variable": answer.variable,
        "path": answer.secret.path,
        "key": answer.secret.key,
        "required": answer.secret.required,
        "description": answer.secret.description or None,
        "type": answer.secret.type,
        "expires": answer.secret.expires.isoformat() if answer.secret.expires else None,
        "state": answer.state.value,
        "store": _store(answer) or None,
        "secret_version": answer.resolution.version if answer.resolution else None,
        "reasons": list(answer.reasons),
    }


def _fields(answer: Requirement) -> tuple[str, ...]:
    return (
        answer.variable,
        answer.reference,
        _need(answer),
        answer.state.value,
        _store(answer),
        "; ".join(answer.reasons),
    )


def _need(answer: Requirement) -> str:
    if answer.secret.default is not None:
        return "default"
    return "required" if answer.secret.required else "optional"


def _store(answer: Requirement) -> str:
    """Return the store that has the secret or would create it; empty for a default."""
    if answer.state == "dynamic" and isinstance(answer.error, StoreError):
        return answer.error.store or ""
    return answer.resolution.store if answer.resolution and answer.state == "found" else ""


def _cells(answers: Sequence[Requirement]) -> Iterator[tuple[str | output.Cell, ...]]:
    """Yield the cells of each row on a terminal. Reasons that several rows share are shown in the first one."""
    seen: dict[tuple[str, ...], str] = {}
    for answer in answers:
        status = _status(answer)
        if not answer.met:
            first = seen.setdefault(answer.reasons, answer.variable)
            reasons = answer.reasons if first == answer.variable else (f"as {first}",)
            status = "\n".join((answer.state, *reasons))
        yield answer.variable, answer.reference, _need(answer), output.state(answer.state, status)


def _status(answer: Requirement) -> str:
    """Return the origin of a met row's value."""
    if answer.state == "dynamic":
        return f"{_store(answer)}, created on read"
    if answer.resolution is None or not (store := _store(answer)):
        return f"{answer.state}, in no store"
    return store if answer.resolution.version is None else f"{store}, version {answer.resolution.version}"
