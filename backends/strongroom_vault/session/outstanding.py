"""Sessions that owe a revocation to their server. Those that nobody closed are closed at the end of the process.

Separate from the tokens of one session, since this is state of the process.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Protocol

from strongroom.store import in_daemon, remaining
from strongroom.store.process import call_at_exit

logger = logging.getLogger("strongroom.vault")

_MOST_DROPPED = 32
"""For how many sessions that were dropped without `close` the token is kept, with the connection to revoke it on. The
tokens of those that were dropped before expire by themselves."""


class Debt(Protocol):
    """The tokens that a session must revoke.

    Attributes:
        location: namespace and addresses of the server, for messages.
    """

    location: str

    @property
    def is_dropped(self) -> bool:
        """Whether the session is gone without `close`."""
        ...

    @property
    def unanswered(self) -> Collection[object]:
        """The tokens that could not be revoked, because the server did not answer."""
        ...

    def settle(self) -> None:
        """Close the session, or revoke the tokens of one that was dropped."""
        ...


_outstanding: dict[Debt, int] = {}
"""The tokens of a session -> the process that owes their revocation: a fork's child leaves its parent's alone."""


def add(tokens: Debt) -> None:
    """Revoke these tokens at the end of this process, unless `discard` is called before."""
    _outstanding.pop(tokens, None)
    _outstanding[tokens] = os.getpid()
    dropped = [other for other in list(_outstanding) if other.is_dropped]
    for other in dropped[:-_MOST_DROPPED]:
        discard(other)
    call_at_exit(_settle)


def discard(tokens: Debt) -> None:
    """Forget the tokens of a session that is closed."""
    _outstanding.pop(tokens, None)


def _settle() -> None:
    """Close all sessions side by side: one whose server hangs takes no time from the others."""
    own = [tokens for tokens, process in list(_outstanding.items()) if process == os.getpid()]
    closing: list[Future[None]] = []
    for tokens in own:
        try:
            closing.append(in_daemon(tokens.settle, "vault token at exit"))
        except RuntimeError:  # too many threads, or Python 3.12.1, which starts none at exit
            with suppress(Exception):
                tokens.settle()
    wait(closing, remaining())
    for location, number in Counter(tokens.location for tokens in own for _ in tokens.unanswered).items():
        logger.warning("Tokens left to expire %s, because no answer to their revocation came: %d", location, number)
