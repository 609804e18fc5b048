"""Sessions that owe a revocation, without a server."""

from __future__ import annotations

import time
from typing import ClassVar
from weakref import WeakMethod, ref

import pytest

from strongroom_vault.auth import Grant
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.messages import Reply
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.session import tokens as session_tokens
from strongroom_vault.session.login_backoff import LoginBackoff
from strongroom_vault.session.session import Session as VaultSession
from strongroom_vault.session.tokens import Tokens

LOCATION = "at https://vault.example:8200"


class Login:
    """Gives a token that may be revoked."""

    repeatable: ClassVar[bool] = True

    def login(self, send: object) -> Grant:
        """Return the same token for each session."""
        return Grant("token", 60.0, revocable=True)


class Session:
    """Records that it was closed."""

    def __init__(self, tokens: Tokens) -> None:
        self.is_closed = False
        self.tokens = tokens
        tokens.owner = WeakMethod(self.close)

    def close(self) -> None:
        """Close it."""
        self.is_closed = True


def logged_in() -> Tokens:
    """Return the tokens of a session after its login."""

    def revoke(token: str) -> Reply:
        raise VaultConnectionError(reason="nobody answers")

    tokens = Tokens(Login(), revoke, LoginBackoff(time.monotonic), LOCATION, clock=time.monotonic)
    tokens.current(lambda *_, **__: Reply(204, {}, b""))
    return tokens


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> dict[Tokens, int]:
    """The sessions of the test alone, which the end of the test process does not close."""
    sessions: dict[Tokens, int] = {}
    monkeypatch.setattr(session_tokens, "_outstanding", sessions)
    monkeypatch.setattr(session_tokens, "call_at_exit", lambda call: None)
    return sessions


def test_only_the_newest_dropped_sessions_are_kept(own: dict[Tokens, int]) -> None:
    """An application that drops a manager for each request keeps no connection for each. An open session stays."""
    session = Session(logged_in())
    dropped = [logged_in() for _ in range(40)]
    assert list(own) == [session.tokens, *dropped[-32:]]


def test_a_session_that_nobody_holds_ends_and_its_token_stays(own: dict[Tokens, int]) -> None:
    """Its thread and its connections end with it, and the end of the process revokes the token."""
    address = Address.parse("http://127.0.0.1:1")
    session = VaultSession(
        new_driver([address], TLSSettings()), Cluster([address]), Login(), namespace=None, mount="secret"
    )
    session.tokens.current(session.send)
    tokens, reference = session.tokens, ref(session)
    del session
    assert reference() is None
    assert tokens.is_dropped
    assert list(own) == [tokens]


def test_closed_session_owes_nothing(own: dict[Tokens, int]) -> None:
    """Also if its server did not answer."""
    logged_in().close()
    assert not own


def test_sessions_are_closed_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12.1 starts none at the end of a process."""

    def refuse(call: object, name: str) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(session_tokens, "in_daemon", refuse)
    sessions = [Session(logged_in()) for _ in range(3)]
    session_tokens._settle()  # in place of the end of the process, whose hook it is
    assert [session.is_closed for session in sessions] == [True] * 3


def test_one_warning_for_each_server_counts_the_tokens_that_are_left(caplog: pytest.LogCaptureFixture) -> None:
    """Those of dropped sessions too."""
    dropped = [logged_in() for _ in range(3)]
    session_tokens._settle()  # as above
    (record,) = caplog.records
    assert record.getMessage().startswith(f"Tokens left to expire {LOCATION}")
    assert record.getMessage().endswith(f": {len(dropped)}")
