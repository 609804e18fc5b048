"""Common part of the two database backends: the credential of a connection, and its end after a change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import Error

from strongroom._credentials.database_address import DatabaseAddress, Kind
from strongroom._manager import SecretsManager
from strongroom.integrations.credentials import CredentialSource, ServerLogin
from strongroom.integrations.database import address, is_refusal
from strongroom.secrets_manager import default_manager
from strongroom.store import fork_safe_lock

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Wrapper
else:
    _Wrapper = object

_sources: WeakKeyDictionary[SecretsManager, dict[str, CredentialSource]] = WeakKeyDictionary()
"""The sources of a manager by path, for all connections and threads of the process."""


class CredentialWrapper(_Wrapper):
    """A database wrapper that reads the credential for each new connection.

    A connection whose credential was replaced is closed at the end of the request that uses it, and at once if it is
    idle.

    A connection belongs to its thread, and the thread of the watch closes it for a thread that gets no requests. That
    is safe only while the owner does not use it. Django says when that is: between two requests it calls
    `close_if_unusable_or_obsolete`, after which each use begins with `_cursor` or `ensure_connection`. Both wait until
    a close by the watch has ended, and then find no connection and open one.
    """

    kind: Kind
    login: ServerLogin | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.settings_dict["OPTIONS"].get("pool"):
            raise ImproperlyConfigured(
                f'OPTIONS["pool"] of the database {self.alias} is not supported: Django\'s pool keeps connections of a '
                "replaced credential. Set CONN_MAX_AGE"
            )
        self._closing = fork_safe_lock(self, "_closing")
        self._is_idle = False
        self._watched: CredentialSource | None = None

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
            sources[path] = CredentialSource(path)
        return sources[path]

    def get_connection_params(self) -> dict[str, Any]:
        """Return the parameters without the credential."""
        if self.settings_dict["NAME"] == "":
            options = {**self.settings_dict["OPTIONS"], "host": self.settings_dict["HOST"]}
            self.settings_dict["NAME"] = self._address(self.source.current(), options).name or ""
        parameters: dict[str, Any] = super().get_connection_params()
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        def open_(login: ServerLogin) -> Any:
            found = self._address(login, conn_params)
            known = found.mysql() if self.kind == "MySQL" else found.libpq()
            return super(CredentialWrapper, self).get_new_connection({**known, **conn_params, **found.account})

        source = self.source
        if source is not self._watched:
            source.drain_on_change(self, CredentialWrapper._close_if_idle)
            self._watched = source
        connection, self.login = source.connect(open_, is_refusal)
        return connection

    def _address(self, login: ServerLogin, options: Mapping[str, Any]) -> DatabaseAddress:
        return address(login, "HOST in DATABASES", options, self.kind)

    def ensure_connection(self) -> None:
        """Open a connection unless one is open. Wait if the watch is closing it."""
        self._claim()
        super().ensure_connection()

    def close_if_unusable_or_obsolete(self) -> None:
        """Close the connection if its credential was replaced. Django calls this between requests."""
        self._claim()
        if self.connection is not None and not self.in_atomic_block and not self.source.is_current(self.login):
            self.close()
            return
        super().close_if_unusable_or_obsolete()
        with self._closing:
            self._is_idle = self.connection is not None and not self.in_atomic_block and self.autocommit
        if self._is_idle and not self.source.is_current(self.login):  # it was replaced meanwhile
            self._close_if_idle()

    def _cursor(self, name: str | None = None) -> Any:
        self._claim()
        return super()._cursor(name)

    def _claim(self) -> None:
        """Mark the connection as in use. Wait if the watch is closing it."""
        with self._closing:
            self._is_idle = False

    def _close_if_idle(self) -> None:
        """Close the connection, in any thread, if its thread does not use it and its credential was replaced."""
        with self._closing:
            if self._is_idle and self.connection is not None and not self.source.is_current(self.login):
                self.inc_thread_sharing()
                try:
                    with suppress(Error):  # the server may have ended it already
                        self.close()
                finally:
                    self.dec_thread_sharing()
