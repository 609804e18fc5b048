"""The typed configuration: what the rest of Strongroom is told, after every source has been read and laid over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self, TypeAlias

from strongroom.config.env_names import EnvironmentMapping
from strongroom.secret import Value
from strongroom.store import DEFAULT_TIMEOUT

VAULT = "vault"
"""The plugin that `vault_url` and `vault_token` configure, and the first link where no chain is configured."""

VAULT_ADDRESSES = ("BAO_AGENT_ADDR", "VAULT_AGENT_ADDR", "BAO_ADDR", "VAULT_ADDR")
"""Where no chain is configured, Vault is in it when one of these is set."""

DOTENV = "dotenv"
"""The plugin that reads `./.env` where its `file` names no other: production refuses that."""

FALLBACKS = ("env", DOTENV)
"""The plugins that `enable_fallback=False` leaves out, and that follow Vault where no chain is configured."""

OnAnswer: TypeAlias = Literal["next", "fail"]


class Rank(IntEnum):
    """Where an option comes from: the higher one counts."""

    DOTENV = 1
    PROCESS = 2
    FILE = 3
    FILE_ENVIRONMENT = 4
    VARIABLE = 5
    ARGUMENT = 6


@dataclass(frozen=True)
class Given:
    """What one source says for one option, not yet read as the option's type.

    Attributes:
        value: as the source has it; in it, `{ env = … }` and `{ file = … }` still stand for what they name.
        origin: the source in words: a file with table and key, a variable, an argument.
        rank: the source's place in the order of precedence.
        found: the file, where it was found in the working directory and nobody named it. Whoever wrote that folder
            wrote the file, so what it says is not trusted with a token from elsewhere.
        folder: what relative paths in it are relative to; None is the working directory.
    """

    value: object = field(repr=False)
    origin: str
    rank: Rank
    found: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class Ambient:
    """Variables that were not set for Strongroom, in the process or in `./.env`.

    Attributes:
        values: the variables.
        rank: PROCESS or DOTENV.
        found: as in `Given`.
    """

    values: Mapping[str, str] = field(repr=False)
    rank: Rank = Rank.PROCESS
    found: str = ""

    def origin(self, name: str) -> str:
        """One of its variables in words."""
        return f"{name} in {self.found}" if self.found else f"the environment variable {name}"


@dataclass(frozen=True)
class StoreConfig:
    """A named store: its plugin and what was said for its options.

    Attributes:
        name: the name that the chain and messages use.
        plugin: the name of its entry point.
        origin: where it is configured, in words.
        options: by name, what the highest source says.
    """

    name: str
    plugin: str
    origin: str
    options: Mapping[str, Given] = field(default_factory=dict)

    @classmethod
    def bare(cls, name: str) -> Self:
        """A store that nothing configures: the plugin of its name, without options."""
        return cls(name, name, f"The store {name}")


@dataclass(frozen=True)
class LinkConfig:
    """One link of the chain.

    Attributes:
        store: the store's name.
        paths: shell patterns on whole paths; empty means every path.
        timeout: the most that one call may take of the chain's time, in seconds.
        on_unavailable: what follows an outage, after what the cache holds.
        on_denied: what follows a denial or a failed authentication.
        on_missing_key: what follows when the link has the path and lacks the key.
        origins: setting to the source that gives it, in words; one that is not in it has its default.
    """

    store: str
    paths: tuple[str, ...] = ()
    timeout: float = 3.0
    on_unavailable: OnAnswer = "next"
    on_denied: OnAnswer = "fail"
    on_missing_key: OnAnswer = "next"
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def covers(self, path: str) -> bool:
        """Whether this link is asked for `path`."""
        return not self.paths or any(fnmatchcase(path, pattern) for pattern in self.paths)


@dataclass(frozen=True)
class SecretConfig:
    """One row of `[secrets]`: what the application needs under the name of an environment variable.

    Attributes:
        path: the secret's path.
        key: the key in it.
        default: what stands in for a confirmed absence; None is no default.
        required: whether a confirmed absence is an error.
        origin: where the row is, in words.
    """

    path: str
    key: str
    default: Value = field(default=None, repr=False)
    required: bool = True
    origin: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class CacheConfig:
    """How long the caches count, in seconds, and how many paths each holds.

    Attributes:
        ttl: a presence; zero caches nothing.
        max_stale: after its ttl, while the store is unavailable.
        missing_ttl: an absence.
        max_entries: paths for one link.
    """

    ttl: float = 300.0
    max_stale: float = 3600.0
    missing_ttl: float = 30.0
    max_entries: int = 10_000


@dataclass(frozen=True)
class Config:
    """The whole configuration.

    Attributes:
        environment: the selected environment, or None.
        production: whether its rules are those of production.
        timeout: how long one call may take in total, in seconds.
        chain: the links, first to last.
        stores: every configured store, also those in no chain.
        secrets: variable to what it stands for.
        cache: how long caches count.
        mapping: the names of variables for paths and keys.
        ambient: the sources of what no store's own configuration says, highest first.
        origins: setting to the source that gives it, in words, by the name that the file has for it, as in `cache.ttl`;
            one that is not in it has its default.
        untrusted: files that were found in the working directory and whose addresses, credentials and TLS settings
            must not be used: see `trust`. Only the command line has any.
    """

    environment: str | None = None
    production: bool = False
    timeout: float = DEFAULT_TIMEOUT
    chain: tuple[LinkConfig, ...] = ()
    stores: Mapping[str, StoreConfig] = field(default_factory=dict)
    secrets: Mapping[str, SecretConfig] = field(default_factory=dict)
    cache: CacheConfig = CacheConfig()
    mapping: EnvironmentMapping = field(default_factory=EnvironmentMapping)
    ambient: tuple[Ambient, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    untrusted: frozenset[str] = frozenset()

    def store(self, name: str) -> StoreConfig:
        """The store of that name, bare where nothing configures it."""
        return self.stores.get(name) or StoreConfig.bare(name)
