"""The store of AWS Secrets Manager: one of its secrets is one secret."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from strongroom.errors import (
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    UnsupportedOperationError,
)
from strongroom.model import Secret, Value, Version
from strongroom.store import Health, Items, VersionInfo
from strongroom_aws.at_once import at_once, in_groups
from strongroom_aws.failures import RefusedError, malformed, of_code
from strongroom_aws.folding import VALUE, Form, fold, form_in, labels_of, unfold
from strongroom_aws.health import health
from strongroom_aws.limits import MAX_SECRET, check_secret_name, check_size
from strongroom_aws.names import below, entries, is_path
from strongroom_aws.service import Service
from strongroom_aws.tags import Tags

BATCH = 20
"""How many secrets one BatchGetSecretValue takes."""

_PAGE = 100
_SHORTEST_ID = 32
_CURRENT = "AWSCURRENT"
_AGE = {"AWSPENDING": 3, _CURRENT: 2, "AWSPREVIOUS": 1}

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

    It has versions, which AWS makes and drops by itself: a version can be read by its id or by its staging label, and
    none can be destroyed. A delete schedules the whole secret for deletion, and `undelete` restores all of it.

    Args:
        service: reaches Secrets Manager.
        prefix: what every path is below, `""` or `like/this`.
        tags: which tags are labels.
        habits: how it writes and deletes.
    """

    def __init__(self, service: Service, prefix: str, tags: Tags, habits: Habits) -> None:
        self._service = service
        self._prefix = prefix
        self._tags = tags
        self._habits = habits

    def __repr__(self) -> str:
        return f"SecretsManagerStore({self._prefix!r})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """The secret's version AWSCURRENT.

        Raises:
            SecretNotFoundError: there is none, or it is scheduled for deletion, which the reason says.
        """
        return self._secret(path, self._get(path))

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
        """The path of every secret below `prefix`, a hundred a request. A name that is no path cannot be one."""
        folder = below(self._prefix, prefix)
        start = f"{check_secret_name(folder, prefix)}/" if folder else ""
        asked: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [start]}]} if start else {}
        skipped = len(self._prefix) + 1 if self._prefix else 0
        while True:
            page = self._service.call("list_secrets", prefix or None, MaxResults=_PAGE, **asked)
            for entry in _listed(page, "SecretList", prefix or None):
                name = entry.get("Name")
                if not isinstance(name, str):
                    raise malformed(prefix or None)
                if name.startswith(start) and is_path(name[skipped:]):
                    yield str(name[skipped:])
            if not (token := page.get("NextToken")):
                return
            asked["NextToken"] = token

    def probe(self) -> Health:
        """Whether Secrets Manager answers, and who we are to AWS."""
        return health(self._service, "list_secrets", "Secrets Manager")

    def close(self) -> None:
        """Closes the connections."""
        self._service.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Puts a new version, and makes the secret where there is none.

        A secret that exists keeps its KMS key, tags, policy and rotation.

        Raises:
            ConflictError: it is scheduled for deletion, and the option `restore` is off.
            SecretTooLargeError: more than 65,536 bytes in the form in which it would be stored.
        """
        return self.write_labelled(path, data, {})

    def write_labelled(self, path: str, data: Mapping[str, Value], labels: Mapping[str, str]) -> Version:
        """`write`, in the form that the labels name (`strongroom:fold`), with all of them as tags on a new secret."""
        name = self._name(path)
        tags = self._tags.of(labels, path)
        content = fold(data, form_in(labels) or self._form(path, data))
        check_size(content, MAX_SECRET, path, "as Secrets Manager would hold it, it")
        field = "SecretString" if isinstance(content, str) else "SecretBinary"
        # The token is the version's id. botocore repeats a request whose answer was lost: the same token, one version.
        return self._put(path, name, {field: content, "ClientRequestToken": str(uuid.uuid4())}, tags)

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Each path with its new version or its own error, some at a time."""

        def write(item: tuple[str, Mapping[str, Value]]) -> Version | StoreError:
            try:
                return self.write(*item)
            except StoreError as error:
                return error

        for (path, _), outcome in at_once(write, items):
            yield path, outcome

    def delete(self, path: str) -> None:
        """Schedules the secret for deletion; with the option `force_delete` it is gone at once."""
        how: dict[str, Any] = {"RecoveryWindowInDays": self._habits.recovery_days}
        if self._habits.force_delete:
            # AWS says yes to this one for what never was, and for what is scheduled already.
            self._describe(path, pending=False)
            how = {"ForceDeleteWithoutRecovery": True}
        self._call("delete_secret", path, changes=True, **how)

    # --- versions and labels ------------------------------------------------------------------------------------------

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Each version that Secrets Manager still knows, oldest first. All are deleted while the secret is."""
        pending = _moment(self._describe(path).get("DeletedDate"))
        asked: dict[str, Any] = {}
        found: list[Mapping[str, Any]] = []
        while True:
            page = self._call("list_secret_version_ids", path, IncludeDeprecated=True, MaxResults=_PAGE, **asked)
            found += _listed(page, "Versions", path)
            if not (token := page.get("NextToken")):
                break
            asked["NextToken"] = token
        found.sort(key=_age)
        return [
            VersionInfo(str(one.get("VersionId")), _moment(one.get("CreatedDate")), bool(pending), deleted_at=pending)
            for one in found
        ]

    def read_version(self, path: str, version: Version) -> Secret:
        """The version with this id or with this staging label: `AWSPREVIOUS`, `AWSPENDING`, or one of your own.

        Raises:
            SecretNotFoundError: there is no such version, or the secret is scheduled for deletion.
        """
        is_id = len(str(version)) >= _SHORTEST_ID
        answer = self._get(path, **{"VersionId" if is_id else "VersionStage": str(version)})
        return self._secret(path, answer, version)

    def undelete(self, path: str, version: Version) -> None:
        """Restores the secret, with all its versions."""
        known = self.versions(path)
        if (found := next((info for info in known if info.version == version), None)) is None:
            raise SecretNotFoundError(path, f"there is no version {version}, or not any more")
        if found.deleted:
            self._call("restore_secret", path, changes=True)

    def destroy(self, path: str, version: Version) -> None:
        """Refused: Secrets Manager drops old versions by itself, and none when it is asked to.

        Raises:
            SecretNotFoundError: there is no such version.
            UnsupportedOperationError: there is.
        """
        if all(info.version != version for info in self.versions(path)):
            raise SecretNotFoundError(path, f"there is no version {version}, or not any more")
        hint = "Delete the whole secret, with `force_delete` where no version may be brought back"
        raise UnsupportedOperationError(path, "Secrets Manager destroys no single version", hint=hint)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """The secret's tags, without AWS's own."""
        return self._tags.labels(self._describe(path).get("Tags", ()), path)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Makes these the tags, without touching AWS's own, nor those that `tag_prefix` leaves out."""
        change = self._tags.change(self._tags.labels(self._described_tags(path), path), metadata, path)
        if change.put:
            self._call("tag_resource", path, changes=True, Tags=change.put)
        if change.remove:
            self._call("untag_resource", path, changes=True, TagKeys=change.remove)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _name(self, path: str) -> str:
        return check_secret_name(below(self._prefix, path), path)

    def _call(self, operation: str, path: str, *, changes: bool = False, **parameters: Any) -> Mapping[str, Any]:
        """The answer to an operation on a secret; that it is scheduled for deletion is an absence."""
        name = self._name(path)
        try:
            return self._service.call(operation, path, changes=changes, SecretId=name, **parameters)
        except StoreError as error:
            failure = error
        if _may_be_scheduled(failure) and operation != "describe_secret":
            failure = self._scheduled(path) or failure
        raise failure.with_traceback(None)

    def _get(self, path: str, **version: Any) -> Mapping[str, Any]:
        return self._call("get_secret_value", path, **version)

    def _describe(self, path: str, *, pending: bool = True) -> Mapping[str, Any]:
        described = self._call("describe_secret", path)
        if not pending and described.get("DeletedDate"):
            raise _scheduled(path)
        return described

    def _described_tags(self, path: str) -> Iterable[Any]:
        found = self._describe(path).get("Tags", ())
        return found if isinstance(found, Iterable) else ()

    def _scheduled(self, path: str) -> StoreError | None:
        """The absence of a secret that is scheduled for deletion: its error code stands for other things too."""
        try:
            return _scheduled(path) if self._describe(path).get("DeletedDate") else None
        except StoreError as error:
            return error

    def _secret(self, path: str, answer: Mapping[str, Any], version: Version | None = None) -> Secret:
        content, name, current = _content(answer), answer.get("Name"), answer.get("VersionId")
        if content is None or name != self._name(path) or not isinstance(current, str):
            raise malformed(path)
        form, data = unfold(content)
        created = _moment(answer.get("CreatedDate"))
        return Secret(path, data, current if version is None else version, created, labels_of(form))

    def _read_group(self, paths: Sequence[str]) -> list[tuple[str, Secret | StoreError]]:
        names: dict[str, str] = {}
        outcomes: list[tuple[str, Secret | StoreError]] = []
        for path in paths:
            try:
                names[self._name(path)] = path
            except StoreError as error:
                outcomes.append((path, error))
        if not names:
            return outcomes
        try:
            answer = self._service.call("batch_get_secret_value", None, SecretIdList=list(names))
            found = {entry.get("Name"): entry for entry in _listed(answer, "SecretValues", None)}
            refused = {entry.get("SecretId"): entry for entry in _listed(answer, "Errors", None, optional=True)}
        except PermissionDeniedError:
            return outcomes + [(path, self._outcome(path)) for path in names.values()]
        except StoreError as error:
            return outcomes + [(path, error.again(path)) for path in names.values()]
        for name, path in names.items():
            outcomes.append((path, self._outcome(path, found.get(name), refused.get(name))))
        return outcomes

    def _outcome(
        self, path: str, found: Mapping[str, Any] | None = None, refused: Mapping[str, Any] | None = None
    ) -> Secret | StoreError:
        """One secret of a batch: what was found, or why not; read by itself where the batch says nothing of use."""
        try:
            if found is not None:
                return self._secret(path, found)
            error = of_code(str(refused.get("ErrorCode")), 400, path) if refused is not None else None
            if error is None or _may_be_scheduled(error):
                return self.read(path)
        except StoreError as failure:
            return failure
        return error

    # --- what a write takes -------------------------------------------------------------------------------------------

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
        failure.hint = (
            "Allow secretsmanager:GetSecretValue on it, so that it is written in the form that it has; or say with the "
            "option `fold` in which"
        )
        raise failure.with_traceback(None)

    def _put(self, path: str, name: str, version: Mapping[str, Any], tags: list[dict[str, str]]) -> str:
        """The id of the new version."""
        for _ in range(3):  # each step may find that somebody else has just made, deleted or restored the secret
            try:
                return _written(path, self._call("put_secret_value", path, changes=True, **version), version)
            except SecretNotFoundError as error:
                is_pending = bool(error.reason)
            if is_pending:
                if not self._habits.restore:
                    break
                self._call("restore_secret", path, changes=True)
                continue
            try:
                return _written(path, self._create(path, name, version, tags), version)
            except RefusedError as error:
                failure = error
            if failure.code != "ResourceExistsException":
                raise failure.with_traceback(None)
        else:
            raise ConflictError(path, "it was made and deleted meanwhile", hint="Write it again")
        hint = "Bring it back with `undelete`, or let writes do so with the option `restore`"
        raise ConflictError(path, "it is scheduled for deletion", hint=hint)

    def _create(
        self, path: str, name: str, version: Mapping[str, Any], tags: list[dict[str, str]]
    ) -> Mapping[str, Any]:
        more: dict[str, Any] = {"Tags": tags} if tags else {}
        if self._habits.kms_key is not None:
            more["KmsKeyId"] = self._habits.kms_key
        return self._service.call("create_secret", path, changes=True, Name=name, **version, **more)


def _written(path: str, answer: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """The id of the version that was written, which is the token that went with it."""
    written = answer.get("VersionId")
    if written != version["ClientRequestToken"]:
        raise malformed(path)
    return str(written)


def _may_be_scheduled(error: StoreError) -> bool:
    return isinstance(error, RefusedError) and error.code == "InvalidRequestException"


def _scheduled(path: str) -> SecretNotFoundError:
    return SecretNotFoundError(path, "it is scheduled for deletion", hint="Bring it back with `undelete`")


def _listed(answer: Mapping[str, Any], member: str, path: str | None, *, optional: bool = False) -> list[Any]:
    """The list of mappings that an answer has under this name."""
    found = answer.get(member, [] if optional else None)
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise malformed(path)
    return found


def _content(answer: Mapping[str, Any]) -> str | bytes | None:
    text, binary = answer.get("SecretString"), answer.get("SecretBinary")
    if isinstance(text, str):
        return text
    return binary if isinstance(binary, bytes) else None


def _moment(found: object) -> datetime | None:
    return found if isinstance(found, datetime) else None


def _age(entry: Mapping[str, Any]) -> tuple[float, int]:
    """What sorts versions: AWS tells whole seconds, and of one second the one with the newer label is the newer."""
    created, stages = _moment(entry.get("CreatedDate")), entry.get("VersionStages") or ()
    return (created.timestamp() if created else 0.0, max((_AGE.get(str(stage), 0) for stage in stages), default=0))
