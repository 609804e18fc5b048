"""Parsing of the tables of a store: its plugin and its raw options. A file of its own for `{environment}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.config import OptionValue, Rank, StoreConfig
from strongroom.config.chain_table import NAME, NAME_RULE
from strongroom.config.document import Table, shown_key
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveDict, SensitiveStr

_PLACEHOLDER = "{environment}"
_ANY_PLACEHOLDER = re.compile(r"\{[A-Za-z_]+\}")


def has_placeholder(value: object) -> bool:
    """Return True if the value contains `{environment}` at any depth."""
    if isinstance(value, Mapping):
        return any(map(has_placeholder, value.values()))
    if isinstance(value, list):
        return any(map(has_placeholder, value))
    return isinstance(value, str) and _PLACEHOLDER in value


class OptionReader(NamedTuple):
    """Reads the options of a store from one file.

    Attributes:
        environment: the value of `{environment}`; if None, using it is an error.
        found: the file, if it was found in the working directory rather than named.
        folder: the base of relative paths.
    """

    environment: str | None
    found: str
    folder: Path | None

    def given(self, table: Table, key: str, value: object, rank: Rank) -> OptionValue:
        """Return the value of one option."""
        return OptionValue(self._filled(table, key, value), table.where(key), rank, self.found, self.folder)

    def _filled(self, table: Table, key: str, value: Any) -> Any:  # any TOML value
        """Replace `{environment}` in the value at any depth."""
        if isinstance(value, str):
            if _PLACEHOLDER in value and self.environment is None:
                table.fail(key, f"has {_PLACEHOLDER}, and no environment is selected: set STRONGROOM_ENVIRONMENT")
            filled = value.replace(_PLACEHOLDER, self.environment or "")
            # The placeholder is not shown, because it could be a part of a token.
            if _ANY_PLACEHOLDER.search(filled):
                table.fail(
                    key,
                    f"has a placeholder in braces, and there is only {_PLACEHOLDER}; a text with braces can come "
                    "through { env = … } or { file = … }",
                )
            return SensitiveStr(filled) if filled != value else value
        if isinstance(value, Mapping):
            return SensitiveDict((name, self._filled(table, key, item)) for name, item in value.items())
        if isinstance(value, list):
            return [self._filled(table, key, item) for item in value]
        return value


def read_store(name: str, tables: list[tuple[Table, Rank]], reader: OptionReader) -> StoreConfig:
    """Merge the tables of a store; later ones override earlier ones option by option."""
    last = tables[-1][0]
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{last.source}: [stores] {shown_key(name)}: is not a store name: {NAME_RULE}")
    plugin = name
    options: dict[str, OptionValue] = {}
    for table, rank in tables:
        plugin = table.text("plugin") or plugin
        options |= {key: reader.given(table, key, value, rank) for key, value in table.rest().items()}
    return StoreConfig(name, plugin, last.where().removesuffix(":"), options)
