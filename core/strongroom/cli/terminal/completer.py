"""What a shell offers on Tab: paths, keys and names, in a short time or not at all, and never a value.

The mechanism is click's: the script of `strongroom completion SHELL` calls `strongroom` with a variable set, and
`answer` takes over. See https://click.palletsprojects.com/en/stable/shell-completion/.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.store import time_limit

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.secrets_manager import SecretsManager

VARIABLE: Final = "_STRONGROOM_COMPLETE"
"""The variable that the shell's script sets."""

SHELLS: Final = ("bash", "zsh", "fish")

CHAIN_TIME = 1.0
"""The most that the stores may take, in seconds."""

WHOLE_TIME = 2.0
"""The most that a Tab may take, in seconds: a store's plugin may not keep to its own."""

# A shell puts what it is offered into the line as it stands: a name that it would read as more than a word is left out.
_WORD = re.compile(r"[\w./@+][\w./@+%,:=#-]*")


def answer(cli: click.Command) -> NoReturn:
    """Prints what the shell asks for and ends the process. A failure offers nothing, and says nothing on any stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, WHOLE_TIME)
    with contextlib.suppress(BaseException):
        cli.main([], prog_name="strongroom", complete_var=VARIABLE)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)


def script(cli: click.Command, shell: str) -> str:
    """What a shell evaluates to complete our command; a name of `SHELLS`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete in {shell}")
    return kind(cli, {}, "strongroom", VARIABLE).source()


# --- what can be completed --------------------------------------------------------------------------------------------


def references(ctx: click.Context, incomplete: str) -> list[str]:
    """PATH, and after a # the keys of that secret. What holds a # itself would be read as another reference."""
    path, mark, _ = incomplete.rpartition("#")
    if not mark:
        return [found for found in paths(ctx, incomplete) if "#" not in found]
    return _words(incomplete, (f"{path}#{key}" for key in _keys(ctx, path) if "#" not in key))


def paths(ctx: click.Context, incomplete: str) -> list[str]:
    """Paths, one folder at a time; through a folder that holds one thing it goes on."""
    with _opened(ctx) as (secrets, config):
        return _deepest(incomplete, lambda typed: _words(typed, _below(secrets, config, typed)))


def folders(ctx: click.Context, incomplete: str) -> list[str]:
    """Folders."""
    with _opened(ctx) as (secrets, config):
        return [name for name in _words(incomplete, _below(secrets, config, incomplete)) if name.endswith("/")]


def keys(ctx: click.Context, incomplete: str) -> list[str]:
    """The keys of the secret whose path stands before."""
    return _words(incomplete, _keys(ctx, str(ctx.params.get("path") or "")))


def path_then_keys(ctx: click.Context, incomplete: str) -> list[str]:
    """The words of `set`: a path, then keys, and after KEY=@ the names of files."""
    before = ctx.params.get("words") or ()
    key, mark, file = incomplete.partition("=@")
    if mark and key:
        return [f"{key}{mark}{name}" for name in files(file)]
    # In bash =@ is a word of its own (COMP_WORDBREAKS), while readline completes from the @ on (rl_special_prefixes).
    if mark or (before and before[-1] == "=@"):
        return [f"@{name}" for name in files(file if mark else incomplete)]
    return _words(incomplete, _keys(ctx, str(before[0]))) if before else references(ctx, incomplete)


def versions(ctx: click.Context, incomplete: str) -> list[str]:
    """The versions of the secret whose path stands before."""
    # After an option that lacks a value, click has given no word to its argument yet.
    path, store = str(ctx.params.get("path") or next(iter(ctx.args), "")), ctx.params.get("store")
    with _opened(ctx) as (secrets, _):
        return _words(incomplete, (str(info.version) for info in secrets.versions.history(path, store=store)))


def files(incomplete: str) -> list[str]:
    """Names of files, as `paths` has those of secrets; hidden ones where a dot is typed."""
    return _deepest(incomplete, _files)


def stores(ctx: click.Context, incomplete: str) -> list[str]:
    """The names of the chain's stores."""
    return _words(incomplete, (link.store for link in _config(ctx).chain))


def plugins(_: click.Context, incomplete: str) -> list[str]:
    """The names of the store plugins that are installed."""
    from strongroom import plugins

    return _words(incomplete, (plugin.name for plugin in plugins.installed()))


def ends(ctx: click.Context, incomplete: str) -> list[str]:
    """What a migration can read or write: the stores of the configuration, and the plugins."""
    return sorted({*_words(incomplete, _config(ctx).stores), *plugins(ctx, incomplete)})


def migrations(_: click.Context, incomplete: str) -> list[str]:
    """The migrations that were begun on this machine."""
    from strongroom.migrate import runs

    return _words(incomplete, (run.name for run in runs()))


def command(ctx: click.Context, incomplete: str) -> list[str]:
    """The words of `run`: a program that the shell would find, then the names of files."""
    if ctx.params.get("command") or "/" in incomplete or not incomplete:
        return files(incomplete)
    return _words(incomplete, _programs())


def environments(ctx: click.Context, incomplete: str) -> list[str]:
    """The environments of the configuration file."""
    from strongroom.config import discovery

    named = ctx.find_root().params.get("config_file") or os.environ.get("STRONGROOM_CONFIG") or discovery.FILE_NAME
    return _words(incomplete, discovery.environments(Path(named).expanduser()))


KINDS: Mapping[str, Callable[[click.Context, str], list[str]]] = {
    "reference": references,
    "path": paths,
    "folder": folders,
    "key": keys,
    "path, then keys": path_then_keys,
    "version": versions,
    "store": stores,
    "plugin": plugins,
    "end": ends,
    "migration": migrations,
    "command": command,
    "environment": environments,
}


# --- how it is found --------------------------------------------------------------------------------------------------


def _config(ctx: click.Context) -> Config:
    from strongroom.config import discovery

    options = ctx.find_root().params
    config = discovery.load(
        config_file=options.get("config_file"), environment=options.get("environment"), require_trust=True
    )
    if config.untrusted:  # a key press must not use a stranger's file at all
        raise ConfigurationError(f"{', '.join(sorted(config.untrusted))} is not trusted")
    return config


@contextlib.contextmanager
def _opened(ctx: click.Context) -> Iterator[tuple[SecretsManager, Config]]:
    from strongroom.secrets_manager import SecretsManager

    config = _config(ctx)
    # All calls together, and not each of them: where a store is silent the second one is not begun.
    with time_limit(CHAIN_TIME), SecretsManager.from_config(config) as secrets:
        yield secrets, config


def _below(secrets: SecretsManager, config: Config, incomplete: str) -> set[str]:
    """What is directly below the folder that is typed already: of the stores, and of the rows of `[secrets]`."""
    folder, slash, _ = incomplete.rpartition("/")
    below = folder + slash
    rows = (row.path for row in config.secrets.values() if row.path.startswith(below))
    found = {below + first + more for first, more, _ in (path[len(below) :].partition("/") for path in rows)}
    with contextlib.suppress(StrongroomError):
        found |= {below + name for name in secrets.list_secrets(folder)}
    return found


def _keys(ctx: click.Context, path: str) -> set[str]:
    """The names of the keys at a path: what is read is dropped here."""
    with _opened(ctx) as (secrets, config):
        found = {row.key for row in config.secrets.values() if row.path == path}
        with contextlib.suppress(StrongroomError):
            value = secrets.resolve(path, allow_dynamic=False).value
            found |= value.keys() if isinstance(value, Mapping) else set()
        return found


def _deepest(incomplete: str, below: Callable[[str], list[str]]) -> list[str]:
    """What is offered for what is typed; a folder that is alone stands for what is in it."""
    found = below(incomplete)
    while len(found) == 1 and found[0].endswith("/"):
        deeper = below(found[0])
        if not deeper:
            break
        found = deeper
    return found


def _files(typed: str) -> list[str]:
    folder, slash, name = typed.rpartition("/")
    above = folder + slash
    try:
        entries = [*os.scandir(Path(above).expanduser())]
    except (OSError, ValueError, RuntimeError):
        return []
    names = (f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
    return [above + each for each in _words(name, names) if name or not each.startswith(".")]


def _programs() -> Iterator[str]:
    """What stands in the folders of PATH and may be run."""
    for folder in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_file() and os.access(entry.path, os.X_OK))


def _words(incomplete: str, found: Iterable[str]) -> list[str]:
    """Those that go on from what is typed, and that a shell takes for one word."""
    return sorted({name for name in found if name.startswith(incomplete) and _WORD.fullmatch(name)})
