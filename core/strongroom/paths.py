"""Rules for paths and keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from strongroom.errors import ConfigurationError, InvalidPathError, shown

MAX_PATH_LENGTH = 1024
"""The longest path or key, in characters."""

ROTATION_RECORD = "/rotation/pending"
"""The end of each path that is reserved for the record of a rotation; see `is_rotation_record`."""

# Control characters would forge log lines and request lines, the line separators too; a backslash is a separator to
# some stores; a lone surrogate has no UTF-8 form.
_FORBIDDEN = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # compiled at first use


def _has_control(text: str) -> bool:
    """Return True if the text has a forbidden character. None of these is printable, which is quicker to find out."""
    return not text.isprintable() and re.search(_FORBIDDEN, text) is not None


def check_path(path: str) -> str:
    """Return the path, if it can name a secret.

    A path is segments joined by single slashes: no empty segment, no `.` or `..`, no control character, backslash or
    lone surrogate, at most `MAX_PATH_LENGTH` characters. Each of these has been an alias for another secret, or a way
    out of the mount, in some client.

    Raises:
        InvalidPathError: the message names the broken rule.
    """
    if not isinstance(path, str):
        raise InvalidPathError(None, f"a path is a string, not {type(path).__name__}")
    if "://" in path:
        raise _refusal_of_url()
    if not path:
        raise InvalidPathError(path, "the path is empty")
    if len(path) > MAX_PATH_LENGTH:
        raise InvalidPathError(path, f"{len(path):,} characters, the most is {MAX_PATH_LENGTH:,}")
    if "\\" in path or _has_control(path):
        raise InvalidPathError(path, "it has a control character, a backslash or a lone surrogate")
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            what = f"a segment that is {segment!r}" if segment else "a leading, trailing or double slash"
            raise InvalidPathError(path, f"it has {what}", hint="Write it as segments joined by single slashes")
    return path


def _refusal_of_url() -> InvalidPathError:
    """Return the error without the path: a URL may have a password."""
    hint = "Pass the path of a secret. A URL is for the library's own function, such as sqlalchemy.create_engine"
    return InvalidPathError(None, "it is a URL, which is not shown", hint=hint)


def check_paths(paths: Iterable[Any]) -> list[str]:
    """Return the paths, if all are strings: others may not even be keys of a result.

    Raises:
        TypeError: it is one text, or no collection.
        InvalidPathError: one of them is not a string.
    """
    if isinstance(paths, str | bytes) or not isinstance(paths, Iterable):
        raise TypeError(f"paths is a collection of paths, not {type(paths).__name__}: put a single path into a list")
    return [path if isinstance(path, str) else check_path(path) for path in paths]


def check_separate(path: object, key: object, call: str) -> None:
    """Refuse `PATH#KEY` in a call that takes the key as an argument: its type would be that of a whole secret.

    Args:
        path: the argument.
        key: the argument. With it, the path may have a `#`.
        call: the function's name, for the message.

    Raises:
        InvalidPathError: its hint is the call to write instead.
    """
    if key is None and isinstance(path, str) and "#" in path:
        if "://" in path:
            raise _refusal_of_url()
        hint = hint_at_key(path, call) or "Pass the path without #"
        raise InvalidPathError(path, "it has a #, and the key is an argument of its own", hint=hint)


def hint_at_key(path: str, call: str) -> str:
    """Return the call to write instead of one with `PATH#KEY`: its key is a separate argument. Empty for other paths.

    Args:
        path: the path.
        call: the function's name.
    """
    above, _, key = path.rpartition("#")
    passed = f'{{"{shown(key)}": …}}' if call == "set_secret" else f'"{shown(key)}"'
    return f'Call {call}("{shown(above)}", {passed})' if above and key else ""


def check_prefix(prefix: str) -> str:
    """Return the folder to list, without its trailing slash; the empty string is the top.

    Raises:
        InvalidPathError: see `check_path`.
    """
    if isinstance(prefix, str):
        if not prefix:
            return prefix
        prefix = prefix.removesuffix("/") or prefix
    return check_path(prefix)


def is_rotation_record(path: str) -> bool:
    """Return True if the path is reserved for the record of a rotation, which is not a secret of an application.

    Listings, migrations, copies and comparisons of stores leave such a path out. Redaction and `scan` look only for the
    credentials in it; see `strongroom.secret.credential_parts`. A read of the path itself works.
    """
    return path.endswith(ROTATION_RECORD)


def check_option(option: str, value: str, check: Callable[[str], str] = check_path) -> str:
    """Return the value of an option that is a path; with `check_prefix`, of one that can be empty.

    Raises:
        ConfigurationError: names the option and the broken rule.
    """
    try:
        return check(value)
    except InvalidPathError as error:
        reason = error.reason
    del value  # it may be a credential in the wrong option, and the frame of an error can be shown
    raise ConfigurationError(f"{option}: {reason}. Write it as segments joined by single slashes")


def entries_below(paths: Iterable[str], prefix: str) -> Iterator[str]:
    """Yield the entries directly below `prefix`, each once: a secret as `name`, a folder as `name/`.

    Args:
        paths: paths, those elsewhere included.
        prefix: the folder; the empty string is the top.
    """
    start = f"{prefix}/" if prefix else ""
    seen: set[str] = set()
    for path in paths:
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition("/")
            if (entry := name + slash) not in seen:
                seen.add(entry)
                yield entry


def check_key(key: str, path: str | None = None) -> str:
    """Return the key, if it can name a field of a secret.

    Raises:
        InvalidPathError: it is empty, too long, not a string, or has a control character or a lone surrogate.
    """
    if not isinstance(key, str):
        raise InvalidPathError(path, f"a key is a string, not {type(key).__name__}")
    fault = ""
    if not key:
        fault = "the key is empty"
    elif len(key) > MAX_PATH_LENGTH:
        fault = f"the key has {len(key):,} characters, and may have {MAX_PATH_LENGTH:,}"
    elif _has_control(key):
        fault = "the key has a control character or a lone surrogate"
    if fault:
        raise InvalidPathError(path, fault)
    return key


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Return the path and key of `PATH#KEY`, or the path and None of `PATH`. The last `#` separates them.

    Raises:
        InvalidPathError: see `check_path` and `check_key`.
    """
    if not isinstance(reference, str):
        return check_path(reference), None
    path, mark, key = reference.rpartition("#")
    if not mark:
        return check_path(reference), None
    return check_path(path), check_key(key, path)
