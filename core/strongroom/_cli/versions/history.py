"""`strongroom history`, `rollback`, `undelete` and `destroy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import (
    Invocation,
    as_version,
    combined,
    complete,
    current,
    json_option,
    path_argument,
    store_option,
    yes_option,
)
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import announce, confirm, reasons
from strongroom.errors import SecretNotFoundError, StrongroomError, shown

if TYPE_CHECKING:
    from strongroom.secret import Version
    from strongroom.store import VersionInfo

_store = store_option("Use")
_changing_options = combined(
    path_argument,
    click.argument("version", type=as_version, shell_complete=complete("versions")),
    _store,
    yes_option("Do not ask for confirmation in production."),
    json_option(),
)


@click.command("history")
@path_argument
@_store
@json_option("Print a JSON object with one entry for each version.")
@current
def history_command(invocation: Invocation, path: str, *, store: str | None, as_json: bool) -> None:
    """Print the versions of a secret, oldest first.

    Each version is listed with its creation time and status; no value is read. The status is current, readable, deleted
    (undelete restores it) or destroyed (cannot be restored). The last column is the time of its deletion, past or
    scheduled. Versions that the store has pruned are not listed.

    Example: strongroom history database/connection
    """
    with invocation.open() as secrets:
        store = store or secrets.write_target(path).store
        versions = secrets.versions.history(path, store=store)
        labels = secrets.versions.metadata(path, store=store) if as_json or output.is_terminal() else {}
    rows = [
        (str(info.version), output.second(info.created), _state(info, versions), output.second(info.deleted_at))
        for info in versions
    ]
    if as_json:
        described = [
            {
                "secret_version": info.version,
                "created": info.created,
                "state": _state(info, versions),
                "deleted_at": info.deleted_at,
            }
            for info in versions
        ]
        output.write_document({"path": path, "store": store, "labels": labels, "versions": described})
    else:
        label_text = "".join(f", {name}={label}" for name, label in labels.items())
        caption = f"{shown(path)} from {store}{label_text}"
        output.write_listing(("version", "written", "status", "deleted"), rows, caption=caption)


@click.command("rollback")
@_changing_options
@current
def rollback_command(
    invocation: Invocation, path: str, version: Version, *, store: str | None, yes: bool, as_json: bool
) -> None:
    """Write the content of an old version as a new version.

    The versions in between are kept. A deleted secret can be rolled back too. If somebody else writes at the same time,
    the rollback fails and nothing is written. In production it asks for confirmation.

    Example: strongroom rollback database/connection 3
    """
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"Rolling {shown(path)} back to version {shown(str(version))} in")
        confirm(reasons(target, secrets.config), yes=yes)
        made = secrets.versions.rollback(path, version, store=target.store)
    numbered = "" if made is None else f", as version {made}"
    output.say(f"Restored version {shown(str(version))} of {shown(path)}{numbered}")
    if as_json:
        output.write_document({"path": path, "store": target.store, "from_version": version, "secret_version": made})


@click.command("undelete")
@_changing_options
@current
def undelete_command(
    invocation: Invocation, path: str, version: Version, *, store: str | None, yes: bool, as_json: bool
) -> None:
    """Restore a deleted version under its own number.

    In production it asks for confirmation. A version that is not deleted is left unchanged.

    Example: strongroom undelete database/connection 3
    """
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"Undeleting version {shown(str(version))} of {shown(path)} in")
        confirm(reasons(target, secrets.config), yes=yes)
        secrets.versions.undelete(path, version, store=target.store)
    output.say(f"Undeleted version {shown(str(version))} of {shown(path)}")
    if as_json:
        output.write_document({"path": path, "store": target.store, "secret_version": version})


@click.command("destroy")
@path_argument
@click.argument("versions", nargs=-1, required=True, type=as_version, shell_complete=complete("versions"))
@_store
@yes_option()
@json_option()
@current
def destroy_command(
    invocation: Invocation, path: str, versions: tuple[Version, ...], *, store: str | None, yes: bool, as_json: bool
) -> None:
    """Permanently destroy the data of versions.

    It always asks for confirmation; without a terminal it needs --yes. If one of the versions does not exist, none is
    destroyed. If it fails midway, the exit code is 8 and the destroyed versions are printed. Use delete to remove a
    secret that may have to be restored.

    Example: strongroom destroy database/connection 1 2
    """
    numbers = list(dict.fromkeys(versions))
    what = f"{'version' if len(numbers) == 1 else 'versions'} {output.joined(numbers)}"
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(path, store=store)
        known = {info.version for info in secrets.versions.history(path, store=target.store)}
        if missing := [version for version in numbers if version not in known]:
            raise SecretNotFoundError(path, f"there is no version {output.joined(missing)}", store=target.store)
        announce(secrets, target, f"Destroying {what} of {shown(path)} in")
        confirm([*reasons(target, secrets.config), "destroyed versions cannot be restored"], yes=yes)
        done: list[Version] = []
        try:
            for version in numbers:
                secrets.versions.destroy(path, version, store=target.store)
                done.append(version)
        except StrongroomError as error:
            if not done:
                raise
            output.say(f"Destroyed before the failure: {output.joined(done)} of {what}")
            output.say(str(error))
            click.get_current_context().exit(ExitCode.PARTIAL)
    output.say(f"Destroyed {what} of {shown(path)}")
    if as_json:
        output.write_document({"path": path, "store": target.store, "secret_versions": numbers})


def _state(info: VersionInfo, versions: Sequence[VersionInfo]) -> str:
    if info.destroyed or info.deleted:
        return "destroyed" if info.destroyed else "deleted"
    return "current" if info is versions[-1] else "readable"
