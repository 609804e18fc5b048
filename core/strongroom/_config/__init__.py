"""The typed configuration, after all sources have been read and merged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Self, TypeAlias

from strongroom._config.programs import AWS_VARIABLES as AWS_VARIABLES
from strongroom._config.programs import DEFAULT_PLACES as DEFAULT_PLACES
from strongroom._config.programs import AgentsConfig as AgentsConfig
from strongroom._config.programs import CommandConfig as CommandConfig
from strongroom._config.programs import HelperConfig as HelperConfig
from strongroom._config.programs import Place as Place
from strongroom._config.programs import RuleConfig as RuleConfig
from strongroom._config.setting_types import (
    WINDOW_FORMAT,
    Count,
    FileSize,
    Limit,
    Parser,
    PositiveSeconds,
    Seconds,
    Text,
    Window,
    declared,
    parse_window,
)
from strongroom.formats.variables import EnvironmentMapping
from strongroom.secret import REDACTED, Value
from strongroom.store.deadline import DEFAULT_TIMEOUT

VAULT = "vault"
"""The plugin that `vault_url` and `vault_token` configure, and the first link of the default chain."""

VAULT_ADDRESSES = ("BAO_AGENT_ADDR", "VAULT_AGENT_ADDR", "BAO_ADDR", "VAULT_ADDR")
"""The default chain has Vault if one of these is set."""

VAULT_CREDENTIALS = ("BAO_TOKEN", "VAULT_TOKEN")
"""Credentials that nobody sets who does not mean to use Vault."""

DOTENV = "dotenv"
"""The plugin that by default reads `./.env`, which production refuses."""

FALLBACKS = ("env", DOTENV)
"""The plugins that `enable_fallback=False` removes, and that follow Vault in the default chain."""

LINK_TIMEOUT = 3.0

LEAST_PERIOD = 60.0
"""The shortest `every` of a rotation, in seconds."""

OnAnswer: TypeAlias = Literal["next", "fail"]

# The fields and their types are the schema of the file: see `document.Table.read`. Named tuples with evaluated
# annotations: each process compiles the methods of a dataclass, and annotations that are text, when it starts.


class Rank(IntEnum):
    """The precedence of the sources of an option: the highest counts."""

    DEFAULT = 0
    DOTENV = 1
    PROCESS = 2
    FILE = 3
    FILE_ENVIRONMENT = 4
    VARIABLE = 5
    ARGUMENT = 6


def _unpicklable() -> TypeError:
    """Return the error for a pickle of credentials, or of a `Config` that has them: it would be a file with them."""
    return TypeError("A configuration that holds credentials is not pickled: load it again in the other process")


class Setting(NamedTuple):
    """A value and its origin: of an option, in one source or resolved, or of a setting that belongs to no store.

    Attributes:
        value: the value. That of a `StoreConfig` is raw: not of the option's type yet, and its references
            `{ env = … }` and `{ file = … }` are not followed.
        origin: the source, for messages: a file with table and key, a variable, an argument.
        rank: the precedence of the source.
        found_file: the file, if it was found in the working directory rather than named. Its author is the author of
            that folder, so its address never gets a token from another source.
        folder: the base of relative paths; None is the working directory.
        declared: as `found_file`, for the file whose reference names the source of the value.
        secret: the value is never shown.
        address: it is the URL of a service, or a list of them.
        locates: it locates the store's secrets other than by an address.
    """

    value: object
    origin: str
    rank: Rank
    found_file: str = ""
    folder: Path | None = None
    declared: str = ""
    secret: bool = True
    address: bool = False
    locates: bool = False

    def __repr__(self) -> str:
        return f"Setting({REDACTED if self.secret else repr(self.value)}, origin={self.origin!r})"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable()

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Ambient(NamedTuple):
    """Variables of the process or of `./.env` that belong to the store itself, such as VAULT_ADDR.

    Attributes:
        values: the variables.
        rank: PROCESS or DOTENV.
        found_file: as in `Setting`.
    """

    values: Mapping[str, str]
    rank: Rank = Rank.PROCESS
    found_file: str = ""

    def __repr__(self) -> str:
        return f"Ambient(rank={self.rank!r}, found_file={self.found_file!r})"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable()

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def setting(self, name: str) -> Setting | None:
        """Return the text of a variable; None if it is not set, or is empty."""
        if not (text := self.values.get(name)):
            return None
        origin = f"{name} in {self.found_file}" if self.found_file else f"the environment variable {name}"
        return Setting(text, origin, self.rank, self.found_file)


class StoreConfig(NamedTuple):
    """A named store: its plugin and its options.

    Attributes:
        name: the name in the chain and in messages.
        plugin: the name of its entry point.
        origin: the place of its configuration, for messages.
        options: by name, the value with the highest rank.
    """

    name: str
    plugin: str
    origin: str
    options: Mapping[str, Setting] = {}

    @classmethod
    def bare(cls, name: str) -> Self:
        """Return a store without configuration: the plugin of that name, without options."""
        return cls(name, name, f"The store {name}")

    def with_options(self, options: Mapping[str, Setting]) -> Self:
        """Return the store with these options added; they replace options of the same name."""
        return self._replace(options={**self.options, **options})

    @property
    def is_bare(self) -> bool:
        """It has no configuration."""
        return not self.options and self.origin == StoreConfig.bare(self.name).origin


class LeftOut(NamedTuple):
    """A store that the default chain lacks although a credential of it is set.

    Attributes:
        store: the store's name.
        reason: the missing setting, in words.
        hint: what to do.
    """

    store: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"Store {self.store} is not asked: {self.reason}. {self.hint}"


class LinkConfig(NamedTuple):
    """One link of the chain.

    Attributes:
        store: the store's name.
        paths: shell patterns on whole paths; empty means every path.
        timeout: seconds that one call may take of the chain's time, if another link or a stale value can answer.
        on_unavailable: the policy for an outage without a stale value in the cache.
        on_denied: the policy for a denial or a failed authentication.
        on_missing_key: the policy for a secret that lacks the key.
        watch_interval: seconds between two looks at watched secrets.
        disk: False keeps the answers of this link out of the cache on disk.
        settings: those of these settings that are configured, by name.
    """

    store: str
    paths: tuple[Text, ...] = ()
    timeout: PositiveSeconds = LINK_TIMEOUT
    on_unavailable: OnAnswer = "next"
    on_denied: OnAnswer = "fail"
    on_missing_key: OnAnswer = "next"
    watch_interval: PositiveSeconds = 30.0
    disk: bool = True
    settings: Mapping[str, Setting] = {}

    @classmethod
    def default(cls, store: str, *, production: bool) -> Self:
        """Return a link without settings. In production only a confirmed absence makes a read query the next link."""
        strict: OnAnswer = "fail" if production else "next"
        return cls(store, timeout=LINK_TIMEOUT, on_unavailable=strict, on_missing_key=strict)

    def covers(self, path: str) -> bool:
        """Return True if this link serves `path`."""
        return not self.paths or any(fnmatchcase(path, pattern) for pattern in self.paths)

    def may_cover_below(self, folder: str) -> bool:
        """Return True if this link may serve a path below `folder`; the empty string is the top."""
        below = f"{folder}/" if folder else ""
        fixed = (re.split("[*?[]", pattern, maxsplit=1)[0] for pattern in self.paths)
        return not self.paths or any(part.startswith(below) or below.startswith(part) for part in fixed)


class Generation(NamedTuple):
    """The rule by which a missing secret is generated.

    Attributes:
        kind: `password`, `token` or `hex`.
        length: characters of a password, random bytes of the others.
    """

    kind: str
    length: int


class ComposedPart(NamedTuple):
    """The row of `[secrets]` whose value is a part of a composed one."""

    variable: str
    path: str
    key: str
    extract: str | None


class Composition(NamedTuple):
    """A value that is composed of other secrets.

    Attributes:
        parts: literal text, each with the place of the value after it; None for the last text.
        is_url: percent-encode the values.
    """

    parts: tuple[tuple[str, ComposedPart | None], ...]
    is_url: bool


class SecretConfig(NamedTuple):
    """One row of `[secrets]`: a secret that the application requires, under the name of a variable.

    Attributes:
        path: the secret's path.
        key: the key in it.
        default: the value for a confirmed absence; None without a default.
        required: a confirmed absence is an error.
        type: the name of the declared type, or None: see `secrets_table.TYPES`.
        description: its purpose, in words.
        generate: the rule by which `strongroom generate` creates it.
        compose: the other secrets that it is composed of if no store has it.
        expires: the day on which it stops working, such as that of an API key.
        extract: the JSON pointer to the value in the key's value, which is a document.
        as_path: the variable holds the path of a file with the value.
        origin: the place of the row, for messages.
    """

    path: str
    key: str
    default: Value = None
    required: bool = True
    type: str | None = None
    description: str = ""
    generate: Generation | None = None
    compose: Composition | None = None
    expires: date | None = None
    extract: str | None = None
    as_path: bool = False
    origin: str = ""

    def __repr__(self) -> str:
        return f"SecretConfig(path={self.path!r}, key={self.key!r})"


class RotationConfig(NamedTuple):
    """The rotation of one secret: a table of `[rotation]`.

    Attributes:
        path: the secret's path.
        rotator: the plugin and its options. Its name is the path.
        store: the name of the store that holds the secret; None is the first of the chain that can be written.
        every: seconds between two rotations; None is not scheduled.
        window: the hours in which a scheduled rotation may start.
        jitter: the most seconds by which a scheduled rotation is delayed.
        grace: seconds for which the old credential stays valid after the new one is stored.
    """

    path: str
    rotator: StoreConfig
    store: Text | None = None
    every: Annotated[Seconds, Limit(lambda every: every >= LEAST_PERIOD, "at least one minute")] | None = None
    window: Annotated[Window, Parser(parse_window, WINDOW_FORMAT)] | None = None
    jitter: Seconds = 0.0
    grace: Seconds = 0.0


class CacheConfig(NamedTuple):
    """The lifetimes in the caches, in seconds, their size, and what lies on disk.

    Attributes:
        ttl: of a secret; zero disables the cache.
        max_stale: of a stale secret after its ttl, while the store is unavailable.
        missing_ttl: of an absence.
        max_entries: secrets in the cache of one link, and as many absences.
        max_bytes: memory of the cache of one link, of which absences have an eighth; and the size of the cache on disk.
        disk: share answers with the other processes of this user through an encrypted cache on disk.
        folder: the folder of the cache on disk; None is the cache folder of this user.
        never: shell patterns of paths that the cache on disk never holds.
        offline: let the cache on disk answer for every store that is not on this machine, and change nothing.
    """

    ttl: Seconds = 300.0
    max_stale: Seconds = 3600.0
    missing_ttl: Seconds = 30.0
    max_entries: Count = 10_000
    max_bytes: Count = 64 * 1024 * 1024
    disk: bool = False
    folder: Path | None = None
    never: tuple[Text, ...] = ()
    offline: bool = False


class AuditConfig(NamedTuple):
    """The settings of the audit log.

    Attributes:
        file: its file; None disables the audit log.
        key_file: the file with the key of its hashes; with None the hashes have no key.
        application: the name that the application gives itself.
        on_failure: whether a read or a change fails whose record cannot be written, or a warning is enough.
        max_size: the size in bytes at which the file is archived; None is never.
        sync: which records are flushed to the disk: those of changes, all, or none.
    """

    file: Path | None = None
    key_file: Path | None = None
    application: Text = ""
    on_failure: Literal["fail", "warn"] = "fail"
    max_size: FileSize | None = None
    sync: Literal["changes", "always", "never"] = "changes"


@dataclass(frozen=True, eq=False)
class Config:
    """The whole configuration.

    Attributes:
        environment: the selected environment, or None.
        production: the strict rules of production apply.
        timeout: seconds that one call may take in total.
        chain: the links, first to last.
        left_out: the store that the default chain lacks only because it has no address; None if it lacks none.
        stores: every configured store, in the chain or not.
        secrets: the required secrets, by variable.
        rotations: the rotation of each secret that has one, by path.
        agents: the rules and commands for workers that must not see a secret.
        helpers: the credentials for services that programs name by their hosts.
        cache: the settings of the caches.
        audit: the settings of the audit log.
        mapping: the names of variables for paths and keys.
        ambient: sources of options that the configuration of a store lacks, highest first.
        settings: those of `environment`, `production`, `timeout`, `[cache]` and `[audit]` that are configured, with
            names as in the file, such as `cache.ttl`.
        untrusted: files that were found in the working directory and are not trusted, as messages name them: see
            `trust`. Only the command line has any.
        files: the files that were read: strongroom.toml and `./.env`, as absolute paths.
        folder: the folder in which they were looked for; None if the configuration was made in code,
            or is the content of a file.
        cached_in_outages: the cache on disk answers in an outage of its store only.
        ignored: `./strongroom.toml`, if it is there and helpers, which other programs start in any folder, ignore it.
    """

    environment: Text | None = None
    production: bool = False
    timeout: PositiveSeconds = DEFAULT_TIMEOUT
    chain: tuple[LinkConfig, ...] = ()
    left_out: LeftOut | None = None
    stores: Mapping[str, StoreConfig] = field(default_factory=dict)
    secrets: Mapping[str, SecretConfig] = field(default_factory=dict)
    rotations: Mapping[str, RotationConfig] = field(default_factory=dict)
    agents: AgentsConfig = field(default_factory=AgentsConfig)
    helpers: tuple[HelperConfig, ...] = ()
    cache: CacheConfig = field(default_factory=CacheConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    mapping: EnvironmentMapping = field(default_factory=EnvironmentMapping)
    ambient: tuple[Ambient, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict, repr=False)
    untrusted: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    cached_in_outages: bool = False
    ignored: Path | None = None

    @property
    def sources(self) -> str:
        """The files that were read, or the folder that has none, in words for a message."""
        if self.files:
            return f"Configuration: {' and '.join(map(_one_line, self.files))}"
        if self.ignored is not None:
            ignored = f"Helpers ignore {_one_line(self.ignored)}: name it in STRONGROOM_CONFIG to use it"
            return f"No configuration file of the user or of the machine was found. {ignored}"
        return "" if self.folder is None else f"No configuration file was found in {_one_line(self.folder)}"

    @property
    def offline(self) -> str:
        """The setting that makes Strongroom offline, in words for a message; empty if none does."""
        origin = self.settings["cache.offline"].origin if "cache.offline" in self.settings else "[cache]"
        return f"offline by {origin}" if self.cache.offline else ""

    def store(self, name: str) -> StoreConfig:
        """Return the store of that name, with defaults if it is not configured."""
        return self.stores.get(name) or StoreConfig.bare(name)

    def for_one_read(self) -> Self:
        """Return it without a cache in memory: to import encryption takes as long as the read. One on disk stays."""
        return self if self.cache.disk else replace(self, cache=self.cache._replace(ttl=0))

    def with_store(self, store: StoreConfig) -> Self:
        """Return the configuration with this store added; it replaces a store of the same name."""
        return replace(self, stores={**self.stores, store.name: store})


TABLES: Mapping[str, type] = {"cache": CacheConfig, "audit": AuditConfig}
"""The tables of `Config.settings`, with their schemas."""


def setting_hint(name: str) -> Any:
    """Return the type of a setting, such as `cache.ttl`."""
    table, _, key = name.rpartition(".")
    return declared(TABLES.get(table, Config), key)[key]


def _one_line(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else ascii(text)
