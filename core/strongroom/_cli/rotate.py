"""Commands of the group Rotate: `rotate` with its subcommands, and `keys`. Also the status of rotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli import options
from strongroom._cli.exit_codes import code_of_all
from strongroom._cli.options import Invocation, complete, current, json_option, path_argument, yes_option
from strongroom._cli.process.signals import until_ended
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import confirm, production_reasons
from strongroom.errors import ConfigurationError, StrongroomError, shown
from strongroom.formats import durations

if TYPE_CHECKING:
    from strongroom.rotate.rotations import Rotations, RotationStatus
    from strongroom.rotate.runner import RotationOutcome

_yes = yes_option("Do not ask for confirmation in production.")
_path = click.argument("path", shell_complete=complete("rotations"))
_take_over = click.option(
    "--take-over",
    is_flag=True,
    help="Do not wait until the lease of another process has ended. Only if that process is gone.",
)


class _PathOrCommand(click.Group):
    """A group whose first word may be the path of a secret: `rotate PATH` is `rotate now PATH`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["now", *args]
        return super().parse_args(ctx, args)


@click.group("rotate", cls=_PathOrCommand, subcommand_metavar="PATH | COMMAND [ARGS]...")
def rotate_command() -> None:
    """Rotate a secret as its table [rotation."PATH"] says, or look after rotations.

    A rotation stores a new credential as pending, applies it, proves it by a login, promotes it, and revokes the old
    one. At every moment a stored credential works. If a step before the promotion fails, the rotation is undone.

    Example: strongroom rotate database/app
    """


@rotate_command.command("now")
@_path
@_yes
@json_option()
@current
def now_command(invocation: Invocation, path: str, *, yes: bool, as_json: bool) -> None:
    """Rotate a secret now, or finish the rotation that another process has left.

    `strongroom rotate PATH` is the same. In production it asks for confirmation. If a step fails, the rotation is
    undone and the exit code is 1; if it could not be undone, the exit code is 8 and the message has the next command.
    An undo that was left is finished first, and then the secret is rotated.

    Example: strongroom rotate now database/app
    """
    with _confirmed(invocation, path, "Rotating", yes=yes) as rotations:
        status = rotations.rotate(path)
    _report(status, as_json=as_json)


@rotate_command.command("resume")
@_path
@_take_over
@click.option("--now", "revoke_now", is_flag=True, help="Revoke the old credential before its grace time is over.")
@_yes
@json_option()
@current
def resume_command(
    invocation: Invocation, path: str, *, take_over: bool, revoke_now: bool, yes: bool, as_json: bool
) -> None:
    """Finish the rotation, or its undo, that another process has left.

    While that process may still be at work, nothing is changed, and the message says until when.

    Example: strongroom rotate resume database/app
    """
    with _confirmed(invocation, path, "Resuming the rotation of", yes=yes) as rotations:
        status = rotations.resume(path, take_over=take_over, now=revoke_now)
    _report(status, as_json=as_json)


@rotate_command.command("undo")
@_path
@_take_over
@_yes
@json_option()
@current
def undo_command(invocation: Invocation, path: str, *, take_over: bool, yes: bool, as_json: bool) -> None:
    """Undo the rotation that is under way, or the last one.

    Afterwards the old credential works and is stored, and the new one does not work. After a rotation that is done, the
    store must still have the version from before it, and the service must accept a former credential. The new key of a
    keyset of encrypted columns stays stored, and the old one encrypts.

    Example: strongroom rotate undo database/app
    """
    with _confirmed(invocation, path, "Undoing the rotation of", yes=yes) as rotations:
        status = rotations.undo(path, take_over=take_over)
    _report(status, as_json=as_json)


@rotate_command.command("status")
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=complete("rotations"))
@json_option("Print a JSON object with one entry for each rotation.")
@current
def status_command(invocation: Invocation, paths: tuple[str, ...], *, as_json: bool) -> None:
    """Show how far each rotation is, when the last one was, and when the next one is due.

    The state is absent, never, created, applied, proved, promoted, done, undoing or undone. A promoted rotation waits
    for the end of its grace time. After an undo, the next scheduled rotation is due one interval after the one that was
    undone. No value is shown. The exit code is that of the gravest failure to read a state.

    Example: strongroom rotate status
    """
    with invocation.open() as secrets:
        found, errors = rotation_statuses(secrets.rotations, paths)
    for error in errors:
        output.say(str(error))
    if as_json:
        output.write_document({"rotations": list(map(rotation_document, found))})
    else:
        columns = ("secret", "state", "last rotation", "due", "rotator")
        output.write_listing(columns, map(_cells, found), map(_fields, found))
    click.get_current_context().exit(code_of_all(errors))


@rotate_command.command("history")
@_path
@json_option("Print a JSON object with one entry for each version.")
@current
def history_command(invocation: Invocation, path: str, *, as_json: bool) -> None:
    """List the versions of a secret that changed its values, oldest first, with the keys that changed.

    They come from the store's own versions, so that a change by hand is in the list too. No value is shown.

    Example: strongroom rotate history database/app
    """
    with invocation.open() as secrets:
        versions = secrets.rotations.history(path)
    if as_json:
        described_versions = [
            {"secret_version": found.version, "created": found.created, "keys": found.keys} for found in versions
        ]
        output.write_document({"path": path, "versions": described_versions})
        return
    rows = [(str(found.version), output.minute(found.created), ", ".join(found.keys)) for found in versions]
    output.write_listing(("version", "written", "changed keys"), rows)


@rotate_command.command("run")
@click.option("--once", is_flag=True, help="Rotate the secrets that are due now, and stop: for cron.")
@options.interval_option("1m", "Look at the schedules this often.")
@json_option("With --once, print a JSON object with one entry for each rotation.")
@current
def run_command(invocation: Invocation, *, once: bool, interval: float, as_json: bool) -> None:
    """Rotate each secret when it is due, in the foreground, until SIGTERM or Ctrl-C.

    It finishes rotations that another process has left, and repeats failed ones after a pause that grows. Several
    replicas may run it at once: each due rotation happens once. It never asks for confirmation.

    Example, from cron: strongroom rotate run --once
    """
    from strongroom.rotate.runner import Runner

    if as_json and not once:
        raise click.UsageError("--json needs --once")
    with invocation.open() as secrets, until_ended() as stop:  # a rotation that is under way is finished
        if not secrets.rotations.paths:
            raise ConfigurationError('No rotation is configured: add a table [rotation."PATH"]')
        runner = Runner(secrets.rotations, interval=interval, report=_say)
        if not once:
            output.say(f"Watching the schedules of {', '.join(map(shown, secrets.rotations.paths))}")
            runner.run(stop)
            return
        outcomes = runner.run_once(stop)
    if as_json:
        output.write_document(
            {
                "rotations": [rotation_document(outcome.status) for outcome in outcomes if outcome.status is not None],
                "failures": [
                    {"path": outcome.path, "error": str(outcome.error)}
                    for outcome in outcomes
                    if outcome.error is not None
                ],
            }
        )
    click.get_current_context().exit(code_of_all(outcome.error for outcome in outcomes if outcome.error is not None))


@click.command("keys")
@path_argument
@json_option("Print a JSON object with the ids.")
@current
def keys_command(invocation: Invocation, path: str, *, as_json: bool) -> None:
    """Print the ids of the keys in a keyset of encrypted columns, and what each one does.

    One key encrypts, and all decrypt. During the grace time of a rotation the former key encrypts, and the new one is
    listed as next. No key is printed. The keyset is read past the cache.

    Example: strongroom keys columns/customer
    """
    from strongroom.encryption import Keyset

    with invocation.open() as secrets:
        found = secrets.resolve(path, fresh=True)
    keyset = Keyset.parse(found.value if isinstance(found.value, dict) else {}, path)
    if as_json:
        ids = {"encrypting": keyset.encrypting, "primary": keyset.primary, "previous": keyset.previous}
        output.write_document({"path": path, "store": found.store, **ids, "keys": sorted(keyset.keys)})
        return
    uses = dict.fromkeys(sorted(keyset.keys), "decrypts") | {keyset.primary: "next", keyset.encrypting: "encrypts"}
    output.write_listing(("key", "use"), list(uses.items()), caption=f"{shown(path)} from {found.store}")


@contextmanager
def _confirmed(invocation: Invocation, path: str, what: str, *, yes: bool) -> Iterator[Rotations]:
    """Announce a change of a rotation, ask for confirmation, and yield the rotations."""
    with invocation.open() as secrets:
        rotation = secrets.config.rotations.get(path)
        if rotation is not None:
            output.say(f"{what} {shown(path)} with {rotation.rotator.plugin}")
        confirm(production_reasons(secrets.config), yes=yes)
        yield secrets.rotations


def _report(status: RotationStatus, *, as_json: bool) -> None:
    output.say(_sentence(status))
    if as_json:
        output.write_document(rotation_document(status))


def _say(outcome: RotationOutcome) -> None:
    output.say(str(outcome.error) if outcome.status is None else _sentence(outcome.status))


def _sentence(status: RotationStatus) -> str:
    """Return the result of a rotation and the next step, as a sentence."""
    path = shown(status.path)
    due = "" if status.due is None else f". It is due again {output.minute(status.due)}"
    if status.state == "undone":
        stop = due and "; to stop the schedule, remove `every` from its table"
        return f"Undid the rotation of {path}: the old credential works{due}{stop}"
    if status.grace_end is not None:
        return (
            f"Rotated {path}. The old credential is valid until {output.second(status.grace_end)}; "
            f"then the scheduler, or strongroom rotate resume {path}, revokes it"
        )
    done = f"Revoked the old credential of {path}" if status.only_revoked else f"Rotated {path}"
    return f"{done}{due}"


def _fields(status: RotationStatus) -> tuple[str, ...]:
    return (
        status.path,
        status.state,
        output.minute(status.last_success),
        output.minute(status.due),
        "overdue" if status.overdue else "",
        status.rotator,
        status.store,
        status.owner,
    )


_STYLES = {"done": "ok", "never": "absent", "undone": "warning"}


def _cells(status: RotationStatus) -> tuple[str | output.Cell, ...]:
    details = [status.state]
    if status.owner:
        details.append(f"by {status.owner}")
    if status.failures:
        details.append(f"failed {status.failures} times" if status.failures > 1 else "failed once")
    moment = output.minute(status.due)
    due = output.state("warning", f"{moment}\noverdue") if status.overdue else output.Cell(moment)
    state = output.state(_STYLES.get(status.state, "pending"), "\n".join(details))
    return status.path, state, output.minute(status.last_success), due, status.rotator


# --- status -----------------------------------------------------------------------------------------------------------


def rotation_statuses(
    rotations: Rotations, paths: Sequence[str] = ()
) -> tuple[list[RotationStatus], list[StrongroomError]]:
    """Return the status of each rotation, or of these, and the errors of those that could not be read."""
    found: list[RotationStatus] = []
    errors: list[StrongroomError] = []
    for path in paths or rotations.paths:
        try:
            found += rotations.status([path])
        except StrongroomError as error:
            errors.append(error.copy())
    return found, errors


def needs_attention(status: RotationStatus, until: datetime) -> bool:
    """Return True if the rotation is unfinished, or due by then."""
    return _is_stopped(status) or (status.due is not None and status.due <= until)


def rotation_condition(status: RotationStatus, now: datetime) -> str:
    """Return the condition of a rotation: unfinished, overdue, or when it is due."""
    if _is_stopped(status):
        return f"unfinished: {status.state}"
    if status.due is None:
        return status.state
    distance = durations.format_duration(abs((status.due - now).total_seconds()))
    return f"overdue by {distance}" if status.due < now else f"due in {distance}"


def rotation_document(status: RotationStatus) -> dict[str, Any]:
    """Return the JSON object of a status."""
    return {name: field for name, field in asdict(status).items() if name not in {"changed", "only_revoked"}}


def _is_stopped(status: RotationStatus) -> bool:
    return status.unfinished and status.grace_end is None
