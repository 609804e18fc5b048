"""The format `kubernetes`: each secret is a manifest of the kind Secret, in one file of YAML documents.

- The annotation `strongroom/path` holds the path; without it, the path is the name of the Secret.
- Values are written base64 under `data`, as `strongroom.formats.kubernetes` says.
- Documents of other kinds, labels and annotations are kept; comments are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from strongroom._files.codec import Contents, as_text, checked
from strongroom._files.yaml_codec import compose, pairs, represent, serialize, tree_of
from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.formats.kubernetes import PATH, TYPES, check_data, decode, encode, name_of
from strongroom.secret import SensitiveDict, SensitiveStr, Value, same


class _Manifest(NamedTuple):
    """A Secret that this store reads: its path, its namespace and name, its data, and its node."""

    path: str
    place: tuple[str | None, str | None]
    data: SensitiveDict
    node: MappingNode


class KubernetesCodec:
    """The format `kubernetes`. It holds every value, under keys that Kubernetes accepts.

    Args:
        namespace: the namespace of the Secrets that are read and written; None reads all, and writes no namespace.
    """

    name = "a Kubernetes manifest"
    keeps_more = True

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the Secrets, including those in a List. A Secret without data is skipped."""
        secrets: dict[str, SensitiveDict] = {}
        for document in compose(as_text(content)):
            for node in _items(document):
                if (manifest := self._manifest(node)) is None or not manifest.data:
                    continue
                if manifest.path in secrets:
                    hint = "Name the namespace with the option namespace"
                    raise InvalidDataError(manifest.path, "two Secrets have it", hint=hint)
                secrets[manifest.path] = manifest.data
        return secrets

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Replace the documents of changed secrets, remove those of deleted ones, and append new ones."""
        documents: list[Node] = []
        left = dict(contents)
        places: dict[tuple[str | None, str | None], str] = {}
        for document in compose(as_text(before)):
            items = _items(document)
            kept = [node for node in items if self._is_kept(node, left, places)]
            if items == [document]:
                documents += kept
            else:
                _set_items(document, kept)
                documents.append(document)
        for path, data in left.items():
            _take(places, (self._namespace, name_of(path)), path)
            documents.append(represent(self._new(path, data)))
        return serialize(documents) if documents else b""

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuse keys and sizes that Kubernetes does not accept."""
        check_data(path, data)

    # --- one manifest -------------------------------------------------------------------------------------------------

    def _manifest(self, node: Node) -> _Manifest | None:
        """Return the Secret in a document; None for another kind or another namespace."""
        if not isinstance(node, MappingNode):
            raise InvalidDataError(None, f"line {node.start_mark.line + 1}: it is not a manifest")
        fields = dict(pairs(node))
        if _plain(fields.get("apiVersion")) != "v1" or _plain(fields.get("kind")) != "Secret":
            return None
        metadata = dict(pairs(fields["metadata"])) if "metadata" in fields else {}
        namespace = _plain(metadata.get("namespace"))
        if self._namespace is not None and namespace not in {None, self._namespace}:
            return None
        annotations = dict(pairs(metadata["annotations"])) if _is_given(metadata.get("annotations")) else {}
        path = _plain(annotations.get(PATH)) or _plain(metadata.get("name"))
        if path is None:
            raise InvalidDataError(None, f"line {node.start_mark.line + 1}: the Secret has no name")
        data = _decoded(path, fields, _plain(annotations.get(TYPES)))
        place = namespace, _plain(metadata.get("name"))
        return _Manifest(path, place, checked(path, data) if data else data, node)

    def _is_kept(
        self,
        node: Node,
        left: dict[str, Mapping[str, Value]],
        places: dict[tuple[str | None, str | None], str],
    ) -> bool:
        """Return True if the document stays. Its new data is taken out of `left` and written into the node."""
        manifest = self._manifest(node)
        if manifest is None:
            return True
        if manifest.path not in left:
            return not manifest.data
        _take(places, manifest.place, manifest.path)
        data = left.pop(manifest.path)
        if not same(manifest.data, data):
            _set_data(manifest, data)
        return True

    def _new(self, path: str, data: Mapping[str, Value]) -> Mapping[str, Any]:
        texts, types = encode(path, data)
        namespace = {} if self._namespace is None else {"namespace": self._namespace}
        annotations = {PATH: path} if types is None else {PATH: path, TYPES: types}
        metadata = {"name": name_of(path), **namespace, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": texts}


def _take(places: dict[tuple[str | None, str | None], str], place: tuple[str | None, str | None], path: str) -> None:
    other = places.setdefault(place, path)
    if other != path:
        raise InvalidPathError(path, f"its Secret would have the name of that of {other}", hint="Rename one of the two")


# --- nodes ------------------------------------------------------------------------------------------------------------


def _items(document: Node) -> list[Node]:
    """Return the objects of a List, otherwise the document itself."""
    if isinstance(document, MappingNode):
        fields = dict(pairs(document))
        kind, items = _plain(fields.get("kind")), fields.get("items")
        if kind in {"List", "SecretList"} and isinstance(items, SequenceNode):
            return list(items.value)
    return [document]


def _set_items(document: Node, items: list[Node]) -> None:
    for key, value in document.value:
        if key.value == "items":
            value.value = items


def _plain(node: Node | None) -> str | None:
    return str(node.value) if isinstance(node, ScalarNode) and node.tag.endswith(":str") else None


def _is_given(node: Node | None) -> bool:
    return node is not None and not (isinstance(node, ScalarNode) and node.tag.endswith(":null"))


def _set_field(node: MappingNode, name: str, value: object) -> None:
    """Set a field of a mapping in its old position; None removes it."""
    fields = [(key, old) for key, old in node.value if key.value != name or value is not None]
    new = None if value is None else represent(value)
    if new is not None and all(key.value != name for key, _ in fields):
        fields.append((represent(name), new))
    node.value = [(key, new if key.value == name and new is not None else old) for key, old in fields]


def _set_data(manifest: _Manifest, data: Mapping[str, Value]) -> None:
    texts, types = encode(manifest.path, data)
    _set_field(manifest.node, "data", texts)
    _set_field(manifest.node, "stringData", None)
    metadata = dict(pairs(manifest.node))["metadata"]
    annotations = dict(pairs(metadata)).get("annotations")
    if isinstance(annotations, MappingNode):
        _set_field(annotations, TYPES, types)
    elif isinstance(metadata, MappingNode) and types is not None:
        _set_field(metadata, "annotations", {TYPES: types})


# --- values -----------------------------------------------------------------------------------------------------------


def _decoded(path: str, fields: Mapping[str, Node], types: str | None) -> SensitiveDict:
    """Return the data of a Secret. As in the cluster, `stringData` overrides `data`."""
    data = decode(path, _entries(path, fields.get("data")), types)
    for key, text in _entries(path, fields.get("stringData")):
        data[key] = text
    return data


def _entries(path: str, node: Node | None) -> Iterator[tuple[str, SensitiveStr]]:
    if node is None or not _is_given(node):
        return
    for key, value in pairs(node):
        text = tree_of(value)
        if not isinstance(text, str):
            raise InvalidDataError(path, f"key {key!r}: its value is not text")
        yield key, SensitiveStr(text)
