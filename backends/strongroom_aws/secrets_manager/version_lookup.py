"""Finding a version among those that AWS still knows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import SecretNotFoundError
from strongroom.secret import Version
from strongroom.store import VersionInfo


def known_version(known: Sequence[VersionInfo], version: Version, path: str) -> VersionInfo:
    """What is known of that version.

    Raises:
        SecretNotFoundError: there is none of that name.
    """
    for info in known:
        if info.version == version:
            return info
    raise SecretNotFoundError(path, f"there is no version {version}, or not any more")
