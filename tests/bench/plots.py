"""Draw the benchmarks for the documentation, as pictures and tables: the last step of `nox -s bench`.

    python tests/bench/plots.py RESULTS docs

RESULTS is what `python -m bench` wrote. The exit status is 1 if something grows faster than the number of items.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

THEMES: Final = {
    "light": ("#1f2328", "#afb8c1", ("#0969da", "#bc4c00", "#1a7f37", "#8250df")),
    "dark": ("#e6edf3", "#57606a", ("#4493f8", "#f0883e", "#3fb950", "#ab7df8")),
}
"""Colors of the text, of other tools, and of Strongroom; a plot with several lines takes them one after another."""

_WIDTH, _BAR, _STEP = 420, 14, 38
_HEIGHT, _LEFT, _RIGHT, _BOTTOM = 260, 66, 26, 30

STEEPEST: Final = 1.15
"""The most that the slope between two numbers of items may be on logarithmic scales: 1 is linear, the rest is noise."""
TELLING: Final = {"seconds": 0.1, "mib": 8.0}
"""Values below these say nothing about a slope: they are noise, or the interpreter."""


class Chart(NamedTuple):
    """Contenders of one measurement, as rows of the table, and perhaps as a bar chart.

    Attributes:
        name: the name in the results, and of the picture's file.
        title: the subject of its rows. `{count}` is the number of operations of a turn.
        unit: the contender whose time counts as 1.
        drawn: whether it is a picture too.
        own: what makes a label one of Strongroom's.
    """

    name: str
    title: str
    unit: str
    drawn: bool = False
    own: tuple[str, ...] = ("strongroom", "get_secret", "cache")


CHARTS: Final = (
    Chart("cold", "A cold read", "raw socket", drawn=True),
    Chart("thousand", "One of {count:,} secrets at once", "hvac on eight threads", drawn=True),
    Chart("twenty", "Twenty secrets", "raw sockets"),
    Chart("tls", "One of {count:,} secrets with TLS", "strongroom, plain HTTP"),
    Chart("disk", "300 secrets with the disk cache", "no disk cache"),
    Chart("cached", "A cached read", "AES-GCM alone", drawn=True),
    Chart("metrics", "A cached read with metrics", "without"),
    Chart("start", "The start of a process", "import dotenv"),
    Chart("run", "A command with twenty variables", "import dotenv"),
    Chart("write", "One of {count:,} checked writes", "hvac in a loop"),
)


class Aim(NamedTuple):
    """The most that a ratio of two contenders may be. It counts with this placement."""

    chart: str
    contender: str
    yardstick: str
    most: float
    placement: str = "pinned"


AIMS: Final = (
    Aim("cold", "strongroom, ttl 0", "raw socket", 1.35),
    Aim("cold", "strongroom", "raw socket", 1.45),
    Aim("cold", "strongroom, ttl 0", "hvac", 0.55),
    Aim("thousand", "strongroom", "raw sockets", 1.4),
    Aim("thousand", "strongroom", "secretspec", 0.6, "unpinned"),
    Aim("thousand", "strongroom", "hvac on eight threads", 1 / 4.5),
    Aim("tls", "strongroom, HTTP/2", "hvac on eight threads", 1 / 3),
    Aim("write", "strongroom, from JSON", "hvac in a loop", 1 / 3.3),
    Aim("write", "strongroom, from memory", "hvac in a loop", 1 / 3.5),
    Aim("cached", "get_secret", "AES-GCM alone", 1.9),
    Aim("cached", "aget_secret", "get_secret", 1.5),
    Aim("cached", "get_secret, five keys", "get_secret", 5),
    Aim("metrics", "with metrics", "without", 1.1),
    Aim("start", "strongroom get, environment", "import dotenv", 3.0),
    Aim("run", "strongroom run, environment", "import dotenv", 3.0),
    Aim("run", "strongroom run, Vault", "import dotenv", 4.3),
    Aim("disk", "disk cache, cold", "no disk cache", 1.3),
    Aim("disk", "disk cache, warm", "no disk cache", 0.5),
)


class Plot(NamedTuple):
    """Measurements of growth in one picture: `lines` has the name in the results, and its label."""

    name: str
    title: str
    items: str
    lines: Mapping[str, str]


PLOT: Final = Plot(
    "growth-secrets",
    "Time for a number of secrets",
    "secrets",
    {"migrate": "migration", "batch": "batch", "plan": "plan", "list": "listing"},
)
GROWN: Final = {
    **PLOT.lines,
    "disk-cold": "batch, disk cache cold",
    "disk-warm": "batch, disk cache warm",
    "memory-cache": "reads from the memory cache",
    "processes": "processes on one disk cache",
    "threads-cold": "threads, 10 cold reads each",
    "threads-cached": "threads, 1,000 cached reads each",
}
"""The rows of the table of growth: the name in the results, and its label."""


class Results:
    """The measurements, and figures that follow from them."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.machine: Mapping[str, Any] = results["machine"]
        self.profile: Mapping[str, Any] = results.get("profile", {})
        self.growth: Mapping[str, list[dict[str, float]]] = results["growth"]
        self.load: float | None = results.get("load")
        self.skipped: Mapping[str, str] = results["skipped"]
        self.pairs: Mapping[str, Any] = results["pairs"]
        self.cost: Mapping[str, float] = results.get("cost", {})

    def placement(self, chart: str) -> str:
        """Return the placement of a chart's figures: on separate cores, unless the machine has only one."""
        return "pinned" if "pinned" in self.pairs[chart] else "unpinned"

    def title(self, chart: Chart) -> str:
        return chart.title.format(count=self.pairs[chart.name]["count"])

    def turns(self, chart: str) -> dict[str, list[float]]:
        """Return the seconds of each turn by contender, with the placement of the chart's figures."""
        turns: dict[str, list[float]] = self.pairs[chart][self.placement(chart)]
        return turns

    def ratio(self, chart: str, contender: str, unit: str, placement: str) -> float:
        """Return the median of the ratios of each round."""
        taken = self.pairs[chart][placement]
        return median(mine / its for mine, its in zip(taken[contender], taken[unit], strict=True))

    def seconds(self, chart: str, contender: str, placement: str | None = None) -> float:
        """Return the median of the time of one operation."""
        pairs = self.pairs[chart]
        seconds: float = median(pairs[placement or self.placement(chart)][contender]) / pairs["count"]
        return seconds


def main(measured: Path, docs: Path) -> None:
    """Write the pictures and the tables."""
    results = Results(json.loads(measured.read_text("utf-8")))
    compared = [chart for chart in CHARTS if chart.name in results.pairs]
    for theme in THEMES:
        for chart in compared:
            if chart.drawn:
                (docs / "images" / f"bench-{chart.name}-{theme}.svg").write_text(bars(chart, results, theme), "utf-8")
        if any(name in results.growth for name in PLOT.lines):
            (docs / "images" / f"bench-{PLOT.name}-{theme}.svg").write_text(lines(PLOT, results, theme), "utf-8")
    sections = [*machine(results), *comparison(compared, results), *aims(results), *costs(results), *growth(results)]
    (docs / "explanation" / "_performance.md").write_text("\n".join(sections), "utf-8")
    steep = [f"{name} ({value}): {slope:.2f}" for name, value, slope in slopes(results) if slope > STEEPEST]
    if steep:
        sys.exit(f"These grow faster than the number of items: {'; '.join(steep)}")


# --- pages ------------------------------------------------------------------------------------------------------------


def machine(results: Results) -> list[str]:
    """Return the section about the machine."""
    about = results.machine
    libraries = ", ".join(f"{name} {number}" for name, number in about["libraries"].items())
    text = (
        f"{about['processor']}, {about['cores']} cores, {about['system']}; Python {about['python']}, {about['server']}"
    )
    left_out = [f"{name} ({reason})" for name, reason in results.skipped.items()]
    skipped = f" Not measured: {', '.join(left_out)}." if left_out else ""
    rounds = min((len(taken) for name in results.pairs for taken in results.turns(name).values()), default=0)
    turns = f" The contenders took turns in {rounds} rounds."
    if results.load is not None:
        turns += f" The load average was at most {results.load:.1f} when a part began."
        turns += " Most of that is the thousand processes of the benchmark."
    return ["## The machine", "", f"{text}; {libraries}.{skipped}{turns}", ""]


def aims(results: Results) -> list[str]:
    """Return the table of the aims that are missed, and an explanation."""
    number, rows, missed = 0, [], {}
    titles = {chart.name: results.title(chart) for chart in CHARTS if chart.name in results.pairs}
    for aim in AIMS:
        if aim.chart not in titles:
            continue
        placement = results.placement(aim.chart) if aim.placement == "pinned" else "unpinned"
        reached = results.ratio(aim.chart, aim.contender, aim.yardstick, placement)
        number += 1
        if reached <= aim.most:
            continue
        what = f"{titles[aim.chart]}: {aim.contender} / {aim.yardstick}"
        rows.append(f"| {what} | {shown(aim.most)} | {shown(reached)} |")
        if reason := explained(aim.chart, results):
            missed.setdefault(reason, {})[titles[aim.chart]] = True
    text = [
        "## Aims",
        "",
        f"Of {number} ratios that have an aim, the most that they should be, {number - len(rows)} reach it.",
        "",
    ]
    if not rows:
        return text
    text += ["| missed | aim | measured |", "| --- | --- | --- |", *rows, ""]
    reasons = [f"- **{', '.join(where)}**: {reason}" for reason, where in missed.items()]
    return [*text, *reasons, ""] if reasons else text


def explained(chart: str, results: Results) -> str:
    """Return the reason of a missed aim."""

    def took(contender: str, chart: str = chart) -> str:
        return duration(results.seconds(chart, contender))

    if chart in {"cold", "thousand", "tls"} and results.profile and "cold" in results.pairs:
        _, *parts = profiled(results)
        largest = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts[:5])
        return (
            f"a raw socket needs {took('raw socket', 'cold')} for a secret, server included. The client's largest parts"
            f" of a cold read are: {largest}."
        )
    if chart == "cached":
        beyond = results.seconds(chart, "get_secret") - results.seconds(chart, "AES-GCM alone")
        return (
            f"beyond the decryption a read takes {duration(beyond)}, in which it finds the entry, checks its age, makes"
            " a redacted string and counts the hit."
        )
    if chart in {"start", "run"} and "start" in results.pairs:
        return (
            f"the interpreter alone takes {took('python alone', 'start')}, with hvac, which the store vault needs,"
            f" {took('import hvac', 'start')}. `strongroom` with its command line, but without a store, takes"
            f" {took('strongroom --version', 'start')}."
        )
    if chart == "disk":
        return (
            f"a cold cache encrypts and writes each secret, which makes {took('disk cache, cold')} of"
            f" {took('no disk cache')}. A warm one takes {took('disk cache, warm')}: it opens a database and decrypts."
        )
    return ""


def profiled(results: Results) -> Iterator[tuple[str, float]]:
    """Yield the parts of a cold read and their seconds, the server first, then the largest."""
    wall, processor = results.profile["wall"], results.profile["processor"]
    parts = {name: share * wall for name, share in results.profile["shares"].items()}
    network = "libcurl and the kernel"
    waiting = min(wall - processor, parts.get(network, 0.0))
    yield "waiting for the server", waiting
    if network in parts:
        parts[network] -= waiting
    yield from sorted(parts.items(), key=lambda row: -row[1])


def comparison(charts: Sequence[Chart], results: Results) -> list[str]:
    """Return the table of all contenders, and the pictures."""
    rows = []
    for chart in charts:
        title = results.title(chart)
        for name in ordered(chart, results):
            ratio = results.ratio(chart.name, name, chart.unit, results.placement(chart.name))
            rows.append(f"| {title} | {name} | {shown(ratio)} | {duration(results.seconds(chart.name, name))} |")
            title = ""
    pictures = [line for chart in charts if chart.drawn for line in picture(chart.name, results.title(chart))]
    return [
        "## Results",
        "",
        "A ratio is to the time of the contender with 1.00; less is better.",
        "",
        "| measurement | contender | ratio | time |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        *pictures,
    ]


def costs(results: Results) -> list[str]:
    """Return the table of the processor time of new processes."""
    if not results.cost:
        return []
    unit = results.cost["python alone"]
    rows = [
        f"| {name} | {shown(seconds / unit)} | {duration(seconds)} |"
        for name, seconds in sorted(results.cost.items(), key=lambda row: row[1])
    ]
    return [
        "## The processor time of a process",
        "",
        "1 is the time of python alone: user and system, the least of twenty turns.",
        "",
        "| contender | ratio | time |",
        "| --- | --- | --- |",
        *rows,
        "",
    ]


def growth(results: Results) -> list[str]:
    """Return the section about growth: its picture, and a table with the largest numbers."""
    if not results.growth:
        return []
    steepest: dict[str, float] = {}
    for name, _, slope in slopes(results):
        steepest[name] = max(slope, steepest.get(name, 0.0))
    rows = []
    for name, label in GROWN.items():
        if measured := results.growth.get(name):
            last = measured[-1]
            memory = f"{last['mib']:.0f} MiB" if "mib" in last else ""
            slope = shown(steepest[name]) if name in steepest else "below 1"
            rows.append(f"| {label} | {last['n']:,} | {duration(last['seconds'])} | {memory} | {slope} |")
    text = [
        "## Growth",
        "",
        "A new process measures each number of secrets in OpenBao; its peak of memory includes the interpreter. With",
        "the disk cache, a batch has at most 10,000 secrets: answers of a read that takes more than a minute are not",
        "kept. The slope on logarithmic scales is 1 if the time grows as the number does; the table has the steepest",
        f"between two numbers of which the larger takes {TELLING['seconds']} s or more.",
        f"`nox -s bench` fails above {STEEPEST}.",
        "",
        "| what | largest number | time | memory | slope |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]
    if asked := [row for row in results.growth.get("processes", []) if "requests" in row]:
        last = asked[-1]
        requests = "1 read request" if last["requests"] == 1 else f"{last['requests']:,} read requests"
        text += [f"{last['n']:,} processes on one disk cache sent {requests} to the server.", ""]
    return [*text, *picture(PLOT.name, PLOT.title)] if any(name in results.growth for name in PLOT.lines) else text


def slopes(results: Results) -> Iterator[tuple[str, str, float]]:
    """Yield the slopes between two numbers on logarithmic scales: name, value and slope. Memory is beyond the first."""
    for name, rows in results.growth.items():
        for value, telling in TELLING.items():
            base = rows[0].get(value, 0.0) if value == "mib" else 0.0
            points = [(row["n"], row[value] - base) for row in rows if value in row]
            for (fewer, before), (more, after) in pairwise(points):
                if before > 0 and after >= telling:
                    yield name, value, math.log(after / before) / math.log(more / fewer)


def picture(name: str, title: str) -> list[str]:
    text = []
    for theme in THEMES:
        file = f"../images/bench-{name}-{theme}.svg"
        text += [f"```{{image}} {file}", f":alt: {title}", f":class: only-{theme}", "```", ""]
    return text


# --- pictures ---------------------------------------------------------------------------------------------------------


def bars(chart: Chart, results: Results, theme: str) -> str:
    """Return a bar chart as SVG: each label is above its bar, so that a phone shows it in a readable size."""
    text, other, own = THEMES[theme]
    names = ordered(chart, results)
    placement = results.placement(chart.name)
    ratios = {name: results.ratio(chart.name, name, chart.unit, placement) for name in names}
    scale = (_WIDTH - 110) / max(ratios.values())
    parts = []
    for number, (name, ratio) in enumerate(ratios.items()):
        top = number * _STEP + 4
        color = own[0] if any(mark in name for mark in chart.own) else other
        figures = f"{shown(ratio)} · {duration(results.seconds(chart.name, name, placement))}"
        parts += [
            f'<text x="0" y="{top + 12}">{name}</text>',
            f'<rect x="0" y="{top + 17}" width="{ratio * scale:.1f}" height="{_BAR}" rx="2" fill="{color}"/>',
            f'<text x="{ratio * scale + 6:.1f}" y="{top + 29}">{figures}</text>',
        ]
    return svg(
        f"{results.title(chart)}: ratios to the time of {chart.unit}, and times", len(names) * _STEP + 4, text, parts
    )


def lines(plot: Plot, results: Results, theme: str) -> str:
    """Return a plot with logarithmic scales as SVG."""
    text, grid, colors = THEMES[theme]
    series = {label: results.growth[name] for name, label in plot.lines.items() if name in results.growth}
    top = 18 * len(series) + 10
    height = top + _HEIGHT
    every = [(row["n"], row["seconds"]) for rows in series.values() for row in rows]
    across = scale([n for n, _ in every], _LEFT, _WIDTH - _RIGHT)
    up = scale([value for _, value in every], height - _BOTTOM, top + 8)
    parts = []
    for number, label in enumerate(series):
        parts += [
            f'<rect x="{_LEFT}" y="{18 * number + 6}" width="14" height="4" fill="{colors[number]}"/>',
            f'<text x="{_LEFT + 20}" y="{18 * number + 13}">{label}</text>',
        ]
    for tick in across.ticks:
        x = f"{across(tick):.1f}"
        parts.append(f'<text x="{x}" y="{height - 10}" text-anchor="middle" font-size="11">{round(tick):,}</text>')
    for tick in up.ticks:
        y = up(tick)
        parts += [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{grid}" stroke-width="0.5"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="11">{quantity(tick)}</text>',
        ]
    first, last = across.ticks[0], across.ticks[-1]
    reach = min(last / first, up.ticks[-1] / up.ticks[0])  # linear growth, through the corner of the plot
    ends = f'x2="{across(first * reach):.1f}" y1="{up(up.ticks[0]):.1f}" y2="{up(up.ticks[0] * reach):.1f}"'
    parts.append(f'<line x1="{across(first):.1f}" {ends} stroke="{grid}" stroke-dasharray="4 4"/>')
    for number, rows in enumerate(series.values()):
        points = " ".join(f"{across(row['n']):.1f},{up(row['seconds']):.1f}" for row in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colors[number]}" stroke-width="2"/>')
    return svg(f"{plot.title}, by the number of {plot.items}", height, text, parts)


class scale:  # noqa: N801  # used as a function
    """A logarithmic scale over whole decades: value -> position."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low = math.floor(math.log10(min(values)))
        high = max(math.ceil(math.log10(max(values))), low + 1)
        self.ticks = [10.0**power for power in range(low, high + 1)]
        self._low, self._start, self._step = low, start, (end - start) / (high - low)

    def __call__(self, value: float) -> float:
        return self._start + (math.log10(value) - self._low) * self._step


def svg(title: str, height: float, color: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<title>{title}</title><g fill="{color}">', *parts, "</g></svg>"]) + "\n"


# --- figures ----------------------------------------------------------------------------------------------------------


def ordered(chart: Chart, results: Results) -> list[str]:
    """Return the contenders, fastest first."""
    placement = results.placement(chart.name)
    return sorted(results.turns(chart.name), key=lambda name: results.seconds(chart.name, name, placement))


def shown(ratio: float) -> str:
    """Return the ratio with two digits that mean something, three around 1."""
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}"


def duration(seconds: float) -> str:
    """Return the time with its unit, in three digits."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns")):
        if seconds * factor >= 1 or unit == "ns":
            value = seconds * factor
            digits = 0 if value >= 100 else 1 if value >= 10 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def quantity(seconds: float) -> str:
    return duration(seconds).replace(".00", "").replace(".0", "")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
