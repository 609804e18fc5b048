"""Change one place of a central module at a time, run its tests, and print the changes that they do not notice.

Usage: `python tests/programs/mutants.py [COUNT [SEED]]`, in a copy of the tree whose editable installation this Python
has: the program changes its sources. The same seed draws the same sample from the same sources.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome

CORE, VAULT = "core/strongroom", "backends/strongroom_vault"
MODULES = {
    f"{CORE}/_boundary/guard.py": "store",
    f"{CORE}/_chain/connection.py": "chain",
    f"{CORE}/_chain/cache.py": "chain",
    f"{CORE}/_chain/chain.py": "chain test_accepted.py",
    f"{CORE}/_chain/link.py": "chain",
    f"{CORE}/agents/_rules/policy.py": "agents",
    f"{CORE}/migrate/_execution/transfer.py": "migrate",
    f"{CORE}/migrate/_ledger/journal.py": "migrate",
    f"{CORE}/rotate/state.py": "rotate",
    f"{CORE}/rotate/transaction.py": "rotate",
    f"{VAULT}/http/request_policy.py": "vault",
    f"{VAULT}/store/write_reconciliation.py": "vault",
}
"""The central modules, with their tests in `tests/unit`."""

LIMIT = 180
"""Seconds for the tests of one mutant. A mutant that hangs counts as noticed."""


def mutations(module: Path) -> list[MutationSpec]:
    """Return the changes that Cosmic Ray knows for a module, without those of `X | None` in type hints."""
    with use_db(":memory:", WorkDB.Mode.create) as work:
        init([module], work, {})
        found = [mutation for item in work.work_items for mutation in item.mutations]
    return [mutation for mutation in found if "BinaryOperator_BitOr_" not in mutation.operator_name]


def main(count: str = "60", seed: str = "1") -> int:
    """Run a sample with as many mutants of each module as of the others. Return the exit code."""
    draw, survivors, began = random.Random(int(seed)), [], time.monotonic()
    each = max(1, int(count) // len(MODULES))
    for name, tests in MODULES.items():
        module = Path(name)
        paths = " ".join(f"tests/unit/{path}" for path in tests.split())
        command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider --timeout=60 {paths}"
        known = sorted(mutations(module), key=lambda mutation: (mutation.operator_name, mutation.occurrence))
        for mutation in draw.sample(known, min(each, len(known))):
            result = mutate_and_test([mutation], command, LIMIT)
            survived = result.test_outcome is TestOutcome.SURVIVED
            line, operator = mutation.start_pos[0], mutation.operator_name.removeprefix("core/")
            print(f"{'SURVIVED' if survived else 'noticed '}  {name}:{line}  {operator}", flush=True)
            if survived:
                survivors.append(f"{name}:{line}\n{result.diff}")
    print(f"\n{len(survivors)} survived, in {time.monotonic() - began:.0f} s", *survivors, sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
