"""Fake distributions with plugins, installed on the search path of one test."""

import sys
import textwrap
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest


class SearchPath:
    """A folder on the search path in which a test installs distributions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    def install(
        self,
        distribution: str,
        stores: dict[str, str],
        *,
        modules: dict[str, str] | None = None,
        metadata: str = "",
        group: str = "strongroom.stores",
        below: str = "site",
        credential_variables: dict[str, str] | None = None,
    ) -> None:
        """A distribution with entry points and the source of its modules."""
        site = self._folder / below
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{textwrap.dedent(metadata)}"
        )
        groups = {group: stores, "strongroom.credential_variables": credential_variables or {}}
        lines = [
            line
            for name, points in groups.items()
            for line in (f"[{name}]", *(f"{point} = {value}" for point, value in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for name, source in (modules or {}).items():
            (site / f"{name}.py").write_text(textwrap.dedent(source))
            self._monkeypatch.delitem(sys.modules, name, raising=False)
        if str(site) not in sys.path:
            self._monkeypatch.syspath_prepend(site)

    def file(self, module: str, below: str = "site") -> Path:
        """The source of a module."""
        return self._folder / below / f"{module}.py"


@cache
def _with_plugins(folders: frozenset[str]) -> list[metadata.Distribution]:
    """Return the distributions in these folders that have plugins."""
    found = metadata.Distribution.discover(path=[*folders])
    return [each for each in found if any(point.group.startswith("strongroom.") for point in each.entry_points)]


@pytest.fixture
def search_path(tmp_path, monkeypatch) -> SearchPath:
    """A folder to install distributions in. The others of this environment are read once, and not for each test."""
    before = frozenset(sys.path)

    def distributions() -> Iterable[metadata.Distribution]:
        installed = metadata.Distribution.discover(path=[folder for folder in sys.path if folder not in before])
        return [*installed, *_with_plugins(before)]

    monkeypatch.setattr(metadata, "distributions", distributions)
    return SearchPath(tmp_path, monkeypatch)
