"""`strongroom diff`: two versions of a secret, or two stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import click

from strongroom.cli import store_names
from strongroom.cli.commands.versions import as_version, compare_versions
from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.terminal import output
from strongroom.errors import shown

if TYPE_CHECKING:
    from strongroom.migrate.execution.drift import Difference
    from strongroom.migrate.spi import Failure
    from strongroom.secret import Value, Version

_OF_VERSIONS = ("store", "reveal")
_OF_STORES = ("prefix", "include", "exclude")


class _Diff(click.Command):
    """`--versions` takes two words where one secret is compared, and none where two stores are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and "--versions" in args:
            after = args[args.index("--versions") + 1 :]
            if not after or after[0].startswith("-"):
                args = ["--history" if word == "--versions" else word for word in args]
        return super().parse_args(ctx, args)


@click.command("diff", cls=_Diff)
@click.argument(
    "words",
    nargs=-1,
    metavar="{STORE_A STORE_B | PATH --versions OLD NEW}",
    shell_complete=completed("path"),
)
@click.option(
    "--versions",
    nargs=2,
    type=as_version,
    metavar="[OLD NEW]",
    shell_complete=completed("version"),
    help="Of one secret, compare these two versions. Of two stores, without words, compare the histories too.",
)
@click.option("--history", is_flag=True, hidden=True)
@click.option("--prefix", metavar="PREFIX", default="", help="Of two stores, compare only what is below.")
@click.option("--include", metavar="GLOB", multiple=True, help="Of two stores, only paths of this shell pattern.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Of two stores, leave out paths of this pattern.")
@click.option(
    "--store",
    metavar="NAME",
    shell_complete=completed("store"),
    help="Of versions, in this store, not in the first of the chain that can be written.",
)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.option("--reveal", is_flag=True, help="Of versions, show the values too.")
@current
def diff_command(
    invocation: Invocation,
    /,
    words: tuple[str, ...],
    versions: tuple[Version, Version] | None,
    *,
    history: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Compare two stores, or two versions of a secret, key by key.

    A store is NAME, or PLUGIN:LOCATION such as json:backup.json. Of two stores each path of either is compared, with
    its labels where both have them; no value is shown. Each key is added (only in the second), removed (only in the
    first), changed or the same. Types count: the number 5432 is not the text 5432. The exit code is 10 where anything
    differs, and never where a store did not answer.

    Example: strongroom diff vault:secret/billing aws-ssm:/billing
    """
    context = click.get_current_context()
    if versions is not None and len(words) == 1:
        _refuse(context, _OF_STORES, "two stores")
        store, reveal = given["store"], given["reveal"]
        compare_versions(invocation, words[0], versions, store=store, as_json=as_json, reveal=reveal)
    if versions is not None and not words:
        words, history = (str(versions[0]), str(versions[1])), True
    elif versions is not None or len(words) != 2:  # two stores
        raise click.UsageError("It compares two stores (STORE_A STORE_B), or two versions (PATH --versions OLD NEW)")
    _refuse(context, _OF_VERSIONS, "versions")
    _compare_stores(invocation, words[0], words[1], history=history, as_json=as_json, given=given)


def _refuse(context: click.Context, names: Iterable[str], about: str) -> None:
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is for a comparison of {about}")


def _compare_stores(
    invocation: Invocation, left: str, right: str, *, history: bool, as_json: bool, given: dict[str, Any]
) -> NoReturn:
    from strongroom.migrate import Selection
    from strongroom.migrate.execution.drift import Drift, drift

    config = invocation.load()
    selection = Selection(given["prefix"], "", given["include"], given["exclude"])
    with ExitStack() as stack:
        first, unmapped = store_names.open_reader(config, left, stack)
        second, more = store_names.open_reader(config, right, stack)
        found = list(drift(first, second, selection, history=history))
    named = [(name, failure) for name, failures in ((left, unmapped), (right, more)) for failure in failures]
    counts = {state: sum(each.state is state for each in found) for state in Drift}
    different = counts[Drift.SAME] + counts[Drift.UNKNOWN] != len(found)
    if as_json:
        output.write_document(
            {
                "first": left,
                "second": right,
                "different": different,
                "counts": {state.name.lower(): count for state, count in counts.items()},
                "secrets": [_described(each) for each in found],
                "unmapped": [{"store": name, "name": failure.name} for name, failure in named],
            }
        )
    elif output.is_terminal():
        rows = [_row(each, left, right) for each in found if each.state is not Drift.SAME]
        if rows or named:
            rows += [_unmapped(name, failure) for name, failure in named]
            output.write_table(("path", "is", "what"), rows, color=not invocation.no_color)
    else:
        output.write_lines("\t".join(_fields(each)) for each in found)
        output.write_lines(f"unmapped\t{shown(failure.name)}\t\t\t\t{shown(name)}" for name, failure in named)
    words = ", ".join(f"{_words(state, left, right)} {count:,}" for state, count in counts.items() if count)
    output.say(f"{shown(left)} and {shown(right)}: {words or 'neither has a secret'}")
    errors = [each.error for each in found if each.error is not None]
    for error in () if output.is_terminal() and not as_json else errors:
        output.say(str(error))
    raise click.exceptions.Exit(code_of_all(errors) or (ExitCode.DIFFERENT if different else ExitCode.DONE))


def _described(each: Difference) -> dict[str, Value]:
    return {
        "path": each.path,
        "state": each.state.name.lower(),
        "keys": [{"key": name, "change": change.value} for name, change in each.keys.items()],
        "labels": [{"label": name, "change": change.value} for name, change in each.labels.items()],
        "versions": None if each.history is None else list(each.history),
        "error": None if each.error is None else str(each.error),
    }


def _row(each: Difference, left: str, right: str) -> tuple[str | output.Cell, ...]:
    state = output.state(each.state.name.lower(), _words(each.state, left, right))
    return shown(each.path), state, "\n".join(_told(each))


def _unmapped(store: str, failure: Failure) -> tuple[str | output.Cell, ...]:
    why = str(failure.error).removeprefix(f"{failure.name}: ")
    return shown(failure.name), output.state("unmapped", f"unmapped in {shown(store)}"), why


def _words(state: Any, left: str, right: str) -> str:
    """The state of a path, with the store's name in the place of which it is."""
    return state.value.replace("the first", shown(left)).replace("the second", shown(right))  # type: ignore[no-any-return]


def _told(each: Difference) -> list[str]:
    """What is different, a line for each kind of it."""
    from strongroom.migrate.execution.drift import Drift

    if each.error is not None:
        return [str(each.error)]
    if each.state is not Drift.DIFFERENT:
        return [", ".join(map(shown, each.keys))]
    told = [f"{change} {names}" for change, names in _grouped(each.keys.items())]
    told += [f"label {change} {names}" for change, names in _grouped(each.labels.items())]
    if each.history is not None:
        told.append(f"versions {each.history[0]} and {each.history[1]}")
    return told


def _grouped(items: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for name, change in items:
        groups.setdefault(change.value, []).append(shown(name))
    return [
        (change, ", ".join(groups[change])) for change in ("changed", "added", "removed", "same") if change in groups
    ]


def _fields(each: Difference) -> Sequence[str]:
    """One line: state, path, keys, labels, versions and the error."""
    keys, labels = (", ".join(f"{shown(n)} {c.value}" for n, c in part.items()) for part in (each.keys, each.labels))
    versions = "" if each.history is None else f"{each.history[0]} and {each.history[1]}"
    error = "" if each.error is None else " ".join(str(each.error).split())
    return each.state.name.lower().replace("_", " "), shown(each.path), keys, labels, versions, error
