"""What `check`, `run` and `export` share: the rows of `[secrets]`, asked, and the code that says what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.terminal import output
from strongroom.config import Config, SecretConfig
from strongroom.encoding import as_text
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.required_secrets import Requirement, resolve

if TYPE_CHECKING:
    from strongroom.secrets_manager import SecretsManager


def ask(config: Config, *, allow_dynamic: bool = True) -> tuple[Requirement, ...]:
    """Every row of `[secrets]`, asked as a new process would ask: nothing is cached, nothing is known to be out.

    Args:
        config: the configuration.
        allow_dynamic: False queries no store that creates a credential on every read.

    Raises:
        ConfigurationError: there are none, or a store of the chain is configured wrongly.
    """
    with asked(config, allow_dynamic=allow_dynamic) as (answers, _):
        return answers


@contextmanager
def asked(config: Config, *, allow_dynamic: bool = True) -> Iterator[tuple[tuple[Requirement, ...], SecretsManager]]:
    """`ask`, and the manager that answered, which is open while the block runs: so is what its stores made."""
    from strongroom.secrets_manager import SecretsManager

    rows = _rows(config)
    check_names(config)
    with SecretsManager.from_config(config) as secrets:
        yield resolve(rows, partial(secrets.resolve, allow_dynamic=allow_dynamic)), secrets


def exit_code(answers: Sequence[Requirement]) -> ExitCode:
    """DONE where every row is met, else the code of the row that needs the most doing."""
    return code_of_all(answer.error for answer in answers if answer.error is not None and not answer.met)


def require(answers: Sequence[Requirement], otherwise: str) -> None:
    """Goes on where every row is met.

    Args:
        answers: of every row.
        otherwise: what the command did not do, in words, where one is not met.

    Raises:
        click.exceptions.Exit: one is not, and which and why has been said.
    """
    if unmet := [answer for answer in answers if not answer.met]:
        for answer in unmet:
            output.say(f"{answer.variable}: {answer.error}")
        output.say(f"{otherwise}: {len(unmet)} of {count(answers)} of [secrets] did not resolve")
        raise click.exceptions.Exit(exit_code(answers))


def content(answer: Requirement) -> bytes:
    """The value as bytes: text as UTF-8, bytes as they are, a number, boolean or container as JSON.

    Raises:
        InvalidDataError: it is null, or holds half a character. The message names the variable.
    """
    value = answer.resolution.value if answer.resolution else None
    if value is None:
        raise refusal(answer, "it is null, which is no text")
    if isinstance(value, bytes):
        return value
    try:
        return as_text(value, answer.secret.path, answer.secret.key).encode()
    except UnicodeEncodeError:
        del value  # nor does the error leave here: it holds the value
    raise refusal(answer, "it has a lone surrogate, which is no text")


def refusal(answer: Requirement, why: str) -> InvalidDataError:
    """What says that the value cannot be handed on, and under which name."""
    return InvalidDataError(answer.secret.path, f"{answer.variable} cannot be set: {why}")


def count(rows: Sequence[Requirement]) -> str:
    """`1 variable`, `5 variables`."""
    return f"{len(rows)} variable{'' if len(rows) == 1 else 's'}"


def check_names(config: Config) -> None:
    """Refuse rows of an untrusted file that would make a program run code, or trust a server, that the file names.

    Raises:
        ConfigurationError: names the first such variable.
    """
    from strongroom.config.discovery import FILE_NAME
    from strongroom.config.trust import is_dangerous_name
    from strongroom.plugins.option_rules import not_trusted

    file = f"./{FILE_NAME}"
    name = next(filter(is_dangerous_name, config.secrets), None) if file in config.untrusted else None
    if name:
        raise not_trusted(file, f"[secrets] sets {name}")


def _rows(config: Config) -> Mapping[str, SecretConfig]:
    if not config.secrets:
        # To have checked nothing must not look like success: the command may stand in the wrong folder.
        raise ConfigurationError("There is no [secrets] to ask for: strongroom.toml has no such table, or is not here")
    return config.secrets
