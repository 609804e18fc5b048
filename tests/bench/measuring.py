"""Measure contenders in turns on separate cores, and growth in new processes. Every part of the benchmarks uses it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

from strongroom_vault.dev.server import DevServer, find_binary
from strongroom_vault.testing import TestVault

ROUNDS: Final = 7
TOKENS: Final = ("VAULT_", "BAO_", "STRONGROOM_", "DATABASE_URL")

Turn = Callable[[], float]
"""One measurement of a contender, in seconds."""


def timed(action: Callable[[], object], times: int = 1, *, prepare: Callable[[], object] | None = None) -> Turn:
    """Return a turn that repeats an action. `prepare` is called before each turn, and not timed."""

    def turn() -> float:
        if prepare is not None:
            prepare()
        began = time.perf_counter()
        for _ in range(times):
            action()
        return time.perf_counter() - began

    return turn


def rounds(turns: Mapping[str, Turn], number: int) -> dict[str, list[float]]:
    """Let contenders take turns. A round begins with another one each time."""
    taken: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for done in range(number):
        start = done % len(names)
        for name in names[start:] + names[:start]:
            taken[name].append(turns[name]())
    return taken


class Placement:
    """The cores of servers and clients: the first core for the client, the others for the servers.

    Attributes:
        separates: False with a single core, or if a process cannot choose its cores.
    """

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.separates = len(self._cores) > 1
        self.servers: list[DevServer] = []

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep servers and clients on separate cores within the block. New threads and processes inherit theirs."""
        if self.separates:
            self._place(self._cores[:1], self._cores[1:])
        try:
            yield
        finally:
            if self.separates:
                self._place(self._cores, self._cores)

    def _place(self, client: list[int], servers: list[int]) -> None:
        for pid, cores in ((os.getpid(), client), *((server.pid, servers) for server in self.servers)):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):  # it ended
                    os.sched_setaffinity(int(thread.name), cores)


class Bench:
    """One run: its servers, its folder and its results.

    A context manager.

    Args:
        once: measure everything once, with small numbers. That checks the benchmarks, and says nothing about time.

    Attributes:
        folder: for files of the benchmarks, removed at the end.
        placement: the cores.
        results: the measurements, ready for JSON. `pairs` has the seconds of each turn, by name, placement and
            contender. `growth` has rows of `n`, `seconds` and `mib`.
    """

    def __init__(self, *, once: bool = False) -> None:
        self.once = once
        self.results: dict[str, Any] = {"machine": machine(), "pairs": {}, "growth": {}, "skipped": {}}
        self.placement = Placement()
        self._stack = contextlib.ExitStack()
        self._vault: TestVault | None = None
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-bench-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def vault(self) -> TestVault:
        """A server without an audit file, which most yardsticks do not pay for either."""
        if self._vault is None:
            self._vault = self.serve(TestVault())
        return self._vault

    def serve(self, server: Any) -> Any:
        """Start a server, which runs to the end of the benchmarks."""
        self._stack.enter_context(server)
        self.placement.servers.append(server)
        return server

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)  # noqa: T201

    def pairs(self, name: str, turns: Mapping[str, Turn], *, count: int, unpinned: int = ROUNDS) -> None:
        """Let contenders take turns for seven rounds, with each placement. A round begins with another one each time.

        Args:
            name: key of the results.
            turns: the contenders.
            count: how many operations a turn has, for the time of a single one.
            unpinned: number of rounds on any core.
        """
        measured: dict[str, Any] = {"count": count}
        if not self.once:
            for turn in turns.values():  # the first turn compiles, imports and connects
                turn()
        if self.placement.separates:
            with self.placement.pinned():
                measured["pinned"] = rounds(turns, 1 if self.once else ROUNDS)
        measured["unpinned"] = measured["pinned"] if self.once and "pinned" in measured else rounds(turns, unpinned)
        self.results["pairs"][name] = measured
        self.say(f"{name}: {', '.join(turns)}")

    def grow(
        self, name: str, measure: Callable[[int], Mapping[str, float]], most: int, *, first: int = 10, factor: int = 10
    ) -> None:
        """Measure with 10, 100, ... `most` items. Small numbers are measured three times, and the best counts.

        Args:
            name: key of the results.
            measure: takes the number; returns `seconds`, and `mib` if the peak of the memory is known.
            most: the largest number.
            first: the smallest number.
            factor: from one number to the next.
        """
        rows, number = [], first
        while number <= (first if self.once else most):
            repeats = 3 if number <= 100 and not self.once else 1
            rows.append({"n": number, **min((measure(number) for _ in range(repeats)), key=lambda row: row["seconds"])})
            self.say(f"{name}: {number:,} in {rows[-1]['seconds']:.3f} s")
            number *= factor
        self.results["growth"][name] = rows

    def grown(self, number: int, kind: str, **settings: str) -> dict[str, float]:
        """Return the measurement of a new process: `tests/bench/grown.py` with these settings."""
        environment = {**clean_environment(), "STRONGROOM_TIMEOUT": "1h", **settings}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        command = [sys.executable, "-m", "bench.grown", kind, str(number)]
        done = subprocess.run(command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, check=True)
        row: dict[str, float] = json.loads(done.stdout)
        return row


def clean_environment() -> dict[str, str]:
    """Return the environment without the settings of a store or of Strongroom."""
    return {name: value for name, value in os.environ.items() if not name.startswith(TOKENS)}


def machine() -> dict[str, Any]:
    """Describe the machine and the versions."""
    output = subprocess.run([find_binary(), "version"], capture_output=True, text=True, check=True, env={}).stdout
    return {
        **computer(),
        "server": " ".join(output.split()[:2]).removesuffix(","),
        "libraries": {name: version(name) for name in ("hvac", "pycurl", "cryptography", "secretspec")},
    }


def computer() -> dict[str, Any]:
    """Describe the machine and its Python."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
