"""The process environment as a store, never changed. A plugin of its own, so a module."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from strongroom.errors import InvalidDataError, PermissionDeniedError, SecretTooLargeError, StoreUnavailableError
from strongroom.files.bounded import read_bytes
from strongroom.formats.variables import EnvironmentMapping
from strongroom.secret import SensitiveStr
from strongroom_env.variables import VariableStore

_FILE = "_FILE"
_MAX_SIZE = 1 << 20
"""The largest file that a variable may name, in bytes."""


class EnvironmentStore(VariableStore):
    """The variables of this process, by the mapping's names, and the files that NAME_FILE variables name."""

    def __init__(self, mapping: EnvironmentMapping) -> None:
        super().__init__(mapping, "the environment")

    def variables(self, path: str | None) -> Mapping[str, str]:
        """Return the live environment, so that later changes are seen."""
        return _Variables(path, self._mapping.files)


class _Variables(Mapping[str, str]):
    """The live environment. `NAME_FILE` gives `NAME` the content of a file, as images for containers do.

    So does an absolute path in one of `files`, the variables of rows with `as_path`, as `strongroom run` sets it.
    """

    def __init__(self, path: str | None, files: Collection[str]) -> None:
        self._path = path
        self._files = files

    def __getitem__(self, name: str) -> str:
        file = os.environ.get(name + _FILE)
        if not file:
            text = os.environ[name]
            is_path = name in self._files and text.startswith("/")
            return self._content(name, text) if is_path else text
        if os.environ.get(name):
            raise InvalidDataError(self._path, f"{name} and {name}{_FILE} are both set", hint="Unset one of them")
        content = self._content(name + _FILE, file)
        return SensitiveStr(content[:-1].removesuffix("\r")) if content.endswith("\n") else content

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*os.environ, *(name.removesuffix(_FILE) for name in os.environ)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _content(self, variable: str, file: str) -> str:
        """Return the content of a file; bytes that are not UTF-8 as lone surrogates."""
        reason = f"the file of {variable}"
        try:
            content, _ = read_bytes(file, _MAX_SIZE)
        except PermissionError:
            raise PermissionDeniedError(self._path, f"{reason} may not be read", hint="Let this user read it") from None
        except (OSError, ValueError) as error:
            fault = (error.strerror if isinstance(error, OSError) else None) or "invalid file name"
            hint = f"Check {variable}, and that the file is mounted"
            raise StoreUnavailableError(self._path, f"{reason}: {fault}", hint=hint) from None
        if len(content) > _MAX_SIZE:
            del content
            raise SecretTooLargeError(self._path, f"{reason} has more than {_MAX_SIZE:,} bytes")
        return SensitiveStr(os.fsdecode(content))


def open_env(*, mapping: EnvironmentMapping) -> EnvironmentStore:
    """The process environment."""
    return EnvironmentStore(mapping)
