"""The keyring of the operating system as a store, through the library `keyring`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from strongroom.errors import (
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.paths import check_path, entries_below
from strongroom.secret import Secret, SensitiveStr, Value
from strongroom.store import Health, Option, Traits, fork_safe_lock, in_daemon, remaining
from strongroom.store.sdk_logging import silenced_logs
from strongroom_local.content import decode, encode

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_T = TypeVar("_T")

# The chainer reports a write as done that all its keyrings refused, `null` forgets, `fail` always fails, and our own
# asks the chain in which this store stands.
_NO_KEYRING = frozenset(
    {
        "keyring.backends.chainer",
        "keyring.backends.fail",
        "keyring.backends.null",
        "strongroom.integrations.keyring",
    }
)
_PLAIN_TEXT = "keyrings.alt"
_SECRET_SERVICE = "keyring.backends.SecretService"  # noqa: S105  # a module


_GRACE = 0.1
"""Seconds past the deadline in which a call that still waits for its turn reports that itself."""


_turn = fork_safe_lock(sys.modules[__name__], "_turn")
"""The lock around the keyring of this process. A call that hangs keeps it for ever, so that the next ones get another.
"""


class KeyringStore:
    """The passwords of one service in the keyring: each user name is a path, and its password the secret.

    The library has no deadline, and a keyring may ask its user to unlock it. So each call runs in a daemon thread, and
    one at a time: gnome-keyring ends under eight calls at once.
    """

    traits = Traits(honors_deadline=True)

    def __init__(self, service: str, key: str) -> None:
        self._service = service
        self._key = key
        self._kind: type[KeyringBackend] | None = None

    def __repr__(self) -> str:
        return f"KeyringStore({self._service!r})"

    def close(self) -> None:
        pass  # each call opens and closes a connection

    def read(self, path: str) -> Secret:
        """Return the password.

        Raises:
            SecretNotFoundError: the keyring has no such password.
            PermissionDeniedError: the keyring is locked.
            StoreUnavailableError: this session has no keyring, or it does not answer: it may wait for its user.
        """
        password = self._call(path, lambda keyring: keyring.get_password(self._service, path))
        if password is None:
            raise SecretNotFoundError(path, f"the keyring has no password of {self._service} for it")
        return Secret(path, decode(password.encode(), self._key, line=False))

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Return the sorted names directly below `prefix`; a secret with others below it is both `name` and `name/`."""
        return iter(sorted(entries_below(self.walk(prefix), prefix)))

    def walk(self, prefix: str) -> Iterator[str]:
        """Return every path below `prefix`, sorted.

        Raises:
            UnsupportedOperationError: only a Secret Service can be listed.
        """
        start = f"{prefix}/" if prefix else ""
        names = [name for name in self._call(prefix or None, self._names) if name.startswith(start)]
        for name in names:
            if "/" in name:
                check_path(name)
        return iter(sorted(names))

    def write(self, path: str, data: Mapping[str, Value]) -> None:
        content = SensitiveStr(encode(data, self._key, line=False).decode())
        self._call(path, lambda keyring: keyring.set_password(self._service, path, content.reveal()), writes=True)

    def delete(self, path: str) -> None:
        def delete(keyring: KeyringBackend) -> bool:
            found = keyring.get_password(self._service, path) is not None
            if found:
                keyring.delete_password(self._service, path)
            return found

        if not self._call(path, delete, writes=True):
            raise SecretNotFoundError(path, f"the keyring has no password of {self._service} for it")

    def probe(self) -> Health:
        """Return whether this session has a keyring, and which. A locked keyring is not well."""

        def look(keyring: KeyringBackend) -> str:
            keyring.get_password(self._service, "strongroom probe")
            return type(keyring).__module__

        return Health(ok=True, detail=f"the keyring {self._call(None, look)}")

    def _names(self, keyring: KeyringBackend) -> list[str]:
        if type(keyring).__module__ != _SECRET_SERVICE:
            raise UnsupportedOperationError(None, f"the keyring {type(keyring).__module__} cannot be listed")
        secret_service: Any = keyring
        collection = secret_service.get_preferred_collection()
        try:
            found = [item.get_attributes() for item in collection.search_items({"service": self._service})]
        finally:
            collection.connection.close()
        return sorted({str(attributes["username"]) for attributes in found if "username" in attributes})

    def _call(self, path: str | None, operation: Callable[[KeyringBackend], _T], *, writes: bool = False) -> _T:
        """Run an operation on the keyring within the deadline, and raise its failure as an error of a store."""
        global _turn  # noqa: PLW0603  # of this process
        lost = WriteOutcomeUnknownError if writes else StoreUnavailableError
        turn = _turn

        def run() -> _T:
            if not turn.acquire(timeout=remaining()):
                raise StoreUnavailableError(path, "earlier calls of the keyring took all the time")
            try:
                self._kind = self._kind or _best_kind(path)
                if self._kind.__module__ == _SECRET_SERVICE:
                    _unlock(path)
                return operation(self._kind())
            finally:
                turn.release()

        try:
            return in_daemon(lambda: _outcome(path, run, lost), "strongroom-keyring").result(remaining() + _GRACE)
        except FutureTimeoutError:
            if _turn is turn:
                _turn = fork_safe_lock(sys.modules[__name__], "_turn")
            failure: StoreError = lost(
                path, "the keyring has not answered in time", hint="Unlock it before, or wait longer"
            )
        except StoreError as error:
            failure = error.copy()
        raise failure


def _outcome(path: str | None, operation: Callable[[], _T], lost: type[StoreUnavailableError]) -> _T:
    from keyring.errors import KeyringLocked

    try:
        with silenced_logs("keyring", "jeepney", "secretstorage"):
            return operation()
    except (StoreError, ConfigurationError) as error:
        raise error.copy() from None
    except KeyringLocked:
        failure: StoreError = PermissionDeniedError(path, "the keyring is locked", hint="Log in, or unlock the keyring")
    except Exception as error:  # noqa: BLE001  # each keyring raises the errors of its own library
        failure = lost(path, f"the keyring failed with {type(error).__name__}")
    raise failure


def _unlock(path: str | None) -> None:
    """Unlock the default collection of the Secret Service, which may ask the user.

    The library would do so as well, but leaves its connection open if the collection stays locked.
    """
    import secretstorage

    with closing(secretstorage.dbus_init()) as connection:
        collection = secretstorage.get_default_collection(connection)
        if collection.is_locked():
            collection.unlock()
            if collection.is_locked():
                raise PermissionDeniedError(path, "the keyring is locked", hint="Log in, or unlock the keyring")


def _best_kind(path: str | None) -> type[KeyringBackend]:
    """Return the best kind of keyring in this session, found anew: the library remembers that there was none."""
    from keyring import backend

    backend.get_all_keyring()  # loads the plugins of keyring
    viable = [kind for kind in backend.KeyringBackend.get_viable_backends() if kind.__module__ not in _NO_KEYRING]
    if not viable:
        raise StoreUnavailableError(
            path,
            "this session has no keyring",
            hint="On a machine without a desktop, start dbus-run-session and gnome-keyring-daemon --unlock, or use "
            "another store",
        )
    best: type[KeyringBackend] = max(viable, key=lambda kind: float(kind.priority))
    if best.__module__.startswith(_PLAIN_TEXT):
        raise ConfigurationError(f"The keyring {best.__module__} does not protect passwords. Uninstall keyrings.alt")
    return best


def open_keyring(
    *,
    service: Annotated[str, Option("the service whose passwords are the secrets", location=True, locates=True)],
    key: Annotated[str, Option("the key of a password that is plain text, not a JSON object")] = "value",
) -> KeyringStore:
    """The keyring of the operating system: Secret Service, macOS Keychain, Windows Credential Locker.

    Raises:
        ImportError: keyring is not installed. Strongroom names the extra that brings it.
    """
    import keyring  # noqa: F401  # fail now if it is not installed

    return KeyringStore(service, key)
