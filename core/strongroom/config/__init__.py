"""The typed configuration, and the sources that it is read from."""

from strongroom.config.model import (
    DOTENV,
    FALLBACKS,
    VAULT,
    VAULT_ADDRESSES,
    Ambient,
    CacheConfig,
    Config,
    Given,
    LinkConfig,
    OnAnswer,
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
    "Given",
    "LinkConfig",
    "OnAnswer",
    "Rank",
    "SecretConfig",
    "StoreConfig",
]
