"""Secrets for Python applications, from a chain of stores.

::

    from strongroom import get_secret

    url = get_secret("database/connection", "url")
"""

from importlib import import_module
from typing import TYPE_CHECKING

# A command that only prints its version, and a plugin that only needs the errors, do not pay for the rest: each name is
# imported at its first use (PEP 562).
if TYPE_CHECKING:
    from strongroom.errors import (
        AuthenticationError,
        ConfigurationError,
        ConflictError,
        InvalidDataError,
        InvalidPathError,
        PermissionDeniedError,
        SecretNotFoundError,
        StoreError,
        StoreUnavailableError,
        StrongroomError,
    )
    from strongroom.secret import Secret
    from strongroom.secrets_manager import (
        SecretsManager,
        adelete_secret,
        aget_api_key,
        aget_database_url,
        aget_jwt_secret,
        aget_secret,
        aget_secrets,
        ahealth,
        alist_secrets,
        apreload,
        aresolve,
        aset_secret,
        configure,
        delete_secret,
        get_api_key,
        get_database_url,
        get_jwt_secret,
        get_secret,
        get_secrets,
        health,
        invalidate,
        list_secrets,
        preload,
        resolve,
        set_secret,
    )

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ConflictError",
    "InvalidDataError",
    "InvalidPathError",
    "PermissionDeniedError",
    "Secret",
    "SecretNotFoundError",
    "SecretsManager",
    "StoreError",
    "StoreUnavailableError",
    "StrongroomError",
    "adelete_secret",
    "aget_api_key",
    "aget_database_url",
    "aget_jwt_secret",
    "aget_secret",
    "aget_secrets",
    "ahealth",
    "alist_secrets",
    "apreload",
    "aresolve",
    "aset_secret",
    "configure",
    "delete_secret",
    "get_api_key",
    "get_database_url",
    "get_jwt_secret",
    "get_secret",
    "get_secrets",
    "health",
    "invalidate",
    "list_secrets",
    "preload",
    "resolve",
    "set_secret",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "errors" if name.endswith("Error") else "secret" if name == "Secret" else "secrets_manager"
    value: object = getattr(import_module(f"strongroom.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
