"""Paths and what AWS calls them, and the folders that names with slashes make."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from strongroom.errors import shown

logger = logging.getLogger(__name__)


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


def is_path(name: str) -> bool:
    """Whether segments joined by single slashes, which AWS does not ask for, make the name a path; warns if not."""
    if {"", ".", ".."} & set(name.split("/")):
        logger.warning("%s is left out: it has a name at AWS that is no path", shown(name))
        return False
    return True
