"""Draw the start-up benchmarks for the documentation. Run as a program, after `nox -s bench`.

    python tests/bench/start_up_plot.py BENCHMARK.json docs/images

The JSON is that of `pytest --benchmark-json`. It prints the table of the page, and writes one picture for light pages
and one for dark ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

ROWS: Final = {
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
"""The benchmarks in the order of the table, and their labels."""

THEMES: Final = {"light": ("#1f2328", "#0969da", "#afb8c1"), "dark": ("#e6edf3", "#4493f8", "#57606a")}
"""Colors of the text, of Strongroom, and of the others."""

_WIDTH, _LABEL, _BAR, _STEP = 720, 230, 18, 28


def draw(ratios: dict[str, float], theme: str) -> str:
    """Return a bar chart as SVG."""
    text, own, other = THEMES[theme]
    scale = (_WIDTH - _LABEL - 60) / max(ratios.values())
    size = f"0 0 {_WIDTH} {len(ratios) * _STEP + 8}"
    title = "Start-up times as ratios to import dotenv"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" font-family="sans-serif" font-size="13">',
        f'<title>{title}</title><g fill="{text}">',
    ]
    for number, (label, ratio) in enumerate(ratios.items()):
        top = number * _STEP + 6
        color = own if "strongroom" in label or "get_secret" in label else other
        parts += [
            f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{label}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{ratio * scale:.1f}" height="{_BAR}" rx="2" fill="{color}"/>',
            f'<text x="{_LABEL + ratio * scale + 6:.1f}" y="{top + 14}">{ratio:.1f}</text>',
        ]
    return "\n".join([*parts, "</g></svg>"]) + "\n"


def main(measured: Path, folder: Path) -> None:
    """Write the pictures, and print the table."""
    found = {each["name"]: each["extra_info"] for each in json.loads(measured.read_text("utf-8"))["benchmarks"]}
    ratios = {label: found[name]["ratio"] for name, label in ROWS.items()}
    folder.mkdir(exist_ok=True)
    for theme in THEMES:
        (folder / f"start-up-{theme}.svg").write_text(draw(ratios, theme), "utf-8")
    rows = [f"| {label} | {ratio:.1f} |" for label, ratio in ratios.items()]
    sys.stdout.write("\n".join(["| one process | ratio |", "| --- | --- |", *rows, ""]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
