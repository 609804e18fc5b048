"""The rotator `command`: a program of the user for each step, with values on standard input only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

from strongroom.encoding import from_json, to_json
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidDataError,
    PermissionDeniedError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.formats.strict_json import read_json
from strongroom.rotate.spi import CredentialPair, PasswordRules, generate
from strongroom.secret import SensitiveDict, Value
from strongroom.store import Option
from strongroom.store.program import run_program

Program = Annotated[list[str] | None, Option("a program and its arguments")]

REFUSED = 10
"""Exit code by which the program of `prove` says that the service refuses the credential."""

_LARGEST_OUTPUT = 1 << 20


class CommandRotator:
    """Runs a program for each step.

    A program reads one JSON document on standard input: `step`, `path`, and `old` and `new`, the whole secrets; for
    `create` only `old`. That of `create` writes the keys that change to standard output, as a JSON object. The output
    of the others is ignored, and so is standard error: it could hold values. Exit code 0 is success, 10 a refused
    credential, and every other code a failure. An undo runs the same programs, with `old` and `new` exchanged.

    Args:
        programs: the program of each step. None generates a password for `create`, and does nothing for `revoke`, if
            `apply` has ended the old credential.
        key: the key of a generated password.
        rules: for it.
    """

    def __init__(self, programs: Mapping[str, Sequence[str] | None], key: str, rules: PasswordRules) -> None:
        self._programs = programs
        self._key = key
        self._rules = rules

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a generated password, or the output of the program."""
        program = self._programs["create"]
        if program is None:
            return {self._key: generate(self._rules)}
        output = _run(program, "create", {"old": to_json(current)})
        fault = "the program of create did not write a JSON object"
        try:
            made = read_json(output.decode())
            if isinstance(made, dict):
                return {key: from_json(value) for key, value in made.items()}
        except InvalidDataError as error:
            fault += f": {error.reason}"
        except ValueError:
            pass  # no text, or no encoding of a value
        del output
        raise InvalidDataError(None, fault)

    def apply(self, credentials: CredentialPair) -> None:
        self._step("apply", credentials)

    def prove(self, credentials: CredentialPair) -> None:
        self._step("prove", credentials)

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """Run the program of `revoke`, if there is one."""
        self._step("revoke", credentials)
        return ()

    def close(self) -> None:
        pass  # no program stays

    def _step(self, step: str, credentials: CredentialPair) -> None:
        if (program := self._programs[step]) is not None:
            old, new = to_json(credentials.old), to_json(credentials.new)
            _run(program, step, {"path": credentials.path, "old": old, "new": new})


def _run(program: Sequence[str], step: str, document: Mapping[str, object]) -> bytes:
    """Run a program with the document on standard input, and return its output."""
    try:
        code, output = run_program(program, json.dumps({"step": step, **document}).encode(), variables={})
    except TimeoutError:
        fault: StrongroomError = StoreUnavailableError(None, f"the program of {step} has not ended in time")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        fault = ConfigurationError(f"{step}: the program cannot be started: {reason}")
    else:
        return _checked(step, code, output)
    raise fault


def _checked(step: str, code: int, output: bytes) -> bytes:
    """Return the output of a program, or raise the error that its exit code stands for."""
    if len(output) > _LARGEST_OUTPUT:
        raise InvalidDataError(None, f"the program of {step} wrote more than 1 MiB")
    if code == REFUSED:
        raise AuthenticationError(None, f"the program of {step} says that the credential is refused")
    if code != 0:
        raise PermissionDeniedError(
            None, f"the program of {step} ended with exit code {code}", hint="Run it by hand to see why"
        )
    return output


def open_command(
    *,
    apply: Annotated[list[str], Option("the program that makes the service accept the new credential")],
    prove: Annotated[list[str], Option("the program that logs in with the new credential")],
    create: Program = None,
    revoke: Program = None,
    key: Annotated[str, Option("the key of a generated password, without a program for create")] = "password",
    length: Annotated[int, Option("number of characters of a generated password")] = 32,
    alphabet: Annotated[str, Option("the characters of a generated password")] = PasswordRules.alphabet,
) -> CommandRotator:
    """Return a rotator that runs programs.

    Raises:
        ConfigurationError: a program has no name, or the rules for passwords cannot be met.
    """
    programs = {"create": create, "apply": apply, "prove": prove, "revoke": revoke}
    for name, program in programs.items():
        if program is not None and (not program or not program[0]):
            raise ConfigurationError(f"{name}: must be a list with the program and its arguments")
    return CommandRotator(programs, key, PasswordRules(length, alphabet))
