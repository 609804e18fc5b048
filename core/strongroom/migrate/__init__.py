"""Moving secrets between stores: planned, resumed, verified and undone.

::

    from strongroom.migrate import apply, plan, undo, verify

    migration = plan("dotenv:.env", "vault:secret/billing")
    for item in migration.pending:
        print(item.state, item.path)
    run = apply(migration).run
    verify(run)
    undo(run)

A store is named as on the command line: a store of the configuration, or PLUGIN, either with `:LOCATION` or without.
Stores that are open already are given with `stores={"name": store}`, and named so.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# A plugin imports `strongroom.migrate.spi`, and pays for nothing else: each name is imported at first use (PEP 562).
if TYPE_CHECKING:
    from strongroom.migrate.endpoints.selection import Selection
    from strongroom.migrate.execution.apply import apply, resume
    from strongroom.migrate.execution.source_deletion import delete_source
    from strongroom.migrate.execution.undo import undo
    from strongroom.migrate.execution.verify import verify
    from strongroom.migrate.ledger.runs import Run, runs
    from strongroom.migrate.plans.document import dump_plan, parse_plan
    from strongroom.migrate.plans.plan import Item, OnConflict, Plan, PlannedKey, PlannedMapping, State
    from strongroom.migrate.plans.planner import plan
    from strongroom.migrate.reports.html import html_report
    from strongroom.migrate.reports.report import Action, ItemResult, ItemState, OnProgress, Progress, Report

_MODULES = {
    "Action": "reports.report",
    "Item": "plans.plan",
    "ItemResult": "reports.report",
    "ItemState": "reports.report",
    "OnConflict": "plans.plan",
    "OnProgress": "reports.report",
    "Plan": "plans.plan",
    "PlannedKey": "plans.plan",
    "PlannedMapping": "plans.plan",
    "Progress": "reports.report",
    "Report": "reports.report",
    "Run": "ledger.runs",
    "Selection": "endpoints.selection",
    "State": "plans.plan",
    "apply": "execution.apply",
    "delete_source": "execution.source_deletion",
    "dump_plan": "plans.document",
    "html_report": "reports.html",
    "parse_plan": "plans.document",
    "plan": "plans.planner",
    "resume": "execution.apply",
    "runs": "ledger.runs",
    "undo": "execution.undo",
    "verify": "execution.verify",
}

__all__ = [
    "Action",
    "Item",
    "ItemResult",
    "ItemState",
    "OnConflict",
    "OnProgress",
    "Plan",
    "PlannedKey",
    "PlannedMapping",
    "Progress",
    "Report",
    "Run",
    "Selection",
    "State",
    "apply",
    "delete_source",
    "dump_plan",
    "html_report",
    "parse_plan",
    "plan",
    "resume",
    "runs",
    "undo",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"strongroom.migrate.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
