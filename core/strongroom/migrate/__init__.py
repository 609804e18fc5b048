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

from typing import TYPE_CHECKING

from strongroom._lazy_names import lazy_names

# Import each name at first use (PEP 562), so that a plugin that imports `strongroom.migrate.spi` loads nothing else.
if TYPE_CHECKING:
    from strongroom.migrate._ledger.runs import Run as Run
    from strongroom.migrate._ledger.runs import runs as runs
    from strongroom.migrate._plans.document import dump_plan as dump_plan
    from strongroom.migrate._plans.document import parse_plan as parse_plan
    from strongroom.migrate._plans.plan import KeyChange as KeyChange
    from strongroom.migrate._plans.plan import OnConflict as OnConflict
    from strongroom.migrate._plans.plan import Plan as Plan
    from strongroom.migrate._plans.plan import PlannedItem as PlannedItem
    from strongroom.migrate._plans.plan import PlannedKey as PlannedKey
    from strongroom.migrate._plans.plan import PlannedMapping as PlannedMapping
    from strongroom.migrate._plans.plan import PlannedState as PlannedState
    from strongroom.migrate.migrator import Migrator as Migrator
    from strongroom.migrate.report import ItemResult as ItemResult
    from strongroom.migrate.report import ItemState as ItemState
    from strongroom.migrate.report import MigrationAction as MigrationAction
    from strongroom.migrate.report import OnProgress as OnProgress
    from strongroom.migrate.report import Progress as Progress
    from strongroom.migrate.report import Report as Report
    from strongroom.migrate.sources import Selection as Selection
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "strongroom.migrate._ledger.runs": "Run runs",
            "strongroom.migrate.migrator": "Migrator",
            "strongroom.migrate._plans.document": "dump_plan parse_plan",
            "strongroom.migrate._plans.plan": (
                "KeyChange OnConflict Plan PlannedItem PlannedKey PlannedMapping PlannedState"
            ),
            "strongroom.migrate.report": "MigrationAction ItemResult ItemState OnProgress Progress Report",
            "strongroom.migrate.sources": "Selection",
        },
    )
