"""Which server, mount and token a command is about: from the command line, or from a store of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from strongroom.cli import api
from strongroom.config import VAULT, Config, Given, LinkConfig, Rank, StoreConfig
from strongroom.errors import ConfigurationError, shown
from strongroom.paths import check_path, check_prefix
from strongroom.secret import SensitiveDict

_TOKENS = ("BAO_TOKEN", "VAULT_TOKEN")
_CREDENTIALS = frozenset({"token", "auth"})
_PLACES = frozenset({"namespace", "mount", "prefix"})
_NOWHERE = "https://vault.invalid"
_DEFAULT_MOUNT = "secret"


@dataclass(frozen=True)
class Target:
    """A store of the configuration, as a command sees it.

    Attributes:
        store: its name.
        mount: where its key-value engine is, or should be.
        prefix: what its paths are below.
        namespace: its namespace, `""` for the root.
        addresses: of its server.
        options: what a session is opened with.
        token: where the token comes from, in words; the empty string where there is none yet.
        moved: the mount is the command line's, and not the one that the store is configured with.
    """

    store: str
    mount: str
    prefix: str
    namespace: str
    addresses: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    token: str = ""
    moved: bool = False


def target(config: Config, store: str | None, given: Mapping[str, str | None]) -> Target:
    """The store that is set up, and the operator's token for it.

    An operator's token is another one than the application's: BAO_TOKEN or VAULT_TOKEN of this process goes before what
    the store is configured to authenticate with.

    Args:
        config: the configuration.
        store: its name; None is the first Vault store of the chain.
        given: what the command line says of its options; None is nothing.

    Raises:
        ConfigurationError: there is no such store, or an option is wrong.
        PluginError: as opening the store does.
    """
    said = _said(given)
    about = _store(config, store, has_address="url" in said)
    options = {**about.options, **said}
    if any(os.environ.get(name) for name in _TOKENS):
        # What names the very same token stays: that is how a file says that it may have it.
        options = {
            name: option for name, option in options.items() if name not in _CREDENTIALS or _is_operators(option.value)
        }
    settings = api.store_settings(_with(config, replace(about, options=options)), about.name)
    values: dict[str, Any] = {name: setting.value for name, setting in settings.items()}
    url = values["url"]
    credential = settings.get("auth") or settings.get("token")
    configured = about.options.get("mount")
    mount, prefix, namespace = _places(values)
    return Target(
        about.name,
        mount,
        prefix,
        namespace,
        addresses=tuple(map(str, url)) if isinstance(url, list) else (str(url),),
        options=SensitiveDict((name, value) for name, value in values.items() if name != "prefix"),
        token="" if credential is None or not credential.value else credential.origin,
        moved=mount != (str(configured.value).strip("/") if configured else _DEFAULT_MOUNT),
    )


def place(config: Config, store: str | None, given: Mapping[str, str | None]) -> Target:
    """Where the store's secrets are, without its address, its token or anything else that opens it.

    Args:
        config: the configuration.
        store: its name; None is the first Vault store of the chain.
        given: what the command line says of its options; None is nothing.

    Raises:
        ConfigurationError, PluginError: as `target` does.
    """
    said = _said(given)
    about = _store(config, store, has_address=True)
    options = {name: value for name, value in about.options.items() if name in _PLACES} | said
    options["url"] = Given(_NOWHERE, "", Rank.ARGUMENT)
    settings = api.store_settings(_with(config, replace(about, options=options)), about.name)
    return Target(about.name, *_places({name: setting.value for name, setting in settings.items()}))


def links(config: Config) -> list[LinkConfig]:
    """The links of the chain whose store is a Vault store."""
    return [link for link in config.chain if config.store(link.store).plugin == VAULT]


def _said(given: Mapping[str, str | None]) -> dict[str, Given]:
    return {name: Given(value, f"--{name}", Rank.ARGUMENT) for name, value in given.items() if value is not None}


def _is_operators(value: object) -> bool:
    """Whether an option stands for BAO_TOKEN or VAULT_TOKEN: it does, or its `token` does."""
    if not isinstance(value, Mapping):
        return False
    return value.get("env") in _TOKENS or _is_operators(value.get("token"))


def _store(config: Config, name: str | None, *, has_address: bool) -> StoreConfig:
    if name is None:
        first = next(iter(links(config)), None)
        if first is None and not has_address:
            raise ConfigurationError("The chain has no Vault store: set VAULT_ADDR, or give --url")
        return config.store(VAULT if first is None else first.store)
    about = config.stores.get(name) or (StoreConfig.bare(name) if name == VAULT else None)
    if about is None or about.plugin != VAULT:
        raise ConfigurationError(f"--store {shown(name)}: no store of this name is configured with the plugin {VAULT}")
    return about


def _with(config: Config, store: StoreConfig) -> Config:
    return replace(config, stores={**config.stores, store.name: store})


def _places(values: Mapping[str, object]) -> tuple[str, str, str]:
    """Mount, prefix and namespace."""
    mount = str(values.get("mount") or _DEFAULT_MOUNT).strip("/")
    prefix, namespace = str(values.get("prefix") or ""), str(values.get("namespace") or "").strip("/")
    return str(check_path(mount)), str(check_prefix(prefix)), "" if namespace == "root" else namespace
