"""Taking the steps, one after the other, and saying of each what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from strongroom.errors import ConfigurationError, StoreError, StrongroomError
from strongroom.store import remaining, time_limit
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.session.session import Session
from strongroom_vault.setup.steps import State, Step, Wanted, target

_STEP = 10.0
"""How long one step may take, in seconds."""

_PAUSE = 0.05

CREATED, REPLACED, REFUSED = "created", "replaced", "refused"


def apply(session: Session, wanted: Wanted, steps: Iterable[Step]) -> Iterator[tuple[Step, str]]:
    """Takes each step that is pending. What comes is the step, and what became of it, in a word.

    Raises:
        StoreError: the server did not take a step. Those before it are done, and the same again goes on from there.
    """
    for step in steps:
        if not step.pending:
            yield step, step.state.value
            continue
        with time_limit(_STEP):
            reply = _taken(session, step)
            if reply.status not in {200, 204}:
                if step.optional and reply.status == 400:
                    yield step, REFUSED
                    continue
                raise _failure(session, step, reply)
            if step.starts:
                _await_engine(session, wanted)
        yield step, REPLACED if step.state is State.DIFFERS else CREATED


def _taken(session: Session, step: Step) -> Reply:
    """The reply to the last of the step's requests that had to be tried."""
    *others, last = step.asks
    for ask in others:
        reply = session.request(ask)
        if reply.status != 400:
            return reply
    return session.request(last)


def _await_engine(session: Session, wanted: Wanted) -> None:
    """Returns when a new engine can be used: it first turns itself into version 2, and answers 400 meanwhile."""
    place = target(wanted.below_mount(next(iter(wanted.structure), "strongroom")))
    while session.request(ApiRequest("GET", place)).status == 400 and remaining() > _PAUSE:
        time.sleep(_PAUSE)


def _failure(session: Session, step: Step, reply: Reply) -> StrongroomError:
    path = next(iter(step.rights))
    if reply.status == 404:
        return ConfigurationError(f"{session.place} has no {path}, to make the {step.what} there (HTTP 404)")
    if reply.status == 400:
        hint = "Another engine may be mounted at that path, or below it: name another --mount" if step.starts else None
        return StoreError(path, f"{session.place} refused the {step.what} (HTTP 400)", hint=hint)
    return session.failure(reply, path, changes=True)
