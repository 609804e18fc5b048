"""Common part of the two database backends: the credential of a connection, and its end after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured

from strongroom.integrations.credentials import CredentialSource, Login
from strongroom.integrations.database import account, is_refusal, url
from strongroom.manager import SecretsManager
from strongroom.secrets_manager import default_manager

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Wrapper
else:
    _Wrapper = object

_sources: WeakKeyDictionary[SecretsManager, dict[str, CredentialSource]] = WeakKeyDictionary()
"""The sources of a manager by path, for all connections and threads of the process."""


class CredentialWrapper(_Wrapper):
    """A database wrapper that reads the credential for each new connection.

    A connection whose credential was replaced is closed at the end of the request that uses it, or at the start of the
    next one of its thread.
    """

    login: Login | None = None

    @property
    def source(self) -> CredentialSource:
        """The source of the setting `SECRET`."""
        path = self.settings_dict.get("SECRET")
        if not isinstance(path, str):
            raise ImproperlyConfigured(
                'Set "SECRET" to the path of the database\'s secret, such as database/connection'
            )
        sources = _sources.setdefault(default_manager(), {})
        if path not in sources:
            sources[path] = source = CredentialSource(path)
            source.drain_on_change(source, lambda _source: None)  # each connection is closed by its own thread
        return sources[path]

    def get_connection_params(self) -> dict[str, Any]:
        """Return the parameters without the credential."""
        if self.settings_dict["NAME"] == "":
            self.settings_dict["NAME"] = _parameters(self.source.current())["name"]
        parameters: dict[str, Any] = super().get_connection_params()
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a new connection with the current credential."""

        def open_(login: Login) -> Any:
            found = {key: value for key, value in _parameters(login).items() if key != "name" and value is not None}
            return super(CredentialWrapper, self).get_new_connection({**conn_params, **found})

        connection, self.login = self.source.connect(open_, is_refusal)
        return connection

    def close_if_unusable_or_obsolete(self) -> None:
        """Close the connection if its credential was replaced. Django calls this between requests."""
        if self.connection is not None and not self.in_atomic_block and not self.source.is_current(self.login):
            self.close()
            return
        super().close_if_unusable_or_obsolete()


def _parameters(login: Login) -> dict[str, Any]:
    """Return the credential as the parameters of a driver."""
    whole = url(login)
    if whole is None:
        return {**account(login), "name": ""}
    parts = urlsplit(whole.reveal())
    return {
        "host": None if parts.hostname is None else unquote(parts.hostname),
        "port": parts.port,
        "user": None if parts.username is None else unquote(parts.username),
        "password": None if parts.password is None else unquote(parts.password),
        "name": unquote(parts.path.removeprefix("/")),
    }
