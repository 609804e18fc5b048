"""`strongroom check`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from strongroom.cli import secrets_table
from strongroom.cli.invocation import Invocation, current
from strongroom.cli.terminal import output
from strongroom.config import durations
from strongroom.errors import MissingFileError, StoreError

if TYPE_CHECKING:
    from strongroom.required_secrets import Requirement
    from strongroom.secret import Value

_FIRST_PAUSE = 0.5
_LAST_PAUSE = 5.0
"""Seconds between two rounds of `--wait`: the pauses double up to this."""


def _read_duration(_: click.Context, __: click.Parameter, value: str | None) -> float:
    if value is None:
        return 0.0
    seconds = durations.parse_duration(value)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is not {durations.ALLOWED}")
    return seconds


@click.command("check")
@click.option("--wait", callback=_read_duration, metavar="DURATION", help="Ask again until all are there, for so long.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object with an object for each variable.")
@current
def check_command(invocation: Invocation, wait: float, *, as_json: bool) -> None:
    """Check that every variable of [secrets] resolves, and say from which store.

    No value is shown. What no store has is missing if it is required; what a store did not answer for, or denied, is
    never taken for an absence. The exit code is 0 when the application has what it needs; else it says what is to be
    done first. --wait also waits for a file that an option is read from, such as a token's.

    Example, in an init container: strongroom check --wait 60s
    """
    config = invocation.load()
    answers = poll(lambda: secrets_table.ask(config, allow_dynamic=False), wait)
    unmet = [answer for answer in answers if not answer.met]
    if as_json:
        output.write_document(_described(answers))
    elif output.is_terminal():
        rows = [(answer.variable, answer.reference, _need(answer), _cell(answer)) for answer in answers]
        output.write_table(("variable", "secret", "need", "answer"), rows, color=not invocation.no_color)
    else:
        output.write_rows(map(_fields, answers))
    if unmet:
        output.say(f"{len(unmet)} of {secrets_table.count(answers)} did not resolve: {_names(unmet)}")
    click.get_current_context().exit(secrets_table.exit_code(answers))


def poll(
    ask: Callable[[], Sequence[Requirement]],
    limit: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sequence[Requirement]:
    """The answers of the last round: all are met, or time would not mend it, or the time is over.

    A file that an option of a store refers to may come too, as a token does that an agent in the next container writes.

    Args:
        ask: one round. It is always finished, and there is one more when the time is over.
        limit: in seconds; zero asks once.
        clock: seconds that only grow.
        sleep: waits for so many seconds.

    Raises:
        MissingFileError: such a file is not there when the time is over.
        ConfigurationError: at once, where anything else is wrong.
    """
    end, pause, said = clock() + limit, _FIRST_PAUSE, ""
    while True:
        try:
            answers = ask()
        except MissingFileError as error:
            if (left := end - clock()) <= 0:
                raise
            waiting = str(error)
        else:
            unmet = [answer for answer in answers if not answer.met]
            left = end - clock()
            if left <= 0 or not unmet or not all(answer.is_transient for answer in unmet):
                return answers
            waiting = "; ".join(f"{answer.variable} is {answer.state}" for answer in unmet)
        if waiting != said:
            said = waiting
            output.say(f"waiting: {said}")
        sleep(min(pause, left))
        pause = min(pause * 2, _LAST_PAUSE)


def _described(answers: Sequence[Requirement]) -> dict[str, Value]:
    return {
        "ok": all(answer.met for answer in answers),
        "secrets": [
            {
                "variable": answer.variable,
                "path": answer.secret.path,
                "key": answer.secret.key,
                "required": answer.secret.required,
                "state": answer.state.value,
                "store": _store(answer) or None,
                "secret_version": answer.resolution.version if answer.resolution else None,
                "reasons": list(answer.reasons),
            }
            for answer in answers
        ],
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
    """The store that has it, or would make it; none does where the default stands in."""
    if answer.state == "dynamic" and isinstance(answer.error, StoreError):
        return answer.error.store or ""
    return answer.resolution.store if answer.resolution and answer.state == "found" else ""


def _cell(answer: Requirement) -> output.Cell:
    return output.state(answer.state, _words(answer))


def _words(answer: Requirement) -> str:
    """For a person: where it is from; where that is a fault, what each store said, a line each."""
    if not answer.met:
        return "\n".join((answer.state, *answer.reasons))
    if answer.state == "dynamic":
        return f"{_store(answer)}, made when it is read"
    if answer.resolution is None or not (store := _store(answer)):
        return f"{answer.state}, in no store"
    return store if answer.resolution.version is None else f"{store}, version {answer.resolution.version}"


def _names(answers: Sequence[Requirement]) -> str:
    return ", ".join(answer.variable for answer in answers)
