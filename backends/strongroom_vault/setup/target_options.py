"""The server, mount and token of a command, from a store of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom import commands
from strongroom.commands import VAULT, Rank, Setting, StoreConfig
from strongroom.errors import ConfigurationError, shown
from strongroom.paths import check_path, check_prefix
from strongroom.secret import SensitiveDict

if TYPE_CHECKING:
    from strongroom.secrets_manager import Config

_TOKENS = ("BAO_TOKEN", "VAULT_TOKEN")
_CREDENTIALS = frozenset({"token", "auth"})
_LOCATION = frozenset({"namespace", "mount", "prefix"})
_UNUSED_URL = Setting("https://vault.invalid", "", Rank.ARGUMENT)
_DEFAULT_MOUNT = "secret"


@dataclass(frozen=True)
class Target:
    """A Vault store of the configuration.

    Attributes:
        store: name of the store.
        mount: mount of its key-value engine, which may not exist yet.
        prefix: prefix of its paths.
        namespace: its namespace, `""` for the root.
        addresses: addresses of its server.
        options: the options that open a session.
        token_origin: source of the token, for messages; empty if there is no token yet.
    """

    store: str
    mount: str
    prefix: str
    namespace: str
    addresses: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    token_origin: str = ""


def find_target(config: Config, store: str | None) -> Target:
    """Return the store to set up, with the operator's token for it.

    An operator's token differs from the application's: BAO_TOKEN or VAULT_TOKEN of this process takes precedence over
    the store's configured authentication.

    Args:
        config: the configuration.
        store: name of the store; None for the first Vault store of the chain.

    Raises:
        ConfigurationError: there is no such store, or an option is invalid.
        PluginError: the plugin cannot be loaded.
    """
    chosen = _store(config, store)
    options = dict(chosen.options)
    if any(os.environ.get(name) for name in _TOKENS):
        # An option that refers to the same variable stays: it allows a file's address to receive that token.
        options = {
            name: option
            for name, option in options.items()
            if name not in _CREDENTIALS or _is_operator_token(option.value)
        }
    settings = commands.store_settings(config.with_store(chosen._replace(options=options)), chosen.name)
    values: dict[str, Any] = {name: setting.value for name, setting in settings.items()}
    url = values["url"]
    credential = settings.get("auth") or settings.get("token")
    return Target(
        chosen.name,
        *_location(values),
        addresses=tuple(map(str, url)) if isinstance(url, list) else (str(url),),
        options=SensitiveDict((name, value) for name, value in values.items() if name != "prefix"),
        token_origin="" if credential is None or not credential.value else credential.origin,
    )


def find_location(config: Config, store: str | None) -> Target:
    """Return the mount, prefix and namespace of a store, without its address and credentials.

    Raises:
        ConfigurationError: there is no such store, or an option is invalid.
        PluginError: the plugin cannot be loaded.
    """
    chosen = _store(config, store)
    options = {name: value for name, value in chosen.options.items() if name in _LOCATION} | {"url": _UNUSED_URL}
    settings = commands.store_settings(config.with_store(chosen._replace(options=options)), chosen.name)
    return Target(chosen.name, *_location({name: setting.value for name, setting in settings.items()}))


def _is_operator_token(value: object) -> bool:
    """Return True if an option, or its `token`, refers to BAO_TOKEN or VAULT_TOKEN."""
    if not isinstance(value, Mapping):
        return False
    return value.get("env") in _TOKENS or _is_operator_token(value.get("token"))


def _store(config: Config, name: str | None) -> StoreConfig:
    """Return the store of this name, or the first Vault store of the chain."""
    if name is None:
        first = next((link for link in config.chain if config.store(link.store).plugin == VAULT), None)
        if first is None:
            raise ConfigurationError("The chain has no Vault store: set VAULT_ADDR")
        return config.store(first.store)
    chosen = config.stores.get(name) or (StoreConfig.bare(name) if name == VAULT else None)
    if chosen is None or chosen.plugin != VAULT:
        raise ConfigurationError(f"--store {shown(name)}: no store of this name uses the plugin {VAULT}")
    return chosen


def _location(values: Mapping[str, object]) -> tuple[str, str, str]:
    """Return mount, prefix and namespace."""
    mount = str(values.get("mount") or _DEFAULT_MOUNT).strip("/")
    prefix, namespace = str(values.get("prefix") or ""), str(values.get("namespace") or "").strip("/")
    return str(check_path(mount)), str(check_prefix(prefix)), "" if namespace == "root" else namespace
