"""Requests about one secret of AWS Secrets Manager, and the parsing of their replies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from strongroom.errors import SecretNotFoundError, StoreError
from strongroom.secret import Secret, Version
from strongroom.store.one_value import labels_of, unfold
from strongroom_aws.errors import RefusedError, malformed
from strongroom_aws.limits import below, check_secret_name
from strongroom_aws.service import Service


class SecretRequests:
    """Sends requests about secrets by path."""

    def __init__(self, service: Service, prefix: str) -> None:
        self.service = service
        self.prefix = prefix

    def name(self, path: str) -> str:
        """Return the name of the secret in AWS.

        Raises:
            InvalidPathError: AWS does not accept it.
        """
        return check_secret_name(below(self.prefix, path), path)

    def call(self, operation: str, path: str, *, changes: bool = False, **parameters: Any) -> Mapping[str, Any]:
        """Call an operation on a secret and return the reply.

        Raises:
            SecretNotFoundError: it does not exist, or is scheduled for deletion; the reason tells which.
        """
        name = self.name(path)
        try:
            return self.service.call(operation, path, changes=changes, SecretId=name, **parameters)
        except StoreError as error:
            failure = error
        if may_be_scheduled(failure) and operation != "describe_secret":
            failure = self._absence(path) or failure
        raise failure.copy()

    def get(self, path: str, **version: Any) -> Mapping[str, Any]:
        """Get the value of AWSCURRENT, or of a given `VersionId` or `VersionStage`."""
        return self.call("get_secret_value", path, **version)

    def describe(self, path: str, *, pending: bool = True) -> Mapping[str, Any]:
        """Get the attributes of a secret; with `pending`, also of one that is scheduled for deletion."""
        described = self.call("describe_secret", path)
        if not pending and described.get("DeletedDate"):
            raise _scheduled(path)
        return described

    def _absence(self, path: str) -> StoreError | None:
        """Return the error for a secret that is scheduled for deletion, since its error code has other meanings too."""
        try:
            return _scheduled(path) if self.describe(path).get("DeletedDate") else None
        except StoreError as error:
            return error

    def secret(self, path: str, answer: Mapping[str, Any], version: Version | None = None) -> Secret:
        """Return the secret in a reply, with the requested version or, by default, its version id."""
        content, name, current = _content(answer), answer.get("Name"), answer.get("VersionId")
        if content is None or name != self.name(path) or not isinstance(current, str):
            raise malformed(path)
        form, data = unfold(content)
        created = moment(answer.get("CreatedDate"))
        return Secret(path, data, current if version is None else version, created, labels_of(form))


def may_be_scheduled(error: StoreError) -> bool:
    """Return True for the error code that AWS also uses for a secret that is scheduled for deletion."""
    return isinstance(error, RefusedError) and error.code == "InvalidRequestException"


def moment(found: object) -> datetime | None:
    """Return the value if it is a time, otherwise None."""
    return found if isinstance(found, datetime) else None


def _scheduled(path: str) -> SecretNotFoundError:
    return SecretNotFoundError(path, "it is scheduled for deletion", hint="Restore it with `undelete`")


def _content(answer: Mapping[str, Any]) -> str | bytes | None:
    text, binary = answer.get("SecretString"), answer.get("SecretBinary")
    if isinstance(text, str):
        return text
    return binary if isinstance(binary, bytes) else None
