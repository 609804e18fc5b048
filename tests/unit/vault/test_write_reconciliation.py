"""Outcome of a write that was refused, or whose reply was lost, from the replies of a server in memory."""

from __future__ import annotations

import json

import pytest

from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    StoreUnavailableError,
    StrongroomError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import SensitiveDict
from strongroom.store import time_limit
from strongroom_vault.http.messages import Reply
from strongroom_vault.store import write_reconciliation
from strongroom_vault.store.write_reconciliation import Write, confirm, newest_in, send_change, written_version

MINE, THEIRS = {"k": "mine"}, {"k": "theirs"}
LOST = WriteOutcomeUnknownError("app", "no reply")


def reply(status, content=None):
    return Reply(status, {}, b"" if content is None else json.dumps(content).encode())


class Server:
    """One secret of a version 2 engine, behind the face of a session. Requests are plain tuples.

    `replies` are what the next writes are told: "lost" after the write was made, "dropped" before it, or a reply.
    """

    location = "the server"

    def __init__(self, *versions):
        self.versions = list(versions)
        self.replies = []
        self.writes = []
        self.doubted = []
        self.deleted = False
        self.unreadable = False

    def request(self, request, *, settled=False):
        kind, version = request
        return self._write(version) if kind == "write" else self._read(version)

    def _write(self, follows):
        self.writes.append(follows)
        told = self.replies.pop(0) if self.replies else None
        if isinstance(told, StrongroomError | Reply):
            return self._tell(told)
        if told == "dropped":
            raise LOST.copy()
        if follows is not None and follows != len(self.versions):
            return reply(400, {"errors": ["check-and-set parameter did not match the current version"]})
        self.versions.append(MINE)
        self.deleted = False
        if told == "lost":
            raise LOST.copy()
        return reply(200, {"data": {"version": len(self.versions)}})

    def _tell(self, told):
        if isinstance(told, Reply):
            return told
        raise told

    def _read(self, version):
        if self.unreadable:
            raise StoreUnavailableError("app", "no node answers")
        number = version or len(self.versions)
        if not number:
            return reply(404, {"errors": []})
        gone = self.deleted and number == len(self.versions)
        metadata = {"version": number, "deletion_time": "2026-01-01T00:00:00Z" if gone else "", "destroyed": False}
        return reply(
            404 if gone else 200, {"data": {"data": None if gone else self.versions[number - 1], "metadata": metadata}}
        )

    def failure(self, reply, path, *, changes=False):
        return InvalidDataError(path, f"HTTP {reply.status}")

    def doubt(self, request):
        self.doubted.append(request)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(write_reconciliation, "random_factor", lambda *_: 0)


def written(server, follows, accepts=lambda newest: True):
    """Write MINE after this version, and return the version that was made."""
    write = Write(
        server, "app", SensitiveDict(MINE), lambda version: ("read", version), lambda follows: ("write", follows)
    )
    outcome = send_change(server, ("write", follows))
    with time_limit(5):
        return written_version(outcome) or write.resolve(outcome, follows, accepts)


# --- what a reply shows -----------------------------------------------------------------------------------------------


def test_an_absent_secret_has_no_live_version():
    """A write that follows it names version 0, and a delete of it deletes nothing."""
    newest = newest_in(Server().request(("read", None)))
    assert (newest.version, newest.live) == (0, False)


def test_a_deleted_secret_has_its_number_and_no_data():
    server = Server(THEIRS)
    server.deleted = True
    newest = newest_in(server.request(("read", None)))
    assert (newest.version, newest.live, dict(newest.form)) == (1, False, {})


def test_a_live_secret_has_its_data_which_its_repr_hides():
    newest = newest_in(Server(THEIRS, MINE).request(("read", None)))
    assert (newest.version, newest.live, newest.form) == (2, True, MINE)
    assert repr(newest) == "Newest(2, live=True)"


@pytest.mark.parametrize("odd", [reply(503, {"errors": []}), reply(200, {"data": None}), reply(403, {"errors": []})])
def test_another_reply_tells_nothing(odd):
    assert newest_in(odd) is None


# --- writes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], [THEIRS]])
@pytest.mark.parametrize("told", ["lost", "dropped"])
def test_a_write_whose_reply_was_lost_is_made_once(before, told):
    server = Server(*before)
    server.replies = [told]
    assert written(server, len(before)) == len(before) + 1
    assert server.versions == [*before, MINE]
    assert server.doubted == []


def test_a_write_after_a_deleted_version_names_its_number():
    server = Server(THEIRS)
    server.deleted = True
    assert written(server, 0, lambda newest: not newest.live) == 2
    assert server.writes == [0, 1]


def test_a_newer_version_of_somebody_else_is_a_conflict():
    server = Server(THEIRS, THEIRS)
    with pytest.raises(ConflictError, match="its newest version is 2"):
        written(server, 1, lambda newest: newest.version == 1)
    assert server.versions == [THEIRS, THEIRS]


def test_a_lost_write_is_not_made_again_after_a_newer_version():
    """Version 2 was made by the lost write, and somebody else wrote version 3."""
    server = Server(THEIRS)
    server.replies = ["lost"]
    outcome = send_change(server, ("write", 1))
    server.versions.append(THEIRS)
    write = Write(
        server, "app", SensitiveDict(MINE), lambda version: ("read", version), lambda follows: ("write", follows)
    )
    assert write.resolve(outcome, 1, lambda newest: newest.version == 1) == 2
    assert server.versions == [THEIRS, MINE, THEIRS]


def test_data_that_the_server_refuses_is_refused_and_not_sent_for_ever():
    server = Server(THEIRS)
    refused = reply(400, {"errors": ["no"]})
    server.replies = [refused] * 3
    with pytest.raises(InvalidDataError, match="HTTP 400"):
        written(server, 1)
    assert len(server.writes) == 2


def test_an_unchecked_write_whose_reply_was_lost_is_not_repeated():
    """Nothing would tell a second one from the first."""
    server = Server(THEIRS)
    server.replies = ["dropped"]
    with pytest.raises(WriteOutcomeUnknownError):
        written(server, None)
    assert server.writes == [None]
    assert server.doubted == [("write", None)]


def test_a_write_whose_outcome_cannot_be_read_stays_unknown():
    server = Server(THEIRS)
    server.replies = ["dropped"]
    server.unreadable = True
    with pytest.raises(WriteOutcomeUnknownError):
        written(server, 1)
    assert server.doubted == [("write", 1)]


# --- other changes ----------------------------------------------------------------------------------------------------


def deleting(server, outcome, made):
    with time_limit(5):
        confirm(("write", None), outcome, "app", server, made)


def test_a_confirmed_change_reads_nothing():
    def unread():
        raise AssertionError("it was read")

    deleting(Server(), reply(204), unread)


def test_a_refused_change_raises_its_error():
    with pytest.raises(InvalidDataError, match="HTTP 400"):
        deleting(Server(), reply(400, {"errors": []}), lambda: True)


@pytest.mark.parametrize("seen", [[True], [False, True]])
def test_a_lost_change_is_made_once_or_sent_again(seen):
    server = Server(THEIRS)
    server.replies = [LOST.copy()]
    answers = iter(seen)
    deleting(server, LOST.copy(), lambda: next(answers))
    assert len(server.writes) == seen.count(False)


def test_a_lost_change_that_the_secret_does_not_show_stays_unknown():
    server = Server(THEIRS)
    with pytest.raises(WriteOutcomeUnknownError):
        deleting(server, LOST.copy(), lambda: None)
    assert server.writes == []
    assert server.doubted == [("write", None)]


def test_a_success_that_is_not_the_servers_own_is_no_confirmation():
    """A captive portal or a gateway answers 200 to everything."""
    page = Reply(200, {}, b"<html>")
    assert written_version(page) is None
    with pytest.raises(WriteOutcomeUnknownError, match="not Vault's API"):
        deleting(Server(), page, lambda: None)
