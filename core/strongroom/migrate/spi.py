"""What the author of an importer or an exporter writes, and all that a migration knows of one.

A store that can be listed is an importer, and one that can be written is an exporter, without more: these are for what
is neither, such as a file of another program's, or a service that can only be read as a whole. Both are installed as
entry points, of the groups `strongroom.importers` and `strongroom.exporters`, whose signature is the schema of their
options as it is for stores. What holds for stores holds here: nothing is raised but `strongroom.errors`, and no value
is in a message or a log. `strongroom.testing.ImporterContract` and `ExporterContract` check each sentence that says
*must*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from strongroom.errors import StrongroomError
from strongroom.secret import Secret, Version
from strongroom.store import CautionedStore, VettingStore

__all__ = ["CautionedStore", "Exporter", "Failure", "Importer", "Outcome", "VettingStore"]


class Failure(NamedTuple):
    """What an importer could not give, and why. It ends nothing: the other items follow.

    Attributes:
        name: the secret's path, or what the source calls it.
        error: what went wrong; where it is `unmapped`, which rule is missing.
        unmapped: it is there and can be read, and nothing says where it belongs, such as an environment variable that
            no mapping names. It is listed for the operator, and no error.
    """

    name: str
    error: StrongroomError
    unmapped: bool = False


class Outcome(NamedTuple):
    """What came of one secret that was to be written: its new version, if the target has any, or its error."""

    path: str
    version: Version | None = None
    error: StrongroomError | None = None


@runtime_checkable
class Importer(Protocol):
    """A source of secrets."""

    def items(self) -> Iterator[Secret | Failure]:
        """Every secret, each path once, in bounded memory. *Must* give the same again when it is called again.

        Raises:
            StrongroomError: the source as a whole cannot be read. Never a shorter list.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds. *Must* be harmless when called twice."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """A target of secrets."""

    def write(self, secrets: Iterable[Secret]) -> Iterator[Outcome]:
        """Writes each secret whole, and says what came of it, once for each, in any order.

        *Must not* say that a secret is written before the target holds it.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds. *Must* be harmless when called twice."""
        ...
