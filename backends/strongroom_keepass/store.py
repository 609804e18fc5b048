"""The store `keepass`: an entry is a secret, whose path is its groups and its title.

Its opener imports pykeepass when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from strongroom.errors import Check, CheckState, ConfigurationError, ConflictError, StoreError
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveDict, Value, Version, protect_data
from strongroom.store import Health, Items, Option, Traits, checked_by
from strongroom_keepass import entries

if TYPE_CHECKING:
    from strongroom_keepass.database import Contents, Database

_T = TypeVar("_T")


class KeePassStore:
    """The entries of one database.

    A write reopens the file under a lock of its folder, changes one entry and replaces the file. The entry's old state
    goes to its history, as in KeePass. Entries in the recycle bin are not secrets.

    Args:
        database: the file.
    """

    traits = Traits(local=True)

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"KeePassStore({str(self._database.file)!r})"

    def close(self) -> None:
        """Forget the key of the file."""
        self._database.close()

    # --- read ---------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the secret; its version is the time of its last change, with the beginning of its UUID."""
        return self._database.open(path).read(path)

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or error; the file is opened once."""
        try:
            contents = self._database.open(None)
        except StoreError as error:
            failure = error.copy()
        else:
            yield from self._outcomes(paths, contents.read)
            return
        for path in paths:
            yield path, failure.copy(path=path)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`."""
        return entries_below(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Return every path below `prefix`. An entry that a valid path cannot name is there too."""
        start = f"{prefix}/" if prefix else ""
        return iter([path for path in self._database.open(prefix or None).found if path.startswith(start)])

    def probe(self) -> Health:
        """Return whether the file can be opened now, and how many paths are those of several entries."""
        contents = self._database.open(None)
        text = f"secrets in {self._database.file}: {len(contents.found):,}"
        checks = [Check("database", CheckState.OK, text)]
        if ambiguous := sum(len(elements) > 1 for elements in contents.found.values()):
            reason = f"paths of more than one entry: {ambiguous:,}"
            checks.append(Check("titles", CheckState.WARNING, reason, "Rename the entries in KeePass"))
        return Health(ok=True, detail=text, facts={"format": contents.format}, checks=tuple(checks))

    # --- write --------------------------------------------------------------------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuse what KeePass cannot hold, for the plan of a migration."""
        entries.vet(path, data)

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Write the entry, and return its version."""
        entries.vet(path, data)
        return self._database.change(path, lambda contents: contents.put(path, data))

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version:
        """Write the entry if its version is `expected`; the lock keeps other processes of Strongroom from writing."""
        entries.vet(path, data)

        def change(contents: Contents) -> Version:
            if contents.version(path) != expected:
                raise ConflictError(path, "its version is not the expected one")
            return contents.put(path, data)

        return self._database.change(path, change)

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError]]:
        """Write the file once with all secrets. Yield an error for each that KeePass cannot hold."""
        wanted = SensitiveDict((path, protect_data(data)) for path, data in items)

        def put(contents: Contents, path: str) -> Version:
            data: Mapping[str, Value] = wanted[path]  # type: ignore[assignment]  # each is a secret's data
            entries.vet(path, data)
            return contents.put(path, data)

        return self._change_many(list(wanted), put)

    def delete(self, path: str) -> None:
        """Move the entry to the recycle bin, or remove it if the database has that disabled."""
        self._database.change(path, lambda contents: contents.delete(path))

    def delete_many(self, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
        """Write the file once without these entries."""
        return self._change_many(list(dict.fromkeys(paths)), lambda contents, path: contents.delete(path))

    def _change_many(
        self, paths: Sequence[str], change: Callable[[Contents, str], _T]
    ) -> Iterator[tuple[str, _T | StoreError]]:
        """Yield what became of each path. Write the file only if one of them was changed."""
        outcomes: list[tuple[str, _T | StoreError]] = []

        def apply(contents: Contents) -> None:
            outcomes.extend(self._outcomes(paths, lambda path: change(contents, path)))
            for _, outcome in outcomes:
                if not isinstance(outcome, StoreError):
                    return
            raise _NothingChangedError

        try:
            if paths:
                self._database.change(None, apply)
        except _NothingChangedError:
            pass
        except StoreError as error:
            outcomes = [(path, error.copy(path=path)) for path in paths]
        yield from outcomes

    @staticmethod
    def _outcomes(paths: Iterable[str], call: Callable[[str], _T]) -> Iterator[tuple[str, _T | StoreError]]:
        for path in paths:
            try:
                outcome: _T | StoreError = call(path)
            except StoreError as error:
                outcome = error.copy()
            yield path, outcome


class _NothingChangedError(Exception):
    """Each change failed, so the file is not written."""


def check_keepass(*, password: str | None = None, key_file: Path | None = None, **_: object) -> None:
    """Check the options without pykeepass.

    Raises:
        ConfigurationError: there is neither a password nor a key file.
    """
    if password is None and key_file is None:
        raise ConfigurationError("password: a database needs it, or key_file. Set KEEPASS_PASSWORD, for example")


@checked_by(check_keepass)
def open_keepass(
    *,
    file: Annotated[Path, Option("the database, a .kdbx file that exists", location=True)],
    password: Annotated[str | None, Option("the master password", ("KEEPASS_PASSWORD",), secret=True)] = None,
    key_file: Annotated[Path | None, Option("the key file, if the database has one")] = None,
) -> KeePassStore:
    """Entries of a KeePass database, such as that of KeePassXC. It opens the file at the first call.

    Raises:
        ConfigurationError: there is neither a password nor a key file.
        ImportError: pykeepass is not installed. Strongroom names the extra that brings it.
    """
    check_keepass(password=password, key_file=key_file)
    from strongroom_keepass.database import Database  # fails now if pykeepass is not installed

    return KeePassStore(Database(file, password, key_file))
