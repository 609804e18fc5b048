"""Options that several migration commands share, and the configuration that `--mapping-file` changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.commands.migration import report_view, step

if TYPE_CHECKING:
    from strongroom.config import Config

FILE = click.Path(path_type=Path)

mapping_file = click.option(
    "--mapping-file", metavar="FILE", type=FILE, help="The current path of the plan's mapping file."
)
html = click.option(
    "--report",
    "html",
    metavar="FILE",
    type=FILE,
    callback=report_view.html_option,
    help="Also write the report as an HTML page.",
)
rate = click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    callback=step.rate_option,
    help="Write at most N secrets a second.",
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


def with_mapping(config: Config, sources: tuple[str, ...], file: Path | None) -> Config:
    """Return the configuration with this mapping file for every source of variables.

    Raises:
        click.UsageError: no source takes a mapping file.
        ConfigurationError, PluginError: a source does not exist.
    """
    if file is None:
        return config
    from strongroom import plugins
    from strongroom.config import OptionValue, Rank
    from strongroom.migrate.endpoints import named, parse_spec
    from strongroom.migrate.plans.mapping_export import MAPPING_FILE

    stores = dict(config.stores)
    for spec in map(parse_spec, sources):
        name, about = spec.name, named(config, spec)
        if not plugins.offers(plugins.IMPORTERS, about.plugin):
            continue
        if MAPPING_FILE in plugins.schema(config, about.plugin, plugins.IMPORTERS).options:
            given = OptionValue(str(file.absolute()), "--mapping-file", Rank.ARGUMENT)
            stores[name] = about.with_options({MAPPING_FILE: given})
    if stores == dict(config.stores):
        raise click.UsageError("--mapping-file only applies to variables: no source is env, dotenv or the like")
    return replace(config, stores=stores)
