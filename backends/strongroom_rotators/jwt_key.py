"""The rotator `jwt-key`: a key that signs tokens, whose predecessor stays readable while tokens of it are valid."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from strongroom.errors import AuthenticationError, ConfigurationError
from strongroom.rotate.spi import CredentialPair, required_text
from strongroom.secret import SensitiveDict, SensitiveStr, Value
from strongroom.store import Option

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Algorithm: TypeAlias = Literal["HS256", "HS384", "HS512", "RS256", "ES256", "ES384", "EdDSA"]

_PREVIOUS = "previous_"
_HMAC_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA_BITS = 3072


class JwtKeyRotator:
    """Replaces a signing key, its identifier and its public key.

    The keys of the secret are `secret` for HMAC, or `private_key` and `public_key` in PEM, and `kid`. Those of the
    previous key begin with `previous_`, until the grace time is over.
    """

    def __init__(self, algorithm: Algorithm, key: str) -> None:
        self._algorithm = algorithm
        self._key = key
        self._names = [key, "kid"] if algorithm in _HMAC_BYTES else [key, "public_key", "kid"]

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a new key, and the current one as the previous one."""
        if self._algorithm in _HMAC_BYTES:
            made: dict[str, Value] = {self._key: SensitiveStr(secrets.token_urlsafe(_HMAC_BYTES[self._algorithm]))}
        else:
            private, public = _pem(_private_key(self._algorithm))
            made = {self._key: private, "public_key": public}
        made["kid"] = secrets.token_hex(8)
        return {**made, **{_PREVIOUS + name: current[name] for name in self._names if name in current}}

    def apply(self, credentials: CredentialPair) -> None:
        pass  # those who sign and verify read the store

    def prove(self, credentials: CredentialPair) -> None:
        """Check that the key signs and that its public key verifies.

        Raises:
            AuthenticationError: it does not.
        """
        text = required_text(credentials.new, self._key)
        if self._algorithm not in _HMAC_BYTES and not _is_pair(text, required_text(credentials.new, "public_key")):
            raise AuthenticationError(None, "the private key and the public key do not belong together")

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """Drop the previous key."""
        del credentials
        return [_PREVIOUS + name for name in self._names]

    def close(self) -> None:
        pass


def _private_key(algorithm: str) -> PrivateKeyTypes:
    """Return a new private key for an asymmetric algorithm."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if algorithm == "RS256":
        return rsa.generate_private_key(65537, _RSA_BITS)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1())


def _pem(key: PrivateKeyTypes) -> tuple[SensitiveStr, SensitiveStr]:
    """Return the private and the public key in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return SensitiveStr(private.decode()), SensitiveStr(public.decode())


def _is_pair(private: SensitiveStr, public: SensitiveStr) -> bool:
    """Return True if the public key is that of the private key, both in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from cryptography.hazmat.primitives.serialization import load_pem_public_key as load_public

    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        derived = load_pem_private_key(private.encode(), password=None).public_key()
        return derived.public_bytes(*form) == load_public(public.encode()).public_bytes(*form)
    except (ValueError, TypeError):
        return False


def open_jwt_key(
    *,
    algorithm: Annotated[Algorithm, Option("the algorithm of the tokens")] = "HS256",
    key: Annotated[
        str | None, Option("the key of the secret that holds the signing key; by default `secret` or `private_key`")
    ] = None,
) -> JwtKeyRotator:
    """Return a rotator of signing keys.

    Raises:
        ConfigurationError: `key` is a key that the rotator uses itself.
    """
    if key in {"kid", "public_key"} or (key or "").startswith(_PREVIOUS):
        raise ConfigurationError(f"key: {key!r} has another meaning")
    return JwtKeyRotator(algorithm, key or ("secret" if algorithm in _HMAC_BYTES else "private_key"))
