"""The typed configuration and its sources."""

from strongroom.config.model import (
    DOTENV,
    FALLBACKS,
    VAULT,
    VAULT_ADDRESSES,
    Ambient,
    CacheConfig,
    Config,
    LinkConfig,
    OnAnswer,
    OptionValue,
    Rank,
    SecretConfig,
    StoreConfig,
)

__all__ = [
    "DOTENV",
    "FALLBACKS",
    "VAULT",
    "VAULT_ADDRESSES",
    "Ambient",
    "CacheConfig",
    "Config",
    "LinkConfig",
    "OnAnswer",
    "OptionValue",
    "Rank",
    "SecretConfig",
    "StoreConfig",
]
