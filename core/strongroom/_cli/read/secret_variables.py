"""The `[secrets]` table for `check`, `run` and `export`: resolved rows, their exit code, and their values as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.process.signals import termination_raised
from strongroom._cli.terminal import output
from strongroom._config import Config, SecretConfig
from strongroom.encoding import as_text
from strongroom.errors import ConfigurationError, InvalidDataError, StrongroomError
from strongroom.required_secrets import Requirement, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom._chain.answer import Resolution
    from strongroom._manager import SecretsManager
    from strongroom._manager.secret_files import SecretFiles


def resolve_rows(config: Config, *, allow_dynamic: bool = True) -> tuple[Requirement, ...]:
    """Resolve every row of `[secrets]` with a new manager, so that no cache and no known outage matters.

    With `allow_dynamic=False`, stores that issue a credential on every read are skipped.

    Raises:
        ConfigurationError: the table is empty, or a store of the chain is configured wrongly.
    """
    with open_rows(config, allow_dynamic=allow_dynamic) as (answers, _):
        return answers


@contextmanager
def open_rows(
    config: Config, *, allow_dynamic: bool = True, empty: bool = False
) -> Iterator[tuple[tuple[Requirement, ...], SecretsManager]]:
    """Resolve the rows, see `resolve_rows`, and keep the manager and its leases open while the block runs.

    `empty` accepts a configuration without rows.
    """
    from strongroom._manager import SecretsManager
    from strongroom._manager.manager import resolve_keys

    rows = config.secrets if empty else declared_rows(config)
    with SecretsManager.from_config(config) as secrets:
        places = [(row.path, row.key) for row in rows.values()]
        found = resolve_keys(secrets, places, allow_dynamic=allow_dynamic)

        def answer(path: str, key: str) -> Resolution:
            outcome = found[path, key]
            if isinstance(outcome, StrongroomError):
                raise outcome.copy()
            return outcome

        if config.offline:
            output.say_ages(outcome for outcome in found.values() if not isinstance(outcome, StrongroomError))
        yield resolve(rows, answer), secrets


def exit_code(answers: Sequence[Requirement]) -> ExitCode:
    """Return DONE if every row is met, otherwise the code of the gravest error."""
    return code_of_all(answer.error for answer in answers if answer.error is not None and not answer.met)


def require(answers: Sequence[Requirement], consequence: str) -> None:
    """Exit unless every row is met. Print the variables that are not, once for each distinct error.

    The last line names the consequence for the command.

    Raises:
        click.exceptions.Exit: a row is not met.
    """
    if unmet := [answer for answer in answers if not answer.met]:
        variables: dict[str, list[str]] = {}
        for answer in unmet:
            variables.setdefault(str(answer.error), []).append(answer.variable)
        for error, names in variables.items():
            output.say(f"{', '.join(names)}: {error}")
        of_all = f"{len(unmet)} of {output.counted(len(answers), 'variable')}"
        output.say(f"{consequence}: {of_all} of [secrets] did not resolve")
        raise click.exceptions.Exit(exit_code(answers))


def to_bytes(answer: Requirement) -> bytes:
    """Return the value as bytes: text as UTF-8, bytes unchanged, any other type as JSON.

    Raises:
        InvalidDataError: the value is null, or has a lone surrogate. The message names the variable.
    """
    value = answer.resolution.value if answer.resolution else None
    if value is None:
        raise refusal(answer, "it is null")
    if isinstance(value, bytes):
        return value
    try:
        return as_text(value, answer.secret.path, answer.secret.key).encode()
    except UnicodeEncodeError:
        del value  # the error holds the value, so another one is raised below
    raise refusal(answer, "it has a lone surrogate, so it is not valid Unicode")


@contextmanager
def secret_files(answers: Sequence[Requirement], folder: Path | None = None) -> Iterator[SecretFiles | None]:
    """Return the files for the rows with `as_path`, or None if there is no such row.

    Args:
        answers: the rows.
        folder: a private folder, which stays. By default it is a new one that is removed at the end of the block, also
            after SIGTERM and SIGHUP.
    """
    if not any(answer.secret.as_path for answer in answers):
        yield None
        return
    from strongroom._manager.secret_files import SecretFiles

    with termination_raised(), closing(SecretFiles(folder)) as files:
        yield files


def with_files(answers: Sequence[Requirement], files: SecretFiles | None) -> Sequence[Requirement]:
    """Write the files of the rows with `as_path`, and return the rows with the paths as their values.

    Raises:
        InvalidDataError: a value is null, or has a lone surrogate.
        ConfigurationError: a file cannot be written.
    """
    return answers if files is None else tuple(_with_file(answer, files) for answer in answers)


def _with_file(answer: Requirement, files: SecretFiles) -> Requirement:
    if not answer.secret.as_path or answer.resolution is None:
        return answer
    found = copy(answer.resolution)
    found.value = str(files.write(answer.variable, to_bytes(answer)))
    return replace(answer, resolution=found)


def refusal(answer: Requirement, why: str) -> InvalidDataError:
    """Return the error for a value that cannot be passed on."""
    return InvalidDataError(answer.secret.path, f"{answer.variable} cannot be set: {why}")


def declared_rows(config: Config) -> Mapping[str, SecretConfig]:
    """Return the rows of `[secrets]`.

    Raises:
        ConfigurationError: there is none. It must not look like success: this may be the wrong folder.
    """
    if not config.secrets:
        raise ConfigurationError(". ".join(filter(None, ("No [secrets] to resolve", config.sources))))
    return config.secrets
