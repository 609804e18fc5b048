"""`strongroom dev --seed`: the variables of a `.env` file, put where the chain finds them on the development server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.cli import api
from strongroom.config import VAULT, Config
from strongroom.config.dotenv import read_dotenv
from strongroom.config.env_names import EnvironmentMapping
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveDict, Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Seed:
    """What becomes of the variables of a file.

    Attributes:
        secrets: by path, the keys and values to write.
        mapped: the names of the variables that these come from.
        unmapped: the names that the mapping has no place for.
        reserved: the names that open a store, and are never a secret.
        empty: the names without a value, which count as not set.
        odd: how many others there are. Their names are not shown: each may be a line of a value without quotes.
    """

    secrets: Mapping[str, SensitiveDict] = field(repr=False)
    mapped: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    odd: int = 0

    def words(self) -> Iterator[str]:
        """What there is to say of it, a line each, without a value."""
        yield f"seeded: {', '.join(self.mapped) or 'nothing'}"
        for names, why in (
            (self.unmapped, "no row of [secrets] and no other rule has a place for"),
            (self.reserved, "these open a store, and are never a secret:"),
            (self.empty, "these are empty:"),
        ):
            if names:
                yield f"not seeded: {why} {', '.join(names)}"
        if self.odd:
            yield f"not seeded: {self.odd} more that may be a part of a value"


def read_seed(file: Path) -> SensitiveDict:
    """The variables of the file.

    Raises:
        ConfigurationError: it cannot be read, or is no `.env` file.
    """
    try:
        return read_dotenv(file).values
    except OSError as error:
        raise ConfigurationError(f"--seed {file}: {error.strerror or 'it cannot be read'}") from None


def plan(values: Mapping[str, Value], mapping: EnvironmentMapping) -> Seed:
    """What becomes of these variables, by the rules that can be read backwards. Pure."""
    secrets: dict[str, dict[str, Value]] = {}
    names: dict[str, list[str]] = {"mapped": [], "unmapped": [], "reserved": [], "empty": []}
    odd = 0
    for name, value in values.items():
        # `QUJD==`, the last line of a key in base64, reads as a name with the value `=`.
        if not _NAME.fullmatch(name) or value == "=":
            odd += 1
        elif mapping.is_reserved(name):
            names["reserved"].append(name)
        elif (place := mapping.locate(name)) is None:
            names["unmapped"].append(name)
        elif not value:
            names["empty"].append(name)
        else:
            names["mapped"].append(name)
            secrets.setdefault(place[0], {})[place[1]] = value
    found = {kind: tuple(listed) for kind, listed in names.items()}
    return Seed({path: SensitiveDict(data) for path, data in secrets.items()}, odd=odd, **found)


def sow(seed: Seed, config: Config) -> None:
    """Writes each secret to the first Vault store of the chain that is asked for its path.

    Args:
        seed: what to write. A secret that is there already is replaced.
        config: leads every Vault store to the development server.

    Raises:
        ConfigurationError: there is no such store.
        StoreError: the server did not take it.
    """
    with api.SecretsManager.from_config(config) as secrets:
        for path, data in seed.secrets.items():
            secrets.set_secret(path, data, store=_store(path, config), replace=True)


def _store(path: str, config: Config) -> str:
    for link in config.chain:
        if link.covers(path) and config.store(link.store).plugin == VAULT:
            return link.store
    raise ConfigurationError(f"--seed: the chain asks no Vault store for {path}: nobody would find it on this server")
