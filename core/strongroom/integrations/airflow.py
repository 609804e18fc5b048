"""A secrets backend of Airflow: connections, variables and configuration from a chain.

In `airflow.cfg`::

    [secrets]
    backend = strongroom.integrations.airflow.StrongroomBackend
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from airflow.secrets.base_secrets import BaseSecretsBackend  # pyright: ignore[reportMissingImports]

from strongroom.encoding import to_json_text
from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError, StrongroomError
from strongroom.secret import Value
from strongroom.secrets_manager import get_secret

_FIELDS = frozenset({"conn_type", "description", "extra", "host", "login", "password", "port", "schema"})
"""The fields of a connection, as its JSON has them."""


class StrongroomBackend(BaseSecretsBackend):
    """Secrets of Airflow, at the paths and keys that Airflow's backend for Vault uses.

    A connection is the secret `CONNECTIONS_PATH/CONN_ID`, with the key `conn_uri` or with the fields of a connection.
    A variable and an option of the configuration are the key `value` of theirs. None is the answer for a confirmed
    absence only, after which Airflow asks its other backends. After a denial, an outage or unusable data it asks none.

    Args:
        connections_path: the folder of the connections; None for no lookups.
        variables_path: the folder of the variables; None for no lookups.
        config_path: the folder of the options; None for no lookups.
    """

    def __init__(
        self,
        connections_path: str | None = "connections",
        variables_path: str | None = "variables",
        config_path: str | None = "config",
    ) -> None:
        super().__init__()
        self.connections_path = connections_path
        self.variables_path = variables_path
        self.config_path = config_path

    def get_conn_value(self, conn_id: str) -> str | None:
        """Return a connection as a URI or as JSON, or None.

        Raises:
            AirflowSecretsBackendAccessDenied: it may exist, and cannot be read.
        """
        if self.connections_path is None:
            return None
        path = f"{self.connections_path}/{conn_id}"
        try:
            data = get_secret(path)
            return _connection(path, data)
        except (SecretNotFoundError, InvalidPathError):
            return None
        except StrongroomError as error:
            _deny(error)

    def get_variable(self, key: str) -> str | None:
        """Return the value of a variable as text, or None.

        Raises:
            AirflowSecretsBackendAccessDenied: it may exist, and cannot be read.
        """
        return _value(self.variables_path, key)

    def get_config(self, key: str) -> str | None:
        """Return the value of an option whose name ends in `_secret` in the configuration, or None.

        Raises:
            AirflowSecretsBackendAccessDenied: it may exist, and cannot be read.
        """
        return _value(self.config_path, key)


def _value(folder: str | None, name: str) -> str | None:
    if folder is None:
        return None
    try:
        return get_secret(f"{folder}/{name}", "value").reveal()  # msgspec, which Airflow uses, takes no subclass of str
    except (SecretNotFoundError, InvalidPathError):
        return None
    except StrongroomError as error:
        _deny(error)


def _connection(path: str, data: Mapping[str, Value]) -> str:
    uri = data.get("conn_uri")
    if isinstance(uri, str):
        return str.__str__(uri)
    unknown = data.keys() - _FIELDS
    if unknown or "conn_type" not in data:
        hint = f"Set conn_uri, or conn_type and any of {', '.join(sorted(_FIELDS - {'conn_type'}))}"
        raise InvalidDataError(path, "it is not a connection of Airflow", hint=hint)
    return to_json_text(data)


def _deny(error: StrongroomError) -> NoReturn:
    """Raise the only error after which Airflow asks no other backend: it logs any other and continues."""
    # Imported here: Airflow imports this module while it reads its configuration, which that module needs.
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied  # pyright: ignore[reportMissingImports]

    raise AirflowSecretsBackendAccessDenied(str(error)) from error
