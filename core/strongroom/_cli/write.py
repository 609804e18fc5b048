"""Commands of the group Write: `set`, `delete` and `generate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import click

from strongroom._cli.options import Invocation, complete, current, json_option, path_argument, store_option, yes_option
from strongroom._cli.terminal import output, usage_errors
from strongroom._cli.terminal.confirmation import announce, confirm, reasons
from strongroom._cli.terminal.input import read_file, read_line, read_lines, read_stdin
from strongroom.encoding import from_json
from strongroom.errors import ConfigurationError, InvalidDataError, shown
from strongroom.formats.strict_json import read_json
from strongroom.paths import check_key, check_path, parse_reference
from strongroom.secret import SensitiveDict, SensitiveStr, Value, protect

_ENVELOPE = frozenset({"version", "path", "key", "store", "secret_version"})
"""Fields that identify a document of `get --json`."""

_USAGE = (
    "enter it at the prompt, pipe it (`… | strongroom set PATH KEY`), or name a file (`strongroom set PATH KEY=@FILE`)"
)

_MISPLACED = f"Do not pass a value as an argument: {_USAGE}"
"""Message if an argument may be a value."""


class _SetCommand(click.Command):
    """`set`, which repeats no unknown option in a message, since people type secret values there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise usage_errors.unknown_option(error, _MISPLACED) from None


@click.command("set", cls=_SetCommand)
@click.argument("words", nargs=-1, metavar="PATH [KEY | KEY=@FILE...]", shell_complete=complete("path_then_keys"))
@click.option(
    "--from-json",
    "document",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Set the keys of a JSON object (- reads stdin).",
)
@store_option("Write to")
@click.option("--replace", is_flag=True, help="Remove the secret's other keys.")
@click.option("--empty", is_flag=True, help="Allow an empty value.")
@yes_option()
@json_option()
@current
def set_command(
    invocation: Invocation,
    words: tuple[str, ...],
    *,
    document: str | None,
    store: str | None,
    replace: bool,
    empty: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Set one or more values of a secret, and keep its other keys.

    Values are never passed as arguments, which other processes could read. On a terminal the value is prompted for
    without echo; otherwise it is read from stdin, without one trailing newline. KEY=@FILE stores the exact content of a
    file, and --from-json the keys of an object. Content that is not UTF-8 is stored as bytes. PATH#KEY stands for PATH
    KEY.

    It asks for confirmation in production, and with --replace if the store keeps no versions. Without a terminal it
    then needs --yes.

    Example: strongroom set services/web cert=@web.crt key=@web.key
    """
    request = _parse_words(words) if document is None else _parse_path(words)
    if document not in {None, "-"}:
        data = _read_document(read_file(str(document), "the document of --from-json"))
    else:
        data = _read_files(request.files, empty=empty)
    interactive = sys.stdin.isatty()
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(request.path, store=store)
        if not interactive:  # before the announcement: stdin may be refused
            if document == "-":
                data = _read_document(read_stdin())
            elif request.key is not None:
                data = SensitiveDict({request.key: _read_piped(empty=empty)})
        what = output.joined(request.keys or data or ["keys from stdin"])
        announce(secrets, target, f"Writing {what} at {shown(request.path)} to")
        confirm(reasons(target, secrets.config, drops=replace), yes=yes)
        if interactive and document == "-":
            data = _read_document(_read_typed_document(request.path))
        elif interactive and request.key is not None:
            data = SensitiveDict({request.key: _read_typed(request.path, request.key, empty=empty)})
        version = secrets.set_secret(request.path, data, store=target.store, replace=replace)
    numbered = "" if version is None else f", version {version}"
    output.say(f"Stored {output.joined(data)} at {shown(request.path)}{numbered}")
    if as_json:
        output.write_document(
            {"path": request.path, "store": target.store, "keys": list(data), "secret_version": version}
        )


@click.command("delete")
@path_argument
@store_option("Delete from")
@yes_option()
@json_option()
@current
def delete_command(invocation: Invocation, path: str, *, store: str | None, yes: bool, as_json: bool) -> None:
    """Delete a whole secret from one store.

    It asks for confirmation in production, and if the store keeps no versions, because the secret cannot be restored.
    Without a terminal it then needs --yes. Reads then return the secret of a lower store in the chain, if there is one.

    Example: strongroom delete services/web --store vault
    """
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"Deleting {shown(path)} from")
        confirm(reasons(target, secrets.config, deletes=True), yes=yes)
        secrets.delete_secret(path, store=target.store)
    output.say(f"Deleted {shown(path)} from store {shown(target.store)}")
    if as_json:
        output.write_document({"path": path, "store": target.store})


@click.command("generate")
@store_option("Write to")
@yes_option()
@json_option()
@current
def generate_command(invocation: Invocation, *, store: str | None, yes: bool, as_json: bool) -> None:
    """Create the secrets of [secrets] that no store has and that have a rule `generate`.

    An existing secret is never changed, also if another process creates it meanwhile. No value is shown. An outage or a
    denial is an error. It asks for confirmation in production.

    Example: strongroom generate --store vault
    """
    with invocation.open_to_write() as secrets:
        rows = [row for row in secrets.config.secrets.values() if row.generate is not None]
        if not rows:
            raise ConfigurationError('No row of [secrets] has `generate`, such as generate = "password"')
        targets = {target.store: target for target in (secrets.write_target(row.path, store=store) for row in rows)}
        for target in targets.values():
            announce(secrets, target, "Creating missing secrets in")
        confirm([reason for target in targets.values() for reason in reasons(target, secrets.config)][:1], yes=yes)
        created = secrets.generate_missing(store=store)
    output.say(f"Created {', '.join(created)}" if created else "Nothing is missing")
    if as_json:
        output.write_document({"created": list(created)})


# --- arguments and values of `set` ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _WriteRequest:
    """Parsed arguments of `set`.

    Attributes:
        path: path of the secret.
        key: key whose value comes from the terminal or stdin; None if files or a document have the values.
        files: file of each key that was given as KEY=@FILE.
    """

    path: str
    key: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """Keys that are known before any value is read."""
        return list(self.files) if self.key is None else [self.key]


def _parse_words(words: Sequence[str]) -> _WriteRequest:
    """Parse PATH KEY, PATH#KEY, or PATH KEY=@FILE….

    Raises:
        click.UsageError: the words have another form. No message has a word after the path: people type values there.
        InvalidPathError: the path or a key is invalid.
    """
    if "-" in words[1:]:  # stdin, in other programs
        raise click.UsageError(_MISPLACED)
    words = _split_reference(words)
    if len(words) > 1 and all("=@" in word for word in words[1:]):
        return _WriteRequest(check_path(words[0]), files=_files(words[0], words[1:]))
    # A path and a key may contain =, but in a key it is nearly always followed by a value.
    suspect = words[-1].rpartition("#")[2] if len(words) == 1 else "".join(words[1:])
    if "=" in suspect or any("=" in word.partition("#")[2] for word in words[:1]):
        raise click.UsageError(_MISPLACED)
    if len(words) not in {1, 2}:
        raise click.UsageError(f"Too many arguments, expected PATH KEY or PATH#KEY. To give the value, {_USAGE}")
    path, key = parse_reference(words[0]) if len(words) == 1 else words
    if key is None:
        raise click.UsageError(f"Missing KEY. To give the value, {_USAGE}")
    return _WriteRequest(check_path(path), check_key(key, path))


def _parse_path(words: Sequence[str]) -> _WriteRequest:
    """Parse PATH, for a document that has the keys.

    Raises:
        click.UsageError: there is not exactly one word.
    """
    if len(words) != 1:
        raise click.UsageError("With --from-json, give PATH alone: the document has the keys and values")
    return _WriteRequest(check_path(words[0]))


def _read_files(files: Mapping[str, str], *, empty: bool) -> SensitiveDict:
    """Return the exact content of each file by key: text if it is UTF-8, otherwise bytes.

    Raises:
        click.UsageError: a file cannot be read, or is empty without `empty`. The message names the key, not the file,
            which may be a value that begins with @.
    """
    data = SensitiveDict()
    for key, name in files.items():
        source = f"The file of {shown(key)}"
        data[key] = _check_empty(_decode(read_file(name, source)), source, empty=empty)
    return data


def _read_document(content: bytes) -> SensitiveDict:
    """Return the keys and values of a JSON object, in which bytes are `{"strongroom:bytes": "<base64>"}`.

    Raises:
        click.UsageError: the document is not a JSON object, is empty, has a key twice, or comes from `get --json`,
            whose own fields must not be stored. No message shows a part of it.
    """
    fault, document = "", None
    try:
        document = from_json(read_json(content.decode("utf-8-sig")))
    except UnicodeDecodeError:
        fault = "not UTF-8"
    except InvalidDataError as error:
        fault = error.reason
    del content
    if not fault and not isinstance(document, SensitiveDict):
        fault = "not a JSON object of keys and values"
    if fault or not isinstance(document, SensitiveDict):  # outside the `except`: the decoder's error holds the document
        raise click.UsageError(f"The document of --from-json: {fault}")
    if not document:
        raise click.UsageError("The document of --from-json: no keys")
    if document.keys() >= _ENVELOPE:
        raise click.UsageError(
            "The document of --from-json comes from `get --json`, and has more than the keys and values. "
            "Use `strongroom get PATH | strongroom set PATH --from-json -`"
        )
    return document


def _read_typed(path: str, key: str, *, empty: bool) -> Value:
    """Prompt for one line without echo, and return text if it is UTF-8, otherwise bytes.

    Raises:
        click.UsageError: more than one line was pasted, or the line is empty without `empty`.
        click.Abort: Ctrl-D.
    """
    return _check_empty(_decode(read_line(f"Value of {path}#{key}: ")), "The value", empty=empty)


def _read_typed_document(path: str) -> bytes:
    """Prompt for a document without echo, until Ctrl-D.

    Raises:
        click.Abort: nothing was typed.
    """
    return read_lines(f"Document of {path}, then Ctrl-D: ")


def _read_piped(*, empty: bool) -> Value:
    """Return all of stdin, without one trailing newline if it is text.

    Raises:
        click.UsageError: it is too large, or empty without `empty`.
    """
    value = _decode(read_stdin())
    # Remove the newline before the check: `echo "$UNSET"` prints one.
    value = SensitiveStr(value.removesuffix("\n")) if isinstance(value, str) else value
    return _check_empty(value, "Stdin", empty=empty)


def _decode(content: bytes) -> Value:
    """Return the content as text if it is UTF-8, otherwise as bytes."""
    try:
        return SensitiveStr(content.decode())
    except UnicodeDecodeError:
        return protect(content)


def _check_empty(value: Value, source: str, *, empty: bool) -> Value:
    if not value and not empty:
        raise click.UsageError(f"{source} is empty: use --empty to allow an empty value")
    return value


def _split_reference(words: Sequence[str]) -> list[str]:
    """Split PATH#KEY=@FILE into PATH and KEY=@FILE."""
    place, mark, file = words[0].partition("=@") if words else ("", "", "")
    path, hash_, key = place.rpartition("#")
    return [path, f"{key}{mark}{file}", *words[1:]] if mark and hash_ else list(words)


def _files(path: str, words: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for word in words:
        key, _, file = word.partition("=@")
        if "=" in key:
            raise click.UsageError(_MISPLACED)
        if check_key(key, path) in files:
            raise click.UsageError(f"Duplicate key {shown(key)}")
        files[key] = file
    return files
