"""The opener of command stores. Its signature is the schema of their options."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from strongroom.errors import ConfigurationError, did_you_mean
from strongroom.store import Option, checked_by
from strongroom_local.command.command_store import CommandStore, ListableCommandStore, WritableCommandStore
from strongroom_local.command.profiles import PROFILES, SYSEXITS, Answer, Profile

ProfileName = Literal["pass", "gopass", "op", "bw", "doppler", "infisical"]

_CREDENTIAL = re.compile(r"(.*_)?(TOKEN|SECRET|PASSWORD|PASSPHRASE|SESSION|KEY)(_.*)?")


def _credentials(profile: object) -> Iterable[str]:
    known = PROFILES.get(profile) if isinstance(profile, str) else None
    return known.credentials if known else ()


def _named_credentials(environment: object) -> Iterable[str]:
    """Return the variables whose names are those of credentials. A command of `strongroom run` may need the others."""
    names = environment if isinstance(environment, list) else ()
    return [name for name in names if isinstance(name, str) and _CREDENTIAL.fullmatch(name)]


def check_command(
    *,
    profile: str | None = None,
    location: str = "",
    read: Sequence[str] | None = None,
    list: Sequence[str] | None = None,  # noqa: A002  # an operation's name
    write: Sequence[str] | None = None,
    delete: Sequence[str] | None = None,
    exit_codes: Mapping[str, str] | None = None,
    **_: object,
) -> None:
    """Check the options of `open_command` without its programs.

    Raises:
        ConfigurationError: an option is wrong.
    """
    if not profile and not read:
        raise ConfigurationError("read: a command store needs `profile`, or at least a command line for `read`")
    for name, command in (("read", read), ("list", list), ("write", write), ("delete", delete)):
        if command is not None and (not command or not command[0] or command[0].startswith("<")):
            raise ConfigurationError(f"{name}: must be a list of a program and its arguments")
    for code, answer in (exit_codes or {}).items():
        if not (code.isascii() and code.isdecimal() and 0 < int(code) < 256):
            raise ConfigurationError(f"exit_codes: {code!r} is not a number from 1 to 255")
        if answer not in get_args(Answer):
            near = did_you_mean(answer, get_args(Answer))
            raise ConfigurationError(f"exit_codes: {code} must be one of {', '.join(get_args(Answer))}{near}")
    chosen = _chosen(profile, {"read": read, "list": list, "write": write, "delete": delete}, None)
    if chosen.location and not location:
        raise ConfigurationError(f"location: the profile {profile} needs {chosen.location}")
    if bool(chosen.write) != bool(chosen.delete) or (chosen.write and not chosen.list):
        raise ConfigurationError("write: needs `list` and `delete` too, and `delete` needs `write`")
    if "<path>" not in chosen.read and not chosen.value_field:
        raise ConfigurationError("read: no argument is <path>")


@checked_by(check_command)
def open_command(
    *,
    profile: Annotated[
        ProfileName | None,
        Option("a program with ready command lines", location=True, locates=True, credential_variables=_credentials),
    ] = None,
    location: Annotated[
        str, Option("the folder, vault or configuration: <location> in a command line", locates=True, location=True)
    ] = "",
    read: Annotated[list[str] | None, Option("writes the secret <path> to standard output", locates=True)] = None,
    list: Annotated[list[str] | None, Option("writes all paths to standard output", locates=True)] = None,  # noqa: A002  # an operation's name
    write: Annotated[list[str] | None, Option("replaces <path> by standard input", locates=True)] = None,
    delete: Annotated[list[str] | None, Option("deletes <path>", locates=True)] = None,
    exit_codes: Annotated[dict[str, str] | None, Option("what exit codes mean: absent, denied or unavailable")] = None,
    key: Annotated[str, Option("the key of a secret that is plain text, not a JSON object")] = "value",
    environment: Annotated[
        list[str] | None,
        Option("further variables for the programs", recipients=True, credential_variables=_named_credentials),
    ] = None,
) -> CommandStore | ListableCommandStore | WritableCommandStore:
    """A program such as pass: one command line for each operation.

    Raises:
        ConfigurationError: neither `profile` nor `read` is given, a command line or an exit code is wrong, or a program
            is not installed.
    """
    check_command(
        profile=profile, location=location, read=read, list=list, write=write, delete=delete, exit_codes=exit_codes
    )
    chosen = _chosen(profile, {"read": read, "list": list, "write": write, "delete": delete}, exit_codes)
    commands = (chosen.read, chosen.list, chosen.write, chosen.delete)
    programs = {command[0] for command in commands if command} | ({profile} if profile else set())
    for program in sorted(programs):
        if shutil.which(program) is None:
            raise ConfigurationError(f"The program {program} is not installed. Install it, or correct PATH")
    kind = WritableCommandStore if chosen.write else ListableCommandStore if chosen.list else CommandStore
    return kind(chosen, key, location, tuple(environment or ()))


def _chosen(
    profile: str | None, own: Mapping[str, Sequence[str] | None], exit_codes: Mapping[str, str] | None
) -> Profile:
    """Return the profile with the user's own command lines and exit codes."""
    chosen = PROFILES[profile] if profile else Profile(program="", read=(), exit_codes=SYSEXITS)
    commands = {name: tuple(command) for name, command in own.items() if command}
    codes = {int(code): cast("Answer", answer) for code, answer in (exit_codes or {}).items()}
    read = commands.get("read", chosen.read)
    return replace(
        chosen,
        program=chosen.program or Path(read[0]).name,
        read=read,
        list=commands.get("list", chosen.list),
        write=commands.get("write", chosen.write),
        create=() if "write" in commands else chosen.create,
        delete=commands.get("delete", chosen.delete),
        exit_codes={**chosen.exit_codes, **codes},
    )
