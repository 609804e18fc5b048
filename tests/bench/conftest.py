"""What the benchmarks are held to: medians beside those of their yardsticks. One over its bound fails the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A bound can only be checked when its yardstick has been measured too, which is at the end."""
    if session.exitstatus == pytest.ExitCode.OK and any(over for _, over in _verdicts(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for each bound."""
    verdicts = list(_verdicts(config))
    if verdicts:
        terminalreporter.section("medians, measured side by side")
    for line, over in verdicts:
        terminalreporter.line(line, red=over)


def _verdicts(config: pytest.Config) -> Iterator[tuple[str, bool]]:
    """Each bound in words, and whether it is exceeded.

    In `extra_info` of a benchmark, `bounds` is yardstick -> the most that the ratio may be, and `bounds_ms` is
    yardstick -> the most that it may take beyond it, in milliseconds. `beside` is yardstick -> what that took before
    each round, and the most that the ratio in a round may be at the median: what else the machine does slows both.
    """
    session = getattr(config, "_benchmarksession", None)
    benchmarks = () if session is None or session.disabled else session.benchmarks
    medians: dict[str | None, dict[str, float]] = defaultdict(dict)
    for benchmark in benchmarks:
        medians[benchmark.group][benchmark.name] = benchmark.extra_info.get("median", benchmark.stats.median)
    for benchmark in benchmarks:
        group, own = medians[benchmark.group], medians[benchmark.group][benchmark.name]
        for yardstick, most in benchmark.extra_info.get("bounds", {}).items():
            if yardstick in group:
                yield _verdict(f"{benchmark.name} / {yardstick}", own / group[yardstick], most)
        for yardstick, most in benchmark.extra_info.get("bounds_ms", {}).items():
            if yardstick in group:
                yield _verdict(f"{benchmark.name} - {yardstick}, ms", (own - group[yardstick]) * 1000, most)
        for yardstick, (taken, most) in benchmark.extra_info.get("beside", {}).items():
            ratios = [mine / its for mine, its in zip(benchmark.stats.data, taken, strict=True)]
            yield _verdict(f"{benchmark.name} / {yardstick}", median(ratios), most)


def _verdict(what: str, measured: float, most: float) -> tuple[str, bool]:
    over = measured > most
    return f"{what}: {measured:.3f}, {'OVER' if over else 'within'} {most:.3f}", over
