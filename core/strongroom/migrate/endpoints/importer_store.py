"""What an importer gives, as a store that can be read and listed: for what asks for single secrets."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.errors import SecretNotFoundError, StrongroomError
from strongroom.migrate.spi import Failure, Importer
from strongroom.secret import Secret
from strongroom.store import Traits


class ImportedStore:
    """The secrets that an importer gives, all read when this is made.

    Args:
        importer: gives them; it is closed with this.

    Attributes:
        unmapped: what it has and nothing says where it belongs.

    Raises:
        StrongroomError: the source cannot be read.
    """

    traits = Traits(local=True)

    def __init__(self, importer: Importer) -> None:
        self._importer = importer
        self._found: dict[str, Secret | StrongroomError] = {}
        self.unmapped: list[Failure] = []
        for item in importer.items():
            if isinstance(item, Secret):
                self._found[item.path] = item
            elif item.unmapped:
                self.unmapped.append(item)
            else:
                self._found[item.name] = item.error

    def read(self, path: str) -> Secret:
        """The secret, or why the importer could not give it."""
        found = self._found.get(path)
        if isinstance(found, Secret):
            return found
        raise SecretNotFoundError(path) if found is None else found

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names directly below `prefix`."""
        start = f"{prefix}/" if prefix else ""
        below = (path.removeprefix(start) for path in self._found if path.startswith(start))
        return iter(sorted({name + slash for name, slash, _ in (path.partition("/") for path in below)}))

    def close(self) -> None:
        """Closes the importer."""
        self._importer.close()
