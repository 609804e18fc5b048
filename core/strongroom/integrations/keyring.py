"""A backend of keyring that keeps passwords in a chain.

::

    PYTHON_KEYRING_BACKEND=strongroom.integrations.keyring.StrongroomKeyring keyring get shop ada
"""

from __future__ import annotations

import sys
from binascii import a2b_qp
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from keyring import errors
from keyring.backend import KeyringBackend
from keyring.credentials import Credential, SimpleCredential

from strongroom._config import HelperConfig, discovery
from strongroom._manager import SecretsManager
from strongroom.encoding import as_text
from strongroom.errors import SecretNotFoundError, StrongroomError
from strongroom.secret import SensitiveDict
from strongroom.store import fork_safe_lock
from strongroom.store.process import call_at_exit

_KEY = "password"

_R = TypeVar("_R")
_manager: SecretsManager | None = None
_opening = fork_safe_lock(sys.modules[__name__], "_opening")


class StrongroomKeyring(KeyringBackend):
    """Passwords at `PREFIX/SERVICE/USERNAME`, each the key `password` of a separate secret.

    If the service is the host or URL of a row of `[helpers]`, the password is that of the row: pip and uv ask for the
    login of a package index by its URL.

    An absent password is None, as keyring expects it. A denial or an outage is raised: it is not an absence.

    Other programs start keyring in any folder, as pip and uv do. So the backend uses the configuration that
    STRONGROOM_CONFIG names with an absolute path, or that of the user or of the machine: never `./strongroom.toml` and
    `./.env`, be they trusted or not.

    Attributes:
        prefix: the folder of the passwords. The variable KEYRING_PROPERTY_PREFIX sets it.
        manager: None is a manager of that configuration.
    """

    # Below any other: it is used only if it is configured. The base class declares a property.
    priority = 0.1  # pyright: ignore[reportAssignmentType]
    prefix: str = "keyring"
    manager: SecretsManager | None = None

    def get_password(self, service: str, username: str) -> str | None:
        """Return the password, or None if no store has it.

        Raises:
            KeyringError: a store that may have it denied access or did not answer.
        """
        if (login := self._login(service, username)) is not None:
            return login.password
        path = self._path(service, username)
        return self._done(errors.KeyringError, lambda secrets: secrets.get_secret(path, _KEY, default=None))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store the password in the first store of the chain that can be written.

        Raises:
            PasswordSetError: it was not stored, or that is not known; or a row of `[helpers]` has this password.
        """
        path, data = self._path(service, username), SensitiveDict({_KEY: password})
        del password  # a traceback that prints local variables would show it
        self._refuse_row(errors.PasswordSetError, service, username)
        self._done(errors.PasswordSetError, lambda secrets: secrets.set_secret(path, data))

    def delete_password(self, service: str, username: str) -> None:
        """Delete the password.

        Raises:
            PasswordDeleteError: the password does not exist, or was not deleted; or a row of `[helpers]` has it.
        """
        path = self._path(service, username)
        self._refuse_row(errors.PasswordDeleteError, service, username)
        self._done(errors.PasswordDeleteError, lambda secrets: secrets.delete_secret(path))

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """Return the user and the password. Without a user, return those of the only one, or None.

        Raises:
            KeyringError: a store that may have it denied access or did not answer.
        """
        if (login := self._login(service, username)) is not None:
            return login
        if username is None:
            folder = f"{self.prefix}/{_segment(service)}"
            users = self._done(errors.KeyringError, lambda secrets: secrets.list_secrets(folder))
            if len(users) != 1:
                return None
            username = _text(users[0])
        password = self.get_password(service, username)
        return None if password is None else SimpleCredential(username, password)

    def _login(self, service: str, username: str | None) -> Credential | None:
        """Return the login of the row of `[helpers]` for a service; None without a row, or if the row has another user.

        Raises:
            KeyringError: as for every read; or the path of the service is doubtful.
        """

        def read(secrets: SecretsManager) -> Credential | None:
            row = _row(secrets, service, username)
            if row is None:
                return None
            # A lease would be revoked at the end of this process, which may be the command of keyring.
            try:
                found = [secrets.resolve(row.path, key, allow_dynamic="lasting") for key in row.keys]
            except SecretNotFoundError:
                return None
            user, password = (as_text(each.value, row.path, each.key or "").reveal() for each in (found[0], found[-1]))
            login = SimpleCredential(row.username or user, password)
            return login if username in {None, login.username} else None

        return self._done(errors.KeyringError, read)

    def _refuse_row(self, failure: type[errors.KeyringError], service: str, username: str) -> None:
        """Raise the failure if `get_password` would read a row of `[helpers]`: a change here would be lost."""
        row = self._done(failure, lambda secrets: _row(secrets, service, username))
        if row is not None:
            raise failure(
                f"The row {row.name} of [helpers] has the password: it is the secret {row.path}, which keyring does "
                "not change. Use strongroom set or strongroom delete, or remove the row"
            )

    def _done(self, failure: type[errors.KeyringError], operation: Callable[[SecretsManager], _R]) -> _R:
        """Return `operation(manager)`; raise keyring's error alone, since its programs print a traceback of all."""
        try:
            return operation(self.manager or _open())
        except StrongroomError as error:
            raised = failure(str(error))
        raise raised

    def _path(self, service: str, username: str) -> str:
        return f"{self.prefix}/{_segment(service)}/{_segment(username)}"


def _row(secrets: SecretsManager, service: str, username: str | None) -> HelperConfig | None:
    if not secrets.config.helpers:
        return None
    from strongroom._config.helpers_table import find_row

    return find_row(secrets.config.helpers, service, username)


def _open() -> SecretsManager:
    """Return the manager of this process, which the first call opens and the end of the process closes."""
    global _manager  # noqa: PLW0603  # of this process
    with _opening:
        if _manager is None:
            _manager = SecretsManager.from_config(discovery.load(use_found=False))
            call_at_exit(_manager.close)
        return _manager


def _segment(text: str) -> str:
    """Return the text as one segment of a path. Different texts have different segments.

    Letters, digits and `-_.@+`, which every store takes in a path, stay. Anything else becomes `=` and two digits for
    each byte.
    """
    if text in {".", ".."}:
        return text.replace(".", "=2E")
    return quote(text, safe="@+", errors="surrogatepass").replace("~", "%7E").replace("%", "=") or "="


def _text(segment: str) -> str:
    """Return the text of a segment, whose escapes are those of quoted-printable."""
    return a2b_qp(segment.encode()).decode("utf-8", "surrogatepass")
