"""Writing one line of a `.env` file so that it reads back as it was. Pure."""

from __future__ import annotations

import re

from strongroom.config.dotenv import parse_dotenv
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
"""What no reader of a `.env` file takes for anything but itself."""

_COMMENT = re.compile(r"[^\S\r\n]*#")
_EXPANDED = re.compile(r"[$`]")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\r": "\\r", "\n": "\\n"}


def dotenv_line(name: str, value: str, comment: str = "") -> SensitiveStr | None:
    """`NAME=value`, the comment and a line end, or None where no line holds the value, or not before that comment.

    Of the ways to quote it, the first one is taken that python-dotenv reads exactly (without interpolation). They come
    in this order: bare; between single quotes as it is; between double quotes without anything that a shell expands.
    A shell reads these three as python-dotenv does. So does Docker Compose, but for values between double quotes that
    begin or end with one, or end with a backslash:
    https://github.com/compose-spec/compose-go/blob/042173482969cd44087fbc45b1f2f48d01b2d9c8/dotenv/parser.go#L128
    What is left is exact in python-dotenv alone: a single quote or a last backslash together with a dollar or a
    backtick, and a carriage return.
    """
    candidates = [value] if _BARE.fullmatch(value) else []
    if "'" not in value:
        candidates.append(f"'{value}'")
    if not _EXPANDED.search(value):
        candidates.append(_double(value, '\\"'))
    candidates.append("'" + value.replace("\\", r"\\").replace("'", r"\'") + "'")
    candidates.append(_double(value, '\\"\r\n'))
    for quoted in candidates:
        line = SensitiveStr(f"{name}={quoted}{comment}\n")
        if _reads_as(line, name, value):
            return line
    return None


def comment_of(line: str, name: str, value: str) -> SensitiveStr:
    """The comment at the end of the line that says NAME=value, with the blanks before it; empty where there is none.

    It begins where what stands before it says the same: so it is no part of a value, however that is quoted.
    """
    for found in _COMMENT.finditer(line):
        if _reads_as(line[: found.start()], name, value):
            return SensitiveStr(line[found.start() :].rstrip("\r\n"))
    return SensitiveStr("")


def _double(value: str, escaped: str) -> str:
    for character in escaped:
        value = value.replace(character, _ESCAPES[character])
    return f'"{value}"'


def _reads_as(line: str, name: str, value: str) -> bool:
    try:
        return parse_dotenv(line).values == {name: value}
    except ConfigurationError:
        return False
