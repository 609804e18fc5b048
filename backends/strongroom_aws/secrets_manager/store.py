"""The stores of AWS Secrets Manager, which map one secret there to one secret here: without versions, and with them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strongroom.errors import (
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    UnsupportedOperationError,
)
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveStr, Value, Version
from strongroom.store import Health, Items, Traits, VersionInfo
from strongroom.store.concurrency import map_concurrently, write_each
from strongroom.store.one_value import FoldOption, Form, fold, form_in, form_to_write
from strongroom_aws.errors import RefusedError, error_from_code, malformed
from strongroom_aws.limits import MAX_SECRET, Tags, below, check_secret_name, check_size, find_version
from strongroom_aws.secrets_manager.requests import SecretRequests, may_be_scheduled, moment
from strongroom_aws.service import (
    CREDENTIAL_VARIABLES,
    Service,
    health,
    in_groups,
    listed,
    pages,
)

_BATCH = 20
"""Secrets in one BatchGetSecretValue."""

_PAGE = 100
"""Names or versions in one reply."""

_OWN_KEY = "alias/aws/secretsmanager"
_SHORTEST_ID = 32
_AGE = {"AWSPENDING": 3, "AWSCURRENT": 2, "AWSPREVIOUS": 1}


@dataclass(frozen=True)
class WriteOptions:
    """The options for writes and deletes.

    Attributes:
        fold: the form for a secret of the single key `value`.
        kms_key: the key of new secrets; None for `aws/secretsmanager`.
        recovery_days: days in which a deleted secret can be restored, 7 to 30.
        force_delete: deletes are immediate and final.
        restore: a write to a secret that is scheduled for deletion restores it first.
    """

    fold: FoldOption = "keep"
    kms_key: str | None = None
    recovery_days: int = 30
    force_delete: bool = False
    restore: bool = False


class SecretsManagerStore:
    """Secrets in AWS Secrets Manager.

    It offers no versions, because with `force_delete` nothing of a deleted secret is kept.

    Args:
        service: reaches Secrets Manager.
        prefix: the prefix of every path, `""` or `like/this`.
        options: for writes and deletes.
    """

    traits = Traits(
        honors_deadline=True, disk_cache=True, credential_variables=CREDENTIAL_VARIABLES, pending_version="AWSPENDING"
    )

    def __init__(self, service: Service, prefix: str, options: WriteOptions) -> None:
        self._requests = SecretRequests(service, prefix)
        self._options = options

    def __repr__(self) -> str:
        return f"SecretsManagerStore({self._requests.prefix!r})"

    @property
    def requests(self) -> SecretRequests:
        """The requests of this store, for a rotator of the same service."""
        return self._requests

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the version AWSCURRENT.

        Raises:
            SecretNotFoundError: it does not exist, or is scheduled for deletion; the reason tells which.
        """
        return self._requests.secret(path, self._requests.get(path))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or error, twenty a request, with concurrent requests.

        If BatchGetSecretValue is denied, which is a separate permission, they are read one by one.
        """
        for _, outcomes in map_concurrently(self._read_group, in_groups(paths, _BATCH)):
            yield from outcomes

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix` that are not scheduled for deletion."""
        yield from entries_below(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`, a hundred a request; also names that are not valid paths."""
        return (path for path, _ in self._listed(prefix))

    def _listed(self, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the path of every secret below `prefix`, with its entry in the listing."""
        folder = below(self._requests.prefix, prefix)
        start = f"{check_secret_name(folder, prefix)}/" if folder else ""
        asked: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [start]}]} if start else {}
        skipped = len(self._requests.prefix) + 1 if self._requests.prefix else 0
        for page in pages(self._requests.service.call, "list_secrets", prefix or None, MaxResults=_PAGE, **asked):
            for entry in listed(page, "SecretList", prefix or None):
                name = entry.get("Name")
                if not isinstance(name, str):
                    raise malformed(prefix or None)
                if name.startswith(start):
                    yield str(name[skipped:]), entry

    def probe(self) -> Health:
        """Return whether Secrets Manager answers, and the identity in AWS."""
        return health(self._requests.service, "list_secrets", "Secrets Manager")

    def close(self) -> None:
        self._requests.service.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Put a new version, and create the secret if it does not exist.

        A secret that exists keeps its KMS key, tags, policy and rotation.

        Raises:
            ConflictError: it is scheduled for deletion, and the option `restore` is off.
            SecretTooLargeError: more than 65,536 bytes in the form in which it would be stored.
        """
        return self._write(path, data, self._form(path, data))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version:
        """Write in the form that the label `strongroom:fold` names, by default JSON."""
        return self._write(path, data, form_in(form))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Write concurrently; yield each path with its new version or error."""
        return write_each(self.write, items)

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check the name and the size, and that the secret is not scheduled for deletion."""
        self._requests.name(path)
        _content(path, data, self._form(path, data))
        if self._options.restore:
            return
        try:
            described = self._requests.describe(path)
        except (SecretNotFoundError, PermissionDeniedError):
            return  # it does not exist, or its attributes are denied
        if described.get("DeletedDate"):
            raise _scheduled_conflict(path)

    def cautions(self, path: str) -> Sequence[str]:
        """Return cautions about a rotation, an owning service, a KMS key, replicas and a resource policy."""
        return _cautions(self._requests, path)

    def delete(self, path: str) -> None:
        """Schedule the secret for deletion, or delete it at once with `force_delete`."""
        how: dict[str, Any] = {"RecoveryWindowInDays": self._options.recovery_days}
        if self._options.force_delete:
            # AWS accepts a forced delete of a missing or scheduled secret.
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
        """Return one secret of a batch or its error; read it alone if the batch has no usable entry."""
        try:
            if found is not None:
                return self._requests.secret(path, found)
            error = error_from_code(str(refused.get("ErrorCode")), 400, path) if refused is not None else None
            if error is None or may_be_scheduled(error):
                return self.read(path)
        except StoreError as failure:
            return failure
        return error

    # --- write internals ----------------------------------------------------------------------------------------------

    def _write(self, path: str, data: Mapping[str, Value], form: Form | None) -> Version:
        name = self._requests.name(path)
        content = _content(path, data, form)
        field = "SecretString" if isinstance(content, str) else "SecretBinary"
        # The token becomes the version id. If botocore retries after a lost reply, the same token makes one version.
        return self._put(path, name, {field: content, "ClientRequestToken": str(uuid.uuid4())})

    def _form(self, path: str, data: Mapping[str, Value]) -> Form | None:
        return form_to_write(data, self._options.fold, lambda: self.read(path))

    def _put(self, path: str, name: str, version: Mapping[str, Any]) -> str:
        """Put the version and return its id."""
        for _ in range(3):  # another writer may create, delete or restore the secret between two steps
            try:
                return _written(path, self._requests.call("put_secret_value", path, changes=True, **version), version)
            except SecretNotFoundError as error:
                is_pending = bool(error.reason)
            if is_pending:
                if not self._options.restore:
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
            raise ConflictError(path, "it was created and deleted meanwhile", hint="Write it again")
        raise _scheduled_conflict(path)

    def _create(self, path: str, name: str, version: Mapping[str, Any]) -> Mapping[str, Any]:
        more = {} if self._options.kms_key is None else {"KmsKeyId": self._options.kms_key}
        return self._requests.service.call("create_secret", path, changes=True, Name=name, **version, **more)


class VersionedSecretsManagerStore(SecretsManagerStore):
    """Secrets in AWS Secrets Manager with their versions, which the service creates and drops.

    A version can be read by its id or staging label, and cannot be destroyed alone. A delete schedules the whole secret
    for deletion, and `undelete` restores all of it.

    Args:
        service: reaches Secrets Manager.
        prefix: the prefix of every path, `""` or `like/this`.
        options: how it writes and deletes.
        tags: selects the tags that are labels.
    """

    def __init__(self, service: Service, prefix: str, options: WriteOptions, tags: Tags) -> None:
        super().__init__(service, prefix, options)
        self._tags = tags

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return the versions that Secrets Manager has, oldest first. All are deleted if the secret is."""
        pending = moment(self._requests.describe(path).get("DeletedDate"))
        asked = {"IncludeDeprecated": True, "MaxResults": _PAGE}
        found: list[Mapping[str, Any]] = []
        for page in pages(self._requests.call, "list_secret_version_ids", path, **asked):
            found += listed(page, "Versions", path)
        found.sort(key=_age)
        return [
            VersionInfo(str(one.get("VersionId")), moment(one.get("CreatedDate")), bool(pending), deleted_at=pending)
            for one in found
        ]

    def read_version(self, path: str, version: Version) -> Secret:
        """Return the version with this id or staging label: `AWSPREVIOUS`, `AWSPENDING`, or a custom one.

        Raises:
            SecretNotFoundError: there is no such version, or the secret is scheduled for deletion.
        """
        is_id = len(str(version)) >= _SHORTEST_ID
        answer = self._requests.get(path, **{"VersionId" if is_id else "VersionStage": str(version)})
        return self._requests.secret(path, answer, version)

    def kept_versions(self, path: str) -> int:
        """Return 2: the newest version, and AWSPREVIOUS. AWS may drop all others."""
        self._requests.describe(path)
        return 2

    def undelete(self, path: str, version: Version) -> None:
        """Restore the secret, with all its versions."""
        if find_version(self.versions(path), version, path).deleted:
            self._requests.call("restore_secret", path, changes=True)

    def destroy(self, path: str, version: Version) -> None:
        """Refuse: Secrets Manager drops old versions only by itself.

        Raises:
            SecretNotFoundError: there is no such version.
            UnsupportedOperationError: there is.
        """
        find_version(self.versions(path), version, path)
        hint = "Delete the whole secret, with `force_delete` if it must not be recoverable"
        raise UnsupportedOperationError(path, "Secrets Manager cannot destroy a single version", hint=hint)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the tags of the secret, without reserved ones."""
        return self._tags.labels(self._requests.describe(path).get("Tags", ()), path)

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield every path with its labels, from the listing, which may be some minutes old."""
        for path, entry in self._listed(prefix):
            yield path, self._tags.labels(entry.get("Tags", ()), path)

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        self._tags.of(labels, path)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Makes these the tags, without touching AWS's own, nor those that `tag_prefix` leaves out."""
        put, remove = self._tags.change(self.read_metadata(path), metadata, path)
        if put:
            self._requests.call("tag_resource", path, changes=True, Tags=put)
        if remove:
            self._requests.call("untag_resource", path, changes=True, TagKeys=remove)


def _content(path: str, data: Mapping[str, Value], form: Form | None) -> SensitiveStr | bytes:
    """Return the content for AWS, within its size limit."""
    content = fold(data, form)
    check_size(content, MAX_SECRET, path, "its form in Secrets Manager")
    return content


def _scheduled_conflict(path: str) -> ConflictError:
    hint = "Restore it with `undelete`, or set the option `restore`"
    return ConflictError(path, "it is scheduled for deletion", hint=hint)


def _written(path: str, answer: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """Return the id of the written version, which must be its token."""
    written = answer.get("VersionId")
    if written != version["ClientRequestToken"]:
        raise malformed(path)
    return str(written)


def _cautions(requests: SecretRequests, path: str) -> list[str]:
    """Return the properties that go stale or are missing in a copy. A denied property is reported as unknown."""
    try:
        described = requests.describe(path)
    except PermissionDeniedError:
        return ["its rotation and replication are unknown: DescribeSecret is denied"]
    found = list(_described(described))
    try:
        if requests.call("get_resource_policy", path).get("ResourcePolicy"):
            found.append("its resource policy is not carried")
    except PermissionDeniedError:
        found.append("its resource policy is unknown: GetResourcePolicy is denied")
    return found


def _described(described: Mapping[str, Any]) -> Iterator[str]:
    if described.get("RotationEnabled"):
        yield "AWS rotates it: a copy goes stale, and the rotation is not carried"
    if owner := described.get("OwningService"):
        yield f"the service {owner} owns it: a copy goes stale"
    if described.get("KmsKeyId") not in {None, "", _OWN_KEY}:
        yield "its KMS key is not carried"
    if described.get("ReplicationStatus"):
        yield "its replicas in other regions are not carried"


def _age(entry: Mapping[str, Any]) -> tuple[float, int]:
    """What sorts versions: AWS tells whole seconds, and of one second the one with the newer label is the newer."""
    created, stages = moment(entry.get("CreatedDate")), entry.get("VersionStages") or ()
    return (created.timestamp() if created else 0.0, max((_AGE.get(str(stage), 0) for stage in stages), default=0))
