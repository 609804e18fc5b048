"""The store of AWS Secrets Manager: one of its secrets is one secret."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from strongroom.errors import (
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
)
from strongroom.secret import Secret, SensitiveStr, Value, Version
from strongroom.store import Health, Items
from strongroom_aws.concurrency import at_once, in_groups, write_each
from strongroom_aws.errors import RefusedError, malformed, of_code
from strongroom_aws.folding import VALUE, Form, fold, form_in
from strongroom_aws.health import health
from strongroom_aws.limits import MAX_SECRET, check_secret_name, check_size
from strongroom_aws.names import below, entries
from strongroom_aws.secrets_manager.cautions import cautions_of
from strongroom_aws.secrets_manager.requests import SecretRequests, listed, may_be_scheduled
from strongroom_aws.service import Service

BATCH = 20
"""How many secrets one BatchGetSecretValue takes."""

PAGE = 100
"""How many names or versions are in one reply."""

FoldOption = Literal["keep", "plain", "json"]


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How the store writes and deletes.

    Attributes:
        fold: how a secret of the single key `value` is written: `keep` as the secret that is there, a new one as JSON;
            `plain` as text or binary; `json` as JSON.
        kms_key: what new secrets are encrypted with; None for `aws/secretsmanager`.
        recovery_days: for how many days what is deleted can be brought back, 7 to 30.
        force_delete: what is deleted is gone at once.
        restore: a write to a secret that is scheduled for deletion restores it first.
    """

    fold: FoldOption = "keep"
    kms_key: str | None = None
    recovery_days: int = 30
    force_delete: bool = False
    restore: bool = False


class SecretsManagerStore:
    """Secrets in AWS Secrets Manager.

    With deletes that are forced nothing of a secret is kept, so that it claims to have no versions.

    Args:
        service: reaches Secrets Manager.
        prefix: what every path is below, `""` or `like/this`.
        habits: how it writes and deletes.
    """

    def __init__(self, service: Service, prefix: str, habits: Habits) -> None:
        self._requests = SecretRequests(service, prefix)
        self._habits = habits

    def __repr__(self) -> str:
        return f"SecretsManagerStore({self._requests.prefix!r})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """The secret's version AWSCURRENT.

        Raises:
            SecretNotFoundError: there is none, or it is scheduled for deletion, which the reason says.
        """
        return self._requests.secret(path, self._requests.get(path))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Each path with its secret or its own error, twenty a request, some requests at a time.

        Where BatchGetSecretValue is denied they are read one by one: it is a right of its own.
        """
        for _, outcomes in at_once(self._read_group, in_groups(paths, BATCH)):
            yield from outcomes

    def list_entries(self, prefix: str) -> Iterator[str]:
        """The names directly below `prefix`, of what is not scheduled for deletion."""
        yield from entries(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """The path of every secret below `prefix`, a hundred a request; also a name that is no path."""
        return (path for path, _ in self._listed(prefix))

    def _listed(self, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The path of every secret below `prefix`, with what AWS lists of it."""
        folder = below(self._requests.prefix, prefix)
        start = f"{check_secret_name(folder, prefix)}/" if folder else ""
        asked: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [start]}]} if start else {}
        skipped = len(self._requests.prefix) + 1 if self._requests.prefix else 0
        while True:
            page = self._requests.service.call("list_secrets", prefix or None, MaxResults=PAGE, **asked)
            for entry in listed(page, "SecretList", prefix or None):
                name = entry.get("Name")
                if not isinstance(name, str):
                    raise malformed(prefix or None)
                if name.startswith(start):
                    yield str(name[skipped:]), entry
            if not (token := page.get("NextToken")):
                return
            asked["NextToken"] = token

    def probe(self) -> Health:
        """Whether Secrets Manager answers, and who we are to AWS."""
        return health(self._requests.service, "list_secrets", "Secrets Manager")

    def close(self) -> None:
        """Closes the connections."""
        self._requests.service.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Puts a new version, and makes the secret where there is none.

        A secret that exists keeps its KMS key, tags, policy and rotation.

        Raises:
            ConflictError: it is scheduled for deletion, and the option `restore` is off.
            SecretTooLargeError: more than 65,536 bytes in the form in which it would be stored.
        """
        return self._write(path, data, self._form(path, data))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version:
        """`write`, in the form that `strongroom:fold` names; where none does, JSON."""
        return self._write(path, data, form_in(form))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Each path with its new version or its own error, some at a time."""
        return write_each(self.write, items)

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Whether the name and the size will do, and that the secret is not scheduled for deletion."""
        self._requests.name(path)
        _content(path, data, self._form(path, data))
        if self._habits.restore:
            return
        try:
            described = self._requests.describe(path)
        except (SecretNotFoundError, PermissionDeniedError):
            return  # there is none, or it is not for us to know
        if described.get("DeletedDate"):
            raise _going(path)

    def cautions(self, path: str) -> Sequence[str]:
        """A rotation, an owning service, a KMS key, replicas and a resource policy, where it has them."""
        return cautions_of(self._requests, path)

    def delete(self, path: str) -> None:
        """Schedules the secret for deletion; with the option `force_delete` it is gone at once."""
        how: dict[str, Any] = {"RecoveryWindowInDays": self._habits.recovery_days}
        if self._habits.force_delete:
            # AWS says yes to this one for what never was, and for what is scheduled already.
            self._requests.describe(path, pending=False)
            how = {"ForceDeleteWithoutRecovery": True}
        self._requests.call("delete_secret", path, changes=True, **how)

    def _read_group(self, paths: Sequence[str]) -> list[tuple[str, Secret | StoreError]]:
        names: dict[str, str] = {}
        outcomes: list[tuple[str, Secret | StoreError]] = []
        for path in paths:
            try:
                names[self._requests.name(path)] = path
            except StoreError as error:
                outcomes.append((path, error))
        if not names:
            return outcomes
        try:
            answer = self._requests.service.call("batch_get_secret_value", None, SecretIdList=list(names))
            found = {entry.get("Name"): entry for entry in listed(answer, "SecretValues", None)}
            refused = {entry.get("SecretId"): entry for entry in listed(answer, "Errors", None, optional=True)}
        except PermissionDeniedError:
            return outcomes + [(path, self._outcome(path)) for path in names.values()]
        except StoreError as error:
            return outcomes + [(path, error.copy(path=path)) for path in names.values()]
        for name, path in names.items():
            outcomes.append((path, self._outcome(path, found.get(name), refused.get(name))))
        return outcomes

    def _outcome(
        self, path: str, found: Mapping[str, Any] | None = None, refused: Mapping[str, Any] | None = None
    ) -> Secret | StoreError:
        """One secret of a batch: what was found, or why not; read by itself where the batch says nothing of use."""
        try:
            if found is not None:
                return self._requests.secret(path, found)
            error = of_code(str(refused.get("ErrorCode")), 400, path) if refused is not None else None
            if error is None or may_be_scheduled(error):
                return self.read(path)
        except StoreError as failure:
            return failure
        return error

    # --- what a write takes -------------------------------------------------------------------------------------------

    def _write(self, path: str, data: Mapping[str, Value], form: Form | None) -> Version:
        name = self._requests.name(path)
        content = _content(path, data, form)
        field = "SecretString" if isinstance(content, str) else "SecretBinary"
        # The token is the version's id. botocore repeats a request whose answer was lost: the same token, one version.
        return self._put(path, name, {field: content, "ClientRequestToken": str(uuid.uuid4())})

    def _form(self, path: str, data: Mapping[str, Value]) -> Form | None:
        """The form in which to write the single key `value`."""
        if set(data) != {VALUE} or not isinstance(value := data[VALUE], str | bytes) or self._habits.fold == "json":
            return None
        if self._habits.fold == "plain":
            return Form.TEXT if isinstance(value, str) else Form.BINARY
        try:
            return form_in(self.read(path).metadata)
        except SecretNotFoundError:
            return None
        except PermissionDeniedError as error:
            failure = error
        hint = (
            "Allow secretsmanager:GetSecretValue on it, so that it is written in the form that it has; or say with the "
            "option `fold` in which"
        )
        raise failure.copy(hint=hint)

    def _put(self, path: str, name: str, version: Mapping[str, Any]) -> str:
        """The id of the new version."""
        for _ in range(3):  # each step may find that somebody else has just made, deleted or restored the secret
            try:
                return _written(path, self._requests.call("put_secret_value", path, changes=True, **version), version)
            except SecretNotFoundError as error:
                is_pending = bool(error.reason)
            if is_pending:
                if not self._habits.restore:
                    break
                self._requests.call("restore_secret", path, changes=True)
                continue
            try:
                return _written(path, self._create(path, name, version), version)
            except RefusedError as error:
                failure = error
            if failure.code != "ResourceExistsException":
                raise failure.copy()
        else:
            raise ConflictError(path, "it was made and deleted meanwhile", hint="Write it again")
        raise _going(path)

    def _create(self, path: str, name: str, version: Mapping[str, Any]) -> Mapping[str, Any]:
        more = {} if self._habits.kms_key is None else {"KmsKeyId": self._habits.kms_key}
        return self._requests.service.call("create_secret", path, changes=True, Name=name, **version, **more)


def _content(path: str, data: Mapping[str, Value], form: Form | None) -> SensitiveStr | bytes:
    """What AWS is to hold."""
    content = fold(data, form)
    check_size(content, MAX_SECRET, path, "as Secrets Manager would hold it, it")
    return content


def _going(path: str) -> ConflictError:
    hint = "Bring it back with `undelete`, or let writes do so with the option `restore`"
    return ConflictError(path, "it is scheduled for deletion", hint=hint)


def _written(path: str, answer: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """The id of the version that was written, which is the token that went with it."""
    written = answer.get("VersionId")
    if written != version["ClientRequestToken"]:
        raise malformed(path)
    return str(written)
