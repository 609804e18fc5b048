"""Which of two states of a cluster is the later one, and which state a request needs."""

import base64
import json

import pytest

from strongroom_vault.http import read_after_write
from strongroom_vault.http.read_after_write import States, later, reads_from_active_node


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


# --- the state that a request needs -----------------------------------------------------------------------------------

APP, OTHER = "/v1/secret/data/app", "/v1/secret/data/other"
LOGIN = "/v1/auth/approle/login"


@pytest.fixture
def states():
    return States("secret")


def number(state):
    return None if state is None else int(json.loads(base64.b64decode(state))["value"])


def needed(states, target, method="GET"):
    return number(states.needed(method, target)[0])


def test_a_secret_needs_the_state_after_its_own_last_write(states):
    """A standby that is behind because of another secret still answers."""
    states.changed(APP, openbao(5))
    states.changed(OTHER, openbao(7))
    states.changed(APP, openbao(4))  # the reply of another thread, which came late
    assert needed(states, APP) == 5
    assert needed(states, OTHER) == 7
    assert needed(states, "/v1/secret/data/unwritten") is None


@pytest.mark.parametrize("view", ["metadata", "undelete", "destroy", "delete"])
def test_every_view_of_a_secret_concerns_it(states, view):
    states.changed(f"/v1/secret/{view}/app", openbao(5))
    assert needed(states, f"{APP}?version=3") == 5
    assert needed(states, OTHER) is None


def test_what_is_no_secret_concerns_every_request(states):
    """A standby may not know a new token yet, or a new policy."""
    states.changed(APP, openbao(5))
    states.changed(LOGIN, openbao(6))
    assert needed(states, APP) == needed(states, OTHER) == 6


def test_lists_and_other_requests_need_the_state_after_all_changes(states):
    states.changed(LOGIN, openbao(4))
    states.changed(APP, openbao(5))
    assert needed(states, "/v1/secret/metadata/", "LIST") == 5
    assert needed(states, "/v1/sys/mounts") == 5
    assert needed(states, OTHER, "POST") == 5


def test_the_number_of_secrets_is_bounded(states, monkeypatch):
    """What is forgotten of the oldest is needed for all: too new a state is never wrong."""
    monkeypatch.setattr(read_after_write, "_MOST_SECRETS", 2)
    for value, name in enumerate(["a", "b", "a", "c"], 1):
        states.changed(f"/v1/secret/data/{name}", openbao(value))
    assert [needed(states, f"/v1/secret/data/{name}") for name in "abcd"] == [3, 2, 4, 2]
    assert len(states._of_secret) == 2  # nothing public counts them


def test_a_doubt_needs_the_active_node_until_it_has_answered(states):
    """And so does a read that finds out the outcome of a change."""
    states.seen(openbao(1))
    states.doubt(APP)
    assert needed(states, APP) > 2**60
    assert needed(states, OTHER) is None
    unknown = states.unknown(APP)
    states.doubt(APP)  # by another thread
    states.settle(APP, openbao(8), unknown)
    assert needed(states, APP) > 2**60
    states.settle(APP, openbao(9), states.unknown(APP))
    assert needed(states, APP) == 9
    with reads_from_active_node():
        assert needed(states, OTHER) > 2**60


def test_without_a_mount_every_change_concerns_every_request():
    states = States()
    states.changed(APP, openbao(5))
    assert needed(states, OTHER) == 5
