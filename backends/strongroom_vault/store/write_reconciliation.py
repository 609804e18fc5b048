"""What became of a write that was refused, or whose answer was lost: found out by reading back, under check-and-set.

A write is repeated only where the server would refuse the second of two: each of its requests names the version that it
follows. Without such a number, what is there now either is what was written, or it stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from strongroom.errors import ConflictError, StrongroomError, WriteOutcomeUnknownError
from strongroom.secret import SensitiveDict
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.read_after_write import asking_the_active_node
from strongroom_vault.http.request_policy import Reply, may_be_applied
from strongroom_vault.responses import document, is_absent, malformed, member, version_gone, version_in
from strongroom_vault.session.session import Session
from strongroom_vault.store.payload import stored_number

Outcome: TypeAlias = Reply | WriteOutcomeUnknownError
"""What came of sending a change: a reply, or that its reply was lost."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest version of a secret, and its data as JSON has it. 0 is none at all, and a deleted one is not live."""

    version: int
    live: bool
    form: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def send(session: Session, ask: ApiRequest) -> Outcome:
    """Sends a change."""
    try:
        return session.request(ask)
    except WriteOutcomeUnknownError as doubt:
        return doubt


def version_made(outcome: Outcome) -> int | None:
    """The version in the reply to a write that was done; None where it is not known yet what became of it."""
    if not isinstance(outcome, Reply) or outcome.status != 200:
        return None
    version = (member(document(outcome), "data") or {}).get("version")
    return version if isinstance(version, int) else None


def confirm(outcome: Outcome, path: str, session: Session, holds: Callable[[], bool]) -> None:
    """Returns when a change was made, by the server's word or by what is there now.

    Args:
        outcome: what came of sending it.
        path: the secret's path.
        session: sent it.
        holds: reads whether what is there now is what the change leads to.

    Raises:
        WriteOutcomeUnknownError: it may or may not have been made.
        StrongroomError: it was refused.
    """
    if isinstance(outcome, Reply) and outcome.status in {200, 204} and not may_be_applied(outcome):
        return
    error = _refusal(outcome, path, session)
    if not isinstance(error, WriteOutcomeUnknownError) or not _shown(holds):
        raise error


class Write:
    """One write to a version 2 engine, until it is known what became of it.

    Args:
        session: sends the requests.
        path: the secret's path.
        form: the data, as JSON has it.
        read_ask: what asks for a version of the secret, None for the newest.
        write_ask: what writes the secret after a version, None for whatever is there.
    """

    def __init__(
        self,
        session: Session,
        path: str,
        form: SensitiveDict,
        read_ask: Callable[[int | None], ApiRequest],
        write_ask: Callable[[int | None], ApiRequest],
    ) -> None:
        self._session = session
        self._path = path
        self._form = form
        self._read_ask = read_ask
        self._write_ask = write_ask

    def send(self, follows: int | None) -> Outcome:
        """Sends the write, to follow that version; None for whatever is there."""
        return send(self._session, self._write_ask(follows))

    def settled(self, outcome: Outcome, follows: int | None, admits: Callable[[Newest], bool]) -> int:
        """The version that the write made, after whatever more it takes.

        400 is a lost check, a mount that is not ready yet, and data that the server refuses: what is there now tells.
        To write over a deleted version, the server wants its number. When a write that names what is there is refused,
        and the same is there still, then it is the data.

        Args:
            outcome: what came of the first request.
            follows: the version that it named.
            admits: whether the write may follow what is there.

        Raises:
            ConflictError: it may not, and nothing was written.
            WriteOutcomeUnknownError: it may or may not have been made.
            StrongroomError: it was refused.
        """
        doubt: WriteOutcomeUnknownError | None = None
        doubted, before, doubts = follows, None, 0
        while True:
            if (version := version_made(outcome)) is not None:
                return version
            error = _refusal(outcome, self._path, self._session)
            if isinstance(error, WriteOutcomeUnknownError):
                doubt, doubted, doubts = error, follows, doubts + 1
            elif not isinstance(outcome, Reply) or outcome.status != 400:
                raise doubt or error
            newest = self._newest(doubt)
            if doubt is not None:
                if (made := self._made(newest, doubted, doubt)) is not None:
                    return made
                if doubted is None:
                    raise doubt
                if newest.version > doubted:
                    doubt = None  # another version took its place: it never will be made
            self._check(newest, admits)
            if doubts == _ATTEMPTS or (newest == before and error is not doubt):
                raise doubt or error
            before, follows = newest, newest.version
            outcome = self._again(follows, doubt)

    def _check(self, newest: Newest, admits: Callable[[Newest], bool]) -> None:
        if not admits(newest):
            there = newest.version if newest.live else "deleted" if newest.version else "none"
            raise ConflictError(self._path, f"its newest version is {there}, which is not the expected one")

    def _again(self, follows: int, doubt: WriteOutcomeUnknownError | None) -> Outcome:
        try:
            return self.send(follows)
        except StrongroomError as error:
            failure = error
        raise doubt or failure

    def _newest(self, doubt: WriteOutcomeUnknownError | None) -> Newest:
        """What is there now, read as the secret itself: its metadata may be beyond the token's policies."""
        try:
            with asking_the_active_node():
                return self._read_newest()
        except StrongroomError as error:
            failure = error
        raise doubt or failure

    def _read_newest(self) -> Newest:
        reply = self._session.request(self._read_ask(None))
        if is_absent(reply):
            return Newest(0, live=False)
        if (gone := version_gone(reply)) is not None:
            return Newest(gone.version, live=False)
        if reply.status != 200:
            raise self._session.failure(reply, self._path)
        found = version_in(member(document(reply, parse_int=stored_number), "data"))
        if found is None:
            raise malformed(self._path, self._session.place)
        return Newest(found[0], live=True, form=found[1])

    def _made(self, newest: Newest, doubted: int | None, doubt: WriteOutcomeUnknownError) -> int | None:
        """The version that a write in doubt made; None where it made none yet. Raises the doubt where nobody knows."""
        mine = newest.version if doubted is None else doubted + 1
        if newest.version < mine:
            return None
        if newest.version == mine:
            if newest.live:
                return mine if same(newest.form, self._form) else None
            if doubted is None:
                return None
            raise doubt  # deleted since, by somebody who saw it, or there before
        form = self._form_of(mine)
        if form is None:
            raise doubt
        return mine if same(form, self._form) else None

    def _form_of(self, version: int) -> Mapping[str, Any] | None:
        try:
            with asking_the_active_node():
                reply = self._session.request(self._read_ask(version))
                found = version_in(member(document(reply, parse_int=stored_number), "data"))
        except StrongroomError:
            return None
        return None if found is None else found[1]


def same(one: object, other: object) -> bool:
    """Whether both are the same in JSON, where true is no number, and 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _refusal(outcome: Outcome, path: str, session: Session) -> StrongroomError:
    """The error for what is not the server's word that a change was made."""
    if not isinstance(outcome, Reply):
        return outcome
    if 200 <= outcome.status < 300:
        return WriteOutcomeUnknownError(path, f"{session.place} answered something that is not Vault's API")
    return session.failure(outcome, path, changes=True)


def _shown(holds: Callable[[], bool]) -> bool:
    try:
        with asking_the_active_node():
            return holds()
    except StrongroomError:
        return False
