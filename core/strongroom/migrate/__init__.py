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
    from strongroom.migrate.applying import apply, resume
    from strongroom.migrate.deleting import delete_source
    from strongroom.migrate.home import Run, runs
    from strongroom.migrate.items import Item, OnConflict, Plan, PlannedKey, PlannedMapping, State
    from strongroom.migrate.page import html_report
    from strongroom.migrate.plan_document import dump_plan, parse_plan
    from strongroom.migrate.planning import plan
    from strongroom.migrate.report import Action, ItemResult, ItemState, OnProgress, Progress, Report
    from strongroom.migrate.selection import Selection
    from strongroom.migrate.undoing import undo
    from strongroom.migrate.verifying import verify

_MODULES = {
    "Action": "report",
    "Item": "items",
    "ItemResult": "report",
    "ItemState": "report",
    "OnConflict": "items",
    "OnProgress": "report",
    "Plan": "items",
    "PlannedKey": "items",
    "PlannedMapping": "items",
    "Progress": "report",
    "Report": "report",
    "Run": "home",
    "Selection": "selection",
    "State": "items",
    "apply": "applying",
    "delete_source": "deleting",
    "dump_plan": "plan_document",
    "html_report": "page",
    "parse_plan": "plan_document",
    "plan": "planning",
    "resume": "applying",
    "runs": "home",
    "undo": "undoing",
    "verify": "verifying",
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
