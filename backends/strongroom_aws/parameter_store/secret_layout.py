"""Parameter Store with one parameter for each secret: its keys as JSON, or one text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError, UnsupportedOperationError
from strongroom.secret import Secret, SensitiveStr, Value, Version
from strongroom.store import Items, Traits, VersionInfo
from strongroom.store.concurrency import map_concurrently, write_each
from strongroom.store.one_value import VALUE, FoldOption, Form, fold, form_in, form_to_write, labels_of, unfold
from strongroom_aws.errors import RefusedError, malformed
from strongroom_aws.limits import MAX_ADVANCED, Tags, check_parameter_version, check_size, find_version
from strongroom_aws.parameter_store.base import (
    PAGE,
    Parameter,
    Parameters,
    Standing,
    check_secure,
    parameter,
    parameters_in,
    without_references,
)
from strongroom_aws.service import CREDENTIAL_VARIABLES, Service, in_groups, pages

_PAGE_OF_HISTORY = 50
_KEPT = 100


class ParameterSecrets(Parameters):
    """Secrets in Parameter Store, each in one parameter, so that writes are atomic.

    A version is the number or label of Parameter Store; it cannot be destroyed alone. A delete removes all versions, so
    nothing can be undeleted.

    Args:
        service: reaches Systems Manager.
        prefix: the prefix of every path, `""` or `like/this`.
        kms_key: the key for writes; None keeps the key of the parameter, or uses `alias/aws/ssm`.
        tags: selects the tags that are labels.
        fold_option: the form for a secret of the single key `value`.
    """

    traits = Traits(
        final_deletes=True, honors_deadline=True, disk_cache=True, credential_variables=CREDENTIAL_VARIABLES
    )

    def __init__(self, service: Service, prefix: str, kms_key: str | None, tags: Tags, fold_option: FoldOption) -> None:
        super().__init__(service, prefix, kms_key)
        self._tags = tags
        self._fold: FoldOption = fold_option

    def read(self, path: str) -> Secret:
        """Return the newest version of the parameter."""
        return self._secret(path, self._get(path, self._name(path)))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or error, ten a request; one by one if a request is denied."""
        for _, outcomes in map_concurrently(self._read_group, in_groups(paths, PAGE)):
            yield from outcomes

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`, ten a request."""
        start = len(self._folder(""))
        for found in self._in_folder(self._folder(prefix), prefix or None, deep=True, decrypted=False):
            yield found.name[start:]

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Write the parameter as a SecureString.

        Raises:
            SecretTooLargeError: more than 8 KiB in the form in which it would be stored.
            ConflictError: the parameter exists and is not a SecureString.
        """
        return self._write(path, data, self._form(path, data))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version:
        """Write in the form that the label `strongroom:fold` names, by default JSON."""
        return self._write(path, data, form_in(form))

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Write concurrently; yield each path with its new version or error."""
        return write_each(self.write, items)

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check the name and the size, and that an existing parameter is a SecureString."""
        self._name(path)
        _text(path, data, self._form(path, data))
        self._overwritten(path)

    def cautions(self, path: str) -> Sequence[str]:
        """Return cautions about a KMS key and policies of the parameter."""
        return self._cautions(path, "Name", self._name(path))

    def delete(self, path: str) -> None:
        """Delete the parameter for good, with all its versions."""
        self._service.call("delete_parameter", path, changes=True, Name=self._name(path))

    # --- history and labels -------------------------------------------------------------------------------------------

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return the versions that Parameter Store has, oldest first: at most a hundred."""
        asked = {"Name": self._name(path), "WithDecryption": False, "MaxResults": _PAGE_OF_HISTORY}
        found: dict[int, datetime | None] = {}
        for page in pages(self._service.call, "get_parameter_history", path, **asked):
            found.update((one.version, one.modified) for one in parameters_in(page, path))
        return [VersionInfo(number, found[number]) for number in sorted(found)]

    def read_version(self, path: str, version: Version) -> Secret:
        """Return the version with this number or label.

        Raises:
            SecretNotFoundError: there is no such version.
        """
        selector = f"{self._name(path)}:{check_parameter_version(version, path)}"
        found = self._get(path, selector)
        if isinstance(version, int) and found.version != version:
            raise malformed(path)
        return self._secret(path, found, version)

    def kept_versions(self, path: str) -> int:
        """Return 100; see https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html."""
        self._get(path, self._name(path))
        return _KEPT

    def undelete(self, path: str, version: Version) -> None:
        """Do nothing: an existing version is not deleted, and a deleted parameter is gone with all its versions.

        Raises:
            SecretNotFoundError: there is no such version.
        """
        find_version(self.versions(path), version, path)

    def destroy(self, path: str, version: Version) -> None:
        """Refuse: Parameter Store drops old versions only by itself.

        Raises:
            SecretNotFoundError: there is no such version.
            UnsupportedOperationError: there is.
        """
        find_version(self.versions(path), version, path)
        hint = "Delete the whole secret, with all its versions"
        raise UnsupportedOperationError(path, "Parameter Store cannot destroy a single version", hint=hint)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the tags of the parameter, without reserved ones. Costs a request that reads do not make."""
        return self._tags.labels(self._tagging("list_tags_for_resource", path).get("TagList", ()), path)

    def walk_labels(self, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield every path with its labels. Costs a request for each parameter, sent concurrently."""
        yield from map_concurrently(self._allowed_labels, self.walk(prefix))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        self._tags.of(labels, path)

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the tags, except reserved ones and those that `tag_prefix` excludes."""
        put, remove = self._tags.change(self.read_metadata(path), metadata, path)
        if put:
            self._tagging("add_tags_to_resource", path, changes=True, Tags=put)
        if remove:
            self._tagging("remove_tags_from_resource", path, changes=True, TagKeys=remove)

    # ------------------------------------------------------------------------------------------------------------------

    def _get(self, path: str, selector: str) -> Parameter:
        answer = self._service.call("get_parameter", path, Name=selector, WithDecryption=True)
        return parameter(answer.get("Parameter"), path)

    def _secret(self, path: str, found: Parameter, version: Version | None = None) -> Secret:
        if found.name != self._name(path):
            raise malformed(path)
        form, data = unfold(found.value)
        return Secret(path, data, found.version if version is None else version, found.modified, labels_of(form))

    def _allowed_labels(self, path: str) -> Mapping[str, str]:
        """Return `read_metadata`; nothing if it is denied or the parameter is gone."""
        try:
            return self.read_metadata(path)
        except (PermissionDeniedError, SecretNotFoundError):
            return {}

    def _tagging(self, operation: str, path: str, *, changes: bool = False, **parameters: Any) -> Mapping[str, Any]:
        """Call an operation on the tags. AWS reports a missing parameter as InvalidResourceId."""
        about = {"ResourceType": "Parameter", "ResourceId": self._name(path)}
        try:
            return self._service.call(operation, path, changes=changes, **about, **parameters)
        except StoreError as error:
            failure = error
        if isinstance(failure, RefusedError) and failure.code == "InvalidResourceId":
            failure = SecretNotFoundError(path)
        raise failure.copy()

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
            answer = self._service.call("get_parameters", None, Names=list(names), WithDecryption=True)
            found = {one.name: one for one in parameters_in(answer, None)}
            absent = set(answer.get("InvalidParameters", ()))
        except PermissionDeniedError:
            return outcomes + [(path, self._outcome(path)) for path in names.values()]
        except StoreError as error:
            return outcomes + [(path, error.copy(path=path)) for path in names.values()]
        for name, path in names.items():
            if name in found:
                outcomes.append((path, self._secret(path, found[name])))
            else:
                outcomes.append((path, SecretNotFoundError(path) if name in absent else self._outcome(path)))
        return outcomes

    def _outcome(self, path: str) -> Secret | StoreError:
        try:
            return self.read(path)
        except StoreError as error:
            return error

    def _write(self, path: str, data: Mapping[str, Value], form: Form | None) -> Version:
        name = self._name(path)
        text = _text(path, data, form)
        return self._put(path, name, text, self._overwritten(path))

    def _overwritten(self, path: str) -> Standing | None:
        """Return the attributes of an existing parameter that can be overwritten."""
        name = self._name(path)
        standing = self._standing(path, "Name", name).get(name)
        check_secure(name, standing, path)
        return standing

    def _form(self, path: str, data: Mapping[str, Value]) -> Form | None:
        if isinstance(data.get(VALUE), bytes):
            return None  # a parameter holds text
        return form_to_write(data, self._fold, lambda: self.read(path))


def _text(path: str, data: Mapping[str, Value], form: Form | None) -> SensitiveStr:
    """Return the text of the parameter: JSON instead of binary, and of text with a reference to a parameter."""
    text = fold(data, form)
    if isinstance(text, bytes) or "{{" in text:
        text = without_references(str(fold(data, None)))
    check_size(text, MAX_ADVANCED, path, "its form in Parameter Store")
    return text
