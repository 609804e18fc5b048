"""AWS credentials from a chain, for boto3 and botocore.

::

    import boto3
    from strongroom.integrations.botocore import create_session

    s3 = boto3.Session(botocore_session=create_session("aws/app"), region_name="eu-west-1").client("s3")
"""

from __future__ import annotations

from typing import Any

from botocore.credentials import Credentials, ReadOnlyCredentials  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]

from strongroom._credentials import read_aws_credential
from strongroom._manager import SecretsManager
from strongroom.integrations.credentials import CredentialSource, Reread, ServerLogin

_REFUSALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Error codes of AWS for credentials that were replaced or have ended."""


def create_session(path: str, *, manager: SecretsManager | None = None, **session_options: Any) -> Session:
    """Return a botocore session whose clients read their credential for each request.

    A request that AWS refuses for its credential is sent again with the one of a read past the cache, if that differs.

    Args:
        path: a secret with `access_key` and `secret_key`, and perhaps `security_token`, as Vault's AWS engine creates
            it, or with the names of AWS's variables.
        manager: None is the default manager of the process.
        session_options: those of `botocore.session.Session`.
    """
    source = CredentialSource(path, manager)
    session = Session(**session_options)
    session._credentials = _ChainCredentials(source)  # noqa: SLF001  # `set_credentials` makes a copy of the values
    session.register("needs-retry", _Renewal(source), unique_id="strongroom-renewal")
    return session


class _ChainCredentials(Credentials):
    """Credentials that are read when a request is signed."""

    method = "strongroom"

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return _frozen(self._source.current())

    @property
    def access_key(self) -> str:
        return str(self.get_frozen_credentials().access_key)

    @property
    def secret_key(self) -> str:
        return str(self.get_frozen_credentials().secret_key)

    @property
    def token(self) -> str | None:
        token = self.get_frozen_credentials().token
        return None if token is None else str(token)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._source.path!r})"


def _frozen(login: ServerLogin) -> ReadOnlyCredentials:
    found = read_aws_credential(login.path, login.data)
    return ReadOnlyCredentials(*(text.reveal() or None for text in found))


class _Renewal:
    """Handler of `needs-retry`: retries a refused request once, if a fresh read brings another credential."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    def __call__(self, response: Any, attempts: int, **_: object) -> float | None:
        code = response[1].get("Error", {}).get("Code") if response is not None else None
        if code not in _REFUSALS or attempts > 1:
            return None
        before = self._source.current()
        return 0.0 if self._source.after_refusal(Reread.FRESH) != before else None
