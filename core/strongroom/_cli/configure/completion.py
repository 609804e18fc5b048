"""`strongroom completion`, and the completion of paths, keys and names within a time limit. Values are never offered.

It uses click's mechanism: the script of `strongroom completion SHELL` calls `strongroom` with a variable set, and
`answer` replies. See https://click.palletsprojects.com/en/stable/shell-completion/.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NoReturn

import click

from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.store import time_limit

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from strongroom._config import Config
    from strongroom._manager import SecretsManager

VARIABLE: Final = "_STRONGROOM_COMPLETE"
"""Variable that the script of the shell sets."""

SHELLS: Final = ("bash", "zsh", "fish")

CHAIN_TIME = 1.0
"""Time limit of the stores, in seconds."""

WHOLE_TIME = 2.0
"""Time limit of a completion, in seconds, for plugins that ignore the limit of the stores."""

# The shell inserts completions unquoted, so names that need quotes are left out.
_WORD = re.compile(r"[\w./@+][\w./@+%,:=#-]*")


def answer(cli: click.Command) -> NoReturn:
    """Print the completions and exit. A failure prints nothing on any stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, WHOLE_TIME)
    with contextlib.suppress(BaseException):
        cli.main([], prog_name="strongroom", complete_var=VARIABLE)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    Commands, options, paths and keys are completed on Tab. Paths and keys come from [secrets] and from the configured
    stores, which have one second to answer. To complete keys the secret is read, which an audit log records. No value
    is shown.

    \b
    Example, in ~/.bashrc:     eval "$(strongroom completion bash)"
    in ~/.zshrc:               eval "$(strongroom completion zsh)"
    in fish/config.fish:       strongroom completion fish | source
    """  # noqa: D301  # click does not wrap a paragraph after \b
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete in {shell}")
    output.write(kind(ctx.find_root().command, {}, "strongroom", VARIABLE).source().encode(), newline=False)


# --- kinds of words ---------------------------------------------------------------------------------------------------


def references(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete PATH, and after a # its keys. Names with a # are left out: a reference is split at the last one."""
    path, mark, _ = incomplete.rpartition("#")
    if not mark:
        return [found for found in paths(ctx, incomplete) if "#" not in found]
    return _words(incomplete, (f"{path}#{key}" for key in _keys(ctx, path) if "#" not in key))


def paths(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete paths, one folder at a time. A folder with a single entry is entered."""
    with _opened(ctx) as (secrets, config):
        found = _words(incomplete, _below(secrets, config, incomplete))
        while len(found) == 1 and found[0].endswith("/"):
            deeper = _words(found[0], _below(secrets, config, found[0]))
            if not deeper:
                break
            found = deeper
    return found


def folders(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete folders."""
    with _opened(ctx) as (secrets, config):
        return [name for name in _words(incomplete, _below(secrets, config, incomplete)) if name.endswith("/")]


def keys(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete the keys of the secret at the preceding path."""
    return _words(incomplete, _keys(ctx, str(ctx.params.get("path") or "")))


def path_then_keys(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete the words of `set`: a path, then keys."""
    before = ctx.params.get("words") or ()
    return _words(incomplete, _keys(ctx, str(before[0]))) if before else references(ctx, incomplete)


def versions(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete the versions of the secret at the preceding path."""
    # After an option that lacks its value, click has not assigned the arguments yet.
    path, store = str(ctx.params.get("path") or next(iter(ctx.args), "")), ctx.params.get("store")
    with _opened(ctx) as (secrets, _):
        return _words(incomplete, (str(info.version) for info in secrets.versions.history(path, store=store)))


def stores(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete the stores of the chain."""
    return _words(incomplete, (link.store for link in _config(ctx).chain))


def rotations(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete the secrets with a rotation."""
    return _words(incomplete, _config(ctx).rotations)


def plugins(_: click.Context, incomplete: str) -> list[str]:
    """Complete the installed store plugins."""
    from strongroom import _plugins as plugins

    return _words(incomplete, plugins.names())


def ends(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete sources and targets of a migration: configured stores and plugins."""
    return sorted({*_words(incomplete, _config(ctx).stores), *plugins(ctx, incomplete)})


def migrations(_: click.Context, incomplete: str) -> list[str]:
    """Complete the migration runs on this machine."""
    from strongroom.migrate import runs

    return _words(incomplete, (run.name for run in runs()))


def files(_: click.Context, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def environments(ctx: click.Context, incomplete: str) -> list[str]:
    """Complete the environments of the configuration file."""
    from strongroom._config import discovery

    return _words(incomplete, discovery.config_environments(ctx.find_root().params.get("config_file")))


# --- lookup -----------------------------------------------------------------------------------------------------------


def _config(ctx: click.Context) -> Config:
    from strongroom._config import discovery

    options = ctx.find_root().params
    config = discovery.load(
        config_file=options.get("config_file"), environment=options.get("environment"), require_trust=True
    )
    if config.untrusted:  # a key press must not use a stranger's file at all
        raise ConfigurationError(f"{', '.join(config.untrusted)} is not trusted")
    return config


@contextlib.contextmanager
def _opened(ctx: click.Context) -> Iterator[tuple[SecretsManager, Config]]:
    from strongroom._manager import SecretsManager

    config = _config(ctx)
    # One limit for all calls together.
    with time_limit(CHAIN_TIME), SecretsManager.from_config(config) as secrets:
        yield secrets, config


def _below(secrets: SecretsManager, config: Config, incomplete: str) -> set[str]:
    """Return the entries directly below the typed folder, from the stores and from `[secrets]`."""
    folder, slash, _ = incomplete.rpartition("/")
    below = folder + slash
    rows = (row.path for row in config.secrets.values() if row.path.startswith(below))
    found = {below + first + more for first, more, _ in (path[len(below) :].partition("/") for path in rows)}
    with contextlib.suppress(StrongroomError):
        found |= {below + name for name in secrets.list_secrets(folder)}
    return found


def _keys(ctx: click.Context, path: str) -> set[str]:
    """Return the keys at a path. The values are read, and dropped here."""
    from strongroom._manager.manager import parts_of

    with _opened(ctx) as (secrets, config):
        found = {row.key for row in config.secrets.values() if row.path == path}
        with contextlib.suppress(StrongroomError):
            # Not `SecretsManager.resolve`, which refuses a # in the path of a whole secret.
            value = parts_of(secrets).chain.resolve(path, None, allow_dynamic=False).value
            found |= value.keys() if isinstance(value, Mapping) else set()
        return found


def _words(incomplete: str, found: Iterable[str]) -> list[str]:
    """Return the names that begin with the typed text, and that a shell reads as one word."""
    return sorted({name for name in found if name.startswith(incomplete) and _WORD.fullmatch(name)})
