"""Which secrets of a source a migration takes, and where at the target each belongs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from strongroom.paths import check_prefix


@dataclass(frozen=True)
class Selection:
    """What is taken, and under which name it arrives.

    Attributes:
        from_prefix: the folder at the source; what is outside of it is not taken, and it is no part of the new path.
        to_prefix: the folder at the target that everything goes below.
        include: shell patterns on whole paths at the source, in which `*` matches slashes too; none takes everything.
        exclude: shell patterns of what is left out all the same.
        rename: path at the source -> path at the target, whole: for it neither prefix counts.
    """

    from_prefix: str = ""
    to_prefix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("from_prefix", "to_prefix"):
            object.__setattr__(self, name, check_prefix(getattr(self, name)))

    def takes(self, path: str) -> bool:
        """Whether the secret at this path of the source is taken."""
        if self.from_prefix and not path.startswith(f"{self.from_prefix}/"):
            return False
        if self.include and not any(fnmatchcase(path, pattern) for pattern in self.include):
            return False
        return not any(fnmatchcase(path, pattern) for pattern in self.exclude)

    def target_path(self, path: str) -> str:
        """Where at the target the secret at this path of the source belongs."""
        if path in self.rename:
            return self.rename[path]
        below = path.removeprefix(f"{self.from_prefix}/") if self.from_prefix else path
        return f"{self.to_prefix}/{below}" if self.to_prefix else below
