"""A third party's exporter and importer: a folder with one file for each secret."""

import json
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from strongroom.encoding import from_json, to_json
from strongroom.errors import InvalidDataError, InvalidPathError, StoreUnavailableError
from strongroom.migrate.spi import Failure, MigrationOutcome
from strongroom.paths import check_path
from strongroom.secret import Secret


class FolderImporter:
    """Importer of the files that `FolderExporter` writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def items(self):
        if not self.root.is_dir():
            raise StoreUnavailableError(None, f"{self.root} does not exist")
        for file in sorted(self.root.iterdir()):
            yield self.item(file)

    def item(self, file: Path):
        path = unquote(file.name)
        try:
            check_path(path)
        except InvalidPathError as error:
            return Failure(path, error)
        with suppress(ValueError):
            data = json.loads(file.read_text())
            return Secret(path, {key: from_json(value) for key, value in data.items()})
        return Failure(path, InvalidDataError(path, "its file is not JSON"))

    def close(self) -> None:
        """Do nothing: no file stays open."""


class FolderExporter:
    """Exporter that writes each secret into a file named by its path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, secrets):
        for secret in secrets:
            error = self.failure(secret)
            yield MigrationOutcome(secret.path, error=error)

    def failure(self, secret: Secret):
        name = quote(secret.path, safe="").replace(".", "%2E")
        if len(name) > 255:
            return InvalidDataError(secret.path, "its file would have too long a name")
        try:
            (self.root / name).write_text(json.dumps({key: to_json(value) for key, value in secret.data.items()}))
        except OSError as error:
            return StoreUnavailableError(secret.path, error.strerror or "it cannot be written")
        return None

    def close(self) -> None:
        """Do nothing: no file stays open."""
