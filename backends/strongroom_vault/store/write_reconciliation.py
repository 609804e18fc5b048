"""Outcome of a write that was refused, or whose reply was lost: found by reading back, under check-and-set.

A change is repeated only if the server refuses a second one, or if a second one changes nothing: a write names the
version that it follows, and a delete the version that it deletes. If the server checks no number, the secret must still
be as it was before the change. In all other cases the secret shows the change, or its outcome stays unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import SensitiveDict, same
from strongroom.store import remaining
from strongroom.store.process import random_factor
from strongroom_vault.http.read_after_write import reads_from_active_node
from strongroom_vault.responses import document, is_absent, member, version_gone, version_in
from strongroom_vault.store.payload import stored_number

if TYPE_CHECKING:
    from strongroom_vault.http.hvac_adapter import ApiRequest
    from strongroom_vault.http.messages import Reply
    from strongroom_vault.session.session import Session

Outcome: TypeAlias = "Reply | WriteOutcomeUnknownError"
"""Result of sending a change: a reply, or the error for a lost reply."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 0.2
"""Before a write of unknown outcome is repeated, in seconds."""


class Newest(NamedTuple):
    """The newest version of a secret: 0 if there is none; not live if it is deleted. `form` is its data as JSON."""

    version: int
    live: bool
    form: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Newest({self.version}, live={self.live})"


def newest_in(reply: Reply) -> Newest | None:
    """Return the newest version that the reply to a read shows; None if it does not tell."""
    if is_absent(reply):
        return Newest(0, live=False)
    if (gone := version_gone(reply)) is not None:
        return Newest(gone.version, live=False)
    found = version_in(member(document(reply, parse_int=stored_number), "data")) if reply.status == 200 else None
    return None if found is None else Newest(found[0], live=True, form=found[1])


def send_change(session: Session, request: ApiRequest) -> Outcome:
    """Send a change. `confirm` or `Write.resolve` must find out its outcome."""
    try:
        return session.request(request, settled=True)
    except WriteOutcomeUnknownError as error:
        return error


def written_version(outcome: Outcome) -> int | None:
    """Return the version in the reply to a successful write; None if the outcome needs to be found out."""
    if isinstance(outcome, WriteOutcomeUnknownError) or outcome.status != 200:
        return None
    version = (member(document(outcome), "data") or {}).get("version")
    return version if isinstance(version, int) else None


def confirm(
    request: ApiRequest,
    outcome: Outcome,
    path: str,
    session: Session,
    made: Callable[[], bool | None],
    *,
    again: ApiRequest | None = None,
) -> None:
    """Return when a change was made, according to the reply or to the secret as it is now.

    A change that was not made is sent again until the time is over.

    Args:
        request: the change.
        outcome: the result of sending it.
        path: the secret's path.
        session: the session that sent it.
        made: reads the secret, and returns True if it is as the change makes it, False if the change was not made and
            may be sent again, and None if the secret does not tell.
        again: what to send instead of `request` from the second time on.

    Raises:
        WriteOutcomeUnknownError: the outcome stays unknown.
        StrongroomError: the change was refused.
    """
    if _is_confirmed(outcome):
        return
    unknown = _refusal(outcome, path, session)
    if not isinstance(unknown, WriteOutcomeUnknownError):
        raise unknown
    with _doubted(session, request):
        while (shown := _shown(made)) is False and _may_be_made(outcome):
            outcome = _send_again(session, again or request, unknown)
            if _is_confirmed(outcome):
                return
        if not shown:
            raise unknown


@contextmanager
def _doubted(session: Session, request: ApiRequest) -> Iterator[None]:
    """Let the active node answer the next read if the block ends without the outcome of this change.

    Until then any node answers the reads of other threads: a change that is under way may be seen or not.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, WriteOutcomeUnknownError) or not isinstance(error, StrongroomError):
            session.doubt(request)
        raise


class Write:
    """One write to a version 2 engine, until its outcome is known.

    Args:
        session: sends the requests.
        path: the secret's path.
        form: the data as JSON.
        read_request: returns the request for a version of the secret; None for the newest.
        write_request: returns the request that writes the secret after a version; None after any.
    """

    def __init__(
        self,
        session: Session,
        path: str,
        form: SensitiveDict,
        read_request: Callable[[int | None], ApiRequest],
        write_request: Callable[[int | None], ApiRequest],
    ) -> None:
        self._session = session
        self._path = path
        self._form = form
        self._read_request = read_request
        self._write_request = write_request

    def resolve(self, outcome: Outcome, follows: int | None, accepts: Callable[[Newest], bool]) -> int:
        """Return the version that the write made, after reads and further attempts if they are needed.

        Status 400 stands for a failed check, a mount that is not ready yet, and data that the server refuses; the
        newest version tells them apart. To write over a deleted version, the server requires its number. If a write
        that names the newest version is refused, and that version is unchanged, the server refuses the data.

        It goes on until the time is over: while a cluster elects a leader, neither a read nor another attempt may tell.

        Args:
            outcome: the result of the first request, which does not name the new version.
            follows: the version that it named.
            accepts: returns True if the write may follow this version.

        Raises:
            ConflictError: it may not, and nothing was written.
            WriteOutcomeUnknownError: the outcome stays unknown.
            StrongroomError: the write was refused.
        """
        with _doubted(self._session, self._write_request(follows)):
            return self._resolve(outcome, follows, accepts)

    def _resolve(self, outcome: Outcome, follows: int | None, accepts: Callable[[Newest], bool]) -> int:
        unknown: WriteOutcomeUnknownError | None = None  # of an attempt after version `unknown_follows`
        unknown_follows = follows
        before: tuple[int, bool] | None = None
        while True:
            if (version := written_version(outcome)) is not None:
                return version
            error = _refusal(outcome, self._path, self._session)
            if isinstance(error, WriteOutcomeUnknownError):
                unknown, unknown_follows = error, follows
            elif isinstance(outcome, WriteOutcomeUnknownError) or outcome.status != 400:
                raise unknown or error
            newest = self._newest(unknown)
            if unknown is not None:
                if (made := self._made(newest, unknown_follows, unknown)) is not None:
                    return made
                if unknown_follows is None:
                    raise unknown
                if newest.version > unknown_follows:
                    unknown = None  # another write took its version, so it can no longer be applied
            self._check(newest, accepts)
            state = newest.version, newest.live
            if state == before and error is not unknown:
                raise unknown or error
            before, follows = state, newest.version
            request = self._write_request(follows)
            outcome = (
                send_change(self._session, request) if unknown is None else _send_again(self._session, request, unknown)
            )

    def _check(self, newest: Newest, accepts: Callable[[Newest], bool]) -> None:
        if not accepts(newest):
            found = newest.version if newest.live else "deleted" if newest.version else "none"
            raise ConflictError(self._path, f"its newest version is {found}, which is not the expected one")

    def _newest(self, unknown: WriteOutcomeUnknownError | None) -> Newest:
        """Read the newest version, from its data: the token's policies may not allow its metadata."""
        try:
            with reads_from_active_node():
                return self._read_newest()
        except StrongroomError as error:
            failure = error
        raise unknown or failure

    def _read_newest(self) -> Newest:
        reply = self._session.request(self._read_request(None))
        newest = newest_in(reply)
        if newest is None:
            raise self._session.failure(reply, self._path)
        return newest

    def _made(self, newest: Newest, follows: int | None, unknown: WriteOutcomeUnknownError) -> int | None:
        """Return the version that a write of unknown outcome made; None if it has made none yet.

        Raises:
            WriteOutcomeUnknownError: the outcome stays unknown.
        """
        expected = newest.version if follows is None else follows + 1
        if newest.version < expected:
            return None
        if newest.version == expected:
            if newest.live:
                return expected if same(newest.form, self._form) else None
            if follows is None:
                return None
            raise unknown  # deleted since, or deleted before
        form = self._form_of(expected)
        if form is None:
            raise unknown
        return expected if same(form, self._form) else None

    def _form_of(self, version: int) -> Mapping[str, Any] | None:
        try:
            with reads_from_active_node():
                reply = self._session.request(self._read_request(version))
                found = version_in(member(document(reply, parse_int=stored_number), "data"))
        except StrongroomError:
            return None
        return None if found is None else found[1]


def _is_confirmed(outcome: Outcome) -> bool:
    return (
        not isinstance(outcome, WriteOutcomeUnknownError)
        and outcome.status in {200, 204}
        and not outcome.may_be_applied
    )


def _may_be_made(outcome: Outcome) -> bool:
    """Return False if the server refused the change and certainly did not make it."""
    return isinstance(outcome, WriteOutcomeUnknownError) or outcome.may_be_applied or outcome.repeats


def _send_again(session: Session, request: ApiRequest, unknown: WriteOutcomeUnknownError | None) -> Outcome:
    """Send a change again, after a pause if its outcome is unknown; that error stands if this attempt fails."""
    if unknown is not None:
        time.sleep(min(random_factor(_SHORTEST_PAUSE, _LONGEST_PAUSE), remaining()))
    try:
        return send_change(session, request)
    except StrongroomError as error:
        failure = error
    raise unknown or failure


def _refusal(outcome: Outcome, path: str, session: Session) -> StrongroomError:
    """Return the error for an outcome that does not confirm the change."""
    if isinstance(outcome, WriteOutcomeUnknownError):
        return outcome
    if 200 <= outcome.status < 300:
        return WriteOutcomeUnknownError(path, f"{session.location} answered something that is not Vault's API")
    try:
        error = session.failure(outcome, path, changes=True)
    except StoreError as failed:  # it could not check the token
        error = failed
    if outcome.repeats and isinstance(error, InvalidDataError | StoreUnavailableError):
        return WriteOutcomeUnknownError(path, error.reason)  # the attempt before may be the one that was made
    return error


def _shown(made: Callable[[], bool | None]) -> bool | None:
    try:
        with reads_from_active_node():
            return made()
    except StrongroomError:
        return None
