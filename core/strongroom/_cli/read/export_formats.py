"""Output formats of `export`. A value is written exactly, or refused by the name of its variable."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from strongroom._cli.read import secret_variables
from strongroom.encoding import to_json_text
from strongroom.formats.dotenv import dotenv_line, unwritable
from strongroom.required_secrets import Requirement, RequirementState
from strongroom.secret import SensitiveDict, SensitiveStr, Value

_GITHUB_RESERVED = re.compile(r"NODE_OPTIONS|(GITHUB|RUNNER)_.*", re.IGNORECASE)
"""Variables that a step cannot set:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#setting-an-environment-variable
"""


def as_json(answers: Sequence[Requirement]) -> SensitiveDict:
    """Return the values by variable, with their types.

    Raises:
        InvalidDataError: a text has a lone surrogate.
    """
    for answer, value in _values(answers):
        if not _is_unicode(to_json_text(value)):
            raise secret_variables.refusal(answer, "it has a lone surrogate, so it is not valid Unicode")
    return SensitiveDict((answer.variable, value) for answer, value in _values(answers))


def as_dotenv(answers: Sequence[Requirement]) -> str:
    """Return lines of `NAME=value` for python-dotenv and for a shell.

    Raises:
        InvalidDataError: the two would not read the same value.
    """
    return "".join(_dotenv_line(answer) for answer in _resolved(answers))


def as_shell(answers: Sequence[Requirement]) -> str:
    """Return lines of `export NAME=value` for a POSIX shell to `eval`.

    Raises:
        InvalidDataError: a value is not text, or contains a NUL.
    """
    return "".join(
        f"export {answer.variable}={shlex.quote(_text(answer, nul=False))}\n" for answer in _resolved(answers)
    )


def as_github_masks(answers: Sequence[Requirement]) -> str:
    """Return the workflow commands that mask the values in the log.

    Defaults are not masked: they are public in the configuration file, and a mask of `5` would hide every 5. The runner
    also masks each line of a value, and cannot mask blank values:
    https://github.com/actions/runner/blob/v2.315.0/src/Runner.Worker/ActionCommandManager.cs#L384
    """
    secret = (_mask(answer) for answer in _resolved(answers) if answer.state is not RequirementState.DEFAULT)
    return "".join(f"::add-mask::{_escaped(value)}\n" for value in secret if value.strip())


def as_github_file(answers: Sequence[Requirement], delimiter: str) -> str:
    """Return the lines for the file `$GITHUB_ENV`, each value between two lines of the delimiter.

    A value that contained the delimiter, which is random, could set other variables.

    Raises:
        InvalidDataError: a value is not text, contains a NUL or the delimiter, or the variable is reserved.
    """
    return "".join(_github_entry(answer, delimiter) for answer in _resolved(answers))


# --- one value --------------------------------------------------------------------------------------------------------


def _resolved(answers: Sequence[Requirement]) -> Iterator[Requirement]:
    return (answer for answer in answers if answer.resolution is not None)


def _values(answers: Sequence[Requirement]) -> Iterator[tuple[Requirement, Value]]:
    return ((answer, answer.resolution.value) for answer in answers if answer.resolution is not None)


def _text(answer: Requirement, *, nul: bool = True) -> SensitiveStr:
    """Return the value as text. With `nul=False`, a value that contains a NUL is refused."""
    if answer.resolution is not None and isinstance(answer.resolution.value, bytes):
        raise secret_variables.refusal(answer, "it is bytes: use --format json")
    text = SensitiveStr(secret_variables.to_bytes(answer).decode())
    if not nul and "\0" in text:
        raise secret_variables.refusal(answer, "an environment variable cannot contain a NUL")
    return text


def _mask(answer: Requirement) -> str:
    """Return the text to mask. The content of a file may be bytes, which the runner cannot mask."""
    if not answer.secret.as_path:
        return _text(answer, nul=False)
    return secret_variables.to_bytes(answer).decode(errors="ignore").replace("\0", "")


def _dotenv_line(answer: Requirement) -> str:
    line = dotenv_line(answer.variable, _text(answer))
    if line is None:
        raise secret_variables.refusal(answer, f"{unwritable(_text(answer))}: use another format")
    return line


def _github_entry(answer: Requirement, delimiter: str) -> str:
    value = _text(answer, nul=False)
    if _GITHUB_RESERVED.fullmatch(answer.variable):
        raise secret_variables.refusal(answer, "the name is reserved by the GitHub runner")
    if delimiter in value:
        raise secret_variables.refusal(answer, "it contains the delimiter")
    return f"{answer.variable}<<{delimiter}\n{value}\n{delimiter}\n"


def _escaped(value: str) -> str:
    """Escape a value for a workflow command: https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts"""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
