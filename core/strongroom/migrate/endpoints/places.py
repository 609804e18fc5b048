"""Where the stores of a run were when it was begun: each of its later steps goes to these places, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from strongroom import plugins
from strongroom.errors import MigrationError, shown
from strongroom.migrate.endpoints.opening import Endpoints
from strongroom.migrate.plans.plan import Plan, State


class Places(NamedTuple):
    """The places of a run, as `Endpoints.place` tells them. Of a store that was given to the run none is known.

    Attributes:
        folder: the working directory, to which files of the configuration and of a command line are relative.
        target: that of the target.
        sources: those of the sources of what is brought to the target, or is there already.
    """

    folder: str
    target: str | None
    sources: Mapping[str, str | None]


def places_of(ends: Endpoints, plan: Plan) -> Places:
    """Where the stores of a plan are now.

    Raises:
        ConfigurationError, PluginError: there is no such store, or its options are wrong.
    """
    names = dict.fromkeys(item.source for item in plan.items if plan.writes(item) or item.state is State.EQUAL)
    sources = {name: ends.place(name, plugins.IMPORTERS) for name in names}
    return Places(str(Path.cwd()), ends.place(plan.target), sources)


def check_target_place(then: Places, ends: Endpoints, plan: Plan) -> None:
    """Whether the target is where it was.

    Raises:
        MigrationError: it is elsewhere.
        ConfigurationError, PluginError: there is no such store, or its options are wrong.
    """
    _check(then.folder, plan.target, then.target, ends.place(plan.target))


def check_places(then: Places, ends: Endpoints, plan: Plan) -> None:
    """Whether the target and the sources are where they were.

    Raises:
        MigrationError, ConfigurationError, PluginError: as `check_target_place` does.
    """
    check_target_place(then, ends, plan)
    for name, place in then.sources.items():
        _check(then.folder, name, place, ends.place(name, plugins.IMPORTERS))


def _check(folder: str, name: str, then: str | None, now: str | None) -> None:
    if then is not None and now is not None and then != now:
        raise MigrationError(
            f"{shown(name)} is another place now than for the migration, which was begun in {shown(folder)}: "
            "go on there, with the configuration and the environment variables of then"
        )
