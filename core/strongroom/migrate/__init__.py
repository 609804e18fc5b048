"""Migrations between stores: plan, apply, resume, verify and undo.

::

    from strongroom.migrate import Migrator

    with Migrator() as migrator:
        plan = migrator.plan("dotenv:.env", "vault:secret/billing")
        for item in plan.pending:
            print(item.state, item.path)
        run = migrator.apply(plan).run
        migrator.verify(run)
        migrator.undo(run)

Store names are those of the command line: a store of the configuration or a plugin, with or without `:LOCATION`. Pass
opened stores by name with `stores={"name": store}`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# Import each name at first use (PEP 562), so that a plugin that imports `strongroom.migrate.spi` loads nothing else.
if TYPE_CHECKING:
    from strongroom.migrate.execution.history import CopiedHistory
    from strongroom.migrate.ledger.runs import Run, runs
    from strongroom.migrate.migrator import Migrator
    from strongroom.migrate.plans.document import dump_plan, parse_plan
    from strongroom.migrate.plans.plan import Item, OnConflict, Plan, PlannedKey, PlannedMapping, PlannedState
    from strongroom.migrate.report import Action, ItemResult, ItemState, OnProgress, Progress, Report, html_report
    from strongroom.migrate.sources import Selection

_NAMES = {
    "execution.history": "CopiedHistory",
    "sources": "Selection",
    "ledger.runs": "Run runs",
    "migrator": "Migrator",
    "plans.document": "dump_plan parse_plan",
    "plans.plan": "Item OnConflict Plan PlannedKey PlannedMapping PlannedState",
    "report": "Action ItemResult ItemState OnProgress Progress Report html_report",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Action",
    "CopiedHistory",
    "Item",
    "ItemResult",
    "ItemState",
    "Migrator",
    "OnConflict",
    "OnProgress",
    "Plan",
    "PlannedKey",
    "PlannedMapping",
    "PlannedState",
    "Progress",
    "Report",
    "Run",
    "Selection",
    "dump_plan",
    "html_report",
    "parse_plan",
    "runs",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"strongroom.migrate.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
