"""The formats of `export`. Each holds every value exactly, or refuses it by its variable's name. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from strongroom.cli import secrets_table
from strongroom.encoding import to_json_text
from strongroom.files.dotenv_codec import UNWRITABLE, dotenv_line
from strongroom.required_secrets import Requirement, State
from strongroom.secret import SensitiveDict, SensitiveStr, Value

_GITHUBS_OWN = re.compile(r"NODE_OPTIONS|(GITHUB|RUNNER)_.*", re.IGNORECASE)
"""What the runner does not let a step set:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#setting-an-environment-variable
"""


def as_json(answers: Sequence[Requirement]) -> SensitiveDict:
    """Variable to value, of its own type.

    Raises:
        InvalidDataError: a text in it has half a character.
    """
    for answer, value in _values(answers):
        if not _is_unicode(to_json_text(value)):
            raise secrets_table.refusal(answer, "it has a lone surrogate, which is no text")
    return SensitiveDict((answer.variable, value) for answer, value in _values(answers))


def as_dotenv(answers: Sequence[Requirement]) -> str:
    """Return lines of `NAME=value` for python-dotenv and for a shell.

    Raises:
        InvalidDataError: the two would not read the same value.
    """
    return "".join(_dotenv_line(answer) for answer in _found(answers))


def as_shell(answers: Sequence[Requirement]) -> str:
    """Lines of `export NAME=value` for a POSIX shell to `eval`.

    Raises:
        InvalidDataError: a value is no text, or holds a NUL.
    """
    return "".join(f"export {answer.variable}={shlex.quote(_text(answer, nul=False))}\n" for answer in _found(answers))


def as_github_masks(answers: Sequence[Requirement]) -> str:
    """The commands that keep the values out of the log, for the runner to read on stdout.

    A default stands in the configuration file for all to read, and a mask of `5` would hide every 5 in the log. The
    runner masks each line of a value by itself too, and has no mask for a blank:
    https://github.com/actions/runner/blob/v2.315.0/src/Runner.Worker/ActionCommandManager.cs#L384
    """
    secret = (_text(answer, nul=False) for answer in _found(answers) if answer.state is not State.DEFAULT)
    return "".join(f"::add-mask::{_escaped(value)}\n" for value in secret if value.strip())


def as_github_file(answers: Sequence[Requirement], delimiter: str) -> str:
    """What is appended to the file of `$GITHUB_ENV`: each value between two lines of the delimiter.

    Args:
        answers: the rows.
        delimiter: a line that nobody could have put into a value. It ends the value; what followed would be variables.

    Raises:
        InvalidDataError: a value is no text, holds a NUL or the delimiter, or the runner would not set the variable.
    """
    return "".join(_github_entry(answer, delimiter) for answer in _found(answers))


# --- one value --------------------------------------------------------------------------------------------------------


def _found(answers: Sequence[Requirement]) -> Iterator[Requirement]:
    return (answer for answer in answers if answer.resolution is not None)


def _values(answers: Sequence[Requirement]) -> Iterator[tuple[Requirement, Value]]:
    return ((answer, answer.resolution.value) for answer in answers if answer.resolution is not None)


def _text(answer: Requirement, *, nul: bool = True) -> SensitiveStr:
    """The value as text. With `nul=False`, one that holds a NUL is refused."""
    if answer.resolution is not None and isinstance(answer.resolution.value, bytes):
        raise secrets_table.refusal(answer, "it is bytes, which this format cannot hold: use --format json")
    text = SensitiveStr(secrets_table.content(answer).decode())
    if not nul and "\0" in text:
        raise secrets_table.refusal(answer, "it holds a NUL, which no environment variable can hold")
    return text


def _dotenv_line(answer: Requirement) -> str:
    line = dotenv_line(answer.variable, _text(answer))
    if line is None:
        raise secrets_table.refusal(answer, f"{UNWRITABLE}: use another format")
    return line


def _github_entry(answer: Requirement, delimiter: str) -> str:
    value = _text(answer, nul=False)
    if _GITHUBS_OWN.fullmatch(answer.variable):
        raise secrets_table.refusal(answer, "GitHub's runner keeps this name to itself")
    if delimiter in value:
        raise secrets_table.refusal(answer, "it holds the line that should end it")
    return f"{answer.variable}<<{delimiter}\n{value}\n{delimiter}\n"


def _escaped(value: str) -> str:
    """As the runner reads it: https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts"""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
