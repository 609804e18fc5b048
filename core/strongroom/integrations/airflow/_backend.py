"""The class of the backend, in a separate file since it needs Airflow. Import it from the package."""

from __future__ import annotations

from collections.abc import Callable

from airflow.secrets.base_secrets import BaseSecretsBackend  # pyright: ignore[reportMissingImports]

from strongroom.encoding import to_json_text
from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError, StrongroomError
from strongroom.paths import check_path
from strongroom.secrets_manager import get_secret

_FIELDS = frozenset({"conn_type", "description", "extra", "host", "login", "password", "port", "schema"})
"""The fields of a connection, as its JSON has them."""

_TEAMS = "teams"
"""The folder of the folders of the teams. It is not below those of Airflow's ids, so no id leads to it."""


class StrongroomBackend(BaseSecretsBackend):
    """Secrets of Airflow, at the paths and keys that Airflow's backend for Vault uses.

    A connection is the secret `CONNECTIONS_PATH/CONN_ID`, with the key `conn_uri` or with the fields of a connection.
    A variable and an option of the configuration are the key `value` of theirs. None is the answer for a confirmed
    absence only, after which Airflow asks its other backends. After a denial, an outage or unusable data it asks none.

    For a team, `teams/TEAM/CONNECTIONS_PATH/CONN_ID` is looked up first, and for a variable likewise. After a confirmed
    absence there, the shared folder is. A name of a team that cannot be a folder is denied.

    Args:
        connections_path: the folder of the connections; None for no lookups.
        variables_path: the folder of the variables; None for no lookups.
        config_path: the folder of the options; None for no lookups.

    Raises:
        ValueError: one of the folders is below `teams`, so that an id could lead to the folder of a team.
    """

    def __init__(
        self,
        connections_path: str | None = "connections",
        variables_path: str | None = "variables",
        config_path: str | None = "config",
    ) -> None:
        super().__init__()
        if _TEAMS in {str(path).partition("/")[0] for path in (connections_path, variables_path, config_path)}:
            raise ValueError(f"The folder {_TEAMS} has the secrets of each team: name another folder")
        self.connections_path = connections_path
        self.variables_path = variables_path
        self.config_path = config_path

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """Return a connection as a URI or as JSON, or None. That of the team precedes the shared one.

        Raises:
            AirflowSecretsBackendAccessDenied: it may exist, and cannot be read.
        """
        return _found(self.connections_path, conn_id, _connection, team_name)

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        """Return the value of a variable as text, or None. That of the team precedes the shared one.

        Raises:
            AirflowSecretsBackendAccessDenied: it may exist, and cannot be read.
        """
        return _found(self.variables_path, key, _value, team_name)

    def get_config(self, key: str) -> str | None:
        """Return the value of an option whose name ends in `_secret` in the configuration, or None.

        Raises:
            AirflowSecretsBackendAccessDenied: it may exist, and cannot be read.
        """
        return _found(self.config_path, key, _value)


def _found(folder: str | None, name: str, read: Callable[[str], str], team: str | None = None) -> str | None:
    """Return `read(path)`, that of the team first, or None for a confirmed absence and without a folder."""
    if folder is None:
        return None
    if team:
        _check_team(team)
        if (found := _found(f"{_TEAMS}/{team}/{folder}", name, read)) is not None:
            return found
    try:
        return read(f"{folder}/{name}")
    except (SecretNotFoundError, InvalidPathError):
        return None
    except StrongroomError as error:
        raise _denied(str(error)) from error


def _check_team(team: str) -> None:
    """Raise Airflow's error unless the name is one segment: another folder, or the shared one, would answer."""
    try:
        if "/" not in check_path(team):
            return
    except InvalidPathError:
        pass
    raise _denied(
        f"The team {team!r} has no folder: its name is not one segment of a path. Use letters, digits, - and _"
    )


def _denied(message: str) -> Exception:
    """Return the only error after which Airflow asks no other backend: it logs any other and continues."""
    # Imported here: Airflow imports this module while it reads its configuration, which that module needs.
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied  # pyright: ignore[reportMissingImports]

    error: Exception = AirflowSecretsBackendAccessDenied(message)
    return error


def _value(path: str) -> str:
    return get_secret(path, "value").reveal()  # msgspec, which Airflow uses, takes no subclass of str


def _connection(path: str) -> str:
    data = get_secret(path)
    uri = data.get("conn_uri")
    if isinstance(uri, str):
        return str.__str__(uri)
    unknown = data.keys() - _FIELDS
    if unknown or "conn_type" not in data:
        hint = f"Set conn_uri, or conn_type and any of {', '.join(sorted(_FIELDS - {'conn_type'}))}"
        raise InvalidDataError(path, "it is not a connection of Airflow", hint=hint)
    return to_json_text(data)
