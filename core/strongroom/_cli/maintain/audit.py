"""`strongroom audit`: verify the audit log, and print its head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError

if TYPE_CHECKING:
    from strongroom.audit_log.log_file import Hasher, Head
    from strongroom.audit_log.verification import LogVerification
    from strongroom.secret import Value

_T = TypeVar("_T")

_FILE = click.Path(path_type=Path)
_file = click.argument("file", required=False, type=_FILE)
_key = click.option("--key-file", metavar="KEY", type=_FILE, help="Read the key of FILE from here.")


def _read_heads(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[Head]:
    from strongroom.audit_log.log_file import Head

    heads = []
    for text in texts:
        if (head := Head.parse(text)) is None:
            raise click.BadParameter(f"{text!r} is not SEQ:HASH, as strongroom audit head prints it")
        heads.append(head)
    return heads


@click.group("audit")
def audit_command() -> None:
    """Verify the audit log, which `[audit] file` turns on.

    Example: strongroom audit verify
    """


@audit_command.command("verify")
@_file
@_key
@click.option(
    "--head",
    "heads",
    metavar="SEQ:HASH",
    multiple=True,
    callback=_read_heads,
    help="Require this record, as noted elsewhere. Without it a removed end is not noticed.",
)
@json_option()
@current
def verify_command(
    invocation: Invocation, file: Path | None, key_file: Path | None, heads: list[Head], *, as_json: bool
) -> None:
    """Check that no record was changed, moved, added or removed. The exit code is 1 at the first one that was.

    FILE is the configured log by default. Its archives FILE.NUMBER are checked before it.

    Example: strongroom audit verify --head 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    from strongroom.audit_log.verification import verify

    found = _on_log(invocation, file, key_file, lambda log, hasher: verify(log, hasher, heads))
    if as_json:
        output.write_document(_document(found))
    for line in _lines(found):
        output.say(line)
    click.get_current_context().exit(ExitCode.DONE if found.ok else ExitCode.FAILED)


@audit_command.command("head")
@_file
@_key
@json_option()
@current
def head_command(invocation: Invocation, file: Path | None, key_file: Path | None, *, as_json: bool) -> None:
    """Print the number and the hash of the last record. Keep them out of reach of the log's writers.

    Example: strongroom audit head
    """
    from strongroom.audit_log.log_file import last_record

    found = _on_log(invocation, file, key_file, last_record)
    if as_json:
        output.write_document({"seq": found.seq, "hash": found.hash})
    else:
        output.write_lines([str(found)])


def _on_log(
    invocation: Invocation, file: Path | None, key_file: Path | None, operation: Callable[[Path, Hasher], _T]
) -> _T:
    """Return the result of an operation on the log and its hash: as they are named, or as they are configured."""
    from strongroom._config import AuditConfig
    from strongroom.audit_log.log_file import Hasher
    from strongroom.audit_log.subscription import log_file, read_key
    from strongroom.files import private

    if file is not None:
        config = AuditConfig(key_file=key_file)
    else:
        loaded = invocation.load()
        file, config = log_file(loaded), loaded.audit
        if key_file is not None:
            config = config._replace(key_file=key_file)
    with private.faults_as(ConfigurationError, f"The audit log {file}"):
        return operation(file, Hasher(read_key(config, create=False)))


def _document(found: LogVerification) -> dict[str, Value]:
    fault = found.fault
    return {
        "ok": found.ok,
        "files": [str(file) for file in found.files],
        "records": found.records,
        "first": found.first or None,
        "last": found.last.seq or None,
        "hash": found.last.hash if found.last.seq else None,
        "fault": None if fault is None else {"file": str(fault.file), "line": fault.line, "reason": fault.reason},
        "unfinished": found.unfinished,
        "repaired": list(found.repaired),
        "lost": found.lost,
    }


def _lines(found: LogVerification) -> list[str]:
    """Return the result in words, the verdict last."""
    lines = []
    if found.repaired:
        numbers = ", ".join(f"{number:,}" for number in found.repaired)
        lines.append(f"A writer was interrupted in the middle of a line before record {numbers}")
    if found.lost:
        lines.append(f"{output.counted(found.lost, 'record')} could not be written, as the log says itself")
    if found.unfinished:
        lines.append(f"The last line has {found.unfinished:,} bytes and no end: the next record takes its place")
    if found.fault is not None:
        return [*lines, str(found.fault)]
    return [*lines, f"{output.counted(found.records, 'record')} verified, the last is {found.last}"]
