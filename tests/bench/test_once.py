"""Each part of the benchmarks once, with small numbers and without bounds, and the page that is drawn from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import columns, plots
from bench.__main__ import PARTS
from bench.measuring import Bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(once=True) as bench:
        yield bench


@pytest.mark.parametrize("part", PARTS)
def test_part(bench: Bench, part: str) -> None:
    PARTS[part](bench)


def test_columns(tmp_path: Path) -> None:
    """Each contender of the table of encrypted columns reads back its own texts."""
    columns.main(str(tmp_path / "table.md"), "--once")
    assert "| `EncryptedString` |" in (tmp_path / "table.md").read_text("utf-8")


def test_page(bench: Bench, tmp_path: Path) -> None:
    """Runs after the parts. Each of them is on the page."""
    for name in ("images", "explanation"):
        (tmp_path / name).mkdir()
    file = tmp_path / "results.json"
    file.write_text(json.dumps(bench.results), "utf-8")
    plots.main(file, tmp_path)
    page = Path(tmp_path, "explanation", "_performance.md").read_text("utf-8")
    titles = {chart.name: chart.title.partition("} ")[2] or chart.title for chart in plots.CHARTS}
    assert all(f"{titles[name]} | " in page for name in bench.results["pairs"])


def test_servers_and_clients_have_separate_cores(bench: Bench) -> None:
    if not bench.placement.separates:
        pytest.skip("needs two cores")
    everywhere = os.sched_getaffinity(0)
    threads = Path(f"/proc/{bench.vault.pid}/task")
    with bench.placement.pinned():
        client = os.sched_getaffinity(0)
        assert all(client.isdisjoint(os.sched_getaffinity(int(thread.name))) for thread in threads.iterdir())
    assert os.sched_getaffinity(0) == everywhere


@pytest.mark.parametrize(("times", "fails"), [((1.0, 10.0, 100.0), False), ((1.0, 10.0, 200.0), True)])
def test_growth_is_bounded(times: tuple[float, ...], fails: bool) -> None:
    rows = [{"n": 10**number, "seconds": seconds} for number, seconds in enumerate(times)]
    results = plots.Results({"machine": {}, "growth": {"batch": rows}, "skipped": {}, "pairs": {}})
    assert any(slope > plots.STEEPEST for *_, slope in plots.slopes(results)) is fails
