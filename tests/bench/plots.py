"""Draw the benchmarks for the documentation, as pictures and tables: the last step of `nox -s bench`.

    python tests/bench/plots.py BENCHMARK.json docs

The JSON is that of `pytest --benchmark-json`. Every figure is a ratio of two times of one run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

THEMES: Final = {"light": ("#1f2328", "#0969da", "#afb8c1"), "dark": ("#e6edf3", "#4493f8", "#57606a")}
"""Colors of the text, of Strongroom, and of the others."""

START_UP: Final = {
    "test_others_start_up[dotenv]": "python-dotenv reads .env",
    "test_start_up[version]": "strongroom --version",
    "test_start_up[get]": "strongroom get, environment",
    "test_start_up[first_secret]": "get_secret, environment",
    "test_start_up_from_the_disk_cache[get]": "strongroom get, disk cache",
    "test_start_up_from_the_disk_cache[first_secret]": "get_secret, disk cache",
    "test_others_start_up[bao]": "bao kv get, server",
    "test_others_start_up[hvac]": "hvac, server",
    "test_others_start_up[strongroom]": "strongroom get, server",
}
"""The benchmarks of a process, and their labels."""

CACHED: Final = {
    "test_aesgcm_decrypt": "AES-GCM alone",
    "test_get_secret": "strongroom get_secret",
    "test_aws_secretsmanager_caching": "aws-secretsmanager-caching",
}
"""The benchmarks of a cached read, and their labels."""

_WIDTH, _LABEL, _BAR, _STEP = 720, 230, 18, 28


class Chart(NamedTuple):
    """One picture with its table.

    Attributes:
        name: the name of the picture's file.
        title: the heading of its section.
        unit: the time that counts as 1.
        ratios: the bars, by label.
    """

    name: str
    title: str
    unit: str
    ratios: Mapping[str, float]


def charts(benchmarks: list[dict[str, Any]]) -> list[Chart]:
    """Return the charts for the benchmarks of one run."""
    named = {each["name"]: each for each in benchmarks if each["name"] != "test_strongroom"}
    groups = {each["group"]: each for each in benchmarks}
    alone = named["test_aesgcm_decrypt"]["stats"]["median"]
    cached = {label: named[name]["stats"]["median"] / alone for name, label in CACHED.items()}
    started = {label: named[name]["extra_info"]["ratio"] for name, label in START_UP.items()}
    return [
        Chart("cached-read", "A cached read", "one decryption with AES-GCM", cached),
        Chart("cold-read", "A read from a server", "hvac", beside(groups["a cold read"], "hvac")),
        Chart(
            "bulk",
            "A thousand secrets at once",
            "hvac on eight threads",
            beside(groups["a thousand cold secrets"], "hvac on eight threads"),
        ),
        Chart("start-up", "The start of a process", "`import dotenv`", started),
    ]


def beside(benchmark: Mapping[str, Any], unit: str) -> dict[str, float]:
    """Return the ratio of each contender to the unit: the median over the rounds, in which all take turns."""
    taken = {name: times for name, (times, _) in benchmark["extra_info"]["beside"].items()}
    taken["strongroom"] = benchmark["stats"]["data"]
    ratios = {name: median(a / b for a, b in zip(times, taken[unit], strict=True)) for name, times in taken.items()}
    return dict(sorted(ratios.items(), key=lambda row: row[1]))


def draw(chart: Chart, theme: str) -> str:
    """Return a bar chart as SVG."""
    text, own, other = THEMES[theme]
    scale = (_WIDTH - _LABEL - 60) / max(chart.ratios.values())
    size = f"0 0 {_WIDTH} {len(chart.ratios) * _STEP + 8}"
    title = f"{chart.title}: times as ratios to {chart.unit.strip('`')}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" font-family="sans-serif" font-size="13">',
        f'<title>{title}</title><g fill="{text}">',
    ]
    for number, (label, ratio) in enumerate(chart.ratios.items()):
        top = number * _STEP + 6
        color = own if "strongroom" in label or "get_secret" in label else other
        parts += [
            f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{label}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{ratio * scale:.1f}" height="{_BAR}" rx="2" fill="{color}"/>',
            f'<text x="{_LABEL + ratio * scale + 6:.1f}" y="{top + 14}">{shown(ratio)}</text>',
        ]
    return "\n".join([*parts, "</g></svg>"]) + "\n"


def shown(ratio: float) -> str:
    """Return the ratio with two digits that mean something."""
    return f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}"


def section(chart: Chart) -> str:
    """Return the Markdown of a chart: its pictures and its table."""
    lines = [f"## {chart.title}", "", f"1 is the time of {chart.unit}; shorter is better.", ""]
    for theme in THEMES:
        file = f"../images/{chart.name}-{theme}.svg"
        lines += [f"```{{image}} {file}", f":alt: {chart.title}, as ratios", f":class: only-{theme}", "```", ""]
    rows = [f"| {label} | {shown(ratio)} |" for label, ratio in chart.ratios.items()]
    return "\n".join([*lines, "| contender | ratio |", "| --- | --- |", *rows, ""])


def main(measured: Path, docs: Path) -> None:
    """Write the pictures and the tables."""
    drawn = charts(json.loads(measured.read_text("utf-8"))["benchmarks"])
    for chart in drawn:
        for theme in THEMES:
            (docs / "images" / f"{chart.name}-{theme}.svg").write_text(draw(chart, theme), "utf-8")
    (docs / "explanation" / "_performance.md").write_text("\n".join(map(section, drawn)), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
