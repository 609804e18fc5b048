"""The rotator `encryption-key`: a new key for encrypted columns, beside all keys that may have encrypted a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strongroom.encryption import PREVIOUS, PRIMARY, Keyset, new_key
from strongroom.errors import AuthenticationError, InvalidDataError
from strongroom.rotate.spi import CredentialPair
from strongroom.secret import SensitiveDict, Value


class EncryptionKeyRotator:
    """Adds a key to a keyset, and drops none.

    Promotion stores the new key as `primary`, and the id of the key that encrypts as `previous`: that key still
    encrypts. The end of the grace time drops `previous`, and then the new key encrypts, which every process can read
    already. An undo lets the former key encrypt, and the new one stays: a process may have encrypted with it.
    """

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a new key, and the id of the one that encrypts until the grace time is over."""
        keyset = Keyset.parse(current)
        key_id, key = new_key(keyset.keys.keys())
        return {PRIMARY: key_id, PREVIOUS: keyset.encrypting, key_id: key}

    def apply(self, credentials: CredentialPair) -> None:
        pass  # those who encrypt and decrypt read the store

    def prove(self, credentials: CredentialPair) -> None:
        """Check that the keyset has the keys that it names.

        Raises:
            AuthenticationError: it does not, since somebody has dropped a key.
        """
        try:
            Keyset.parse(credentials.new)
        except InvalidDataError as error:
            hint = "Restore a version of the keyset that has the key"
            raise AuthenticationError(None, error.reason, hint=hint) from None

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """Let the new key encrypt."""
        del credentials
        return [PREVIOUS]

    def restored(self, stored: SensitiveDict, old: SensitiveDict) -> Mapping[str, Value]:
        """Return the stored keyset with all its keys, in which the key that encrypted before the rotation encrypts."""
        kept = {key: value for key, value in stored.items() if key != PREVIOUS}
        return {**kept, PRIMARY: Keyset.parse(old).encrypting}

    def close(self) -> None:
        pass


def open_encryption_key() -> EncryptionKeyRotator:
    """Return a rotator of the keysets of encrypted columns."""
    return EncryptionKeyRotator()
