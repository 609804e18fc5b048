"""A picture of the imports between the packages, drawn when the documentation is built.

The imports come from the code, and the rows from the layers in pyproject.toml. A line is left out if a longer path of
lines implies it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import grimp
from sphinx.application import Sphinx

from command_pages import write_if_changed

ROOT: Final = Path(__file__).parents[2]
CORE: Final = "strongroom"

THEMES: Final = {
    "light": {"ink": "#1f2328", "box": "#f3f6fb", "edge": "#8aa2c8", "line": "#8c959f", "backend": "#e8f6ec"},
    "dark": {"ink": "#e6edf3", "box": "#1c2532", "edge": "#4f6f9f", "line": "#6e7681", "backend": "#14301f"},
}

_WIDTH, _STEP, _TOP, _HIGH = 860, 54, 10, 30
_LETTER = 7.6
"""Width of a letter, in pixels."""


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "images"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(folder: Path) -> None:
    """Write the picture for light pages and the one for dark pages."""
    folder.mkdir(exist_ok=True)
    rows = layers()
    edges = [*reduced(imports(rows))]
    for theme in THEMES:
        write_if_changed(folder / f"imports-{theme}.svg", draw(theme, rows, edges))


def layers() -> list[list[str]]:
    """Return the modules of each layer, the highest first; the backends stand above those of the core."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    backends = [name for name in contracts["root_packages"] if name != CORE]
    (core,) = (contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")
    return [backends, *([name.strip() for name in layer.split("|")] for layer in core)]


def imports(rows: list[list[str]]) -> dict[str, set[str]]:
    """Return which packages each package imports, without imports for type checking alone."""
    graph = grimp.build_graph(*rows[0], CORE, exclude_type_checking_imports=True, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        importer = package_of(module)
        imported = {package_of(other) for other in graph.find_modules_directly_imported_by(module)}
        found.setdefault(importer, set()).update(imported - {importer, CORE})
    found.pop(CORE)  # its __init__ imports every public name when it is first used
    return found


def package_of(module: str) -> str:
    """Return the package as the layers name it: without `strongroom.`, or the package of a backend."""
    return module.split(".")[1] if module.startswith(f"{CORE}.") else module.split(".", maxsplit=1)[0]


def reduced(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Yield the edges that no longer path implies, sorted."""

    def below(name: str) -> set[str]:
        direct = graph.get(name, set())
        return direct.union(*(below(other) for other in direct))

    for name in sorted(graph):
        implied: set[str] = set().union(*(below(other) for other in graph[name]))
        yield from ((name, other) for other in sorted(graph[name] - implied))


def places(rows: list[list[str]]) -> dict[str, tuple[float, float, float]]:
    """Return the center and the width of each box. Rows alternate, so that lines pass between boxes."""
    found = {}
    for number, row in enumerate(rows):
        widths = [len(name) * _LETTER + 24 for name in row]
        shift = (0, -130, 130, -60, 60)[number % 5] if len(row) < len(rows[0]) else 0
        left = (_WIDTH - sum(widths) - 14 * (len(row) - 1)) / 2 + shift
        for name, width in zip(row, widths, strict=True):
            found[name] = (left + width / 2, _TOP + number * _STEP, width)
            left += width + 14
    return found


def draw(theme: str, rows: list[list[str]], edges: Iterable[tuple[str, str]]) -> str:
    """Return the picture of the layers, and of the imports between their modules, as SVG."""
    color = THEMES[theme]
    boxes = places(rows)
    height = _TOP * 2 + (len(rows) - 1) * _STEP + _HIGH
    size = f'viewBox="0 0 {_WIDTH} {height}" font-size="13" font-family="system-ui, sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Imports between the packages of Strongroom</title>",
        f'<g fill="none" stroke="{color["line"]}">',
    ]
    for importer, imported in edges:
        (x1, y1, _), (x2, y2, _) = boxes[importer], boxes[imported]
        bend = (y2 - y1 - _HIGH) / 2
        start, end = f"{x1:.0f} {y1 + _HIGH}", f"{x2:.0f} {y2}"
        parts.append(
            f'<path d="M{start} C{x1:.0f} {y1 + _HIGH + bend:.0f} {x2:.0f} {y2 - bend:.0f} {end}"/>'
            f'<circle cx="{x2:.0f}" cy="{y2}" r="2.5" fill="{color["line"]}"/>'
        )
    parts.append("</g>")
    for name, (x, y, width) in boxes.items():
        fill = color["backend"] if name in rows[0] else color["box"]
        size = f'x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{_HIGH}" rx="5"'
        parts += [
            f'<rect {size} fill="{fill}" stroke="{color["edge"]}"/>',
            f'<text x="{x:.0f}" y="{y + 20}" text-anchor="middle" fill="{color["ink"]}">{name}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
