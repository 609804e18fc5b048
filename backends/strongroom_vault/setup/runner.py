"""Opening a session, and performing the steps in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from strongroom.errors import ConfigurationError, PluginError, StoreError, StrongroomError
from strongroom.store import remaining, time_limit
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.session.session import Session
from strongroom_vault.setup.inspection import inspect
from strongroom_vault.setup.steps import Goal, State, Step, plan

_STEP_LIMIT = 10.0
"""Time limit of one step, in seconds."""

_PAUSE = 0.05

CREATED, REPLACED, REFUSED = "created", "replaced", "refused"


def connect(**options: Any) -> Session:
    """Open a session with these options of the store `vault`.

    Raises:
        PluginError: a package is not installed. The message names the extra that installs it.
        ConfigurationError: an option is invalid.
    """
    try:
        from strongroom_vault.plugin import open_session

        requests()
        return open_session(**options)
    except ImportError as error:
        missing = error.name or "a package"
    raise PluginError(f'{missing} is not installed. Run: pip install "strongroom[vault]"')


def apply(session: Session, goal: Goal, steps: Iterable[Step]) -> Iterator[tuple[Step, str]]:
    """Perform each pending step; yield every step with its outcome in one word.

    Raises:
        StoreError: the server refused a step. The steps before it are done, and the same command continues after them.
    """
    for step in steps:
        if not step.pending:
            yield step, step.state.value
            continue
        with time_limit(_STEP_LIMIT):
            reply = _perform(session, step)
            if reply.status not in {200, 204}:
                if step.optional and reply.status == 400:
                    yield step, REFUSED
                    continue
                raise _failure(session, step, reply)
            if step.starts_engine:
                _await_engine(session, goal)
        yield step, REPLACED if step.state is State.DIFFERS else CREATED


@contextmanager
def reached(goal: Goal, **options: Any) -> Iterator[Session]:
    """Open a session and perform all steps that the goal needs, without asking: for a development server.

    Raises:
        PluginError: a package is not installed.
        ConfigurationError: an option is invalid.
        StoreError: the server refused a step.
    """
    with closing(connect(mount=goal.mount, **options)) as session:
        for _ in apply(session, goal, plan(goal, inspect(session, goal))):
            pass
        yield session


def _perform(session: Session, step: Step) -> Reply:
    """Return the reply to the first of the step's requests that is not refused with HTTP 400, or to the last one."""
    *first, last = step.requests
    for request in first:
        reply = session.request(request)
        if reply.status != 400:
            return reply
    return session.request(last)


def _await_engine(session: Session, goal: Goal) -> None:
    """Wait until a new engine can be used: it answers 400 while it upgrades itself to version 2."""
    path = goal.below_mount(next(iter(goal.structure), "strongroom"))
    request = requests().kv2.read_secret_metadata(path, mount_point=goal.mount)
    while session.request(request).status == 400 and remaining() > _PAUSE:
        time.sleep(_PAUSE)


def _failure(session: Session, step: Step, reply: Reply) -> StrongroomError:
    path = next(iter(step.rights))
    if reply.status == 404:
        return ConfigurationError(f"{session.location} has no {path}, so {step.name} cannot be created (HTTP 404)")
    if reply.status == 400:
        hint = "Another engine may be mounted at that path or below it: choose another --mount"
        return StoreError(
            path, f"{session.location} refused {step.name} (HTTP 400)", hint=hint if step.starts_engine else None
        )
    return session.failure(reply, path, changes=True)
