"""A helper's call: its words, its request on stdin, and its answer on stdout. Without click.

Nothing but the answer of the protocol is written to stdout.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from strongroom import __version__
from strongroom._boundary.plugin_calls import limited_imports
from strongroom._cli.exit_codes import ExitCode, code_of
from strongroom._cli.helper import protocols
from strongroom._cli.helper.chain import HelperChain, Source
from strongroom._cli.terminal import streams
from strongroom.errors import InvalidDataError, InvalidPathError, StrongroomError, UnsupportedOperationError
from strongroom.paths import parse_reference

_LONGEST_IMPORT = 9.0
"""Seconds that the import of a plugin may take."""

_LONGEST_REQUEST = 1 << 20
"""Bytes that are read of a request. A longer document is malformed without its end."""


class Call(NamedTuple):
    """The words of a call.

    Attributes:
        program: the protocol, such as `git`.
        argument: the PATH or PATH#KEY, or the operation of git and docker; empty for openclaw.
        as_json: `--json` of `key`.
        source: the options that choose the configuration.
    """

    program: str
    argument: str = ""
    as_json: bool = False
    source: Source = Source()


class Reply(NamedTuple):
    """The bytes for stdout, and the exit code."""

    content: bytes = b""
    code: int = ExitCode.DONE


def read_call(arguments: Sequence[str]) -> Call | None:
    """Return the call that these arguments of the command line are; None if click has to parse or to refuse them."""
    words, given = list(arguments), dict[str, str]()
    while words and words[0].startswith("--"):
        name, equals, value = words.pop(0).partition("=")
        if name not in {"--config", "--environment"} or not (equals or words):
            return None
        given[name] = value if equals else words.pop(0)
    if len(words) < 2 or words[0] != "helper" or words[1] not in _ANSWERS:
        return None
    program, rest = words[1], words[2:]
    if as_json := program == "key" and "--json" in rest:
        rest.remove("--json")
    if len(rest) != (program != "openclaw") or any(word.startswith("-") for word in rest):
        return None
    file = given.get("--config")
    source = Source(None if file is None else Path(file), given.get("--environment"))
    return Call(program, "".join(rest), as_json, source)


def run(call: Call) -> int:
    """Answer a call on stdin and stdout, and return its exit code. A failure prints one line on stderr."""
    logging.getLogger().addHandler(logging.NullHandler())  # otherwise Python prints warnings beside that line
    try:
        with streams.results_only(), limited_imports(_LONGEST_IMPORT):
            reply = _ANSWERS[call.program](call)
    except StrongroomError as error:
        reply = _failure(call.program, str(error), code_of(error))
    except Exception as error:  # noqa: BLE001  # a bug: the message may hold a secret, so only the class is shown
        reply = _failure(call.program, f"Unexpected failure: {type(error).__name__}", ExitCode.FAILED)
    try:
        sys.stdout.buffer.write(reply.content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return ExitCode.CLOSED_PIPE
    except OSError as error:
        streams.say(f"Cannot write the output to stdout: {error.strerror}")
        return ExitCode.FAILED
    return reply.code


def _failure(program: str, message: str, code: int) -> Reply:
    """Print the reason of an absence or a failure, and return the reply that the protocol has for it."""
    streams.say(message)
    absent = code == ExitCode.NOT_FOUND
    if program == "git":
        return Reply(b"" if absent else protocols.GIT_FAILED, code)
    if program == "docker":
        text = streams.escape(" ".join(message.splitlines()))
        return Reply(protocols.DOCKER_ABSENT if absent else f"{text}\n".encode(), ExitCode.FAILED)
    return Reply(code=code)


# --- programs whose settings name the secret --------------------------------------------------------------------------


def _answer_key(call: Call) -> Reply:
    path, key = parse_reference(call.argument)
    if key is None:
        raise InvalidPathError(path, "it names no key", hint="Write PATH#KEY")
    found = HelperChain(call.source, cached=False).read(path, key)
    if call.as_json:
        return Reply(protocols.token_document(found, datetime.now(UTC)))
    return Reply(protocols.line_of(found).encode() + b"\n" * sys.stdout.isatty())


def _answer_aws(call: Call) -> Reply:
    path, key = parse_reference(call.argument)
    if key is not None:
        raise InvalidPathError(path, "the credential is the whole secret, not one key", hint="Write PATH")
    return Reply(protocols.aws_document(HelperChain(call.source, cached=False).read(path)))


def _answer_kubectl(call: Call) -> Reply:
    version = protocols.kubectl_version(os.environ.get(protocols.KUBECTL_VARIABLE, ""))
    found = HelperChain(call.source, cached=False).read(*parse_reference(call.argument))
    return Reply(protocols.kubectl_document(found, version))


def _answer_openclaw(call: Call) -> Reply:
    places = protocols.openclaw_places(sys.stdin.buffer.read(_LONGEST_REQUEST))
    outcomes = HelperChain(call.source, cached=True).read_each(list(places.values()), "openclaw")
    return Reply(protocols.openclaw_document({name: outcomes[place] for name, place in places.items()}))


# --- programs that name a host: `[helpers]` ---------------------------------------------------------------------------


def _answer_git(call: Call) -> Reply:
    if call.argument not in {"get", "erase"}:  # `store`, and operations of later releases of git
        return Reply()
    service, wanted = protocols.git_request(takewhile(bytes.strip, sys.stdin.buffer))  # up to an empty line
    chain = HelperChain(call.source, cached=True)
    row = chain.row(service, wanted or None)
    if row is None:
        return Reply()
    if call.argument == "erase":
        chain.forget(row.path)
        return Reply()
    *user, password = chain.login(row)
    username = row.username or protocols.line_of(user[0])
    if wanted not in {"", username}:
        return Reply()
    return Reply(protocols.git_answer(username, protocols.line_of(password), password.ends))


def _answer_docker(call: Call) -> Reply:
    if call.argument == "list":
        return Reply(b"{}\n")
    if call.argument == "version":
        return Reply(f"docker-credential-strongroom {__version__}\n".encode())
    if call.argument not in {"get", "store", "erase"}:
        raise InvalidDataError(None, "there is no such operation of a credential helper of Docker")
    content = sys.stdin.buffer.read(_LONGEST_REQUEST)
    stored = protocols.request_object(content) if call.argument == "store" else None
    service = content.decode("utf-8", "replace").strip() if stored is None else stored.get("ServerURL", "")
    del content
    chain = HelperChain(call.source, cached=False)
    row = chain.row(service)
    if row is None and stored is None:
        return Reply(protocols.DOCKER_ABSENT, ExitCode.FAILED)
    if row is None:
        reason, hint = "[helpers] has no row for this registry, so its login is not stored", "Add the row"
        raise UnsupportedOperationError(None, reason, hint=hint)
    if call.argument == "erase":
        raise UnsupportedOperationError(row.path, f"helpers delete nothing. Remove the row {row.name} of [helpers]")
    *user, password = map(protocols.text_of, chain.login(row))
    login = {"ServerURL": service, "Username": row.username or user[0], "Secret": password}
    if stored is None:
        return Reply(protocols.as_json(login))
    if not login.items() <= stored.items():
        hint = "Change the secret with strongroom set"
        raise UnsupportedOperationError(row.path, "helpers store nothing, and it has another login", hint=hint)
    return Reply()


_ANSWERS: Mapping[str, Callable[[Call], Reply]] = {
    "key": _answer_key,
    "aws": _answer_aws,
    "kubectl": _answer_kubectl,
    "openclaw": _answer_openclaw,
    "git": _answer_git,
    "docker": _answer_docker,
}
