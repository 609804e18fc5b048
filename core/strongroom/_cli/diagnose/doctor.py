"""`strongroom doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.diagnose import findings
from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.maintain.cache import cache_document, cache_status, cache_summary
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom.errors import CheckState

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom._disk_cache.maintenance import DiskCacheStatus
    from strongroom.store import Health


@click.command("doctor")
@json_option("Print a JSON object with one entry for each store.")
@current
def doctor_command(invocation: Invocation, *, as_json: bool) -> None:
    """Check the health of every store in the chain, and suggest what to fix.

    All stores are opened and checked in parallel, without any cache. A store without health checks is ok if it opens.
    The exit code is 0 if every store is ok; otherwise it is the code of the gravest problem. A warning needs attention
    soon, but does not change the exit code. A token of Vault without an address is one, since Vault is then not in the
    chain. A rotation that is overdue or unfinished is a warning of its store. If its record cannot be read, the exit
    code is 8.

    Example: strongroom --environment prod doctor
    """
    config = invocation.load()
    found, unread = findings.health(config)
    cache = cache_status(config) if config.cache.disk else None
    if config.sources and not as_json:
        output.say(config.sources)
    if as_json:
        document = _described(config, found)
        document["ok"] = document["ok"] and not unread
        output.write_document({**document, "disk_cache": None if cache is None else cache_document(cache)})
    else:
        rows = list(_rows(config, found, cache))
        output.write_listing(("store, check", "status", "took", "details"), map(_cells, rows), rows)
    if failed := [name for name, health in found.items() if not health.ok]:
        stores = output.counted(len(found), "store")
        output.say(f"{len(failed)} of {stores} failed: {', '.join(failed)}")
    for error in unread:
        output.say(f"Not checked: {error}")
    code = code_of_all(health.error for health in found.values() if health.error is not None)
    click.get_current_context().exit(code or (ExitCode.PARTIAL if unread else ExitCode.DONE))


def _rows(config: Config, found: Mapping[str, Health], cache: DiskCacheStatus | None) -> Iterator[tuple[str, ...]]:
    """Yield store, check, state, duration, details and hint; the row of a store comes before those of its checks.

    The row of a store that was left out of the chain is a warning, and so is that of helpers. The last row is that of
    the cache on disk. Its fault is a warning: every read is a miss, and asks the store.
    """
    for name, health in found.items():
        took = f"{health.seconds * 1000:.1f} ms"
        details = "; ".join(filter(None, (findings.location_of(config, name), health.detail if health.ok else "")))
        yield tuple(map(output.one_line, (name, "", findings.state_of(health), took, details, "")))
        for check in health.checks:
            yield tuple(map(output.one_line, (name, check.name, check.state, "", check.detail, check.hint)))
    if (left_out := config.left_out) is not None:
        yield (left_out.store, "", CheckState.WARNING, "", f"not in the chain: {left_out.reason}", left_out.hint)
    if file := findings.ignored_helpers(config):
        detail = f"no helper reads [helpers] of {file}"
        yield ("helpers", "", CheckState.WARNING, "", detail, findings.IGNORED_HINT)
    if cache is not None:
        state, hint = (CheckState.WARNING, f"Check {cache.folder}") if cache.fault else (CheckState.OK, "")
        yield tuple(map(output.one_line, ("disk cache", "", state, "", cache_summary(cache), hint)))


def _cells(row: tuple[str, ...]) -> tuple[str | output.Cell, ...]:
    """Return the cells of a row on a terminal: checks are indented, and the hint is below the details."""
    name, check, state, took, detail, hint = row
    return f"  {check}" if check else name, output.state(state), took, advised(detail, hint)


def advised(detail: str, hint: str) -> str:
    """Return the details of a check with its hint below them; either may be empty."""
    return "\n".join(filter(None, (detail, f"Next: {hint}" if hint else "")))


def _described(config: Config, found: Mapping[str, Health]) -> dict[str, Any]:
    return {
        "ok": all(health.ok for health in found.values()),
        "environment": config.environment,
        "files": list(map(str, config.files)),
        "folder": str(config.folder),
        "left_out": None if config.left_out is None else config.left_out._asdict(),
        "stores": [
            {
                "store": name,
                "state": findings.state_of(health),
                "place": findings.location_of(config, name),
                "seconds": health.seconds,
                "detail": health.detail,
                "facts": {name: str(fact) for name, fact in health.facts.items()},
                "checks": [check._asdict() for check in health.checks],
            }
            for name, health in found.items()
        ],
    }
