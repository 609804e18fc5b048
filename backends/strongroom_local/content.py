"""A secret as text, for a program or a keyring that keeps one text under a name. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.encoding import from_json, to_json_text
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import read_json
from strongroom.secret import SensitiveBytes, SensitiveDict, SensitiveStr, Value, same


def encode(data: Mapping[str, Value], key: str, *, line: bool) -> bytes:
    """Return the text of a secret: plain if it has one text under `key` and nothing else, otherwise a JSON object.

    Plain text is used only if no program can change it: not for empty text, white space at its ends, or control
    characters.

    Args:
        data: the secret.
        key: the key of plain text.
        line: the text ends with a newline, as a person would write it.
    """
    text = data.get(key)
    end = "\n" if line else ""
    if len(data) == 1 and isinstance(text, str) and _is_plain(text):
        content = f"{text}{end}".encode()
        if same(decode(content, key, line=line), data):
            return content
    return f"{to_json_text(data)}{end}".encode()


def decode(content: bytes, key: str, *, line: bool) -> SensitiveDict:
    """Return the keys of a JSON object. Other text is the value of `key`; if `line`, without its last newline."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return SensitiveDict({key: SensitiveBytes(content)})
    if text.startswith("{"):
        try:
            tree = read_json(text)
        except InvalidDataError:
            tree = None
        if isinstance(tree, dict) and tree:
            return SensitiveDict((name, from_json(value)) for name, value in tree.items())
    if line and text.endswith("\n"):
        text = text[:-1].removesuffix("\r")
    return SensitiveDict({key: SensitiveStr(text)})


def _is_plain(text: str) -> bool:
    lines = text.split("\n")
    return text == text.strip() != "" and all(line.replace("\t", " ").isprintable() for line in lines)
