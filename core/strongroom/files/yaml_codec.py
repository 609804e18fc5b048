"""YAML: a mapping of paths, each a mapping of keys. Bytes are `!!binary`."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.errors import InvalidDataError
from strongroom.files.codec import Contents, as_text, checked
from strongroom.files.json_codec import json_text
from strongroom.files.yaml_tree import compose, pairs, represent, serialize, tree_of
from strongroom.secret import SensitiveDict, Value


class YamlCodec:
    """The format `yaml`. It holds every value. A rewrite drops comments."""

    name = "YAML"
    keeps_more = False

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets of the single document; an empty one has none."""
        documents = list(compose(as_text(content)))
        if len(documents) > 1:
            raise InvalidDataError(None, "it is more than one document")
        secrets: dict[str, SensitiveDict] = {}
        for path, node in pairs(documents[0]) if documents else ():
            data = tree_of(node)
            if not isinstance(data, Mapping):
                raise InvalidDataError(path, "it is not a mapping of keys")
            secrets[path] = checked(path, data)
        return secrets

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Write block style, with every text between double quotes."""
        del before
        return serialize([represent(contents)])

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuse integers with more digits than Python reads."""
        for key, value in data.items():
            json_text(path, key, value)
