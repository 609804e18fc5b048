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
    RotationConfig,
    SecretConfig,
    StoreConfig,
    Window,
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
    "RotationConfig",
    "SecretConfig",
    "StoreConfig",
    "Window",
]
