"""Names in AWS, and the lookup of a version. Shared by both services; pure.

AWS accepts names that are not valid paths. They are listed too; a read of one is refused, which reports it.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import SecretNotFoundError
from strongroom.secret import Version
from strongroom.store import VersionInfo


def below(prefix: str, path: str) -> str:
    """Join the prefix and the path, either of which may be empty."""
    return f"{prefix}/{path}" if prefix and path else prefix or path


def find_version(versions: Sequence[VersionInfo], version: Version, path: str) -> VersionInfo:
    """Return the entry of a version.

    Raises:
        SecretNotFoundError: there is no such version.
    """
    for info in versions:
        if info.version == version:
            return info
    raise SecretNotFoundError(path, f"version {version} does not exist, or not any more")
