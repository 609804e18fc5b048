"""The rotator `aws-secretsmanager`: starts the rotation that is configured in AWS Secrets Manager, and follows it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from strongroom.errors import StoreError, UnsupportedOperationError
from strongroom.store import SecretStore
from strongroom_aws.secrets_manager.requests import SecretRequests, may_be_scheduled, moment
from strongroom_aws.secrets_manager.store import SecretsManagerStore

_TOKENS = uuid.UUID("a2f1c1be-7a0f-4c52-9c36-4f2f0f3f6a11")
"""The namespace of the request tokens."""


class SecretsManagerRotator:
    """Starts and follows the rotation of AWS's own, by a Lambda function or by the service that owns the secret.

    The request token is made of the version that was current when the due date was computed. So processes that start a
    rotation for one due date start one, also if the first one has finished before the second one starts.
    """

    starts_once = True

    def __init__(self) -> None:
        self._started: dict[str, str] = {}
        self._replaced: dict[str, str] = {}

    def start(self, store: SecretStore, path: str) -> None:
        """Start a rotation, or join the one in progress.

        Raises:
            UnsupportedOperationError: no rotation is configured for the secret.
        """
        requests = _requests(store, path)
        secret = requests.describe(path, pending=False)
        if not secret.get("RotationEnabled"):
            reason = "no rotation is configured for it in Secrets Manager"
            raise UnsupportedOperationError(path, reason, hint="Attach a rotation function to the secret first")
        if _pending(secret) is not None:
            return
        replaced = self._replaced.pop(path, None) or _version_with(secret, "AWSCURRENT")
        token = str(uuid.uuid5(_TOKENS, f"{secret.get('ARN')} {replaced}"))
        try:
            if token not in _versions(secret):
                requests.call("rotate_secret", path, changes=True, ClientRequestToken=token, RotateImmediately=True)
        except StoreError as error:
            # Another process has started one since `describe`.
            if not may_be_scheduled(error) or _pending(requests.describe(path, pending=False)) is None:
                raise
        self._started[path] = token

    def finished(self, store: SecretStore, path: str) -> bool:
        """Return True if the version that was started is current, and none is pending."""
        secret = _requests(store, path).describe(path, pending=False)
        if _pending(secret) is not None:
            return False
        started = self._started.get(path)
        return started is None or started in _versions(secret)

    def last_rotation(self, store: SecretStore, path: str) -> datetime | None:
        secret = _requests(store, path).describe(path)
        self._replaced[path] = _version_with(secret, "AWSCURRENT")
        return moment(secret.get("LastRotatedDate"))

    def close(self) -> None:
        pass  # the store closes its clients


def _requests(store: SecretStore, path: str) -> SecretRequests:
    if isinstance(store, SecretsManagerStore):
        return store.requests
    reason = "the rotator 'aws-secretsmanager' works with a store of AWS Secrets Manager alone"
    raise UnsupportedOperationError(path, reason, hint="Name one with `store` in the table of the rotation")


def _versions(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    found = secret.get("VersionIdsToStages")
    return found if isinstance(found, Mapping) else {}


def _version_with(secret: Mapping[str, Any], stage: str) -> str:
    return next((version for version, stages in _versions(secret).items() if stage in stages), "")


def _pending(secret: Mapping[str, Any]) -> str | None:
    """Return the version of a rotation in progress. After one, AWS may leave AWSPENDING on the current version."""
    pending = _version_with(secret, "AWSPENDING")
    return pending if pending and pending != _version_with(secret, "AWSCURRENT") else None


def open_secrets_manager_rotator() -> SecretsManagerRotator:
    """Return a rotator of secrets in AWS Secrets Manager. It uses the identity of the store."""
    return SecretsManagerRotator()
