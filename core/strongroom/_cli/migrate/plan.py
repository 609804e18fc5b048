"""`strongroom migrate plan`: the options of a plan, its file, and how it is shown."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.migrate.report import FILE, PLAN_DOCUMENT, by_cause, listed_paths, progress_bar, reason
from strongroom._cli.options import Invocation, combined, complete, current, json_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import describe_store
from strongroom._cli.terminal.output import Cell
from strongroom._config import Config, Rank, Setting
from strongroom.errors import ConfigurationError, shown
from strongroom.files import private
from strongroom.files.bounded import read_bytes
from strongroom.migrate._plans.document import dump_plan, parse_plan, plan_fields
from strongroom.migrate._plans.plan import KeyChange, OnConflict, Plan, PlannedItem, PlannedKey, PlannedState
from strongroom.secret import SensitiveStr, Value

if TYPE_CHECKING:
    from strongroom.migrate import Migrator

_MAX_PLAN = 1 << 28
"""The largest plan that is read, in bytes: about 500,000 secrets."""

_KILO = 1024
_CHANGES = {
    OnConflict.FAIL: "fails",
    OnConflict.SKIP: "left as they are",
    OnConflict.OVERWRITE: "overwritten",
    OnConflict.MERGE: "merged, the target's values stay",
}
_KEY_CHANGES = {
    KeyChange.CHANGED: "differs",
    KeyChange.ADDED: "only at the source",
    KeyChange.SAME: "same",
    KeyChange.REMOVED: "only at the target",
}
"""The words of a table for the change of a key, in the order in which they are listed."""

_HINT = "To use an operator's token, set it and the address in the environment, or enter it on a terminal without --yes"


# --- options ----------------------------------------------------------------------------------------------------------

mapping_file = click.option(
    "--mapping-file", metavar="FILE", type=FILE, help="The current path of the plan's mapping file."
)
on_conflict = click.option(
    "--on-conflict",
    type=click.Choice(("fail", "skip", "overwrite", "merge")),
    default="fail",
    show_default=True,
    help="What to do if the target has another value.",
)
encrypt_to = click.option(
    "--encrypt-to",
    metavar="RECIPIENT",
    multiple=True,
    help="Encrypt the written file to this age recipient. Repeatable.",
)
planning_options = combined(
    click.option(
        "--from",
        "sources",
        metavar="STORE",
        multiple=True,
        shell_complete=complete("ends"),
        help="Read this store: NAME, or PLUGIN:LOCATION such as dotenv:.env. Repeatable.",
    ),
    click.option("--env-file", "env_files", metavar="FILE", multiple=True, help="Same as --from dotenv:FILE."),
    click.option(
        "--to",
        "target",
        metavar="STORE",
        default="vault",
        show_default=True,
        shell_complete=complete("ends"),
        help="Write to this store.",
    ),
    click.option(
        "--mapping-file",
        metavar="FILE",
        type=FILE,
        help="Path and key of each variable. Without --from, reads env.",
    ),
    on_conflict,
    click.option(
        "--no-backup",
        is_flag=True,
        help="Keep no copy of overwritten data. Skip secrets whose target keeps too few versions to undo.",
    ),
    encrypt_to,
    click.option(
        "--from-prefix", metavar="PREFIX", default="", help="Take only secrets below this prefix, and drop it."
    ),
    click.option("--to-prefix", metavar="PREFIX", default="", help="Add this prefix at the target."),
    click.option("--include", metavar="GLOB", multiple=True, help="Migrate only paths that match this shell pattern."),
    click.option("--exclude", metavar="GLOB", multiple=True, help="Skip paths that match this shell pattern."),
)


# --- the command ------------------------------------------------------------------------------------------------------


@click.command("plan")
@planning_options
@click.option("-o", "--output", "file", metavar="FILE", type=FILE, help="Write the plan to this file, for `apply`.")
@json_option()
@current
def plan_command(invocation: Invocation, /, *, file: Path | None, as_json: bool, **given: Any) -> None:
    """Show what a migration would do with each secret.

    Nothing is written to a store. The states are create, change (keys are added), equal, conflict, unmapped and
    impossible. A plan holds names and sizes, never a value or a digest, so it can be reviewed and stored as a CI
    artifact. The exit code is 0 if there is nothing to do, 10 if there is, and 6 for conflicts or impossible secrets.

    Example: strongroom migrate plan --from aws-ssm:/billing --to vault:secret/billing -o plan.json
    """
    if file is not None:
        _check_replaceable(file)
    with ExitStack() as stack:
        _, _, made = make_plan(invocation, stack, given, what="planning to migrate")
    if file is not None:
        _write_plan(file, made)
    show(made, as_json=as_json)
    if file is not None:
        output.say(f"Plan written to {shown(str(file))}. To apply it: `strongroom migrate apply {shown(str(file))}`")
    click.get_current_context().exit(exit_code(made))


# --- a plan -----------------------------------------------------------------------------------------------------------


def make_plan(
    invocation: Invocation, stack: ExitStack, given: dict[str, Any], *, what: str
) -> tuple[Migrator, Config, Plan]:
    """Make the plan that the options ask for. Return it with its migrator, closed by the stack, and configuration."""
    from strongroom.migrate import Migrator, Selection

    config, mapping_file = invocation.load_to_write(), given["mapping_file"]
    sources = (*given["sources"], *(f"dotenv:{file}" for file in given["env_files"]))
    if not sources and mapping_file is None:
        raise click.UsageError("Nothing to migrate: give --from STORE or --env-file FILE")
    sources, target = sources or ("env",), str(given["target"])
    config = with_mapping(config, sources, mapping_file)
    selection = Selection(given["from_prefix"], given["to_prefix"], given["include"], given["exclude"])
    output.say(f"{what} from {output.joined(sources)} to {describe_store(config, target)}")
    config = with_operator_token(config, target, ask=not (given.get("yes") or given.get("dry_run")))
    migrator = stack.enter_context(Migrator(config))
    with progress_bar() as tell:
        made = migrator.plan(
            sources,
            target,
            selection=selection,
            on_conflict=OnConflict(given["on_conflict"]),
            mapping_file=mapping_file,
            backup=not given["no_backup"],
            encrypt_to=given["encrypt_to"],
            progress=tell,
        )
    if not made.items and (selection.from_prefix or selection.include):
        output.say(f"No secret of {output.joined(sources)} matches --from-prefix and --include. Check the spelling")
        raise click.exceptions.Exit(ExitCode.IMPOSSIBLE)
    given_by = {item.source for item in made.items}
    if not (selection.from_prefix or selection.include or selection.exclude):
        for source in sources:
            if source not in given_by and migrator.has_prefix(source):
                output.say(f"{shown(source)} has no secrets below its prefix. Check the spelling")
                raise click.exceptions.Exit(ExitCode.IMPOSSIBLE)
    return migrator, config, made


def with_mapping(config: Config, sources: tuple[str, ...], file: Path | None) -> Config:
    """Return the configuration with this mapping file for every source of variables.

    Raises:
        click.UsageError: no source takes a mapping file.
        ConfigurationError, PluginError: a source does not exist.
    """
    if file is None:
        return config
    from strongroom import _plugins as plugins
    from strongroom.migrate._plans.mapping_file import MAPPING_FILE
    from strongroom.migrate.endpoints import named, parse_spec

    stores = dict(config.stores)
    for spec in map(parse_spec, sources):
        name, about = spec.name, named(config, spec)
        if not plugins.offers(plugins.IMPORTERS, about.plugin):
            continue
        if MAPPING_FILE in plugins.schema(config, about.plugin, plugins.IMPORTERS).options:
            given = Setting(str(file.absolute()), "--mapping-file", Rank.ARGUMENT)
            stores[name] = about.with_options({MAPPING_FILE: given})
    if stores == dict(config.stores):
        raise click.UsageError("--mapping-file only applies to variables: no source is env, dotenv or the like")
    return replace(config, stores=stores)


def with_operator_tokens(config: Config, sources: Iterable[str], *, ask: bool) -> Config:
    """Return the configuration with an operator's token for each store among the sources, asked for once."""
    for source in {name.partition(":")[0]: name for name in sources}.values():
        config = with_operator_token(config, source, ask=ask, is_source=True)
    return config


def with_operator_token(config: Config, store: str, *, ask: bool, is_source: bool = False) -> Config:
    """Return the configuration with an operator's token for the store, if its own token comes from `./.env`.

    Without a terminal, or with an empty answer, the token of the file is used.
    """
    from strongroom import _plugins as plugins
    from strongroom.migrate.endpoints import located

    found, group = located(config, store, plugins.IMPORTERS if is_source else plugins.EXPORTERS)
    settings = plugins.store_settings(found, store, group)
    tokens = {name: setting for name, setting in settings.items() if setting.secret and setting.value}
    if [setting.rank for setting in tokens.values()] != [Rank.DOTENV]:
        return config
    [(option, token)] = tokens.items()
    name = store.partition(":")[0]
    used = f"store {shown(name)} uses {token.origin}"
    typed = SensitiveStr()
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        prompt = f"strongroom: {used}. Operator's token, or Enter for that one: "
        typed = SensitiveStr(getpass.getpass(prompt, stream=sys.stderr).strip())
    else:
        output.say(f"{used}. {_HINT}")
    if not typed:
        return config
    # Whoever types a token for this store means its address, which the same file may give.
    given = {
        other: Setting(setting.value, setting.origin, Rank.ARGUMENT)
        for other, setting in settings.items()
        if setting.address and setting.value
    }
    given[option] = Setting(typed, "the prompt", Rank.ARGUMENT)
    return config.with_store(config.store(name).with_options(given))


def show(made: Plan, *, as_json: bool) -> None:
    """Print a plan, as a document or for a person, and its summary."""
    if as_json:
        output.write_document(document(made), version=PLAN_DOCUMENT)
    else:
        write(made)
    output.say(summary(made))


def read_plan(file: Path) -> bytes:
    """Return the content of a plan.

    Raises:
        ConfigurationError: it is too large.
        OSError: it cannot be read, or is not a regular file.
    """
    content, _ = read_bytes(file, _MAX_PLAN)
    if len(content) > _MAX_PLAN:
        raise ConfigurationError(f"{shown(str(file))}: it has more than {_MAX_PLAN:,} bytes, so it is not a plan")
    return content


def doubts(made: Plan) -> list[str]:
    """Return the reasons to doubt a plan."""
    from strongroom.migrate._ledger.runs import RunLedger

    as_made = RunLedger(None).is_as_made(made)
    if as_made is None:
        return ["the plan was not made on this machine, so edits in it are not recognized"]
    return [] if as_made else ["the plan was edited after it was made"]


def _check_replaceable(file: Path) -> None:
    """Check that an existing file is a plan, and not a file of secrets named by mistake.

    Raises:
        ConfigurationError: it is not a plan.
    """
    fault = ""
    try:
        parse_plan(read_plan(file))
    except FileNotFoundError:
        return
    except OSError as error:
        fault = error.strerror or type(error).__name__
    except ConfigurationError:
        fault = "it exists and is not a plan, so it is not replaced"
    if fault:
        raise ConfigurationError(f"{shown(str(file))}: {fault}")


def _write_plan(file: Path, made: Plan) -> None:
    with private.faults_as(ConfigurationError, f"{shown(str(file))}: the plan cannot be written"):
        private.replace(file.absolute(), dump_plan(made).encode())


def exit_code(plan: Plan) -> ExitCode:
    """Return IMPOSSIBLE for impossible secrets or blocking conflicts, DIFFERENT for writes, otherwise DONE."""
    if plan.is_blocked or plan.count(PlannedState.IMPOSSIBLE):
        return ExitCode.IMPOSSIBLE
    return ExitCode.DIFFERENT if plan.pending else ExitCode.DONE


def write(plan: Plan) -> None:
    """Print a table with cautions on a terminal, or one line for each secret in a pipe.

    The table leaves out equal secrets, which the summary counts.
    """
    if not output.is_terminal():
        output.write_rows(_fields(item) for item in plan.items)
        return
    items = [item for item in plan.items if item.state is not PlannedState.EQUAL]
    several = len(plan.sources) > 1 or any(item.path and item.path != item.source_path for item in items)
    columns = ("path", "state", *(("from",) if several else ()), "keys, or reason")
    rows = [tuple(_row(item, several=several)) for item in items if item.state is not PlannedState.IMPOSSIBLE]
    impossible = by_cause(item for item in items if item.state is PlannedState.IMPOSSIBLE)
    for paths, item, why in impossible:
        rows.append((paths, output.state(item.state.value), *((shown(item.source),) if several else ()), why))
    if rows:
        output.write_table(columns, rows)
    for line in cautions(plan.items):
        output.say(line)


def summary(plan: Plan) -> str:
    """Return the plan in one line: `plan: create 3, conflict 1 (fails)`."""
    counts = [
        f"{state.value} {plan.count(state):,}" + (f" ({_CHANGES[plan.on_conflict]})" * (state is PlannedState.CONFLICT))
        for state in PlannedState
        if plan.count(state)
    ]
    manner = "" if plan.backup else ", without a backup"
    if count := len(plan.encrypt_to):
        manner += f", encrypted to {count:,} recipient{'s' if count > 1 else ''}"
    return f"plan: {', '.join(counts) or 'no secrets'}{manner if plan.pending else '. Nothing to write'}"


def cautions(items: Iterable[PlannedItem]) -> Iterator[str]:
    """Yield each caution once, with its secrets."""
    about: dict[str, list[PlannedItem]] = {}
    for item in items:
        for caution in item.cautions:
            about.setdefault(caution, []).append(item)
    for caution, group in about.items():
        yield f"caution: {listed_paths(group)}: {caution}"


def document(plan: Plan) -> dict[str, Value]:
    """Return the plan for `--json`."""
    items = zip(plan.items, islice(plan_fields(plan), 1, None), strict=True)
    return {
        "id": plan.id,
        "sources": list(plan.sources),
        "target": plan.target,
        "on_conflict": plan.on_conflict.value,
        "backup": plan.backup,
        "encrypt_to": list(plan.encrypt_to),
        "blocked": plan.is_blocked,
        "counts": {state.value: plan.count(state) for state in PlannedState},
        "items": [{**fields, "writes": plan.writes(item)} for item, fields in items],
    }


def size(count: int) -> str:
    """Return a size as `24B`, `64KiB` or `1.5MiB`, without a space, so that no line breaks in it."""
    if count < _KILO:
        return f"{count}B"
    kibi = count / _KILO
    number, unit = (kibi, "KiB") if kibi < _KILO else (kibi / _KILO, "MiB")
    return f"{number:.1f}".removesuffix(".0") + unit


def _row(item: PlannedItem, *, several: bool) -> Iterator[Cell | str]:
    yield shown(item.path or item.source_path)
    yield output.state(item.state.value)
    if several:
        yield shown(item.source) + f"\n{shown(item.source_path)}" * (item.path not in {"", item.source_path})
    keys = "\n".join(filter(None, (_keys(item), f"labels: {_labels(item)}" * bool(item.labels))))
    yield keys if keys and item.state is PlannedState.CONFLICT else "\n".join(filter(None, (reason(item), keys)))


def _fields(item: PlannedItem) -> tuple[str, ...]:
    """Return the fields of a line: state, target path, source, source path, keys, reason, cautions and labels."""
    keys = ", ".join(f"{shown(key.name)} {_sized(key)}{_KEY_CHANGES[key.change]}" for key in item.keys)
    return (
        item.state.value,
        shown(item.path) if item.path else "",
        shown(item.source),
        shown(item.source_path),
        keys,
        reason(item),
        "; ".join(item.cautions),
        _labels(item),
    )


def _labels(item: PlannedItem) -> str:
    return ", ".join(map(shown, item.labels))


def _sized(key: PlannedKey) -> str:
    return "" if key.change is KeyChange.REMOVED else f"{size(key.size)} "


def _keys(item: PlannedItem) -> str:
    """Return the keys with their sizes, grouped by their change if the target has the secret."""
    if item.state is PlannedState.CREATE:
        return ", ".join(f"{shown(key.name)} {size(key.size)}" for key in item.keys)
    groups = {word: [key for key in item.keys if key.change is change] for change, word in _KEY_CHANGES.items()}
    return "\n".join(
        f"{word}: {', '.join(f'{shown(key.name)} {_sized(key)}'.rstrip() for key in keys)}"
        for word, keys in groups.items()
        if keys
    )
