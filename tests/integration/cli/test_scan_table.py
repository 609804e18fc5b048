"""The table of the leak scan: what scanners find of 500 planted secrets, and what else they report.

`nox -s scan_table` runs all three scanners and writes the table. The suite runs ours, and compares its row.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable

import pytest

from support.programs import require
from support.scenarios import pages
from support.scenarios.leak_corpus import AREAS, Corpus, Plant

TABLE = pages.DOCS / "how-to" / "secrets" / "_scan_table.md"
OURS, GITLEAKS, DETECT = "`strongroom scan`", "gitleaks", "detect-secrets"

require("git")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """The corpus, beside a configuration whose only store has the planted secrets and no decoy."""
    folder = tmp_path_factory.mktemp("corpus")
    made = Corpus(folder)
    (folder / "strongroom.toml").write_text('chain = ["json"]\n[stores.json]\nfile = "secrets.json"\n')
    (folder / "secrets.json").chmod(0o600)
    return made


def plant_of(corpus: Corpus) -> Callable[[str, int], Plant | None]:
    """Return a function from a finding's file and line to the secret that is planted there."""
    by_file = {plant.file: plant for plant in corpus.plants}

    def at(place: str, line: int) -> Plant | None:
        found = re.findall(r"(?:files|history|logs|archives)-\d{3}-\w+\.[a-z]+", place)
        plant = by_file.get(found[-1]) if found else None
        return plant if plant is not None and line in plant.lines else None

    return at


def row_of(name: str, corpus: Corpus, findings: Iterable[tuple[str, int]]) -> str:
    """Return a scanner's row: the share that it found in each area and in all, and its other findings."""
    at = plant_of(corpus)
    findings = sorted(set(findings))
    found = {plant for place, line in findings if (plant := at(place, line))}
    false = sum(at(place, line) is None for place, line in findings)
    areas = (f"{sum(plant.area == area for plant in found)} of {count}" for area, count in AREAS.items())
    return f"| {name} | {' | '.join(areas)} | {100 * len(found) / len(corpus.plants):.1f} % | {false} |"


def strongroom(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, command) -> list[tuple[str, int]]:
    """Return what our scan reports, and check that each plant is named by its own secret."""
    monkeypatch.chdir(corpus.folder)
    found = []
    for arguments in (("--git", "repository"), ("logs", "archives")):
        done = command("scan", "--json", *arguments)
        assert done.code == 10, done.err
        found += json.loads(done.out)["leaks"]
    return [(leak["place"], leak["line"]) for leak in found]


def test_the_row_of_our_scan_is_what_it_finds(corpus, monkeypatch, command):
    """Recall and false positives, by area."""
    assert row_of(OURS, corpus, strongroom(corpus, monkeypatch, command)) in TABLE.read_text("utf-8")


def gitleaks(corpus: Corpus) -> list[tuple[str, int]]:
    """Return what gitleaks reports in the history of the repository, the logs and the archives."""
    found = []
    for number, source in enumerate((["repository"], ["logs", "--no-git"], ["archives", "--no-git"])):
        report = corpus.folder / f"gitleaks-{number}.json"
        options = ("--exit-code", "0", "--report-format", "json", "--report-path", str(report))
        call = ["gitleaks", "detect", *options, "--source", *source]
        subprocess.run(call, cwd=corpus.folder, check=True, capture_output=True)
        found += json.loads(report.read_text())
    return [(f"{one['Commit']} {one['File']}", one["StartLine"]) for one in found]


def detect_secrets(corpus: Corpus) -> list[tuple[str, int]]:
    """Return what detect-secrets reports in the files of the last commit, the logs and the archives."""
    folders = ("repository", "logs", "archives")
    call = ["detect-secrets", "scan", "--all-files", "--no-verify", *folders]
    done = subprocess.run(call, cwd=corpus.folder, check=True, capture_output=True, text=True)
    results = json.loads(done.stdout)["results"]
    return [(file, one["line_number"]) for file, all_of in results.items() for one in all_of]


@pytest.mark.skipif("TEST_SCANNERS" not in os.environ, reason="nox -s scan_table runs the other scanners")
def test_the_table_is_what_the_scanners_find(corpus, monkeypatch, command):
    """It is written anew: a change of it is in the diff."""
    rows = [
        row_of(OURS, corpus, strongroom(corpus, monkeypatch, command)),
        row_of(GITLEAKS, corpus, gitleaks(corpus)),
        row_of(DETECT, corpus, detect_secrets(corpus)),
    ]
    head = "| scanner | last commit | rest of the history | logs | archives | recall | other findings |"
    TABLE.write_text("\n".join((head, "|" + " --- |" * 7, *rows)) + "\n", "utf-8")
