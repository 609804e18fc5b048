"""A store whose operations are command lines: secrets on standard input and output, never in arguments."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from strongroom.errors import (
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.formats.strict_json import read_json
from strongroom.paths import check_path, entries_below
from strongroom.secret import Secret, SensitiveStr, Value
from strongroom.store import Health, fork_safe_lock, remaining
from strongroom.store.program import Finished, run_program
from strongroom_local.command.profiles import Profile
from strongroom_local.content import decode, encode

MAX_SIZE = 1 << 20
"""The most bytes of one secret."""

MAX_OUTPUT = 1 << 24
"""The most bytes of a listing."""


class CommandStore:
    """Secrets that a program reads.

    A write may replace a secret in place, so that a read at the same moment fails. Such a read is repeated after the
    write, for writes of this store.

    Args:
        profile: the command lines.
        key: the key of a secret that is plain text.
        location: the vault, folder or configuration in which the program works.
        variables: names of further environment variables that the program inherits.
    """

    def __init__(self, profile: Profile, key: str, location: str, variables: tuple[str, ...] = ()) -> None:
        self._profile = profile
        self._key = key
        self._location = location
        self._variables = (*profile.variables, *profile.credentials, *variables)
        self._lock = fork_safe_lock(self, "_lock")
        self._writes = 0
        self._ended = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._profile.program!r})"

    def read(self, path: str) -> Secret:
        """Return the output of the program for `read`.

        Raises:
            SecretNotFoundError: the exit code means absent, or a complete listing has nothing that the program would
                find by this path.
            PermissionDeniedError: the exit code means denied, or the program withholds the content.
            StoreUnavailableError: any other exit code, a program that cannot be started, or one that takes too long.
        """
        self._check(path)
        ended = self._ended
        finished = self._run("read", self._profile.read, path)
        if finished.code != 0 and self._writes != ended:  # a write has begun since, or had not ended
            with self._exclusive(path):
                finished = self._run("read", self._profile.read, path)
        if finished.code != 0:
            self._fail("read", path, finished.code)
        content: bytes = finished.output
        if self._profile.value_field:
            found = entry_of(content, path, self._profile.name_field, self._profile.value_field)
            if found is None:
                self._fail_without(path)
            self._check_shown(path, found)
            content = found
        return Secret(path, decode(content, self._key, line=True))

    def probe(self) -> Health:
        """Return whether the program is installed, and for a store that lists, whether a listing succeeds."""
        program = self._profile.program
        if shutil.which(program) is None:
            raise StoreUnavailableError(None, f"{program} is not installed", hint=f"Install {program}")
        if not self._profile.list:
            return Health(ok=True, detail=f"the program {program}")
        return Health(ok=True, detail=f"secrets listed by {self._profile.program}: {len(self._names(None)):,}")

    def close(self) -> None:
        pass  # no program stays

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def _names(self, path: str | None) -> list[str]:
        return names_of(self._listing(path), self._profile.name_field)

    def _listing(self, path: str | None) -> bytes:
        finished = self._run("list", self._profile.list, path or "")
        if finished.code != 0:
            self._fail("list", path, finished.code)
        return finished.output

    def _may_hold(self, path: str) -> bool:
        """Return whether the program would find a secret by this path: by its name, or by what else it looks at."""
        return may_hold(self._listing(path), path, self._profile)

    def _check(self, path: str) -> None:
        if path.startswith("-"):
            raise InvalidPathError(path, "a program would read it as an option", hint="Use a path without the hyphen")
        if self._profile.names and not re.fullmatch(self._profile.names, path):
            raise InvalidPathError(path, f"{self._profile.program} allows only names like {self._profile.names}")

    def _run(self, operation: str, command: tuple[str, ...], path: str, content: bytes = b"") -> Finished:
        values = {"<path>": path, "<location>": self._location}
        program = [values.get(part, part) for part in command]
        variables = {name: os.environ[name] for name in self._variables if name in os.environ}
        name = self._profile.program if program[0] == "sh" else program[0]  # a script of the profile
        lost = WriteOutcomeUnknownError if operation in {"write", "delete"} else StoreUnavailableError
        try:
            finished = run_program(program, content, variables=variables, limit=MAX_OUTPUT)
        except TimeoutError:
            fault: StoreError = lost(path or None, f"{name} has not ended in time")
        except OSError as error:
            fault = StoreUnavailableError(
                path or None, f"{name} cannot be started: {error.strerror}", hint=f"Install {name}"
            )
        else:
            if len(finished.output) <= MAX_OUTPUT:
                return finished
            fault = SecretTooLargeError(path or None, f"{name} wrote more than {MAX_OUTPUT:,} bytes")
        raise fault

    def _fail(self, operation: str, path: str | None, code: int) -> NoReturn:
        """Raise the error that an exit code means."""
        profile = self._profile
        program = profile.program
        answer = profile.exit_codes.get(code)
        reason = f"{operation} with {program} ended with exit code {code}"
        if answer == "absent" and operation in {"read", "delete"}:
            raise SecretNotFoundError(path, f"{program} has no such secret")
        if answer == "denied":
            raise PermissionDeniedError(path, reason, hint=f"Let this user use {program} for it, or unlock its key")
        if operation == "read" and path is not None and profile.lists_absence and not self._may_hold(path):
            raise SecretNotFoundError(path, f"{program} does not list it")
        if operation in {"write", "delete"} and answer != "unavailable":
            raise WriteOutcomeUnknownError(path, reason)
        raise StoreUnavailableError(path, reason, hint="Run the command by hand to see why")

    def _fail_without(self, path: str) -> NoReturn:
        """Raise the error for a path that the output does not have: absent only if the listing hides nothing."""
        program = self._profile.program
        if self._may_hold(path):
            raise StoreUnavailableError(
                path, f"{program} does not show every secret, so absence is not certain", hint=f"Run {program} by hand"
            )
        raise SecretNotFoundError(path, f"{program} lists no secret of this name")

    def _check_shown(self, path: str, content: bytes) -> None:
        """Raise the error that a content means which stands in the place of the secret."""
        shown = next((each for each in self._profile.withheld if each.encode() == content), None)
        if shown is None:
            return
        reason = f"{self._profile.program} shows {shown} in its place"
        if self._profile.withheld[shown] == "denied":
            raise PermissionDeniedError(path, reason, hint="Let this identity read its value")
        raise StoreUnavailableError(path, reason, hint=f"Repair it with {self._profile.program}")

    @contextmanager
    def _exclusive(self, path: str) -> Iterator[None]:
        """Wait until no write of this store is under way, within the deadline of the call."""
        if not self._lock.acquire(timeout=remaining()):
            raise StoreUnavailableError(path, "another write of this process has not ended in time")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _change(self, path: str) -> Iterator[None]:
        """Count a write at its begin and its end, so that a read notices it."""
        with self._exclusive(path):
            self._writes += 1
            try:
                yield
            finally:
                self._ended += 1


class ListableCommandStore(CommandStore):
    """Secrets that a program reads and lists."""

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the sorted names directly below `prefix`; a secret with others below it is both `name` and `name/`."""
        return iter(sorted(entries_below(self.walk(prefix), prefix)))

    def walk(self, prefix: str) -> Iterator[str]:
        """Return every path below `prefix`, in the order of the program.

        Raises:
            InvalidPathError: a name with a slash can be no path, so that its folder cannot be listed.
        """
        start = f"{prefix}/" if prefix else ""
        names = [name for name in self._names(prefix or None) if name.startswith(start)]
        for name in names:
            if "/" in name:
                check_path(name)
        return iter(names)


class WritableCommandStore(ListableCommandStore):
    """Secrets that a program reads, lists, writes and deletes."""

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check the path against the names that the program allows, and the size of the secret."""
        self._content(path, data)

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        """Give the secret to the program for `write`; for `create` if there is one and the path is not listed.

        Raises:
            WriteOutcomeUnknownError: the program took too long, or ended with an exit code that has no meaning.
        """
        content = self._content(path, data)
        with self._change(path):
            new = bool(self._profile.create) and not self._may_hold(path)
            command = self._profile.create if new else self._profile.write
            code = self._run("write", command, path, content).code
        if code != 0:
            self._fail("write", path, code)

    def delete(self, path: str) -> None:
        """Run the program for `delete`. Before that, it lists the paths if no exit code means absent."""
        self._check(path)
        with self._change(path):
            if self._profile.lists_absence and not self._may_hold(path):
                raise SecretNotFoundError(path, f"{self._profile.program} does not list it")
            code = self._run("delete", self._profile.delete, path).code
        if code != 0:
            self._fail("delete", path, code)

    def _content(self, path: str, data: Mapping[str, Value]) -> bytes:
        self._check(path)
        content = encode(data, self._key, line=True)
        if len(content) > MAX_SIZE:
            raise SecretTooLargeError(path, f"{len(content):,} bytes, the most is {MAX_SIZE:,}")
        return content


# --- the output of a program ------------------------------------------------------------------------------------------


def names_of(output: bytes, field: str) -> list[str]:
    """Return the paths in the output of a listing.

    Args:
        output: paths separated by NUL, if it has one, otherwise by newlines; or JSON.
        field: the field of each object that is a path, if the output is JSON. With `*`, the names of an object.

    Raises:
        StoreUnavailableError: the output cannot be read.
    """
    if field == "*":
        tree = _json(_text(output))
        if not isinstance(tree, dict):
            raise StoreUnavailableError(None, "the listing is not a JSON object")
        return list(tree)
    if field:
        return [str(item[field]) for item in _objects(output, field)]
    text = _text(output)
    return [name for name in (text.split("\0") if "\0" in text else text.split("\n")) if name]


def may_hold(output: bytes, path: str, profile: Profile) -> bool:
    """Return whether a listing has a secret that the program would find by this path, or may be hiding it.

    Raises:
        StoreUnavailableError: the output cannot be read.
    """
    names = names_of(output, profile.name_field)
    if profile.found_by:
        items = _objects(output, profile.name_field)
        names += [str(item[field]) for item in items for field in profile.found_by if field in item]
    if not profile.withheld.keys().isdisjoint(names) or (profile.fails_empty and not names):
        return True
    if profile.ignores_case:
        return path.casefold() in map(str.casefold, names)
    return path in names


def entry_of(output: bytes, path: str, name_field: str, value_field: str) -> bytes | None:
    """Return the content of the object that has exactly this name, None if no object has it.

    Raises:
        InvalidDataError: several objects have it, or it has no text.
        StoreUnavailableError: the output cannot be read.
    """
    found = [item.get(value_field) for item in _objects(output, name_field) if item[name_field] == path]
    if not found:
        return None
    if len(found) > 1:
        raise InvalidDataError(path, f"{len(found)} secrets have this name", hint="Rename all but one of them")
    if not isinstance(found[0], str):
        raise InvalidDataError(path, f"the field {value_field} of it is not text")
    return found[0].encode()


def _objects(output: bytes, field: str) -> list[dict[str, Any]]:
    tree = _json(_text(output))
    if isinstance(tree, list) and all(isinstance(item, dict) and isinstance(item.get(field), str) for item in tree):
        return tree
    del output, tree
    raise StoreUnavailableError(None, f"the output of the program is not a JSON array of objects with {field!r}")


def _text(output: bytes) -> str:
    try:
        return SensitiveStr(output.decode())
    except UnicodeDecodeError:
        pass
    raise StoreUnavailableError(None, "the output of the program is not UTF-8")


def _json(text: str) -> Any:
    """Return the parsed text, or None if it is not strict JSON."""
    try:
        return read_json(text)
    except InvalidDataError:
        return None
