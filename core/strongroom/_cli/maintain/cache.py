"""`strongroom cache`: inspect, verify and clear the cache on disk, and rotate its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError
from strongroom.formats.durations import format_duration

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom._disk_cache.maintenance import DiskCacheStatus
    from strongroom.secret import Value

_T = TypeVar("_T")


@click.group("cache")
def cache_command() -> None:
    """Inspect and maintain the cache on disk, which `[cache] disk = true` enables.

    Example: strongroom cache status
    """


@cache_command.command("status")
@json_option()
@current
def status_command(invocation: Invocation, *, as_json: bool) -> None:
    """Show the folder of the cache, its permissions, the age of its key, and its size.

    Example: strongroom cache status
    """
    config = invocation.load()
    status = cache_status(config)
    if as_json:
        output.write_document({"enabled": config.cache.disk, **cache_document(status)})
    else:
        rows = [("enabled", "yes" if config.cache.disk else "no: set disk = true in [cache]"), *_rows(status)]
        output.write_listing(("setting", "value"), rows)


@cache_command.command("verify")
@json_option()
@current
def verify_command(invocation: Invocation, *, as_json: bool) -> None:
    """Open every entry, and check the file that holds them. The exit code is 1 if anything is damaged.

    A damaged entry is never served. `strongroom cache clear` removes it.

    Example: strongroom cache verify
    """
    from strongroom._disk_cache.maintenance import verify

    folder, found = _maintained(invocation, verify)
    if as_json:
        faults = list(found.faults)
        output.write_document({"ok": found.ok, "entries": found.entries, "damaged": found.damaged, "faults": faults})
    for fault in found.faults:
        output.say(f"{folder}: {fault}")
    if found.faults:
        output.say("The entries cannot be read. To remove them: `strongroom cache clear`")
    else:
        output.say(f"{output.counted(found.entries, 'entry', 'entries')}, {found.damaged} damaged")
    click.get_current_context().exit(ExitCode.DONE if found.ok else ExitCode.FAILED)


@cache_command.command("clear")
@json_option()
@current
def clear_command(invocation: Invocation, *, as_json: bool) -> None:
    """Remove every entry and the root key. The next read of each secret asks its store.

    Example: strongroom cache clear
    """
    from strongroom._disk_cache.maintenance import clear

    folder, count = _maintained(invocation, clear)
    if as_json:
        output.write_document({"folder": str(folder), "removed": count})
    output.say(f"removed {count} files from {folder}")


@cache_command.command("rotate-key")
@json_option()
@current
def rotate_key_command(invocation: Invocation, *, as_json: bool) -> None:
    """Make a new root key, and remove every entry.

    Processes that are running use the new key from their next read on.

    Example: strongroom cache rotate-key
    """
    from strongroom._disk_cache.maintenance import rotate_key

    folder, _ = _maintained(invocation, rotate_key)
    if as_json:
        output.write_document({"folder": str(folder)})
    output.say(f"{folder} has a new root key, and no entries")


def _maintained(invocation: Invocation, operation: Callable[[Path], _T]) -> tuple[Path, _T]:
    """Return the folder of the cache, and the result of an operation on it."""
    from strongroom._disk_cache.store_cache import cache_folder
    from strongroom.files import private

    config = invocation.load()
    folder = cache_folder(config)
    with private.faults_as(ConfigurationError, f"The disk cache {folder}"):
        return folder, operation(folder)


def cache_status(config: Config) -> DiskCacheStatus:
    """Return the state of the cache on disk, whether it is enabled or not.

    Raises:
        ConfigurationError: a file that is not trusted names its folder.
    """
    from strongroom._disk_cache.maintenance import inspect
    from strongroom._disk_cache.store_cache import cache_folder

    return inspect(cache_folder(config))


def cache_document(status: DiskCacheStatus) -> dict[str, Value]:
    """Return a status for JSON; times are in seconds, sizes in bytes."""
    return {
        **status._asdict(),
        "folder": str(status.folder),
        "fault": status.fault or None,
        "mode": status.mode or None,
    }


def cache_summary(status: DiskCacheStatus) -> str:
    """Return a status in one line."""
    if status.fault or status.key_age is None:
        return status.fault or f"empty: {status.folder}"
    key = f"key {format_duration(round(status.key_age))} old"
    entries = output.counted(status.entries, "entry", "entries")
    return f"{entries}, {status.size:,} bytes, mode {status.mode}, owner {status.owner}, {key}"


def _rows(status: DiskCacheStatus) -> list[tuple[str, str]]:
    rows = [("folder", str(status.folder))]
    if status.fault:
        rows.append(("fault", status.fault))
    if status.exists:
        rows += [("mode", status.mode), ("owner", str(status.owner))]
    if status.key_age is not None:
        rows.append(("key age", format_duration(round(status.key_age))))
    rows += [("entries", f"{status.entries}, of which {status.expired} expired"), ("size", f"{status.size:,} bytes")]
    if status.other_files:
        rows.append(("other files", f"{status.other_files}: of another machine or an earlier key"))
    return rows
