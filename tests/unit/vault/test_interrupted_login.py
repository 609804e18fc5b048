"""An exception of a signal handler at every line of a login."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import ClassVar

import pytest

from strongroom.secret import SensitiveStr
from strongroom.store import remaining, time_limit
from strongroom_vault.auth import Grant
from strongroom_vault.http.messages import Reply
from strongroom_vault.session import tokens as tokens_module
from strongroom_vault.session.login_backoff import LoginBackoff
from strongroom_vault.session.tokens import Tokens
from support.clock import LONG
from support.signals import handling, signalled_at

MOST_LINES = 2000

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")


class Login:
    """Gives a token at each login."""

    repeatable: ClassVar[bool] = True

    def login(self, send: object) -> Grant:
        return Grant(SensitiveStr("token"), 1000.0, renewable=True, revocable=True)


def send(*_: object, **__: object) -> Reply:
    return Reply(204, {}, b"")


def test_an_interrupt_at_any_line_of_a_login_leaves_no_login_to_wait_for() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for line in range(1, MOST_LINES):
        tokens = Tokens(Login(), send, LoginBackoff(time.monotonic), "nowhere", clock=time.monotonic)
        inside = True
        with handling(interrupt), suppress(KeyboardInterrupt):
            inside = signalled_at(line, {str(tokens_module.__file__)}, lambda: tokens.current(send))  # noqa: B023
        with time_limit(LONG / 2):
            tokens.current(send)
            assert remaining() > LONG / 4
        if not inside:
            return
    pytest.fail("the login has no end")
