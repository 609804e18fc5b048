"""What `[secrets]` declares: the types and files of values, and how missing ones are generated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from strongroom._chain.answer import Resolution
from strongroom.encoding import as_text
from strongroom.errors import ConflictError, SecretNotFoundError, StrongroomError
from strongroom.secret import SensitiveDict, SensitiveStr

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom._chain.chain import Chain
    from strongroom._config import Generation, SecretConfig
    from strongroom._manager.secret_files import SecretFiles
    from strongroom._watch.watch import Change

logger = logging.getLogger("strongroom.files")


class DeclaredTypes:
    """The declared types by path and key, and the files of rows with `as_path`.

    Args:
        rows: the rows of `[secrets]`, by variable. Those without a type or `as_path` do not count.
    """

    def __init__(self, rows: Mapping[str, SecretConfig]) -> None:
        self._types: dict[str, dict[str, str]] = {}
        self._variables = {(row.path, row.key): variable for variable, row in rows.items() if row.as_path}
        self._files: SecretFiles | None = None
        if self._variables:
            from strongroom._manager.secret_files import SecretFiles

            self._files = SecretFiles()
        for row in rows.values():
            if row.type is not None:
                self._types.setdefault(row.path, {})[row.key] = row.type

    def declares(self, path: str) -> bool:
        """Return True if a key of this secret has a declared type."""
        return path in self._types

    def check(self, path: str, key: str | None, as_: Any) -> None:
        """Raise TypeError if `as_` is not a type for a read of this path and key."""
        if as_ is not None and self.file_name(path, key, as_) is None:
            from strongroom._manager.conversion import check_type

            check_type(as_, whole=key is None)

    def apply(self, found: Resolution) -> Resolution:
        """Return the whole secret with the values of its declared types.

        Raises:
            InvalidDataError: a value does not fit. Names the first key, and shows no value.
        """
        types = self._types.get(found.path)
        if not types or found.key is not None or not isinstance(found.value, SensitiveDict):
            return found
        from strongroom._manager.conversion import convert, declared_type

        data = found.value.copy()
        for key in types.keys() & data.keys():
            data[key] = convert(data[key], declared_type(types[key]), found.path, key, found.store)
        converted = copy(found)
        converted.value = data
        return converted

    def requested(self, found: Resolution, as_: Any) -> object:
        """Return the value as the type that the caller asked for, or that `[secrets]` declares."""
        if as_ is None:
            if found.key is None:
                return self.apply(found).value
            return as_text(found.value, found.path, found.key)
        if (variable := self.file_name(found.path, found.key, as_)) is not None:
            return self._written(variable, found)
        from strongroom._manager.conversion import convert, declared_type

        if as_ is object and (name := self._types.get(found.path, {}).get(found.key or "")) is not None:
            as_ = declared_type(name)
        if as_ is object or as_ is dict:  # a model declares types
            found = self.apply(found)
        return convert(found.value, as_, found.path, found.key, found.store)

    def file_name(self, path: str, key: str | None, as_: Any) -> str | None:
        """Return the name of the file that this type of a key means, or None."""
        if self._files is None or key is None or getattr(as_, "__name__", "") != "Path":
            return None
        return self._variables.get((path, key))

    def follow(self, read: Callable[[str, str], Resolution], change: Change) -> None:
        """Write those files of a changed secret again that the application has. A deleted value stays in its file."""
        for (path, key), variable in self._variables.items():
            if path == change.path and key in change.keys and self._files is not None and variable in self._files:
                try:
                    self._written(variable, read(path, key))
                except StrongroomError as error:
                    logger.warning("The file of %s keeps the old value: %s", variable, error)

    def close(self) -> None:
        """Remove the files."""
        if self._files is not None:
            self._files.close()

    def _written(self, variable: str, found: Resolution) -> Path:
        from strongroom._manager.secret_files import file_content

        assert self._files is not None and found.key is not None, "file_name() has answered"  # noqa: S101, PT018
        return self._files.write(variable, file_content(found.value, found.path, found.key))

    def apply_to_all(
        self, outcomes: Mapping[str, Resolution | StrongroomError]
    ) -> Mapping[str, Resolution | StrongroomError]:
        """Return the outcomes of a batch; a value that does not fit makes an outcome an error."""
        if not self._types:
            return outcomes
        applied: dict[str, Resolution | StrongroomError] = {}
        for path, outcome in outcomes.items():
            try:
                applied[path] = self.apply(outcome) if isinstance(outcome, Resolution) else outcome
            except StrongroomError as error:
                applied[path] = error.copy()
        return applied


def generate_missing(chain: Chain, rows: Mapping[str, SecretConfig], store: str | None) -> list[str]:
    """Create each secret that no store has and whose row has a rule, and return its variables.

    Raises:
        StoreError: it is not known whether a secret exists, or it could not be written.
    """
    created: list[str] = []
    for variable, row in rows.items():
        if row.generate is None:
            continue
        try:
            chain.resolve(row.path, row.key, fresh=True)
        except SecretNotFoundError:
            pass
        else:
            continue
        data = SensitiveDict({row.key: _generated(row.generate)})
        try:
            chain.write(row.path, data, store=store, create=True)
        except ConflictError:
            chain.resolve(row.path, row.key, fresh=True)  # somebody else has created it; otherwise this tells why
        else:
            created.append(variable)
    return created


def _generated(rule: Generation) -> SensitiveStr:
    """Return a new value, from the operating system's source of randomness."""
    import secrets

    from strongroom.rotate.spi import PasswordRules, generate  # most programs generate nothing

    match rule.kind:
        case "password":
            return generate(PasswordRules(length=rule.length))
        case "hex":
            return SensitiveStr(secrets.token_hex(rule.length))
        case _:
            return SensitiveStr(secrets.token_urlsafe(rule.length))
