"""The store of AWS Secrets Manager that keeps what is overwritten or deleted, as AWS does unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strongroom.errors import UnsupportedOperationError
from strongroom.secret import Secret, Version
from strongroom.store import VersionInfo
from strongroom_aws.secrets_manager.requests import listed, moment
from strongroom_aws.secrets_manager.store import PAGE, Habits, SecretsManagerStore
from strongroom_aws.secrets_manager.version_lookup import known_version
from strongroom_aws.service import Service
from strongroom_aws.tags import Tags

_SHORTEST_ID = 32
_AGE = {"AWSPENDING": 3, "AWSCURRENT": 2, "AWSPREVIOUS": 1}


class VersionedSecretsManagerStore(SecretsManagerStore):
    """Secrets in AWS Secrets Manager, with the versions that it makes and drops by itself.

    A version can be read by its id or by its staging label, and none can be destroyed. A delete schedules the whole
    secret for deletion, and `undelete` restores all of it.

    Args:
        service: reaches Secrets Manager.
        prefix: what every path is below, `""` or `like/this`.
        habits: how it writes and deletes.
        tags: which tags are labels.
    """

    def __init__(self, service: Service, prefix: str, habits: Habits, tags: Tags) -> None:
        super().__init__(service, prefix, habits)
        self._tags = tags

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Each version that Secrets Manager still knows, oldest first. All are deleted while the secret is."""
        pending = moment(self._requests.describe(path).get("DeletedDate"))
        asked: dict[str, Any] = {"IncludeDeprecated": True}
        found: list[Mapping[str, Any]] = []
        while True:
            page = self._requests.call("list_secret_version_ids", path, MaxResults=PAGE, **asked)
            found += listed(page, "Versions", path)
            if not (token := page.get("NextToken")):
                break
            asked["NextToken"] = token
        found.sort(key=_age)
        return [
            VersionInfo(str(one.get("VersionId")), moment(one.get("CreatedDate")), bool(pending), deleted_at=pending)
            for one in found
        ]

    def read_version(self, path: str, version: Version) -> Secret:
        """The version with this id or with this staging label: `AWSPREVIOUS`, `AWSPENDING`, or one of your own.

        Raises:
            SecretNotFoundError: there is no such version, or the secret is scheduled for deletion.
        """
        is_id = len(str(version)) >= _SHORTEST_ID
        answer = self._requests.get(path, **{"VersionId" if is_id else "VersionStage": str(version)})
        return self._requests.secret(path, answer, version)

    def kept_versions(self, path: str) -> int:
        """The newest, and the one before it, which keeps the label AWSPREVIOUS: any other may be dropped."""
        self._requests.describe(path)
        return 2

    def undelete(self, path: str, version: Version) -> None:
        """Restores the secret, with all its versions."""
        if known_version(self.versions(path), version, path).deleted:
            self._requests.call("restore_secret", path, changes=True)

    def destroy(self, path: str, version: Version) -> None:
        """Refused: Secrets Manager drops old versions by itself, and none when it is asked to.

        Raises:
            SecretNotFoundError: there is no such version.
            UnsupportedOperationError: there is.
        """
        known_version(self.versions(path), version, path)
        hint = "Delete the whole secret, with `force_delete` where no version may be brought back"
        raise UnsupportedOperationError(path, "Secrets Manager destroys no single version", hint=hint)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """The secret's tags, without AWS's own."""
        return self._tags.labels(self._requests.describe(path).get("Tags", ()), path)

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """`walk` with the tags, which AWS lists too: it says that they may be some minutes old there."""
        for path, entry in self._listed(prefix):
            yield path, self._tags.labels(entry.get("Tags", ()), path)

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        """Whether they would do as tags."""
        self._tags.of(labels, path)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Makes these the tags, without touching AWS's own, nor those that `tag_prefix` leaves out."""
        change = self._tags.change(self.read_metadata(path), metadata, path)
        if change.put:
            self._requests.call("tag_resource", path, changes=True, Tags=change.put)
        if change.remove:
            self._requests.call("untag_resource", path, changes=True, TagKeys=change.remove)


def _age(entry: Mapping[str, Any]) -> tuple[float, int]:
    """What sorts versions: AWS tells whole seconds, and of one second the one with the newer label is the newer."""
    created, stages = moment(entry.get("CreatedDate")), entry.get("VersionStages") or ()
    return (created.timestamp() if created else 0.0, max((_AGE.get(str(stage), 0) for stage in stages), default=0))
