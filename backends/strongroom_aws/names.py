"""Paths and what AWS calls them, and the folders that names with slashes make.

AWS does not ask for segments joined by single slashes. A name that is no path is listed all the same: a read of it is
refused, so that whoever reads all of a listing hears of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def below(prefix: str, path: str) -> str:
    """The path below the prefix, either of which may be empty."""
    return f"{prefix}/{path}" if prefix and path else prefix or path


def entries(paths: Iterable[str], folder: str) -> Iterator[str]:
    """What is directly in a folder, of all the paths in it: names, and folders that end in a slash, each once."""
    start = len(folder) + 1 if folder else 0
    seen: set[str] = set()
    for path in paths:
        name, slash, _ = path[start:].partition("/")
        if (entry := name + slash) not in seen:
            seen.add(entry)
            yield entry
