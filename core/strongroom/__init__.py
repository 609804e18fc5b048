"""Secrets for Python applications, from a chain of stores.

::

    from strongroom import get_secret

    url = get_secret("database/connection", "url")
"""

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
from strongroom.model import Secret
from strongroom.secrets_manager import (
    SecretsManager,
    adelete_secret,
    aget_api_key,
    aget_database_url,
    aget_jwt_secret,
    aget_secret,
    ahealth,
    alist_secrets,
    aresolve,
    aset_secret,
    configure,
    delete_secret,
    get_api_key,
    get_database_url,
    get_jwt_secret,
    get_secret,
    health,
    invalidate,
    list_secrets,
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
    "ahealth",
    "alist_secrets",
    "aresolve",
    "aset_secret",
    "configure",
    "delete_secret",
    "get_api_key",
    "get_database_url",
    "get_jwt_secret",
    "get_secret",
    "health",
    "invalidate",
    "list_secrets",
    "resolve",
    "set_secret",
]
