"""`strongroom diff`: compare two versions of a secret, or two stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.options import Invocation, as_version, complete, current, json_option, store_option
from strongroom._cli.terminal import output
from strongroom.errors import shown

if TYPE_CHECKING:
    from strongroom.migrate._execution.drift import Difference
    from strongroom.migrate._plans.plan import KeyChange
    from strongroom.migrate.spi import Failure
    from strongroom.secret import Secret, Value, Version

_VERSION_OPTIONS = ("store", "reveal")
_STORE_OPTIONS = ("history", "prefix", "include", "exclude")


@click.command("diff")
@click.argument(
    "words",
    nargs=-1,
    metavar="{STORE_A STORE_B | PATH --versions OLD NEW}",
    shell_complete=complete("paths"),
)
@click.option(
    "--versions",
    nargs=2,
    type=as_version,
    metavar="OLD NEW",
    shell_complete=complete("versions"),
    help="Compare these two versions of the secret at PATH.",
)
@click.option("--history", is_flag=True, help="Stores: compare the version histories too.")
@click.option("--prefix", metavar="PREFIX", default="", help="Stores: compare only paths below PREFIX.")
@click.option("--include", metavar="GLOB", multiple=True, help="Stores: compare only paths that match this pattern.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Stores: skip paths that match this pattern.")
@store_option("Versions: read")
@json_option()
@click.option("--reveal", is_flag=True, help="Versions: show the values.")
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

    A store is NAME or PLUGIN:LOCATION, for example json:backup.json. The paths of both stores are compared, with their
    labels if both stores have labels. No value is shown. Each key is added (only in the second store), removed (only in
    the first), changed or the same. Types matter: the number 5432 differs from the text 5432. The exit code is 10 if
    anything differs. A store that is unavailable has its own exit code, never 10.

    Example: strongroom diff vault:secret/billing aws-ssm:/billing
    """
    context = click.get_current_context()
    if versions is not None and len(words) == 1:
        _refuse(context, _STORE_OPTIONS, "two stores")
        store, reveal = given["store"], given["reveal"]
        _compare_versions(invocation, words[0], versions, store=store, as_json=as_json, reveal=reveal)
    if versions is not None or len(words) != 2:
        raise click.UsageError("Give two stores (STORE_A STORE_B), or two versions (PATH --versions OLD NEW)")
    _refuse(context, _VERSION_OPTIONS, "versions")
    _compare_stores(invocation, words[0], words[1], history=history, as_json=as_json, given=given)


def _refuse(context: click.Context, names: Iterable[str], comparison: str) -> None:
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} only applies to a comparison of {comparison}")


def _compare_versions(
    invocation: Invocation,
    path: str,
    versions: tuple[Version, Version],
    *,
    store: str | None,
    as_json: bool,
    reveal: bool,
) -> NoReturn:
    """Print the change of each key between two versions, and exit with DIFFERENT or DONE."""
    from strongroom.migrate._plans.comparison import changes
    from strongroom.migrate._plans.plan import KeyChange

    with invocation.open() as secrets:
        store = store or secrets.write_target(path).store
        old, new = (secrets.versions.read(path, version, store=store) for version in versions)
    found = changes(old.data, new.data)
    different = any(change is not KeyChange.SAME for change in found.values())
    if as_json:
        output.write_document(
            {
                "path": path,
                "store": store,
                "old_version": old.version,
                "new_version": new.version,
                "different": different,
                "keys": [_described_key(key, change, old, new, reveal=reveal) for key, change in found.items()],
            }
        )
    else:
        columns = ("change", "key", "type", *(("old", "new") if reveal else ()))
        rows = [_key_row(key, change, old, new, reveal=reveal) for key, change in found.items()]
        hint = "" if reveal else "; --reveal shows the values"
        caption = f"{shown(path)} from {store}, version {old.version} to {new.version}{hint}"
        output.write_listing(columns, rows, caption=caption)
    raise click.exceptions.Exit(ExitCode.DIFFERENT if different else ExitCode.DONE)


def _described_key(key: str, change: KeyChange, old: Secret, new: Secret, *, reveal: bool) -> Mapping[str, Value]:
    types: dict[str, Value] = {f"{side}_type": _kind(key, secret) or None for side, secret in _sides(old, new)}
    values = {side: secret.data[key] for side, secret in _sides(old, new) if reveal and key in secret.data}
    return {"key": key, "change": change.value, **types, **values}


def _key_row(key: str, change: KeyChange, old: Secret, new: Secret, *, reveal: bool) -> tuple[str, ...]:
    kinds = dict.fromkeys(filter(None, (_kind(key, old), _kind(key, new))))
    values = [
        output.value_text(secret.data[key]) if key in secret.data else "" for _, secret in _sides(old, new) if reveal
    ]
    return (change.value, shown(key), " -> ".join(kinds), *values)


def _sides(old: Secret, new: Secret) -> Iterable[tuple[str, Secret]]:
    return ("old", old), ("new", new)


def _kind(key: str, secret: Secret) -> str:
    from strongroom.secret import kind

    return kind(secret.data[key]) if key in secret.data else ""


def _compare_stores(
    invocation: Invocation, left: str, right: str, *, history: bool, as_json: bool, given: dict[str, Any]
) -> NoReturn:
    from strongroom.migrate import Selection
    from strongroom.migrate._execution.drift import Drift, drift
    from strongroom.migrate.endpoints import Endpoints

    config = invocation.load()
    selection = Selection(given["prefix"], "", given["include"], given["exclude"])
    with Endpoints(config, None) as endpoints:
        first, second = endpoints.source(left), endpoints.source(right)
        found = list(drift(first, second, selection, history=history))
    named = [(source.name, failure) for source in (first, second) for failure in source.unmapped]
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
            output.write_table(("path", "status", "details"), rows)
    else:
        output.write_lines("\t".join(_fields(each)) for each in found)
        output.write_lines(f"unmapped\t{shown(failure.name)}\t\t\t\t{shown(name)}" for name, failure in named)
    words = ", ".join(f"{_words(state, left, right)} {count:,}" for state, count in counts.items() if count)
    output.say(f"{shown(left)} and {shown(right)}: {words or 'both are empty'}")
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
    return shown(each.path), state, "\n".join(_details(each))


def _unmapped(store: str, failure: Failure) -> tuple[str | output.Cell, ...]:
    why = str(failure.error).removeprefix(f"{failure.name}: ")
    return shown(failure.name), output.state("unmapped", f"unmapped in {shown(store)}"), why


def _words(state: Any, left: str, right: str) -> str:
    """Return the state of a path with the stores' names."""
    return state.value.replace("the first", shown(left)).replace("the second", shown(right))  # type: ignore[no-any-return]


def _details(each: Difference) -> list[str]:
    """Return one line for each kind of difference."""
    from strongroom.migrate._execution.drift import Drift

    if each.error is not None:
        return [str(each.error)]
    if each.state is not Drift.DIFFERENT:
        return [", ".join(map(shown, each.keys))]
    lines = [f"{change} {names}" for change, names in _grouped(each.keys.items())]
    lines += [f"label {change} {names}" for change, names in _grouped(each.labels.items())]
    if each.history is not None:
        lines.append(f"versions {each.history[0]} and {each.history[1]}")
    return lines


def _grouped(items: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for name, change in items:
        groups.setdefault(change.value, []).append(shown(name))
    return [
        (change, ", ".join(groups[change])) for change in ("changed", "added", "removed", "same") if change in groups
    ]


def _fields(each: Difference) -> Sequence[str]:
    """Return the fields of a piped row: state, path, keys, labels, versions and error."""
    keys, labels = (", ".join(f"{shown(n)} {c.value}" for n, c in part.items()) for part in (each.keys, each.labels))
    versions = "" if each.history is None else f"{each.history[0]} and {each.history[1]}"
    error = "" if each.error is None else " ".join(str(each.error).split())
    return each.state.name.lower().replace("_", " "), shown(each.path), keys, labels, versions, error
