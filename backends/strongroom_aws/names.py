"""Names in AWS, the folders that their slashes make, and the lookup of a version. Shared by both services; pure.

AWS accepts names that are not valid paths. They are listed too; a read of one is refused, which reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from strongroom.errors import SecretNotFoundError
from strongroom.secret import Version
from strongroom.store import VersionInfo


def below(prefix: str, path: str) -> str:
    """Join the prefix and the path, either of which may be empty."""
    return f"{prefix}/{path}" if prefix and path else prefix or path


def entries(paths: Iterable[str], folder: str) -> Iterator[str]:
    """Yield the entries directly in a folder from all paths below it: names, and folders with a slash, each once."""
    start = len(folder) + 1 if folder else 0
    seen: set[str] = set()
    for path in paths:
        name, slash, _ = path[start:].partition("/")
        if (entry := name + slash) not in seen:
            seen.add(entry)
            yield entry


def find_version(versions: Sequence[VersionInfo], version: Version, path: str) -> VersionInfo:
    """Return the entry of a version.

    Raises:
        SecretNotFoundError: there is no such version.
    """
    for info in versions:
        if info.version == version:
            return info
    raise SecretNotFoundError(path, f"version {version} does not exist, or not any more")
