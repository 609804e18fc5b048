"""A step of a migration in a process that is killed, or kills itself at a boundary of the journal.

A separate module, since the server that forks these processes imports it once for all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

# Imported once, for all children.
import hvac.api  # noqa: F401
import stevedore.driver  # noqa: F401

import strongroom._config.discovery
import strongroom._files.plugin  # noqa: F401
import strongroom_vault.plugin
import strongroom_vault.store.kv2_versions  # noqa: F401
from strongroom.migrate import parse_plan
from strongroom.migrate._execution import parallel
from strongroom.migrate._execution import undo as undoing
from strongroom.migrate._ledger import journal
from support.scenarios.migrations import apply, delete_source, resume, undo


def run(
    environ: Mapping[str, str], folder: str, step: str, plan: str, home: str, at: int, begun: Connection | None
) -> None:
    """Run the step in this folder, and tell `begun` before the first write.

    The process is killed at boundary `at`: before a write to the journal, with half of it written, or after it.
    """
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    # Many groups of few secrets: more boundaries.
    parallel._BATCH = parallel._BATCH_UNCHECKED = parallel._BATCH_LOCAL = 5
    write, undo_step, count = journal.Journal._write, undoing.Undo._step, 0

    def tell():
        nonlocal begun
        if begun is not None:
            begun.send("begun")
            begun = None

    def pass_boundary():
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(self, content):
        if step != "undo":
            tell()
        pass_boundary()
        if count + 1 == at:
            os.write(self._descriptor, content[: len(content) // 2])
        pass_boundary()
        write(self, content)
        pass_boundary()

    def first_step(self, *arguments):
        tell()  # the target was read, and is written next
        return undo_step(self, *arguments)

    # A process is killed within one write, and no public call is only one.
    journal.Journal._write = dying
    undoing.Undo._step = first_step
    if step == "apply":
        apply(parse_plan(Path(plan).read_bytes()), state_folder=Path(home))
    else:
        {"resume": resume, "delete-source": delete_source, "undo": undo}[step](state_folder=Path(home))


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["migration_process"])


class Killable:
    """`apply` of a plan, or `resume`, `undo` or `delete_source` of the last run, in another process.

    Args:
        step: which of them.
        home: where migrations are remembered.
        at: the boundary of the journal at which it is killed; 0 for never.
        plan: the file of the plan.
    """

    def __init__(
        self, step: Literal["apply", "resume", "undo", "delete-source"], home: Path, at: int = 0, plan: Path | str = ""
    ) -> None:
        here = (dict(os.environ), str(Path.cwd()))
        begun, told = _PROCESSES.Pipe(duplex=False)
        with begun:
            with told:
                self._process = _PROCESSES.Process(target=run, args=(*here, step, str(plan), str(home), at, told))
                self._process.start()
            assert begun.recv() == "begun"

    def wait(self, timeout: float = 60) -> int | None:
        """Its exit code, or None if it still runs."""
        self._process.join(timeout)
        return self._process.exitcode

    def kill_after(self, seconds: float) -> int | None:
        """Kills it then, if it still runs; its exit code."""
        self._process.join(seconds)
        self._process.kill()
        return self.wait()
