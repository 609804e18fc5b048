"""`strongroom stores --check`: the read-only part of the contract, against a configured store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.invocation import Invocation
from strongroom.cli.terminal import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.testing.inspection import Result


def check_store(invocation: Invocation, name: str, *, as_json: bool) -> None:
    """Check a store, print the results, and exit with the code of the gravest fault.

    Args:
        invocation: the global options.
        name: a store of the configuration, or PLUGIN:LOCATION.
        as_json: print a JSON object.

    Raises:
        ConfigurationError, PluginError: the store does not exist, its options are invalid, or it lacks a package.
        StoreError: it cannot be opened.
    """
    from strongroom import plugins
    from strongroom.migrate.endpoints import located
    from strongroom.store import time_limit
    from strongroom.store.boundary.validation import ValidatedStore
    from strongroom.testing.inspection import Inspection

    config, _ = located(invocation.load(), name, plugins.STORES)
    known = [secret.path for secret in config.secrets.values()]
    with time_limit(config.timeout):
        store = ValidatedStore.open(plugins.prepare(config, name), name)
    results = list(Inspection(store, known, config.timeout).results())
    _write(name, results, as_json=as_json)
    failed = [result for result in results if result.state == "failed"]
    if failed:
        output.say(f"{len(failed)} of {len(results)} checks of store {name} failed")
    if any(result.error is None for result in failed):
        click.get_current_context().exit(ExitCode.CONFIGURATION)
    click.get_current_context().exit(code_of_all(result.error for result in failed if result.error is not None))


def _write(name: str, results: Sequence[Result], *, as_json: bool) -> None:
    if as_json:
        checks = [
            {
                "name": result.name,
                "state": result.state.value,
                "seconds": result.seconds,
                "detail": result.detail,
            }
            for result in results
        ]
        output.write_document({"ok": all(r.state != "failed" for r in results), "store": name, "checks": checks})
        return
    rows = (
        (result.name, output.state(result.state.value), f"{result.seconds * 1000:.1f} ms", result.detail)
        for result in results
    )
    output.write_listing(("check", "status", "took", "details"), rows)
