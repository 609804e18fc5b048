"""The store `kubernetes-api`: ConfigMaps and Secrets of one namespace. Each object is a secret, each entry a key.

Its opener imports the client of Kubernetes when it is called.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from strongroom.errors import (
    Check,
    CheckState,
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
)
from strongroom.formats.kubernetes import PATH, TYPES, check_data, decode, encode, is_namespace, name_of
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveStr, Value, Version, protect_data
from strongroom.store import Health, Option, VersionInfo, checked_by, required_paths
from strongroom.store.concurrency import read_each
from strongroom_kubernetes.api_server import METADATA_LIST, ApiServer, malformed, member

_ANY: Final = object()
"""The expected version of a write without check-and-set."""


class ConfigMapStore:
    """ConfigMaps of a namespace, to read. The version of a secret is its resourceVersion.

    Args:
        server: the API server.
        namespace: the namespace; None is that of the context or of the service account.
    """

    resource = "configmaps"
    kind = "ConfigMap"

    def __init__(self, server: ApiServer, namespace: str | None) -> None:
        self._server = server
        self._namespace = namespace or server.namespace

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def read(self, path: str) -> Secret:
        """Return the secret.

        Raises:
            SecretNotFoundError: there is no such object, its namespace is absent, or it has no data.
        """
        found = self._object(path)
        metadata = member(found, "metadata", path)
        if (other := _path_of(metadata)) != path:
            raise SecretNotFoundError(path, f"the {self.kind} of that name has the path {other}")
        if not (data := self._data(path, found)):
            raise SecretNotFoundError(path, f"the {self.kind} has no data")
        return Secret(path, data, _version_of(metadata, path), _written(metadata))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or error, with concurrent requests."""
        return read_each(self.read, paths)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`."""
        yield from entries_below(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield every path below `prefix`, from metadata alone: no value is sent."""
        start = f"{prefix}/" if prefix else ""
        yield from (path for path in map(_path_of, self._server.metadata_below(self._url())) if path.startswith(start))

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        """Yield the version of each path, for a watch. One request lists the metadata of the namespace."""
        listed = {_path_of(metadata): metadata for metadata in self._server.metadata_below(self._url())}
        for path in paths:
            metadata = listed.get(path)
            if metadata is None:
                yield path, SecretNotFoundError(path)
            else:
                yield path, VersionInfo(_version_of(metadata, path), _written(metadata))

    def probe(self) -> Health:
        """Return address, namespace, identity, latency, and whether lists and required secrets are allowed."""
        started = time.monotonic()
        checks = [Check("reachable", CheckState.OK, self._server.address), Check("authenticated", CheckState.OK)]
        try:
            self._server.request("GET", f"{self._url()}?limit=1", None, accept=METADATA_LIST)
        except PermissionDeniedError:
            hint = "Allow it, or ignore this: secrets are read without it"
            checks.append(Check("listing", CheckState.WARNING, f"{self.resource} cannot be listed", hint))
        facts = {"namespace": self._namespace, "latency": f"{time.monotonic() - started:.4f}"}
        if self._namespace_is_absent():
            hint = "Create it, or correct the option `namespace`"
            checks.append(Check("namespace", CheckState.FAILED, f"{self._namespace} does not exist", hint))
        checks += self._denied_paths()
        failed = [check for check in checks if check.state is CheckState.FAILED]
        detail = failed[0].detail if failed else f"open: namespace {self._namespace} of {self._server.address}"
        return Health(ok=not failed, detail=detail, facts=facts, checks=tuple(checks))

    def _namespace_is_absent(self) -> bool:
        """Return True if the namespace is certainly absent. Few roles may look."""
        try:
            self._server.metadata(f"/api/v1/namespaces/{self._namespace}", self._namespace)
        except SecretNotFoundError:
            return True
        except StoreError:
            pass
        return False

    def _denied_paths(self) -> Iterator[Check]:
        """Yield a check for each required path that this identity may not read."""
        url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        for path in required_paths():
            asked = {"namespace": self._namespace, "verb": "get", "resource": self.resource, "name": name_of(path)}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
            answer = self._server.request("POST", url, None, {**review, "spec": {"resourceAttributes": asked}})
            if not member(answer, "status", None).get("allowed"):
                hint = f"Grant get on {self.resource}/{name_of(path)} in the namespace {self._namespace}"
                yield Check("access", CheckState.FAILED, f"{path} may not be read", hint)

    def _data(self, path: str, found: Mapping[str, Any]) -> dict[str, Value]:
        """Return the texts of `data` and the bytes of `binaryData`."""
        texts = {key: SensitiveStr(text) for key, text in _entries(found, "data", path)}
        return {**texts, **decode(path, _entries(found, "binaryData", path), None)}

    def _object(self, path: str) -> Mapping[str, Any]:
        """Return the object whose name is that of the path."""
        return self._server.request("GET", self._url(path), path)

    def _url(self, path: str | None = None) -> str:
        below = f"/api/v1/namespaces/{self._namespace}/{self.resource}"
        return below if path is None else f"{below}/{name_of(path)}"


class SecretObjectStore(ConfigMapStore):
    """Secrets of a namespace. A write changes `data` and its own annotations, and keeps everything else."""

    resource = "secrets"
    kind = "Secret"

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Replace the data of the Secret, or create it. A writer in between is overwritten."""
        return self._write(path, data, _ANY)

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version:
        """Replace the data if the resourceVersion is `expected`. Any change of the Secret changes it, labels too."""
        return self._write(path, data, expected)

    def delete(self, path: str) -> None:
        """Delete the Secret."""
        metadata = self._server.metadata(self._url(path), path)
        if (other := _path_of(metadata)) != path:
            raise SecretNotFoundError(path, f"the {self.kind} of that name has the path {other}")
        self._server.request("DELETE", self._url(path), path, settle=lambda: None if self._changeable(path) else {})

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check keys, size and name, and that an existing Secret can be changed."""
        check_data(path, data)
        self._changeable(path)

    def cautions(self, path: str) -> Sequence[str]:
        """Return the features of the Secret that a copy would lack: its type, and the owner that changes it."""
        found = self._object(path)
        owners = member(found, "metadata", path).get("ownerReferences") or ()
        cautions = [f"a {owner.get('kind')} owns it, and may change it" for owner in owners]
        if (type_ := found.get("type")) not in {None, "Opaque"}:
            cautions.append(f"its type is {type_}")
        return cautions

    # ------------------------------------------------------------------------------------------------------------------

    def _write(self, path: str, data: Mapping[str, Value], expected: object) -> Version:
        check_data(path, data)
        texts, types = encode(path, data)
        while True:  # until the deadline: `request` raises then
            before = self._changeable(path)
            current = None
            if before is not None and before.get("data"):
                current = _version_of(member(before, "metadata", path), path)
            if expected is not _ANY and current != (None if expected is None else str(expected)):
                newest = "it does not exist" if current is None else f"the newest is {current}"
                raise ConflictError(path, f"version {expected} was expected, {newest}")
            method, url = ("POST", self._url()) if before is None else ("PUT", self._url(path))
            changed = self._changed(path, before, texts, types)
            settle = partial(self._saved, path, changed)
            try:
                saved = self._server.request(method, url, path, changed, settle=settle)
            except ConflictError:
                if expected is not _ANY:
                    raise
            else:
                return _version_of(member(saved, "metadata", path), path)

    def _saved(self, path: str, changed: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the Secret if it is as it was to be changed, otherwise None."""
        found = self._object(path)
        annotations = [member(each, "metadata", path).get("annotations") or {} for each in (found, changed)]
        return found if found.get("data") == changed["data"] and annotations[0] == annotations[1] else None

    def _changeable(self, path: str) -> Mapping[str, Any] | None:
        """Return the Secret as it is, or None if it does not exist.

        Raises:
            InvalidPathError: the Secret of that name has another path.
            ConflictError: it is immutable.
        """
        try:
            found = self._object(path)
        except SecretNotFoundError:
            return None
        if (other := _path_of(member(found, "metadata", path))) != path:
            raise InvalidPathError(path, f"the Secret of that name has the path {other}")
        if found.get("immutable"):
            raise ConflictError(path, "the Secret is immutable", hint="Delete it, and write it again")
        return found

    def _changed(
        self, path: str, before: Mapping[str, Any] | None, texts: Mapping[str, str], types: str | None
    ) -> Mapping[str, Any]:
        """Return the Secret with new data. With its resourceVersion, Kubernetes refuses it if it has changed since."""
        if before is None:
            before = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name_of(path)}}
        metadata = member(before, "metadata", path)
        annotations = dict(metadata.get("annotations") or {})
        annotations.pop(TYPES, None)
        if name_of(path) != path:
            annotations[PATH] = path
        if types is not None:
            annotations[TYPES] = types
        return protect_data({**before, "metadata": {**metadata, "annotations": annotations}, "data": texts})

    def _data(self, path: str, found: Mapping[str, Any]) -> dict[str, Value]:
        annotations = member(found, "metadata", path).get("annotations") or {}
        return decode(path, _entries(found, "data", path), annotations.get(TYPES))


def _path_of(metadata: Mapping[str, Any]) -> str:
    """Return the path of an object: that of its annotation if its name was made from it, otherwise its name."""
    name = str(metadata.get("name"))
    path = (metadata.get("annotations") or {}).get(PATH)
    return path if isinstance(path, str) and name_of(path) == name else name


def _version_of(metadata: Mapping[str, Any], path: str) -> str:
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise malformed(path)
    return str(version)


def _written(metadata: Mapping[str, Any]) -> datetime | None:
    """Return the time of the last change, which is the newest one of the managers of fields, in whole seconds."""
    times = [str(manager.get("time")) for manager in metadata.get("managedFields") or () if manager.get("time")]
    try:
        return datetime.fromisoformat(max(times, default=str(metadata.get("creationTimestamp"))))
    except ValueError:
        return None


def _entries(found: Mapping[str, Any], field: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a field of texts."""
    for key, text in (found.get(field) or {}).items():
        if not isinstance(text, str):
            raise InvalidDataError(path, f"key {key!r}: its value is not text")
        yield key, text


def check_kubernetes_api(*, namespace: str | None = None, **_: object) -> None:
    """Check the options without the client of Kubernetes.

    Raises:
        ConfigurationError: the text can name no namespace.
    """
    if namespace is not None and not is_namespace(namespace):
        raise ConfigurationError(f"namespace: {namespace!r} can be no namespace of Kubernetes")


@checked_by(check_kubernetes_api)
def open_kubernetes_api(
    *,
    namespace: Annotated[
        str | None,
        Option("the namespace; defaults to that of the context or of the pod", location=True, locates=True),
    ] = None,
    kind: Annotated[Literal["secret", "configmap"], Option("Secrets, or ConfigMaps, which are read only")] = "secret",
    kubeconfig: Annotated[
        Path | None,
        Option("the kubeconfig; defaults to KUBECONFIG, ~/.kube/config, or the pod's service account", locates=True),
    ] = None,
    context: Annotated[str | None, Option("the context of the kubeconfig", locates=True)] = None,
) -> SecretObjectStore | ConfigMapStore:
    """Secrets, or ConfigMaps, of one namespace of a Kubernetes cluster, live from its API.

    Raises:
        ConfigurationError: an option is wrong, or there is neither a kubeconfig nor a service account.
        ImportError: the client of Kubernetes is not installed. Strongroom names the extra that brings it.
    """
    check_kubernetes_api(namespace=namespace)
    import kubernetes  # noqa: F401  # fail now if it is not installed

    server = ApiServer(kubeconfig, context)
    return (SecretObjectStore if kind == "secret" else ConfigMapStore)(server, namespace)
