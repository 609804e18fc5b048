"""`strongroom history`, `rollback`, `undelete` and `destroy`, and what `diff` says of versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import click

from strongroom.cli.commands.read import cell
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.terminal import output
from strongroom.cli.terminal.confirmation import announce, ask, reasons
from strongroom.errors import SecretNotFoundError, StrongroomError, shown

if TYPE_CHECKING:
    from strongroom.diff import Change
    from strongroom.secret import Secret, Value, Version
    from strongroom.store import VersionInfo

_path = click.argument("path", shell_complete=completed("path"))
_store = click.option(
    "--store",
    metavar="NAME",
    shell_complete=completed("store"),
    help="In this store, not in the first of the chain that can be written.",
)
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask, where it is production.")
_json = click.option("--json", "as_json", is_flag=True, help="Say what was done as a JSON object.")


def as_version(word: str) -> Version:
    """A store's name for a version as it is typed: a number in Vault, some text in another store."""
    return int(word) if word.isascii() and word.isdigit() else word


@click.command("history")
@_path
@_store
@click.option("--json", "as_json", is_flag=True, help="As a JSON object with an object for each version.")
@current
def history_command(invocation: Invocation, path: str, *, store: str | None, as_json: bool) -> None:
    """Print the versions of a secret, oldest first.

    Of each it says when it was written, and how it is now; no value is read.
    A version is the current one, readable, deleted (undelete brings it back) or destroyed (nothing does). The last
    column says when it was deleted, or will be by itself. Versions that the store keeps no more are not there.

    Example: strongroom history database/connection
    """
    with invocation.open() as secrets:
        store = store or secrets.write_target(path).store
        versions = secrets.versions.history(path, store=store)
        labels = secrets.versions.metadata(path, store=store) if as_json or output.is_terminal() else {}
    rows = [
        (str(info.version), _time(info.created), _state(info, versions), _time(info.deleted_at)) for info in versions
    ]
    if as_json:
        described = [
            {
                "secret_version": info.version,
                "created": _iso(info.created),
                "state": _state(info, versions),
                "deleted_at": _iso(info.deleted_at),
            }
            for info in versions
        ]
        output.write_document({"path": path, "store": store, "labels": labels, "versions": described})
    elif output.is_terminal():
        labelled = "".join(f", {name}={label}" for name, label in labels.items())
        caption = f"{shown(path)} from {store}{labelled}"
        columns = ("version", "written", "state", "deleted")
        output.write_table(columns, rows, caption=caption, color=not invocation.no_color)
    else:
        output.write_rows(rows)


def compare_versions(
    invocation: Invocation,
    path: str,
    versions: tuple[Version, Version],
    *,
    store: str | None,
    as_json: bool,
    reveal: bool,
) -> NoReturn:
    """Prints what became of each key from one version of a secret to another, and ends with DIFFERENT or DONE."""
    from strongroom.diff import Change, changes

    with invocation.open() as secrets:
        store = store or secrets.write_target(path).store
        old, new = (secrets.versions.read(path, version, store=store) for version in versions)
    found = changes(old.data, new.data)
    different = any(change is not Change.SAME for change in found.values())
    if as_json:
        output.write_document(
            {
                "path": path,
                "store": store,
                "old_version": old.version,
                "new_version": new.version,
                "different": different,
                "keys": [_described(key, change, old, new, reveal=reveal) for key, change in found.items()],
            }
        )
    else:
        columns = ("change", "key", "type", *(("old", "new") if reveal else ()))
        rows = [_row(key, change, old, new, reveal=reveal) for key, change in found.items()]
        if output.is_terminal():
            hint = "" if reveal else "; --reveal shows the values"
            caption = f"{shown(path)} from {store}, version {old.version} to {new.version}{hint}"
            output.write_table(columns, rows, caption=caption, color=not invocation.no_color)
        else:
            output.write_rows(rows)
    raise click.exceptions.Exit(ExitCode.DIFFERENT if different else ExitCode.DONE)


@click.command("rollback")
@_path
@click.argument("version", type=as_version, shell_complete=completed("version"))
@_store
@_yes
@_json
@current
def rollback_command(
    invocation: Invocation, path: str, version: Version, *, store: str | None, yes: bool, as_json: bool
) -> None:
    """Write what an old version holds as a new version.

    Nothing is lost by it: the versions in between stay. Where somebody else writes at the same moment nothing is
    written. The secret may be a deleted one. It says where it writes first, and asks in production.

    Example: strongroom rollback database/connection 3
    """
    with invocation.open() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"rolling {shown(path)} back to version {_shown(version)} in")
        ask(reasons(target, secrets.config, drops=False), yes=yes)
        made = secrets.versions.rollback(path, version, store=target.store)
    numbered = "" if made is None else f", as version {made}"
    output.say(f"stored version {_shown(version)} of {shown(path)} again{numbered}")
    if as_json:
        output.write_document({"path": path, "store": target.store, "from_version": version, "secret_version": made})


@click.command("undelete")
@_path
@click.argument("version", type=as_version, shell_complete=completed("version"))
@_store
@_yes
@_json
@current
def undelete_command(
    invocation: Invocation, path: str, version: Version, *, store: str | None, yes: bool, as_json: bool
) -> None:
    """Make a deleted version readable again.

    It says in which store first, and asks in production. A version that is not deleted stays as it is.

    Example: strongroom undelete database/connection 3
    """
    with invocation.open() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"undeleting version {_shown(version)} of {shown(path)} in")
        ask(reasons(target, secrets.config, drops=False), yes=yes)
        secrets.versions.undelete(path, version, store=target.store)
    output.say(f"version {_shown(version)} of {shown(path)} can be read again")
    if as_json:
        output.write_document({"path": path, "store": target.store, "secret_version": version})


@click.command("destroy")
@_path
@click.argument("versions", nargs=-1, required=True, type=as_version, shell_complete=completed("version"))
@_store
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_json
@current
def destroy_command(
    invocation: Invocation, path: str, versions: tuple[Version, ...], *, store: str | None, yes: bool, as_json: bool
) -> None:
    """Remove the data of versions for good.

    It says in which store and asks, always; without a terminal it needs --yes. Where one of the versions does not
    exist, none is destroyed; where it fails midway, it says which were, with exit code 8. To take a secret away so that
    it can come back, delete it.

    Example: strongroom destroy database/connection 1 2
    """
    wanted = list(dict.fromkeys(versions))
    what = f"{'version' if len(wanted) == 1 else 'versions'} {_listed(wanted)}"
    with invocation.open() as secrets:
        target = secrets.write_target(path, store=store)
        known = {info.version for info in secrets.versions.history(path, store=target.store)}
        if missing := [version for version in wanted if version not in known]:
            raise SecretNotFoundError(path, f"there is no version {_listed(missing)}", store=target.store)
        announce(secrets, target, f"destroying {what} of {shown(path)} in")
        ask([*reasons(target, secrets.config, drops=False), "what is destroyed is gone for good"], yes=yes)
        done: list[Version] = []
        try:
            for version in wanted:
                secrets.versions.destroy(path, version, store=target.store)
                done.append(version)
        except StrongroomError as error:
            if not done:
                raise
            output.say(f"of {what}, destroyed before it failed: {_listed(done)}")
            output.say(str(error))
            click.get_current_context().exit(ExitCode.PARTIAL)
    output.say(f"destroyed {what} of {shown(path)}")
    if as_json:
        output.write_document({"path": path, "store": target.store, "secret_versions": wanted})


def _state(info: VersionInfo, versions: Sequence[VersionInfo]) -> str:
    if info.destroyed or info.deleted:
        return "destroyed" if info.destroyed else "deleted"
    return "current" if info is versions[-1] else "readable"


def _described(key: str, change: Change, old: Secret, new: Secret, *, reveal: bool) -> Mapping[str, Value]:
    types: dict[str, Value] = {f"{side}_type": _kind(key, secret) or None for side, secret in _sides(old, new)}
    values = {side: secret.data[key] for side, secret in _sides(old, new) if reveal and key in secret.data}
    return {"key": key, "change": change.value, **types, **values}


def _row(key: str, change: Change, old: Secret, new: Secret, *, reveal: bool) -> tuple[str, ...]:
    kinds = dict.fromkeys(filter(None, (_kind(key, old), _kind(key, new))))
    values = [cell(secret.data[key]) if key in secret.data else "" for _, secret in _sides(old, new) if reveal]
    return (change.value, shown(key), " -> ".join(kinds), *values)


def _sides(old: Secret, new: Secret) -> Iterable[tuple[str, Secret]]:
    return ("old", old), ("new", new)


def _kind(key: str, secret: Secret) -> str:
    from strongroom.secret import kind

    return kind(secret.data[key]) if key in secret.data else ""


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _shown(version: Version) -> str:
    return shown(str(version))


def _listed(versions: Iterable[Version]) -> str:
    *most, last = map(_shown, versions) if versions else ("",)
    return f"{', '.join(most)} and {last}" if most else last
