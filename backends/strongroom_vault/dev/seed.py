"""`strongroom dev --seed`: the variables of a `.env` file as secrets on the development server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strongroom import commands
from strongroom.commands import VAULT, Config
from strongroom.dotenv import read_dotenv
from strongroom.env_names import EnvironmentMapping
from strongroom.errors import ConfigurationError
from strongroom.private_file import faults_as
from strongroom.secret import SensitiveDict, Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Seed:
    """The variables of a file, by what happens to them.

    Attributes:
        secrets: path -> the keys and values to write.
        mapped: names of the variables in `secrets`.
        unmapped: names that the mapping has no path for.
        reserved: names of credentials of a store, which are never written as secrets.
        empty: names without a value, which count as unset.
        invalid: number of other names. They are not shown: each may be a line of an unquoted value.
    """

    secrets: Mapping[str, SensitiveDict] = field(repr=False)
    mapped: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    invalid: int = 0

    def summary(self) -> Iterator[str]:
        """Yield the lines of a summary. They contain no value."""
        yield f"seeded: {', '.join(self.mapped) or 'nothing'}"
        for names, reason in (
            (self.unmapped, "no row of [secrets] and no other rule maps"),
            (self.reserved, "credentials of a store are never secrets:"),
            (self.empty, "empty:"),
        ):
            if names:
                yield f"not seeded: {reason} {', '.join(names)}"
        if self.invalid:
            yield f"not seeded: {self.invalid} name(s) that may be part of a value"


def read_seed(file: Path) -> SensitiveDict:
    """Return the variables of the file.

    Raises:
        ConfigurationError: the file cannot be read, or is not a `.env` file.
    """
    with faults_as(ConfigurationError, f"--seed {file}"):
        return read_dotenv(file).values


def plan_seed(values: Mapping[str, Value], mapping: EnvironmentMapping) -> Seed:
    """Sort the variables by the reversible rules of the mapping. Pure."""
    secrets: dict[str, dict[str, Value]] = {}
    names: dict[str, list[str]] = {"mapped": [], "unmapped": [], "reserved": [], "empty": []}
    invalid = 0
    for name, value in values.items():
        # `QUJD==`, the last line of a key in base64, parses as a name with the value `=`.
        if not _NAME.fullmatch(name) or value == "=":
            invalid += 1
        elif mapping.is_reserved(name):
            names["reserved"].append(name)
        elif (located := mapping.locate(name)) is None:
            names["unmapped"].append(name)
        elif not value:
            names["empty"].append(name)
        else:
            names["mapped"].append(name)
            secrets.setdefault(located[0], {})[located[1]] = value
    sorted_names = {kind: tuple(listed) for kind, listed in names.items()}
    return Seed({path: SensitiveDict(data) for path, data in secrets.items()}, invalid=invalid, **sorted_names)


def write_seed(seed: Seed, config: Config) -> None:
    """Write each secret to the first Vault store of the chain that reads its path. Existing secrets are replaced.

    Args:
        seed: the secrets.
        config: a configuration whose Vault stores all use the development server.

    Raises:
        ConfigurationError: no Vault store of the chain reads a path.
        StoreError: the server refused a secret.
    """
    with commands.SecretsManager.from_config(config) as secrets:
        for path, data in seed.secrets.items():
            secrets.set_secret(path, data, store=_store(path, config), replace=True)


def _store(path: str, config: Config) -> str:
    for link in config.chain:
        if link.covers(path) and config.store(link.store).plugin == VAULT:
            return link.store
    raise ConfigurationError(f"--seed: no Vault store of the chain reads {path}, so it cannot be seeded")
