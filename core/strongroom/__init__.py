"""Secrets for Python applications, from a chain of stores.

::

    from strongroom import get_secret

    url = get_secret("database/connection", "url")
"""

from typing import TYPE_CHECKING

from strongroom._lazy_names import lazy_names

# Each name is imported at its first use (PEP 562): `strongroom --version`, or a plugin that only raises the errors,
# does not load the rest.
if TYPE_CHECKING:
    from strongroom._manager import SecretsManager as SecretsManager
    from strongroom._watch.watch import Change as Change
    from strongroom.errors import ConfigurationError as ConfigurationError
    from strongroom.errors import ConflictError as ConflictError
    from strongroom.errors import PermissionDeniedError as PermissionDeniedError
    from strongroom.errors import SecretNotFoundError as SecretNotFoundError
    from strongroom.errors import StoreUnavailableError as StoreUnavailableError
    from strongroom.errors import StrongroomError as StrongroomError
    from strongroom.secret import Secret as Secret
    from strongroom.secret import SensitiveBytes as SensitiveBytes
    from strongroom.secret import SensitiveDict as SensitiveDict
    from strongroom.secret import SensitiveList as SensitiveList
    from strongroom.secret import SensitiveStr as SensitiveStr
    from strongroom.secret import Value as Value
    from strongroom.secrets_manager import aclose as aclose
    from strongroom.secrets_manager import adelete_secret as adelete_secret
    from strongroom.secrets_manager import aget_accepted as aget_accepted
    from strongroom.secrets_manager import aget_api_key as aget_api_key
    from strongroom.secrets_manager import aget_database_url as aget_database_url
    from strongroom.secrets_manager import aget_jwt_secret as aget_jwt_secret
    from strongroom.secrets_manager import aget_secret as aget_secret
    from strongroom.secrets_manager import aget_secrets as aget_secrets
    from strongroom.secrets_manager import ahealth as ahealth
    from strongroom.secrets_manager import ainterpolate as ainterpolate
    from strongroom.secrets_manager import alist_secrets as alist_secrets
    from strongroom.secrets_manager import apreload as apreload
    from strongroom.secrets_manager import aresolve as aresolve
    from strongroom.secrets_manager import aset_secret as aset_secret
    from strongroom.secrets_manager import close as close
    from strongroom.secrets_manager import default_manager as default_manager
    from strongroom.secrets_manager import delete_secret as delete_secret
    from strongroom.secrets_manager import get_accepted as get_accepted
    from strongroom.secrets_manager import get_api_key as get_api_key
    from strongroom.secrets_manager import get_database_url as get_database_url
    from strongroom.secrets_manager import get_jwt_secret as get_jwt_secret
    from strongroom.secrets_manager import get_secret as get_secret
    from strongroom.secrets_manager import get_secrets as get_secrets
    from strongroom.secrets_manager import health as health
    from strongroom.secrets_manager import interpolate as interpolate
    from strongroom.secrets_manager import invalidate as invalidate
    from strongroom.secrets_manager import list_secrets as list_secrets
    from strongroom.secrets_manager import preload as preload
    from strongroom.secrets_manager import resolve as resolve
    from strongroom.secrets_manager import set_default_manager as set_default_manager
    from strongroom.secrets_manager import set_secret as set_secret
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "strongroom._manager": "SecretsManager",
            "strongroom._watch.watch": "Change",
            "strongroom.errors": (
                "ConfigurationError ConflictError PermissionDeniedError SecretNotFoundError StoreUnavailableError "
                "StrongroomError"
            ),
            "strongroom.secret": "Secret SensitiveBytes SensitiveDict SensitiveList SensitiveStr Value",
            "strongroom.secrets_manager": (
                "aclose adelete_secret aget_accepted aget_api_key aget_database_url aget_jwt_secret aget_secret "
                "aget_secrets ahealth ainterpolate alist_secrets apreload aresolve aset_secret close default_manager "
                "delete_secret get_accepted get_api_key get_database_url get_jwt_secret get_secret get_secrets health "
                "interpolate invalidate list_secrets preload resolve set_default_manager set_secret"
            ),
        },
    )

__version__ = "0.1.0"
