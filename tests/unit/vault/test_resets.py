"""The state of a fork's parent, which its child drops once."""

from __future__ import annotations

import os

import pytest

from strongroom_vault.auth.token import StaticToken
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.session import session as session_module
from strongroom_vault.session.session import Session, reset_after_fork, reset_if_forked

ADDRESS = Address.parse("http://127.0.0.1:1")
PARENT = -1


class Part:
    """Counts its resets."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.resets = 0

    def reset(self) -> None:
        """Count it."""
        self.resets += 1
        self.process = os.getpid()


@pytest.mark.parametrize("used_before", [False, True])
def test_the_hook_of_a_fork_resets_what_the_child_has_not_used_before(*, used_before: bool) -> None:
    """The thread of a watch can use a store before this hook runs: its new token and connections must stay."""
    part = Part()
    reset_after_fork(part)
    part.process = PARENT
    if used_before:
        reset_if_forked(part)
    session_module._reset_in_child()  # in place of a fork, whose hook it is
    assert part.resets == 1


def test_a_session_is_the_childs_when_its_reset_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread of the child would use a connection of the parent."""
    session = Session(
        new_driver([ADDRESS], TLSSettings()), Cluster([ADDRESS]), StaticToken("t"), namespace=None, mount="secret"
    )
    session.process = PARENT
    reset, seen = session.renewer.reset, []
    monkeypatch.setattr(session.renewer, "reset", lambda: (reset(), seen.append(session.process)))
    reset_if_forked(session)
    assert (seen, session.process) == ([PARENT], os.getpid())
