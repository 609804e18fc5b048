"""How a server is: what it says of itself and of the token, as facts and as checks with a next step."""

import time

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import CheckState, ConfigurationError, StoreUnavailableError
from strongroom_vault.errors import VaultAuthenticationError, VaultConnectionError
from strongroom_vault.plugin import open_vault
from strongroom_vault.store.health import skew

TOLD = {"initialized": True, "sealed": False, "standby": False, "version": "9.9"}


@pytest.fixture
def probe(openbao, kv2):
    """A function that takes a token and returns the health of a store that has it."""
    fronts = []

    def ask(token):
        fronts.append(GuardedStore(open_vault(url=openbao.url, token=token, mount=kv2), "vault"))
        return fronts[-1].probe()

    yield ask
    for front in fronts:
        front.close()


def states(checks):
    return {check.name: check.state.value for check in checks}


def check(health, name):
    return next(each for each in health.checks if each.name == name)


def test_a_server_that_is_well_says_so_in_checks_and_facts(openbao, probe, kv2):
    """Nothing is to be done, and no fact is a token."""
    rules = {f"{kv2}/data/*": ["read"], "auth/token/lookup-self": ["read"]}
    token = openbao.issue_token(rules, ttl="15m", period="1h")
    health = probe(token)
    assert health.ok
    assert health.error is None
    assert states(health.checks) == dict.fromkeys(
        ("reachable", "clock", "unsealed", "authenticated", "token life"), "ok"
    )
    assert health.facts.keys() == {"version", "sealed", "latency", "clock_skew", "token_ttl"}
    assert health.facts["sealed"] == "no"
    assert abs(float(health.facts["clock_skew"])) < 5
    assert float(health.facts["latency"]) > 0
    assert "renewable" in check(health, "token life").detail
    assert not any(each.hint for each in health.checks)
    assert token not in repr(health)


def test_a_root_token_is_worth_a_warning(openbao, probe):
    """Whoever has it may do everything, and it never expires."""
    health = probe(openbao.token)
    assert health.ok
    assert check(health, "token rights").state is CheckState.WARNING
    assert check(health, "token life").detail == "it does not expire"
    assert "token_ttl" not in health.facts


@pytest.mark.parametrize(
    ("grant", "state", "words"),
    [
        ({"ttl": "20m", "renewable": False}, "warning", "not renewable"),
        ({"ttl": "5h", "renewable": False}, "ok", "not renewable"),
        ({"ttl": "20m", "explicit_max_ttl": "40m"}, "warning", "in all"),
        ({"ttl": "20m", "explicit_max_ttl": "9h"}, "ok", "in all"),
        ({"ttl": "20m"}, "ok", "renewable"),
        ({"ttl": "20m", "type": "batch"}, "warning", "not renewable"),
        ({"ttl": "5h", "num_uses": 20}, "warning", " uses left, within 5 h, and no renewal"),
    ],
)
def test_a_token_that_ends_soon_for_good_is_worth_a_warning(openbao, probe, kv2, grant, state, words):
    """One that can be renewed for long enough is not."""
    policy = openbao.write_policy({f"{kv2}/data/*": ["read"]})
    made = openbao.call("POST", "auth/token/create", {"policies": ["default", policy], **grant})
    life = check(probe(made["auth"]["client_token"]), "token life")
    assert life.state.value == state
    assert words in life.detail
    assert bool(life.hint) is (state == "warning")


def test_a_token_that_may_not_look_itself_up_is_good_all_the_same(openbao, probe, kv2):
    """What is left of it is not known, which is not a fault."""
    health = probe(openbao.issue_token({f"{kv2}/data/*": ["read"]}))
    assert health.ok
    assert "not known" in check(health, "token life").detail


def test_a_server_that_was_sealed_while_the_store_was_open(own_openbao):
    """A read would be an outage, and the next step is another than after a dead server."""
    front = GuardedStore(open_vault(url=own_openbao.url, token=own_openbao.token), "vault")
    own_openbao.call("PUT", "sys/seal")
    health = front.probe()
    assert not health.ok
    assert isinstance(health.error, StoreUnavailableError)
    assert health.facts["sealed"] == "yes"
    assert "standby" not in health.facts  # which it says of itself while it is sealed
    assert states(health.checks) == {"reachable": "ok", "clock": "ok", "unsealed": "failed"}
    assert "operator unseal" in check(health, "unsealed").hint
    front.close()


def test_a_token_that_ended_while_the_store_was_open(openbao, kv2):
    """The server is well, and nobody is authenticated."""
    token = openbao.issue_token({f"{kv2}/data/*": ["read"]})
    front = GuardedStore(open_vault(url=openbao.url, token=token, mount=kv2), "vault")
    openbao.call("POST", "auth/token/revoke", {"token": token})
    health = front.probe()
    assert not health.ok
    assert isinstance(health.error, VaultAuthenticationError)
    assert states(health.checks) == {"reachable": "ok", "clock": "ok", "unsealed": "ok"}
    front.close()


def test_a_valid_token_without_rights_is_not_called_invalid(openbao, kv2):
    """The server refuses it as it refuses a wrong one, also to look itself up: the messages name both causes."""
    opening = failure(url=openbao.url, token=openbao.issue_token({"other/*": ["read"]}), mount=kv2)
    policy = openbao.write_policy({f"{kv2}/data/*": ["read"]}, name=f"passing-{kv2}")
    grant = {"policies": [policy], "no_default_policy": True}
    token = openbao.call("POST", "auth/token/create", grant)["auth"]["client_token"]
    front = GuardedStore(open_vault(url=openbao.url, token=token, mount=kv2), "vault")
    openbao.call("DELETE", f"sys/policies/acl/{policy}")
    with pytest.raises(VaultAuthenticationError) as reading:
        front.read("app")
    for error in (opening, reading.value, front.probe().error):
        assert "wrong, expired or revoked, or has no rights" in str(error)
    front.close()


@pytest.fixture
def role(openbao, kv2):
    """The `auth` table of an AppRole whose tokens end in ten minutes."""
    mount = f"approle-{kv2}"
    policy = openbao.write_policy({f"{kv2}/data/*": ["read"]})
    openbao.call("POST", f"sys/auth/{mount}", {"type": "approle"})
    granted = {"token_policies": [policy], "token_ttl": "10m", "token_max_ttl": "10m", "token_no_default_policy": True}
    openbao.call("POST", f"auth/{mount}/role/app", granted)
    role_id = openbao.call("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = openbao.call("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    return {"method": "approle", "mount": mount, "role_id": role_id, "secret_id": secret_id}


def test_a_token_that_a_login_replaces_is_no_worry(openbao, kv2, role):
    """However soon it ends; what is left of it is known from the login, where it may not look itself up."""
    front = GuardedStore(open_vault(url=openbao.url, auth=role, mount=kv2), "vault")
    health = front.probe()
    assert health.ok
    assert check(health, "token life").state is CheckState.OK
    assert "login" in check(health, "token life").detail
    assert 0 < int(health.facts["token_ttl"]) <= 600
    front.close()


def test_a_login_that_is_refused_says_what_the_server_answered(openbao, kv2, role):
    """It is the credentials that want doing, and not the server."""
    error = failure(url=openbao.url, auth={**role, "secret_id": "wrong"}, mount=kv2)
    assert isinstance(error, VaultAuthenticationError)
    assert states(error.checks) == {"reachable": "ok", "clock": "ok", "unsealed": "ok"}


# --- a store that does not open ---------------------------------------------------------------------------------------


def failure(**options):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each test says which
        open_vault(**options)
    return caught.value


def test_an_error_of_opening_says_what_the_server_answered(openbao):
    """A store that does not open cannot be asked how its server is."""
    error = failure(url=openbao.url, token="s.wrong")
    assert isinstance(error, VaultAuthenticationError)
    assert states(error.checks) == {"reachable": "ok", "clock": "ok", "unsealed": "ok"}
    missing = failure(url=openbao.url, token=openbao.token, mount="nothing-here")
    assert isinstance(missing, ConfigurationError)
    assert states(missing.checks) == {"reachable": "ok", "clock": "ok", "unsealed": "ok"}
    assert openbao.token not in repr(missing.checks)


def test_a_denial_of_opening_says_that_the_token_is_good(openbao, kv2):
    """It is its policies that want doing."""
    error = failure(url=openbao.url, token=openbao.issue_token({"auth/token/lookup-self": ["read"]}), mount=kv2)
    assert states(error.checks)["authenticated"] == "ok"


def test_a_server_that_is_sealed_says_so_to_a_store_that_opens(own_openbao):
    """Its 503 alone could be maintenance."""
    own_openbao.call("PUT", "sys/seal")
    error = failure(url=own_openbao.url, token=own_openbao.token, max_retries=0)
    assert isinstance(error, StoreUnavailableError)
    assert states(error.checks) == {"reachable": "ok", "clock": "ok", "unsealed": "failed"}


def test_a_server_that_is_gone_is_not_asked_again(fault_server):
    """There is nobody to say more, and the time is the caller's."""
    fault_server.answers[:] = [None]
    error = failure(url=fault_server.url, token="t")
    assert isinstance(error, VaultConnectionError)
    assert error.checks == ()
    assert not any("sys/health" in request.target for request in fault_server.requests)


def test_a_server_that_says_nothing_of_itself_hides_no_error(fault_server, answered):
    """What happened first is what is raised."""
    fault_server.answers[:] = [answered(404, {"errors": ["no handler"]}), answered(404, b"<html>")]
    error = failure(url=fault_server.url, token="t")
    assert isinstance(error, ConfigurationError)
    assert error.checks == ()


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "words"), [(3600, "ahead of"), (-3600, "behind")])
def test_a_clock_that_is_off_is_worth_a_warning(faulty, answered, shift, words):
    """Which way, and by how much; the store is well today."""
    told = {**TOLD, "server_time_utc": int(time.time()) + shift}
    token = {"data": {"ttl": 0, "expire_time": None, "policies": ["app"]}}
    health = faulty(answered(200, told), answered(200, token)).probe()
    assert health.ok
    clock = check(health, "clock")
    assert clock.state is CheckState.WARNING
    assert words in clock.detail
    assert clock.hint
    assert float(health.facts["clock_skew"]) == pytest.approx(shift, abs=60)


def test_a_server_that_does_not_tell_the_time_has_no_clock(faulty, answered):
    """Nor is that a fault."""
    health = faulty(answered(200, TOLD), answered(200, {"data": {"ttl": 0}})).probe()
    assert health.ok
    assert "clock" not in states(health.checks)


@pytest.mark.parametrize(
    ("server", "sent", "received", "ahead"),
    [
        (100, 100.2, 100.4, 0.0),
        (100, 100.9, 101.3, 0.0),  # it was asked in second 100, and answered in 101
        (100, 99.5, 99.9, 0.1),
        (100, 101.2, 101.4, -0.2),
        (160, 100.0, 100.5, 59.5),
        (40, 100.0, 100.5, -59.0),
        (100, 90.0, 130.0, 0.0),  # a slow answer tells nothing about the clock
    ],
)
def test_the_skew_is_the_least_that_explains_what_came(server, sent, received, ahead):
    """The server's second has begun, and is not over, at some moment while the request was under way."""
    assert skew(server, sent, received) == pytest.approx(ahead)
