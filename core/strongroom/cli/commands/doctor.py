"""`strongroom doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from strongroom.chain.chain import Chain
from strongroom.chain.link import Link
from strongroom.chain.store_handle import Opener
from strongroom.cli.exit_codes import ExitCode, code_of, code_of_all
from strongroom.cli.invocation import Invocation, current
from strongroom.cli.terminal import confirmation, output
from strongroom.errors import CheckState, StrongroomError
from strongroom.store import require_paths

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.store import Health, SecretStore

_WELL = "well"
_STATES = {
    ExitCode.DENIED: "denied",
    ExitCode.UNAVAILABLE: "unavailable",
    ExitCode.CONFIGURATION: "misconfigured",
}
_FAILED = "failed"
"""The word for every other code."""

_LOOKS = {_WELL: CheckState.OK, "misconfigured": CheckState.FAILED}
"""Words that look like others."""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object with an object for each store.")
@current
def doctor_command(invocation: Invocation, *, as_json: bool) -> None:
    """Say how every store of the chain is, and what to do where one is not well.

    Each is opened anew and asked how it is, past what is cached or known, and all at the same time. A store that cannot
    say how it is is well when it opens. The exit code is 0 only when every store is well; else it says what is to be
    done first. A warning is something to be done before long, in a store that is well today.

    Example: strongroom --environment prod doctor
    """
    config = invocation.load()
    found = examine(config)
    if as_json:
        output.write_document(_described(config, found))
    elif output.is_terminal():
        rows = map(_cells, _rows(config, found))
        output.write_table(("store, check", "state", "took", ""), rows, color=not invocation.no_color)
    else:
        output.write_rows(_rows(config, found))
    if unwell := [name for name, health in found.items() if not health.ok]:
        stores = f"{len(found)} store{'' if len(found) == 1 else 's'}"
        output.say(f"{len(unwell)} of {stores} {'is' if len(unwell) == 1 else 'are'} not well: {', '.join(unwell)}")
    click.get_current_context().exit(code_of_all(health.error for health in found.values() if health.error is not None))


def examine(config: Config) -> Mapping[str, Health]:
    """How each store of the chain is, in the chain's order, each opened for this and closed again."""
    links = [Link(link, _opener(config, link.store), config.cache) for link in config.chain]
    paths = dict.fromkeys(secret.path for secret in config.secrets.values())
    with closing(Chain(links, timeout=config.timeout)) as chain, require_paths(paths):
        return chain.health()


def _opener(config: Config, store: str) -> Opener:
    """Opens a store. What is wrong with its options is wrong with it alone, and the others are asked all the same."""
    from strongroom import plugins

    try:
        return plugins.prepare(config, store)
    except StrongroomError as error:
        fault = error.copy()

    def fail() -> SecretStore:
        raise fault

    return fail


def _rows(config: Config, found: Mapping[str, Health]) -> Iterator[tuple[str, ...]]:
    """Store, check, state, how long it took, what was found, and the next step; first the store itself."""
    for name, health in found.items():
        took = f"{health.seconds * 1000:.1f} ms"
        about = _place(config, name) or (health.detail if health.ok else "")
        yield tuple(map(output.one_line, (name, "", _state(health), took, about, "")))
        for check in health.checks:
            yield tuple(map(output.one_line, (name, check.name, check.state, "", check.detail, check.hint)))


def _cells(row: tuple[str, ...]) -> tuple[str | output.Cell, ...]:
    """For a person: the checks below their store, and the next step below what was found."""
    name, check, state, took, detail, hint = row
    words = "\n".join(part for part in (detail, f"Next: {hint}" if hint else "") if part)
    return (f"  {check}" if check else name, output.state(_LOOKS.get(state, state), state), took, words)


def _described(config: Config, found: Mapping[str, Health]) -> dict[str, Any]:
    return {
        "ok": all(health.ok for health in found.values()),
        "environment": config.environment,
        "stores": [
            {
                "store": name,
                "state": _state(health),
                "place": _place(config, name),
                "seconds": health.seconds,
                "detail": health.detail,
                "facts": {name: str(fact) for name, fact in health.facts.items()},
                "checks": [
                    {"name": check.name, "state": check.state.value, "detail": check.detail, "hint": check.hint}
                    for check in health.checks
                ],
            }
            for name, health in found.items()
        ],
    }


def _state(health: Health) -> str:
    return _WELL if health.error is None else _STATES.get(code_of(health.error), _FAILED)


def _place(config: Config, store: str) -> str:
    """Where its secrets are, as far as its options can be read."""
    from strongroom import plugins

    try:
        return confirmation.place(plugins.settings(config, store))
    except StrongroomError:
        return ""
