"""`strongroom scan`: the real values of the chain in files, streams and git."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.scan.allowance import Allowance
from strongroom._cli.scan.git_history import search_git
from strongroom._cli.scan.search import Leak, search_input, search_path
from strongroom._cli.terminal import output
from strongroom._manager import SecretsManager
from strongroom._manager.manager import preloaded_with_records
from strongroom._redaction.fingerprints import Fingerprints
from strongroom.errors import ConfigurationError, SecretNotFoundError, UnsupportedOperationError
from strongroom.paths import is_rotation_record
from strongroom.secret import SensitiveDict, credential_parts

_ADDRESS = frozenset({"host", "port", "user", "username", "name", "dbname", "engine"})
"""Keys that are not searched for in a secret with the key `password`: they are its address."""


@click.command("scan")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH...]")
@click.option("--git", is_flag=True, help="Scan the history of the git repository at PATH, or here.")
@click.option("--stdin", is_flag=True, help="Scan stdin.")
@json_option()
@current
def scan_command(invocation: Invocation, paths: tuple[Path, ...], *, git: bool, stdin: bool, as_json: bool) -> None:
    """Find the real values of the chain in files, in stdin, or in the history of a git repository.

    It reads every secret that the stores of the chain can list, and those of [secrets], and keeps only keyed
    fingerprints of them. A value is found as it is, in base64, percent-encoded and as JSON and HTML escape it, also in
    archives. The host, port, user and name of a secret with a password are not searched for. Leaks are printed with the
    path and key of the secret, never with a value. The exit code is 10 if there are any, and otherwise 8 if something
    was not searched to its end.

    Example, in CI: strongroom scan --git && strongroom scan build/
    """
    if stdin == bool(paths or git):
        raise click.UsageError("Name paths, or use --git or --stdin")
    with invocation.open() as secrets:
        known, count = _fingerprints(secrets)
    if not count:
        raise ConfigurationError(
            "Nothing to look for: no store of the chain can be listed, and [secrets] found no value"
        )
    allowance = Allowance()
    leaks = list(dict.fromkeys(_leaks(known, paths, allowance, git=git, stdin=stdin)))
    leaks = [leak._replace(place=_shown(known, leak.place)) for leak in leaks]
    unread = {_shown(known, place): reason for place, reason in allowance.reasons.items()}
    if as_json:
        output.write_document({"secrets": count, "leaks": [leak._asdict() for leak in leaks], "unread": list(unread)})
    else:
        output.write_rows((f"{leak.place}:{leak.line}", leak.name, leak.form) for leak in leaks)
    output.say(f"Found {output.counted(len(leaks), 'leak')} of {output.counted(count, 'secret')}")
    for place, reason in unread.items():
        output.say(f"Not searched to the end: {place}. {reason.value}")
    complete = ExitCode.PARTIAL if unread else ExitCode.DONE
    click.get_current_context().exit(ExitCode.DIFFERENT if leaks else complete)


def _shown(known: Fingerprints, place: str) -> str:
    """Return a place without the values in the names of its files, folders and references."""
    masked = known.mask(place.encode("utf-8", "surrogateescape").decode("latin-1"))
    return masked.encode("latin-1").decode("utf-8", "replace")


def _leaks(
    known: Fingerprints, paths: tuple[Path, ...], allowance: Allowance, *, git: bool, stdin: bool
) -> Iterator[Leak]:
    if stdin:
        yield from search_input(known, cast("io.BufferedReader", sys.stdin.buffer), "stdin", allowance)
    for path in paths or ((Path(),) if git else ()):
        yield from (search_git if git else search_path)(known, path, allowance)


def _fingerprints(secrets: SecretsManager) -> tuple[Fingerprints, int]:
    """Return the fingerprints of all secrets that can be found, and their number.

    Raises:
        StoreError: a secret could not be read. A scan that misses one would call it safe.
    """
    try:
        listed = dict(preloaded_with_records(secrets))
    except UnsupportedOperationError:  # no store can be listed
        listed = {}
    found: dict[str, Mapping[str, Any]] = {**listed}
    count = sum(not is_rotation_record(path) for path in found)
    for row in secrets.config.secrets.values():
        if row.path not in listed:
            try:
                value = secrets.resolve(row.path, row.key, allow_dynamic=False).value
            except (SecretNotFoundError, UnsupportedOperationError):
                continue
            found[row.path] = SensitiveDict({**found.get(row.path, {}), row.key: value})
            count += 1
    known = Fingerprints(binary=True)
    for path, data in found.items():
        for part in credential_parts(path, data):
            known.add_all(_without_address(part), path)
    return known, count


def _without_address(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a connection without its address, which is in every configuration; other secrets unchanged."""
    return SensitiveDict({key: value for key, value in data.items() if "password" not in data or key not in _ADDRESS})
