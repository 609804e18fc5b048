"""Secrets for Python applications, from a chain of stores.

::

    from strongroom import get_secret

    url = get_secret("database/connection", "url")
"""

from importlib import import_module
from typing import TYPE_CHECKING

# Each name is imported at its first use (PEP 562): `strongroom --version`, or a plugin that only raises the errors,
# does not load the rest.
if TYPE_CHECKING:
    from strongroom._chain.explanation import Explanation, LinkAnswer
    from strongroom._chain.resolution import Resolution, WriteTarget
    from strongroom._config import Config
    from strongroom._manager import SecretsManager
    from strongroom._manager.batch import SecretBatch
    from strongroom._manager.versions import Versions
    from strongroom._watch.change import Change
    from strongroom._watch.watches import Watch
    from strongroom.errors import (
        Answer,
        Attempt,
        AuditError,
        AuthenticationError,
        Check,
        CheckState,
        ConfigurationError,
        ConflictError,
        InvalidDataError,
        InvalidPathError,
        MigrationError,
        MissingFileError,
        MissingKeyError,
        PermissionDeniedError,
        PluginError,
        RotationError,
        SecretNotFoundError,
        SecretTooLargeError,
        StoreError,
        StoreUnavailableError,
        StrongroomError,
        UnfinishedRotationError,
        UnsupportedOperationError,
        WriteOutcomeUnknownError,
    )
    from strongroom.rotate.rotations import RotatedVersion, Rotations, RotationStatus
    from strongroom.secret import Secret, SensitiveBytes, SensitiveDict, SensitiveList, SensitiveStr, Value, Version
    from strongroom.secrets_manager import (
        aclose,
        adelete_secret,
        aget_api_key,
        aget_database_url,
        aget_jwt_secret,
        aget_secret,
        aget_secrets,
        ahealth,
        ainterpolate,
        alist_secrets,
        apreload,
        aresolve,
        aset_secret,
        close,
        default_manager,
        delete_secret,
        get_api_key,
        get_database_url,
        get_jwt_secret,
        get_secret,
        get_secrets,
        health,
        interpolate,
        invalidate,
        list_secrets,
        preload,
        resolve,
        set_default_manager,
        set_secret,
    )
    from strongroom.store import Health, VersionInfo

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Attempt",
    "AuditError",
    "AuthenticationError",
    "Change",
    "Check",
    "CheckState",
    "Config",
    "ConfigurationError",
    "ConflictError",
    "Explanation",
    "Health",
    "InvalidDataError",
    "InvalidPathError",
    "LinkAnswer",
    "MigrationError",
    "MissingFileError",
    "MissingKeyError",
    "PermissionDeniedError",
    "PluginError",
    "Resolution",
    "RotatedVersion",
    "RotationError",
    "RotationStatus",
    "Rotations",
    "Secret",
    "SecretBatch",
    "SecretNotFoundError",
    "SecretTooLargeError",
    "SecretsManager",
    "SensitiveBytes",
    "SensitiveDict",
    "SensitiveList",
    "SensitiveStr",
    "StoreError",
    "StoreUnavailableError",
    "StrongroomError",
    "UnfinishedRotationError",
    "UnsupportedOperationError",
    "Value",
    "Version",
    "VersionInfo",
    "Versions",
    "Watch",
    "WriteOutcomeUnknownError",
    "WriteTarget",
    "aclose",
    "adelete_secret",
    "aget_api_key",
    "aget_database_url",
    "aget_jwt_secret",
    "aget_secret",
    "aget_secrets",
    "ahealth",
    "ainterpolate",
    "alist_secrets",
    "apreload",
    "aresolve",
    "aset_secret",
    "close",
    "default_manager",
    "delete_secret",
    "get_api_key",
    "get_database_url",
    "get_jwt_secret",
    "get_secret",
    "get_secrets",
    "health",
    "interpolate",
    "invalidate",
    "list_secrets",
    "preload",
    "resolve",
    "set_default_manager",
    "set_secret",
]

_NAMES = {
    "_chain.resolution": "Resolution WriteTarget",
    "_chain.explanation": "Explanation LinkAnswer",
    "_config": "Config",
    "errors": "Answer Attempt Check CheckState",
    "_manager": "SecretsManager",
    "_manager.batch": "SecretBatch",
    "secret": "Secret SensitiveBytes SensitiveDict SensitiveList SensitiveStr Value Version",
    "store": "Health VersionInfo",
    "_manager.versions": "Versions",
    "_watch.change": "Change",
    "_watch.watches": "Watch",
    "rotate.rotations": "RotatedVersion RotationStatus Rotations",
}
"""The classes and types of each module. Errors are in `errors`, functions in `secrets_manager`."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name, "errors" if name.endswith("Error") else "secrets_manager")

    value: object = getattr(import_module(f"strongroom.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
