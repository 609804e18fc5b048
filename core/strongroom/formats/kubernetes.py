"""Names and values of a Secret of Kubernetes, for its manifests and for its API. Pure.

- The name of a Secret is the path itself if it can be a name. Otherwise the name is made from the path, and the
  annotation `strongroom/path` holds the path.
- A value is base64 under `data`. It is text if it is UTF-8, otherwise bytes; the annotation `strongroom/types` names
  the keys that differ: bytes that are UTF-8, numbers, lists.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping

from strongroom.encoding import from_json, json_text, to_json_text
from strongroom.errors import InvalidDataError, InvalidPathError, SecretTooLargeError, StoreError
from strongroom.formats.strict_json import read_json
from strongroom.secret import SensitiveDict, SensitiveStr, Value, protect

MAX_SIZE = 1 << 20
"""The most bytes of all values of a Secret together: https://kubernetes.io/docs/concepts/configuration/secret/"""

PATH = "strongroom/path"
TYPES = "strongroom/types"
_BYTES = "bytes"
_JSON = "json"
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME = 253
_HASH_LENGTH = 8


# --- names ------------------------------------------------------------------------------------------------------------


def is_namespace(text: str) -> bool:
    """Return True if the text can name a namespace: a label, without dots."""
    return is_name(text) and "." not in text and len(text) <= 63


def is_name(text: str) -> bool:
    """Return True if it can name a Secret: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None


def name_of(path: str) -> str:
    """Return the path itself if it can be a name, otherwise its legal characters and a hash of it."""
    if is_name(path):
        return path
    mark = hashlib.sha256(path.encode()).hexdigest()[:_HASH_LENGTH]
    slug = re.sub(r"[^a-z0-9]+", "-", path.lower())[: _MAX_NAME - _HASH_LENGTH - 1].strip("-")
    return f"{slug or 'secret'}-{mark}"


# --- values -----------------------------------------------------------------------------------------------------------


def check_data(path: str, data: Mapping[str, Value]) -> None:
    """Refuse keys and sizes that Kubernetes does not accept.

    Raises:
        InvalidPathError: a key.
        SecretTooLargeError: all values together.
        InvalidDataError: a number has more digits than Python reads.
    """
    size = 0
    for key, value in data.items():
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            rule = "Kubernetes takes letters, digits, '-', '_' and '.', and not '.' alone or '..' at the beginning"
            raise InvalidPathError(path, f"key {key!r}: {rule}", hint="Rename the key")
        size += len(_encoded(path, key, value)[0])
    if size > MAX_SIZE:
        raise SecretTooLargeError(path, f"{size:,} bytes, and a Secret holds at most {MAX_SIZE:,}")


def encode(path: str, data: Mapping[str, Value]) -> tuple[dict[str, str], str | None]:
    """Return the content of the field `data`, and that of the annotation `TYPES` if the Secret needs it."""
    encoded = {key: _encoded(path, key, value) for key, value in data.items()}
    texts = {key: SensitiveStr(base64.b64encode(content).decode("ascii")) for key, (content, _) in encoded.items()}
    types = {key: kind for key, (_, kind) in encoded.items() if kind}
    return dict(texts), to_json_text(types) if types else None


def decode(path: str, entries: Iterable[tuple[str, str]], types: str | None) -> SensitiveDict:
    """Return the values of the entries of `data`.

    Args:
        path: the path of the secret, for errors.
        entries: each key with its base64.
        types: the annotation `TYPES`.

    Raises:
        InvalidDataError: one is not base64, or not of the type that the annotation names.
    """
    kinds = _types(path, types)
    data = SensitiveDict()
    for key, text in entries:
        data[key] = _typed(path, key, _from_base64(path, key, text), kinds.get(key, ""))
    return data


def _encoded(path: str, key: str, value: Value) -> tuple[bytes, str]:
    """Return the bytes of a value, and its type if the bytes alone do not show it."""
    if isinstance(value, str):
        return value.encode(), ""
    if isinstance(value, bytes):
        return value, "" if _as_text(value) is None else _BYTES
    return json_text(path, key, value).encode(), _JSON


def _from_base64(path: str, key: str, text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        text = ""
    raise InvalidDataError(path, f"key {key!r}: it is not base64", hint="Put text under stringData")


def _types(path: str, text: str | None) -> Mapping[str, str]:
    try:
        found = read_json(text) if text else {}
    except StoreError:
        found = None
    if not isinstance(found, Mapping) or not set(map(str, found.values())) <= {_BYTES, _JSON}:
        raise InvalidDataError(path, f"the annotation {TYPES} is not one that Strongroom wrote")
    return {key: str(kind) for key, kind in found.items()}


def _typed(path: str, key: str, content: bytes, kind: str) -> Value:
    text = _as_text(content)
    if kind == _BYTES or text is None:
        return protect(content)
    if not kind:
        return text
    fault = ""
    try:
        return from_json(read_json(text))
    except InvalidDataError as error:
        fault = error.reason
    raise InvalidDataError(path, f"key {key!r}: {fault}", hint=f"Take it out of the annotation {TYPES} if it is text")


def _as_text(content: bytes) -> SensitiveStr | None:
    try:
        return SensitiveStr(content.decode())
    except UnicodeDecodeError:
        return None
