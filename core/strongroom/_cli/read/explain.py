"""`strongroom explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from strongroom._cli.options import Invocation, complete, current, json_option
from strongroom._cli.read.get import hinted
from strongroom._cli.terminal import output
from strongroom._cli.terminal.output import Cell
from strongroom.errors import StoreError
from strongroom.formats.durations import format_duration
from strongroom.paths import parse_reference
from strongroom.secret import Value

if TYPE_CHECKING:
    from strongroom._chain.diagnosis import Explanation, LinkAnswer
    from strongroom._config import CacheConfig

_NOTHING = Cell("")
_SERVED = Cell("served", "bold green")


@click.command("explain")
@click.argument("path", metavar="PATH[#KEY]", shell_complete=complete("references"))
@click.argument("key", required=False, shell_complete=complete("keys"))
@json_option("Print a JSON object with one entry for each store.")
@current
def explain_command(invocation: Invocation, path: str, key: str | None, *, as_json: bool) -> None:
    """Show what every store in the chain answers, and which answer a read returns.

    Every store is queried now, without any cache; offline, the caches on disk answer. If the cache on disk has an
    entry, its age is shown. Values are compared with the served one, but never shown. A store that issues a credential
    on every read is not queried. The exit code is that of `get`; it is 0 if such a store has the path.

    Example: strongroom explain database/connection password
    """
    path, key = parse_reference(path) if key is None else (path, key)
    with invocation.open() as secrets:
        explanation = secrets.explain(path, key)
        cache = secrets.config.cache
        error = explanation.error
        if isinstance(error, StoreError):
            error = hinted(error, key, secrets)
    now = datetime.now(UTC)
    if as_json:
        output.write_document(_described(explanation, path, key, now))
    else:
        columns = ("store", "status", "took", "version", "written", "value")
        output.write_listing(columns, _rows(explanation, now))
    if cache.ttl > 0:
        output.say(_caution(cache))
    if error is not None:
        raise error


def _rows(explanation: Explanation, now: datetime) -> Iterator[tuple[Cell, ...]]:
    for answer in explanation.answers:
        age = _age(answer, now)
        attempt = answer.attempt
        yield (
            Cell(attempt.store),
            output.state(attempt.answer, _status(answer)),
            Cell(f"{attempt.seconds * 1000:.1f} ms"),
            Cell("" if answer.version is None else str(answer.version)),
            Cell("" if age is None else f"{format_duration(round(age))} ago"),
            _compared(explanation, answer),
        )
    served = explanation.served
    if served is not None and all(answer is not served for answer in explanation.answers):
        yield (Cell(served.attempt.store), output.state("found"), _NOTHING, _NOTHING, _NOTHING, _SERVED)
    for store in explanation.passed_over:
        not_queried = Cell("not queried: its paths exclude this one", "dim")
        yield (Cell(store, "dim"), not_queried, _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def _described(explanation: Explanation, path: str, key: str | None, now: datetime) -> Mapping[str, Value]:
    served = explanation.served
    return {
        "path": path,
        "key": key,
        "served": None if served is None else served.attempt.store,
        "answers": [
            {
                "store": answer.attempt.store,
                "answer": answer.attempt.answer.value,
                "reason": answer.attempt.reason,
                "seconds": answer.attempt.seconds,
                "secret_version": answer.version,
                "age": _age(answer, now),
                "disk_cache_age": answer.disk_age,
                "served": answer is explanation.served,
                "equals_served": explanation.equals_served(answer),
            }
            for answer in explanation.answers
        ],
        "not_asked": list(explanation.passed_over),
    }


def _status(answer: LinkAnswer) -> str:
    attempt = answer.attempt
    status = "found" if answer.found else f"{attempt.answer}: {attempt.reason}"
    return status if answer.disk_age is None else f"{status} (disk cache, {answer.disk_age:.0f} s old)"


def _compared(explanation: Explanation, answer: LinkAnswer) -> Cell:
    if answer is explanation.served:
        return _SERVED
    equal = explanation.equals_served(answer)
    return _NOTHING if equal is None else Cell("same", "green") if equal else Cell("different", "yellow")


def _age(answer: LinkAnswer, now: datetime) -> float | None:
    """Return the seconds since this version was written; not below zero, even if the server's clock is ahead."""
    if answer.created is None or answer.created.tzinfo is None:
        return None
    return max(0.0, (now - answer.created).total_seconds())


def _caution(cache: CacheConfig) -> str:
    stale = f", and for {format_duration(cache.max_stale)} more during an outage" if cache.max_stale > 0 else ""
    return f"A running process may serve a cached value of a remote store for {format_duration(cache.ttl)}{stale}"
