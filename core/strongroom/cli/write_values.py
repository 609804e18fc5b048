"""The values of a write: what the words of the command line ask for, and where each value comes from."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from strongroom.bounded_file import read_bytes
from strongroom.cli.terminal import prompt
from strongroom.encoding import from_json
from strongroom.errors import shown
from strongroom.paths import check_key, check_path, parse_reference
from strongroom.secret import SensitiveDict, SensitiveStr, Value, protect

MAX_SIZE = 32 << 20
"""The most that is read of a file or of stdin, in bytes: what Vault takes in one request by default."""

_ENVELOPE = frozenset({"version", "path", "key", "store", "secret_version"})
"""What `get --json` prints beside the values: its other fields may become more."""

_HOW = (
    "type the value when asked, pipe it in: `… | strongroom set PATH KEY`, or name the file that it is in: "
    "`strongroom set PATH KEY=@FILE`"
)

MISPLACED = f"A value does not belong on the command line: {_HOW}"
"""What is said where a value seems to stand there."""


@dataclass(frozen=True)
class Wanted:
    """What a command line wants to be written.

    Attributes:
        path: of the secret.
        key: the key whose value is typed or piped in; None where files or a document have the values.
        files: the file of each key that was given as KEY=@FILE.
    """

    path: str
    key: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The keys that are known before any value is read."""
        return list(self.files) if self.key is None else [self.key]


def parse_words(words: Sequence[str]) -> Wanted:
    """PATH KEY, PATH#KEY, PATH KEY=@FILE…, as what it asks for.

    Raises:
        click.UsageError: it is none of these. No message repeats a word that follows the path: it may be a value in
            the wrong place.
        InvalidPathError: the path or a key is impossible.
    """
    if "-" in words[1:]:  # stdin, as other programs have it
        raise click.UsageError(MISPLACED)
    words = _divided(words)
    if len(words) > 1 and all("=@" in word for word in words[1:]):
        return Wanted(check_path(words[0]), files=_files(words[0], words[1:]))
    # A path may hold an equals sign, and so may a key; but in a key it is nearly always a value that was put there.
    suspect = words[-1].rpartition("#")[2] if len(words) == 1 else "".join(words[1:])
    if "=" in suspect or any("=" in word.partition("#")[2] for word in words[:1]):
        raise click.UsageError(MISPLACED)
    if len(words) not in {1, 2}:
        raise click.UsageError(f"It takes PATH and KEY, or PATH#KEY, and nothing more: {_HOW}")
    path, key = parse_reference(words[0]) if len(words) == 1 else words
    if key is None:
        raise click.UsageError(f"It takes a KEY too: {_HOW}")
    return Wanted(check_path(path), check_key(key, path))


def parse_path(words: Sequence[str]) -> Wanted:
    """PATH alone, for a document that has the keys.

    Raises:
        click.UsageError: there is more or less than one word.
    """
    if len(words) != 1:
        raise click.UsageError("With --json it takes PATH alone: the document has the keys and the values")
    return Wanted(check_path(words[0]))


def read_files(files: Mapping[str, str], *, empty: bool) -> SensitiveDict:
    """The exact content of each file under its key: as text where it is UTF-8, else as bytes.

    Raises:
        click.UsageError: one cannot be read, or is empty, and that is not meant. The message names the key and not the
            file, which may be a value that begins with @.
    """
    data = SensitiveDict()
    for key, name in files.items():
        what = f"the file of {shown(key)}"
        data[key] = _meant(text_or_bytes(read_file(name, what)), what, empty=empty)
    return data


def read_file(name: str, what: str) -> bytes:
    """The bytes of a file.

    Raises:
        click.UsageError: says what cannot be read, and why.
    """
    fault, content = "", b""
    try:
        content, _ = read_bytes(Path(name).expanduser(), MAX_SIZE)
    except (OSError, ValueError, RuntimeError) as error:
        fault = (error.strerror if isinstance(error, OSError) else None) or "it cannot be read"
    if fault:
        raise click.UsageError(f"{what[0].upper()}{what[1:]}: {fault}")
    return _limited(content, what)


def read_document(content: bytes) -> SensitiveDict:
    """The keys and values of a JSON object, in which bytes are `{"strongroom:bytes": "<base64>"}`.

    Raises:
        click.UsageError: it is not a JSON object, is empty, or has a key twice; or it is what `get --json` prints,
            whose own fields are not to be stored. No message shows a part of it.
    """
    fault, document = "", None
    try:
        document = from_json(json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object))
    except json.JSONDecodeError as error:
        fault = f"line {error.lineno}, column {error.colno}: it is not JSON"
    except UnicodeDecodeError:
        fault = "it is not UTF-8"
    except RecursionError:
        fault = "it is nested too deeply"
    except _RepeatedKeyError:
        fault = "an object has one key twice"
    except ValueError:  # an integer of more digits than Python reads
        fault = "it has a number that is too long"
    del content
    if not fault and not isinstance(document, SensitiveDict):
        fault = "it is not a JSON object of keys and values"
    if fault or not isinstance(document, SensitiveDict):  # outside the `except`: the decoder's error holds the text
        raise click.UsageError(f"The document of --json: {fault}")
    if not document:
        raise click.UsageError("The document of --json: it has no key")
    if document.keys() >= _ENVELOPE:
        raise click.UsageError(
            "The document of --json: it is what `get --json` prints, which is more than the keys and values; those are "
            "what it prints without --json: `strongroom get PATH | strongroom set PATH --json -`"
        )
    return document


def read_typed(path: str, key: str, *, empty: bool) -> Value:
    """One line that is typed, without echo: as text where it is UTF-8, else as bytes.

    Raises:
        click.UsageError: more than one line was pasted; or it is empty, and that is not meant.
        click.Abort: Ctrl-D.
    """
    return _meant(text_or_bytes(prompt.read_line(f"Value of {path}#{key}: ")), "what was typed", empty=empty)


def read_typed_document(path: str) -> bytes:
    """What is typed until Ctrl-D, without echo, for `read_document`.

    Raises:
        click.Abort: nothing was typed.
    """
    return prompt.read_lines(f"Document of {path}, then Ctrl-D: ")


def read_stdin() -> bytes:
    """All of stdin.

    Raises:
        click.UsageError: there is more of it than a file may have.
    """
    return _limited(sys.stdin.buffer.read(MAX_SIZE + 1), "stdin")


def read_piped(*, empty: bool) -> Value:
    """All of stdin, less one newline at its end where it is text.

    Raises:
        click.UsageError: it is too large; or it is empty, and that is not meant.
    """
    value = text_or_bytes(read_stdin())
    # The newline goes first: `echo "$UNSET"` prints one.
    return _meant(SensitiveStr(value.removesuffix("\n")) if isinstance(value, str) else value, "stdin", empty=empty)


def text_or_bytes(content: bytes) -> Value:
    """The same content: text where it is UTF-8."""
    try:
        return SensitiveStr(content.decode())
    except UnicodeDecodeError:
        return protect(content)


def _limited(content: bytes, what: str) -> bytes:
    if len(content) > MAX_SIZE:
        raise click.UsageError(f"{what[0].upper()}{what[1:]}: it is larger than {MAX_SIZE:,} bytes")
    return content


def _meant(value: Value, what: str, *, empty: bool) -> Value:
    if not value and not empty:
        raise click.UsageError(f"{what[0].upper()}{what[1:]} is empty; --empty stores an empty value")
    return value


class _RepeatedKeyError(Exception):
    """One object has a key twice: which of the two counts would be a guess."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKeyError
    return found


def _divided(words: Sequence[str]) -> list[str]:
    """PATH#KEY=@FILE as PATH and KEY=@FILE."""
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
            raise click.UsageError(f"The key {shown(key)} is given twice")
        files[key] = file
    return files
