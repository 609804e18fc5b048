"""The store of AWS Secrets Manager with version history and recoverable deletes, the default of AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strongroom.errors import UnsupportedOperationError
from strongroom.secret import Secret, Version
from strongroom.store import VersionInfo
from strongroom_aws.limits import Tags, find_version
from strongroom_aws.secrets_manager.requests import moment
from strongroom_aws.secrets_manager.store import PAGE, SecretsManagerStore, WriteOptions
from strongroom_aws.service import Service, listed, pages

_SHORTEST_ID = 32
_AGE = {"AWSPENDING": 3, "AWSCURRENT": 2, "AWSPREVIOUS": 1}


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
        asked = {"IncludeDeprecated": True, "MaxResults": PAGE}
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


def _age(entry: Mapping[str, Any]) -> tuple[float, int]:
    """What sorts versions: AWS tells whole seconds, and of one second the one with the newer label is the newer."""
    created, stages = moment(entry.get("CreatedDate")), entry.get("VersionStages") or ()
    return (created.timestamp() if created else 0.0, max((_AGE.get(str(stage), 0) for stage in stages), default=0))
