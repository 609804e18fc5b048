"""A session on a real server: tokens that live for seconds, refusals, many threads, and what is left at the end."""

import contextlib
import gc
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.store import time_limit
from strongroom_vault.errors import VaultAuthenticationError, VaultConnectionError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.plugin import open_vault
from strongroom_vault.session import renewal, tokens
from support.clock import LONG, SOON
from support.vault.approle import CountedRole, lives
from support.vault.faults import delay
from support.vault.proxy import FaultProxy
from support.vault.sessions import session_of, token_of

PERIOD = 8
"""Of a periodic token, in seconds. Its last third is the time to renew it, on a busy machine too."""
CLOSING = 10.0
"""The longest time that a session takes to revoke its token, in seconds."""


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


class Role(CountedRole):
    """An AppRole whose tokens can be listed."""

    def open(self):
        return open_vault(**self.options)

    @property
    def accessors(self):
        """Of the tokens of this role that live."""
        living = []
        for accessor in self.server.call("LIST", "auth/token/accessors")["data"]["keys"]:
            try:
                found = self.server.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            except StoreError:
                continue  # it has just ended
            if found["data"]["path"] == f"auth/{self.mount}/login":
                living.append(accessor)
        return living


def configuration(role):
    options = ", ".join(f"{name} = {json.dumps(value)}" for name, value in role.auth.items())
    return f"""
        chain = [{{ store = "vault" }}]
        [stores.vault]
        url = "{role.server.url}"
        auth = {{ {options} }}
    """


_others = set()


@pytest.fixture(autouse=True)
def others():
    """Leave out the threads that other tests of this worker have left, whose sessions nobody has collected yet."""
    _others.clear()
    _others.update(threading.enumerate())


def renewers():
    """Return the threads of this test that keep tokens alive."""
    return [thread for thread in threading.enumerate() if thread.name == "vault token" and thread not in _others]


def eventually(condition):
    """Whether it comes true, in time that is enough on a busy machine."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def reads(front):
    try:
        return front.read("mine/app").data["k"] == "v"
    except StoreUnavailableError:
        return False


@pytest.fixture
def opened():
    """A function that opens a role's store behind its front, and closes it at the end."""
    fronts = []

    def open_(role):
        fronts.append(GuardedStore(role.open(), "vault"))
        return fronts[-1]

    yield open_
    for front in fronts:
        front.close()


# --- the life of a token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "renews"), [
    ({"token_ttl": "2s", "token_max_ttl": "4s"}, True),
    pytest.param({"token_ttl": "2s", "token_type": "batch"}, False, marks=pytest.mark.long),
    pytest.param({"token_ttl": "2s", "token_no_default_policy": True}, False, marks=pytest.mark.long),
    pytest.param({"token_ttl": "1s", "token_max_ttl": "1s"}, True, marks=pytest.mark.long),
], ids=["renewable", "batch", "may not renew itself", "very short"])  # fmt: skip
def test_reads_go_on_over_several_lifetimes(fresh_openbao, opened, settings, renews):
    """From several threads, without an error, and with few requests for it."""
    role = Role(fresh_openbao, **settings)
    front, failures, stopping = opened(role), [], threading.Event()

    def read():
        while not stopping.is_set():
            try:
                assert front.read("mine/app").data["k"] == "v"
            except StrongroomError as error:
                failures.append(error)
            stopping.wait(0.1)

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(read)
        try:
            came_about = eventually(
                lambda: role.logins >= 3 and (role.renewals >= 2 or not renews) and time.monotonic() - began > 4
            )
        finally:
            stopping.set()
    took = time.monotonic() - began
    assert came_about
    assert not failures
    assert role.logins <= 2 + took * 2
    assert role.renewals <= 2 + took * 2
    assert (role.renewals >= 2) is renews
    assert role.lookups <= 2 + took


def test_a_request_that_succeeds_at_once_needs_no_generator(openbao, kv2, monkeypatch):
    """Nor does a refusal or an absence, which are final too."""
    with contextlib.closing(open_vault(url=openbao.url, token=openbao.token, mount=kv2)) as store:
        monkeypatch.setattr("strongroom_vault.session.session.exchange", None)
        store.write("app", {"k": "v"})
        assert store.read("app").data == {"k": "v"}
        with pytest.raises(SecretNotFoundError):
            store.read("absent")


@pytest.mark.long
def test_periodic_token_outlives_its_period(fresh_openbao, caplog):
    """A given one: looked up once, and renewed from then on."""
    role = Role(fresh_openbao)
    policy = fresh_openbao.write_policy({"secret/data/mine/*": ["read"]})
    given = {"policies": [policy], "period": f"{PERIOD}s"}
    token = fresh_openbao.call("POST", "auth/token/create", given)["auth"]["client_token"]
    front, began = GuardedStore(open_vault(url=fresh_openbao.url, token=token), "vault"), time.monotonic()
    while time.monotonic() - began < PERIOD + 1:
        assert front.read("mine/app").data["k"] == "v"
        time.sleep(0.05)
    found = fresh_openbao.call("GET", "auth/token/lookup-self", token=token)  # before the counts, which take a while
    front.close()
    assert found["data"]["ttl"] <= PERIOD
    assert role.lookups == 2  # the test's own is one of them
    assert 1 <= role.renewals <= 10
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_token_that_cannot_be_renewed_is_warned_of(openbao, caplog):
    """When it is first looked at, and when a fifth of its life is left."""
    openbao.put("mine/app", {"k": "v"})
    policy = openbao.write_policy({"secret/data/mine/*": ["read"]})
    given = {"policies": [policy], "ttl": "5s", "renewable": False}
    token = openbao.call("POST", "auth/token/create", given)["auth"]["client_token"]
    front = GuardedStore(open_vault(url=openbao.url, token=token), "vault")
    assert eventually(lambda: sum("cannot be renewed" in text for text in caplog.messages) == 1)
    assert eventually(lambda: sum("end of its life" in text for text in caplog.messages) == 1)
    assert eventually(lambda: not renewers())
    assert not [text for text in caplog.messages if token in text]
    front.close()


def test_short_use_of_a_given_token_looks_it_up_once_and_renews_no_fresh_one(fresh_openbao):
    """The lookup tells whether less than half of its period is left."""
    role, token = Role(fresh_openbao), fresh_openbao.issue_token({"secret/data/*": ["read"]})
    front = GuardedStore(open_vault(url=fresh_openbao.url, token=token), "vault")
    front.read("mine/app")
    front.close()
    assert (role.lookups, role.renewals) == (1, 0)
    assert not renewers()


def test_session_tells_what_it_knows_of_the_token(openbao, opened):
    """How long it lives, and whether something is done about that; nothing of one that was given just now."""
    session = session_of(opened(Role(openbao, token_ttl="1h")))
    assert 3500 < session.seconds_left <= 3600
    assert session.is_kept
    store = open_vault(url=openbao.url, token=openbao.token)
    assert (session_of(store).seconds_left, session_of(store).is_kept) == (None, None)
    store.close()


# --- logins -----------------------------------------------------------------------------------------------------------


def test_one_login_for_many_threads(openbao, opened):
    """At the start, and when all of them find the token revoked."""
    role = Role(openbao, token_ttl="1h")
    session = session_of(opened(role))
    assert role.logins == 1
    session.tokens.reset()
    barrier = threading.Barrier(32)

    def read(_):
        barrier.wait(LONG)
        return session.request(ApiRequest("GET", "/v1/secret/data/mine/app")).status

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(read, range(32))) == {200}
        assert role.logins == 2
        openbao.call("POST", "auth/token/revoke", {"token": session.active_token.token})
        time.sleep(1.1)  # a login is at least so long ago
        assert set(pool.map(read, range(32))) == {200}
    assert role.logins == 3


def test_revoked_token_is_replaced_within_the_read(openbao, opened):
    """Also where a path was denied just before: that was about another path."""
    role = Role(openbao, token_ttl="1h", token_no_default_policy=True)
    front = opened(role)
    front.read("mine/app")
    with pytest.raises(PermissionDeniedError):
        front.read("others/app")
    openbao.call("POST", "auth/token/revoke", {"token": token_of(front)})
    time.sleep(1.1)  # a login is at least so long ago
    assert front.read("mine/app").data["k"] == "v"
    assert role.logins == 2


def test_token_that_ends_while_a_read_is_on_its_way_is_replaced(openbao, opened, monkeypatch):
    """Also where it was found to be good just before, since its renewal was refused: what it refuses now is its end."""
    monkeypatch.setattr(renewal.Renewal, "has_work", staticmethod(lambda held: False))
    role = Role(openbao, token_ttl="1h", token_no_default_policy=True)
    front = opened(role)
    session = session_of(front)
    send = session.send

    def late(request, **options):
        monkeypatch.setattr(session, "send", send)  # this one alone
        active = session.active_token
        openbao.call("POST", "auth/token/revoke", {"token": str(active.token)})
        active.lease = replace(active.lease, ttl=0.0)  # the lease ends now, for the server and for the session
        return send(request, **options)

    with pytest.raises(PermissionDeniedError):
        front.read("others/app")  # asks about the token, which is good
    monkeypatch.setattr(session, "send", late)
    assert front.read("mine/app").data["k"] == "v"
    assert role.logins == 2


def test_token_with_counted_uses_is_replaced_when_they_are_spent(openbao, opened, monkeypatch):
    """A request that the server refuses leads to a login."""
    monkeypatch.setattr(tokens, "_DEAD_LOGIN", 0.0)
    role = Role(openbao, token_ttl="1h", token_num_uses=3)
    front = opened(role)
    for _ in range(10):
        assert front.read("mine/app").data["k"] == "v"
    assert role.logins == 4
    assert not session_of(front).active_token.lease.renewable  # a renewal would spend a use


def test_denied_reads_cost_no_login(fresh_openbao, opened):
    """A hundred of them, from four threads, with a secret_id that is good for two."""
    role = Role(fresh_openbao, token_ttl="1h", secret_id_num_uses=2)
    front = opened(role)

    def read(_):
        with pytest.raises(PermissionDeniedError):
            front.read("others/app")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(100)))
    assert role.logins == 1
    assert role.lookups == 0
    assert front.read("mine/app").data["k"] == "v"


def test_login_without_any_right_is_not_repeated(openbao):
    """Nothing shows whether its token is good, and another would be no better."""
    policy = openbao.write_policy({"elsewhere/*": ["read"]})
    role = Role(openbao, token_ttl="1h", token_policies=[policy], token_no_default_policy=True)
    for _ in range(5):
        with pytest.raises((VaultAuthenticationError, PermissionDeniedError)):
            role.open()
    assert role.logins == 5


def test_refused_login_is_not_repeated_by_every_read(openbao, tmp_path):
    """Though the store is opened anew each time; the message says which credentials."""
    role = Role(openbao, token_ttl="1h")
    role.auth["secret_id"] = "wrong"
    (tmp_path / "strongroom.toml").write_text(configuration(role))
    with SecretsManager.from_config(tmp_path / "strongroom.toml") as manager:
        messages = set()
        for _ in range(20):
            with pytest.raises(VaultAuthenticationError) as caught:
                manager.get_secret("mine/app")
            messages.add(str(caught.value))
    assert role.logins == 1
    assert len(messages) == 1
    assert "secret_id" in messages.pop()


def test_refused_login_with_a_file_that_was_corrected_is_repeated_at_once(openbao, tmp_path):
    """By the next manager of the process: a person who has corrected the file need not wait."""
    openbao.put("mine/app", {"k": "v"})
    role = Role(openbao, token_ttl="1h")
    file = tmp_path / "secret_id"
    file.write_text("wrong")
    secret_id = role.auth.pop("secret_id")
    role.auth["secret_id_file"] = str(file)
    (tmp_path / "strongroom.toml").write_text(configuration(role))
    for _ in range(2):
        with (
            SecretsManager.from_config(tmp_path / "strongroom.toml") as manager,
            pytest.raises(VaultAuthenticationError),
        ):
            manager.get_secret("mine/app")
    assert role.logins == 1
    file.write_text(secret_id)
    with SecretsManager.from_config(tmp_path / "strongroom.toml") as manager:
        assert manager.get_secret("mine/app", "k") == "v"


def test_login_that_finds_no_server_is_an_outage(own_openbao):
    """And works as soon as there is one again."""
    role = Role(own_openbao, token_ttl="1h")
    own_openbao.kill()
    for _ in range(3):
        with pytest.raises(VaultConnectionError):
            role.open()
    own_openbao.start()
    role = Role(own_openbao, token_ttl="1h")
    front = GuardedStore(role.open(), "vault")
    assert front.read("mine/app").data["k"] == "v"
    front.close()


def test_waiting_for_a_login_ends_at_the_callers_deadline(own_openbao):
    """Whoever logs in."""
    role = Role(own_openbao, token_ttl="1h")
    front = GuardedStore(role.open(), "vault")
    session_of(front).tokens.reset()
    own_openbao.pause()

    def read(seconds):
        began = time.monotonic()
        with time_limit(seconds), pytest.raises(StoreError):
            front.read("mine/app")
        return time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        took = list(pool.map(read, [0.6, *[0.3] * 7]))
    assert max(took) < SOON
    own_openbao.resume()
    assert eventually(lambda: reads(front))
    front.close()


# --- the end ----------------------------------------------------------------------------------------------------------


def connections_to(url):
    """Return the number of connections of this process to a server."""
    peers = [peer(int(descriptor.name)) for descriptor in Path("/dev/fd").iterdir()]
    return peers.count(("127.0.0.1", urlsplit(url).port))


def peer(descriptor):
    """Return the address of the other end of a socket; None for any other descriptor."""
    try:
        view = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return view.getpeername()
    except OSError:
        return None
    finally:
        view.detach()


def test_nothing_is_left_after_close(fresh_openbao):
    """No thread, no socket, no token; and no new one of them afterwards."""
    role = Role(fresh_openbao, token_ttl="1h")
    fresh_openbao.issue_token({"secret/data/x": ["read"]})  # a list of nothing would be a 404
    store = role.open()
    front = GuardedStore(store, "vault")
    front.read("mine/app")
    assert len(role.accessors) == len(renewers()) == 1
    assert connections_to(fresh_openbao.url) > 0
    front.close()
    front.close()
    assert not role.accessors
    assert not renewers()
    assert connections_to(fresh_openbao.url) == 0
    with pytest.raises(StoreError, match="closed"):
        store.read("mine/app")
    assert not renewers()
    assert not role.accessors


def test_a_slow_server_has_more_time_for_the_revocation(openbao, monkeypatch):
    """On an overloaded machine the login took long too."""
    monkeypatch.setattr(tokens, "_REVOKE_LIMIT", 0.0)
    role = Role(openbao, token_ttl="1h")
    with FaultProxy(openbao.url) as door:
        door.inject(delay(1.0), when=lambda request: request.target.endswith("/login"))
        store = open_vault(url=door.url, auth=role.auth)
        store.read("mine/app")
        token = store.session.active_token.token
        store.close()
    assert not lives(openbao, token)


def test_a_token_that_may_not_be_revoked_is_warned_of(openbao, caplog):
    """It is left to expire; one that was revoked meanwhile is not."""
    role = Role(openbao, token_ttl="1h", token_no_default_policy=True)
    store = role.open()
    store.close()
    (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "left to expire: its policies do not allow `update` on auth/token/revoke-self" in said
    (left,) = role.accessors
    openbao.call("POST", "auth/token/revoke-accessor", {"accessor": left})
    caplog.clear()
    store = role.open()
    (accessor,) = role.accessors
    openbao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    store.close()
    assert not caplog.records


def test_opening_that_fails_leaves_nothing(openbao):
    """The token that was had for it is given back."""
    role = Role(openbao, token_ttl="1h")
    with pytest.raises(StrongroomError):
        open_vault(url=openbao.url, auth=role.auth, mount="absent")
    assert role.logins == 1
    assert not role.accessors
    assert not renewers()


def test_abandoned_session_ends_its_thread(openbao):
    """The thread does not keep it alive."""
    role = Role(openbao, token_ttl="1h")
    store = role.open()
    assert len(renewers()) == 1
    session = weakref.ref(session_of(store))
    del store
    gc.collect()
    assert session() is None
    assert eventually(lambda: not renewers())


def test_close_does_not_wait_for_a_server_that_hangs(own_openbao, monkeypatch):
    """Longer than a few seconds, whatever is under way."""
    monkeypatch.setattr(renewal, "_STEP_LIMIT", 3 * LONG)
    role = Role(own_openbao, token_ttl="2s", token_max_ttl="1h")
    store = role.open()
    own_openbao.pause()
    time.sleep(1.6)  # the renewal is under way by then
    began = time.monotonic()
    store.close()
    assert time.monotonic() - began < CLOSING + SOON
    own_openbao.resume()
    assert eventually(lambda: not renewers())


def test_exit_is_not_delayed(own_openbao):
    """By a renewal that hangs in a program that closes nothing."""
    role = Role(own_openbao, token_ttl="2s", token_max_ttl="1h")
    program = (
        "import sys, time, json; from strongroom_vault.plugin import open_vault\n"
        "from strongroom_vault.session import renewal; renewal._STEP_LIMIT = 90\n"
        "store = open_vault(url=sys.argv[1], auth=json.loads(sys.stdin.readline())); store.read('mine/app')\n"
        "print('read', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", program, own_openbao.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(json.dumps(role.auth) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "read\n"
        own_openbao.pause()
        time.sleep(1.6)  # the renewal is under way by then
        began = time.monotonic()
        _, status = process.communicate("\n", LONG), process.returncode
        took = time.monotonic() - began
        own_openbao.resume()
    assert status == 0
    assert took < CLOSING + SOON
