"""What the benchmarks report beside their times: each median as a ratio to its group's yardsticks, and the bound."""

from __future__ import annotations

from collections import defaultdict

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for each bound: `extra_info["bounds"]` of a benchmark is yardstick -> the most that the ratio may be."""
    session = getattr(config, "_benchmarksession", None)
    medians: dict[str | None, dict[str, float]] = defaultdict(dict)
    bounds = []
    for benchmark in session.benchmarks if session is not None and not session.disabled else ():
        medians[benchmark.group][benchmark.name] = benchmark.stats.median
        bounds += [
            (benchmark.group, benchmark.name, *bound) for bound in benchmark.extra_info.get("bounds", {}).items()
        ]
    if bounds:
        terminalreporter.section("ratios of medians, measured side by side")
    for group, name, yardstick, most in bounds:
        if yardstick in medians[group]:
            ratio = medians[group][name] / medians[group][yardstick]
            verdict = "within" if ratio <= most else "OVER"
            terminalreporter.line(f"{name} / {yardstick}: {ratio:.3f}, {verdict} {most:.3f}")
