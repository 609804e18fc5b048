"""To whom the file that a migration writes is encrypted, where that is said for the migration itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from strongroom import plugins
from strongroom.config import Config, Given, Rank
from strongroom.errors import ConfigurationError, shown

_ENCRYPT_TO = "encrypt_to"
"""The option of the stores that are files."""


def with_recipients(config: Config, store: str, recipients: Sequence[str]) -> Config:
    """The configuration in which what that target writes is encrypted to these recipients, whatever it said of them.

    Args:
        config: has the store.
        store: its name.
        recipients: those of age; none leaves the configuration as it is.

    Raises:
        ConfigurationError: the store encrypts nothing, and is not to be written in plain.
    """
    if not recipients:
        return config
    about = config.store(store)
    group = plugins.EXPORTERS if plugins.offers(plugins.EXPORTERS, about.plugin) else plugins.STORES
    if _ENCRYPT_TO not in plugins.schema(config, store, group).options:
        reason = f"{about.plugin} encrypts to no recipients, as files do: leave --encrypt-to out"
        raise ConfigurationError(f"The store {shown(store)}: {reason}")
    given = Given(list(recipients), "--encrypt-to", Rank.ARGUMENT)
    changed = replace(about, options={**about.options, _ENCRYPT_TO: given})
    return replace(config, stores={**config.stores, store: changed})
