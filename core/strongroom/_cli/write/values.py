"""Arguments of `set`, and its values from the terminal, stdin, files or a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import click

from strongroom._cli.terminal.input import read_file, read_line, read_lines, read_stdin
from strongroom.encoding import from_json
from strongroom.errors import InvalidDataError, shown
from strongroom.formats.strict_json import read_json
from strongroom.paths import check_key, check_path, parse_reference
from strongroom.secret import SensitiveDict, SensitiveStr, Value, protect

_ENVELOPE = frozenset({"version", "path", "key", "store", "secret_version"})
"""Fields that identify a document of `get --json`."""

_USAGE = (
    "enter it at the prompt, pipe it (`… | strongroom set PATH KEY`), or name a file (`strongroom set PATH KEY=@FILE`)"
)

MISPLACED = f"Do not pass a value as an argument: {_USAGE}"
"""Message if an argument may be a value."""


@dataclass(frozen=True)
class WriteRequest:
    """Parsed arguments of `set`.

    Attributes:
        path: path of the secret.
        key: key whose value comes from the terminal or stdin; None if files or a document have the values.
        files: file of each key that was given as KEY=@FILE.
    """

    path: str
    key: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """Keys that are known before any value is read."""
        return list(self.files) if self.key is None else [self.key]


def parse_words(words: Sequence[str]) -> WriteRequest:
    """Parse PATH KEY, PATH#KEY, or PATH KEY=@FILE….

    Raises:
        click.UsageError: the words have another form. No message repeats a word after the path: it may be a value.
        InvalidPathError: the path or a key is invalid.
    """
    if "-" in words[1:]:  # stdin, in other programs
        raise click.UsageError(MISPLACED)
    words = _split_reference(words)
    if len(words) > 1 and all("=@" in word for word in words[1:]):
        return WriteRequest(check_path(words[0]), files=_files(words[0], words[1:]))
    # A path and a key may contain =, but in a key it is nearly always followed by a value.
    suspect = words[-1].rpartition("#")[2] if len(words) == 1 else "".join(words[1:])
    if "=" in suspect or any("=" in word.partition("#")[2] for word in words[:1]):
        raise click.UsageError(MISPLACED)
    if len(words) not in {1, 2}:
        raise click.UsageError(f"Too many arguments, expected PATH KEY or PATH#KEY. To give the value, {_USAGE}")
    path, key = parse_reference(words[0]) if len(words) == 1 else words
    if key is None:
        raise click.UsageError(f"Missing KEY. To give the value, {_USAGE}")
    return WriteRequest(check_path(path), check_key(key, path))


def parse_path(words: Sequence[str]) -> WriteRequest:
    """Parse PATH, for a document that has the keys.

    Raises:
        click.UsageError: there is not exactly one word.
    """
    if len(words) != 1:
        raise click.UsageError("With --from-json, give PATH alone: the document has the keys and values")
    return WriteRequest(check_path(words[0]))


def read_files(files: Mapping[str, str], *, empty: bool) -> SensitiveDict:
    """Return the exact content of each file by key: text if it is UTF-8, otherwise bytes.

    Raises:
        click.UsageError: a file cannot be read, or is empty without `empty`. The message names the key, not the file,
            which may be a value that begins with @.
    """
    data = SensitiveDict()
    for key, name in files.items():
        source = f"The file of {shown(key)}"
        data[key] = _check_empty(decode(read_file(name, source)), source, empty=empty)
    return data


def read_document(content: bytes) -> SensitiveDict:
    """Return the keys and values of a JSON object, in which bytes are `{"strongroom:bytes": "<base64>"}`.

    Raises:
        click.UsageError: the document is not a JSON object, is empty, has a key twice, or comes from `get --json`,
            whose own fields must not be stored. No message shows a part of it.
    """
    fault, document = "", None
    try:
        document = from_json(read_json(content.decode("utf-8-sig")))
    except UnicodeDecodeError:
        fault = "not UTF-8"
    except InvalidDataError as error:
        fault = error.reason
    del content
    if not fault and not isinstance(document, SensitiveDict):
        fault = "not a JSON object of keys and values"
    if fault or not isinstance(document, SensitiveDict):  # outside the `except`: the decoder's error holds the document
        raise click.UsageError(f"The document of --from-json: {fault}")
    if not document:
        raise click.UsageError("The document of --from-json: no keys")
    if document.keys() >= _ENVELOPE:
        raise click.UsageError(
            "The document of --from-json comes from `get --json`, and has more than the keys and values. "
            "Use `strongroom get PATH | strongroom set PATH --from-json -`"
        )
    return document


def read_typed(path: str, key: str, *, empty: bool) -> Value:
    """Prompt for one line without echo, and return text if it is UTF-8, otherwise bytes.

    Raises:
        click.UsageError: more than one line was pasted, or the line is empty without `empty`.
        click.Abort: Ctrl-D.
    """
    return _check_empty(decode(read_line(f"Value of {path}#{key}: ")), "The value", empty=empty)


def read_typed_document(path: str) -> bytes:
    """Prompt for a document without echo, until Ctrl-D.

    Raises:
        click.Abort: nothing was typed.
    """
    return read_lines(f"Document of {path}, then Ctrl-D: ")


def read_piped(*, empty: bool) -> Value:
    """Return all of stdin, without one trailing newline if it is text.

    Raises:
        click.UsageError: it is too large, or empty without `empty`.
    """
    value = decode(read_stdin())
    # Remove the newline before the check: `echo "$UNSET"` prints one.
    value = SensitiveStr(value.removesuffix("\n")) if isinstance(value, str) else value
    return _check_empty(value, "Stdin", empty=empty)


def decode(content: bytes) -> Value:
    """Return the content as text if it is UTF-8, otherwise as bytes."""
    try:
        return SensitiveStr(content.decode())
    except UnicodeDecodeError:
        return protect(content)


def _check_empty(value: Value, source: str, *, empty: bool) -> Value:
    if not value and not empty:
        raise click.UsageError(f"{source} is empty: use --empty to allow an empty value")
    return value


def _split_reference(words: Sequence[str]) -> list[str]:
    """Split PATH#KEY=@FILE into PATH and KEY=@FILE."""
    place, mark, file = words[0].partition("=@") if words else ("", "", "")
    path, hash_, key = place.rpartition("#")
    return [path, f"{key}{mark}{file}", *words[1:]] if mark and hash_ else list(words)


def _files(path: str, words: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for word in words:
        key, _, file = word.partition("=@")
        if "=" in key:
            raise click.UsageError(MISPLACED)
        if check_key(key, path) in files:
            raise click.UsageError(f"Duplicate key {shown(key)}")
        files[key] = file
    return files
