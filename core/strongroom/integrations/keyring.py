"""A backend of keyring that keeps passwords in a chain.

::

    PYTHON_KEYRING_BACKEND=strongroom.integrations.keyring.StrongroomKeyring keyring get shop ada
"""

from __future__ import annotations

from binascii import a2b_qp
from urllib.parse import quote

from keyring import errors
from keyring.backend import KeyringBackend
from keyring.credentials import Credential, SimpleCredential

from strongroom._manager import SecretsManager
from strongroom.errors import SecretNotFoundError, StrongroomError
from strongroom.secrets_manager import default_manager

_KEY = "password"


class StrongroomKeyring(KeyringBackend):
    """Passwords at `PREFIX/SERVICE/USERNAME`, each the key `password` of a separate secret.

    An absent password is None, as keyring expects it. A denial or an outage is raised: it is not an absence.

    Attributes:
        prefix: the folder of the passwords. The variable KEYRING_PROPERTY_PREFIX sets it.
        manager: None is the default manager of the process.
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
        try:
            return self._secrets.get_secret(self._path(service, username), _KEY)
        except SecretNotFoundError:
            return None
        except StrongroomError as error:
            raise errors.KeyringError(str(error)) from error

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store the password in the first store of the chain that can be written.

        Raises:
            PasswordSetError: it was not stored, or that is not known.
        """
        try:
            self._secrets.set_secret(self._path(service, username), {_KEY: password})
        except StrongroomError as error:
            raise errors.PasswordSetError(str(error)) from error

    def delete_password(self, service: str, username: str) -> None:
        """Delete the password.

        Raises:
            PasswordDeleteError: the password does not exist, or was not deleted.
        """
        try:
            self._secrets.delete_secret(self._path(service, username))
        except StrongroomError as error:
            raise errors.PasswordDeleteError(str(error)) from error

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """Return the user and the password. Without a user, return those of the only one, or None.

        Raises:
            KeyringError: a store that may have it denied access or did not answer.
        """
        if username is None:
            try:
                users = self._secrets.list_secrets(f"{self.prefix}/{_segment(service)}")
            except StrongroomError as error:
                raise errors.KeyringError(str(error)) from error
            if len(users) != 1:
                return None
            username = _text(users[0])
        password = self.get_password(service, username)
        return None if password is None else SimpleCredential(username, password)

    @property
    def _secrets(self) -> SecretsManager:
        return self.manager or default_manager()

    def _path(self, service: str, username: str) -> str:
        return f"{self.prefix}/{_segment(service)}/{_segment(username)}"


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
