"""Which of two states of a cluster is the later one."""

import base64
import json

import pytest

from strongroom_vault.http.read_after_write import later


def openbao(value, cluster="c"):
    return base64.b64encode(json.dumps({"cluster": cluster, "value": str(value)}).encode()).decode()


def vault(value, cluster="c"):
    return base64.b64encode(f"v1:{cluster}:{value}:0:{'00' * 32}".encode()).decode()


@pytest.mark.parametrize("state", [openbao, vault])
def test_later_state_stays(state):
    """In whatever order two threads' replies come, by number and not by text."""
    assert later(state(9), state(10)) == later(state(10), state(9)) == state(10)


@pytest.mark.parametrize("new", [openbao(1, "other"), "nonsense", "e30=", base64.b64encode(b"{").decode(), "ü"])
def test_states_that_cannot_be_compared_give_the_new_one(new):
    """It is what the last write left behind."""
    assert later(openbao(9), new) == new


def test_no_state_changes_nothing():
    """A reply without one, from a server without standbys."""
    assert later(None, None) is None
    assert later(openbao(1), None) == later(None, openbao(1)) == openbao(1)
