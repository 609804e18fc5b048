"""A plan as a table, as lines for a pipe and as a document: names and sizes, without values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from strongroom.cli.commands.migration.report_view import reason
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.terminal import output
from strongroom.cli.terminal.output import Cell
from strongroom.diff import Change
from strongroom.errors import shown
from strongroom.migrate.plans.document import plan_fields
from strongroom.migrate.plans.plan import Item, OnConflict, Plan, PlannedKey, PlannedState
from strongroom.secret import Value

_KILO = 1024
_PREFIXES = {
    Change.CHANGED: "differs:",
    Change.ADDED: "adds:",
    Change.SAME: "same:",
    Change.REMOVED: "only at the target:",
}
_CHANGES = {
    OnConflict.FAIL: "fails",
    OnConflict.SKIP: "left as they are",
    OnConflict.OVERWRITE: "overwritten",
    OnConflict.MERGE: "merged, the target's values stay",
}


def exit_code(plan: Plan) -> ExitCode:
    """Return IMPOSSIBLE for impossible secrets or blocking conflicts, DIFFERENT for writes, otherwise DONE."""
    if plan.is_blocked or plan.count(PlannedState.IMPOSSIBLE):
        return ExitCode.IMPOSSIBLE
    return ExitCode.DIFFERENT if plan.pending else ExitCode.DONE


def write(plan: Plan) -> None:
    """Print a table with cautions on a terminal, or one line for each secret in a pipe.

    The table leaves out equal secrets, which the summary counts.
    """
    if not output.is_terminal():
        output.write_rows(_fields(item) for item in plan.items)
        return
    items = [item for item in plan.items if item.state is not PlannedState.EQUAL]
    several = len(plan.sources) > 1 or any(item.path and item.path != item.source_path for item in items)
    columns = ("path", "state", *(("from",) if several else ()), "keys, or reason")
    if items:
        output.write_table(columns, (tuple(_row(item, several=several)) for item in items))
    for line in cautions(plan.items):
        output.say(line)


def summary(plan: Plan) -> str:
    """Return the plan in one line: `plan: create 3, conflict 1 (fails)`."""
    counts = [
        f"{state.value} {plan.count(state):,}" + (f" ({_CHANGES[plan.on_conflict]})" * (state is PlannedState.CONFLICT))
        for state in PlannedState
        if plan.count(state)
    ]
    manner = "" if plan.backup else ", without a backup"
    if count := len(plan.encrypt_to):
        manner += f", encrypted to {count:,} recipient{'s' if count > 1 else ''}"
    return f"plan: {', '.join(counts) or 'no secrets'}{manner if plan.pending else '. Nothing to write'}"


def cautions(items: Iterable[Item]) -> Iterator[str]:
    """Yield each caution once, with its secrets."""
    about: dict[str, list[str]] = {}
    for item in items:
        for caution in item.cautions:
            about.setdefault(caution, []).append(shown(item.path or item.source_path))
    for caution, paths in about.items():
        more = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
        yield f"caution: {', '.join(paths[:3])}{more}: {caution}"


def document(plan: Plan) -> dict[str, Value]:
    """Return the plan for `--json`."""
    items = zip(plan.items, islice(plan_fields(plan), 1, None), strict=True)
    return {
        "id": plan.id,
        "sources": list(plan.sources),
        "target": plan.target,
        "on_conflict": plan.on_conflict.value,
        "backup": plan.backup,
        "encrypt_to": list(plan.encrypt_to),
        "blocked": plan.is_blocked,
        "counts": {state.value: plan.count(state) for state in PlannedState},
        "items": [{**fields, "writes": plan.writes(item)} for item, fields in items],
    }


def size(count: int) -> str:
    """Return a size as `24B`, `64KiB` or `1.5MiB`, without a space, so that no line breaks in it."""
    if count < _KILO:
        return f"{count}B"
    kibi = count / _KILO
    number, unit = (kibi, "KiB") if kibi < _KILO else (kibi / _KILO, "MiB")
    return f"{number:.1f}".removesuffix(".0") + unit


def _row(item: Item, *, several: bool) -> Iterator[Cell | str]:
    yield shown(item.path or item.source_path)
    yield output.state(item.state.value)
    if several:
        yield shown(item.source) + f"\n{shown(item.source_path)}" * (item.path not in {"", item.source_path})
    keys = "\n".join(filter(None, (_keys(item), f"labels: {_labels(item)}" * bool(item.labels))))
    yield keys if keys and item.state is PlannedState.CONFLICT else "\n".join(filter(None, (reason(item), keys)))


def _fields(item: Item) -> tuple[str, ...]:
    """Return the fields of a line: state, target path, source, source path, keys, reason, cautions and labels."""
    keys = ", ".join(f"{shown(key.name)} {_sized(key)}{key.change.value}" for key in item.keys)
    return (
        item.state.value,
        shown(item.path) if item.path else "",
        shown(item.source),
        shown(item.source_path),
        keys,
        reason(item),
        "; ".join(item.cautions),
        _labels(item),
    )


def _labels(item: Item) -> str:
    return ", ".join(map(shown, item.labels))


def _sized(key: PlannedKey) -> str:
    return "" if key.change is Change.REMOVED else f"{size(key.size)} "


def _keys(item: Item) -> str:
    """Return the keys with their sizes, grouped by change if the target has the secret."""
    if item.state is PlannedState.CREATE:
        return ", ".join(f"{shown(key.name)} {size(key.size)}" for key in item.keys)
    groups = {change: [key for key in item.keys if key.change is change] for change in _PREFIXES}
    return "\n".join(
        f"{_PREFIXES[change]} {', '.join(f'{shown(key.name)} {_sized(key)}'.rstrip() for key in keys)}"
        for change, keys in groups.items()
        if keys
    )
