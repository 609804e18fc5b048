"""What is done for a token, with a clock that tests move and a server that answers what it is told."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom.secret import SensitiveStr
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom_vault.auth import Grant
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.auth.token import StaticToken, TokenFile
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.session.login_backoff import LoginBackoff
from strongroom_vault.session.renewal import Renewal
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import TokenCheck
from strongroom_vault.session.tokens import Tokens
from support.clock import LONG
from support.representatives import some

APPROLE = AppRole(role_id="role", secret_id="s3cret")


class Server:
    """Answers by path: what a test sets, else 403, as a server does that knows no token."""

    def __init__(self, fault_server, answered):
        self.fault_server, self.answered, self.replies = fault_server, answered, {}
        self.open = threading.Event()
        self.open.set()
        fault_server.answers[:] = [self.answer]

    def answer(self, connection):
        request = self.fault_server.requests[-1]
        status, body = self.replies.get(name_of(request), (403, {"errors": ["permission denied"]}))
        self.open.wait(60)
        connection.sendall(self.answered(status, body))

    @property
    def asked(self):
        return [name_of(request) for request in self.fault_server.requests]

    def logs_in(self, token="s.one", ttl=100, renewable=True):
        self.replies["login"] = 200, {"auth": {"client_token": token, "lease_duration": ttl, "renewable": renewable}}

    def renews(self, ttl=100, renewable=True):
        self.replies["renew-self"] = 200, {"auth": {"lease_duration": ttl, "renewable": renewable}}

    def looks_up(self, **life):
        self.replies["lookup-self"] = 200, {"data": life}

    def knows_the_token(self):
        self.replies["secret"] = 200, {"data": {}}

    def fails(self, name, status=501):
        self.replies[name] = status, {"errors": []}


def name_of(request):
    return request.target.rpartition("/")[2]


class Made(NamedTuple):
    """A method of a test."""

    repeatable: bool
    login: Callable[..., Grant]


@pytest.fixture
def server(fault_server, answered):
    return Server(fault_server, answered)


@pytest.fixture
def keep(fault_server):
    """A function that takes an auth method and returns what looks after its token, and the clock that it goes by."""
    drivers = []

    def open_(auth):
        clock = SimpleNamespace(time=1000.0)
        addresses = [Address.parse(fault_server.url)]
        driver = new_driver(addresses, TLSSettings())
        drivers.append(driver)
        send, tell = Session(driver, Cluster(addresses), auth, namespace=None, mount="secret").send, lambda: clock.time
        revoke = partial(send, requests().token.revoke_self(), idempotent=True)
        tokens = Tokens(
            auth, lambda token: revoke(token=token), LoginBackoff(tell), "here", clock=tell, draw=lambda: 0.5
        )
        verdicts = TokenCheck("secret", "mount 'secret'", tell)
        renewal = Renewal(tokens, verdicts, "mount 'secret'", clock=tell, draw=lambda: 0.5)
        return SimpleNamespace(
            tokens=tokens,
            renewal=renewal,
            clock=clock,
            current=partial(tokens.current, send),
            replacement=partial(tokens.replacement, send),
            turn=partial(renewal.turn, send),
            is_good=partial(verdicts.is_good, send),
        )

    yield open_
    for driver in drivers:
        driver.close()


def wait_out(kept):
    """Lets the time pass until there is something to do, and has it done; returns how long that was."""
    began, pause = kept.clock.time, kept.turn()
    assert pause is not None
    kept.clock.time += pause
    assert kept.turn() != 0
    return kept.clock.time - began


def warnings_of(caplog):
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert all(record.name == "strongroom.vault" and "\n" not in record.getMessage() for record in records)
    assert not any("s.one" in record.getMessage() or "s.given" in record.getMessage() for record in records)
    return [record.getMessage() for record in records]


# --- a token that a login gave ----------------------------------------------------------------------------------------


def test_token_is_renewed_before_its_lease_ends(server, keep, caplog):
    """At two thirds and a third of the grace; and again, as long as it brings a whole lease."""
    server.logs_in(ttl=100)
    server.renews(ttl=100)
    kept = keep(APPROLE)
    held = kept.current()
    assert [wait_out(kept) for _ in range(3)] == [pytest.approx(71.67, abs=0.1)] * 3
    assert server.asked == ["login", *["renew-self"] * 3]
    assert kept.current() is held
    assert held.lease.ends == pytest.approx(kept.clock.time + 100)
    assert not warnings_of(caplog)


def test_long_lease_is_renewed_every_hour(server, keep):
    server.logs_in(ttl=30 * 24 * 3600)
    server.renews(ttl=30 * 24 * 3600)
    kept = keep(APPROLE)
    kept.current()
    assert [wait_out(kept) for _ in range(3)] == [pytest.approx(3600)] * 3


def test_lease_that_cannot_be_stretched_ends_in_a_login(server, keep, caplog):
    """At once, while the old token still serves."""
    server.logs_in("s.one", ttl=100)
    server.renews(ttl=40)
    kept = keep(APPROLE)
    kept.current()
    wait_out(kept)
    server.logs_in("s.two", ttl=100)
    kept.turn()
    assert server.asked == ["login", "renew-self", "login"]
    assert kept.current().token == "s.two"
    assert not warnings_of(caplog)


def test_batch_token_is_replaced_and_never_renewed(server, keep, caplog):
    """Its grant says that it is not renewable."""
    server.logs_in("b.one", ttl=100, renewable=False)
    kept = keep(APPROLE)
    kept.current()
    server.logs_in("b.two", ttl=100, renewable=False)
    assert wait_out(kept) == pytest.approx(71.67, abs=0.1)
    assert server.asked == ["login", "login"]
    assert kept.current().token == "b.two"
    assert not warnings_of(caplog)


def test_renewal_that_fails_is_warned_of_and_tried_again(server, keep, caplog):
    """After 10 s, then 20 and so on; once it works all is as before."""
    server.logs_in(ttl=4000)
    server.fails("renew-self")
    kept = keep(APPROLE)
    kept.current()
    assert [wait_out(kept) for _ in range(4)] == [pytest.approx(2866.67, abs=0.1), 10, 20, 40]
    assert len(warnings_of(caplog)) == 4
    assert "was not renewed: HTTP 501. It expires in 1133 s, and is tried again in 10.0 s" in warnings_of(caplog)[0]
    server.renews(ttl=4000)
    assert wait_out(kept) == 80
    assert wait_out(kept) == pytest.approx(2866.67, abs=0.1)
    assert len(warnings_of(caplog)) == 4


def test_renewals_that_keep_failing_give_way_to_a_login(server, keep):
    """Within the grace, before the lease ends."""
    server.logs_in("s.one", ttl=100)
    server.fails("renew-self")
    kept = keep(APPROLE)
    first = kept.current()
    server.logs_in("s.two", ttl=100)
    while kept.tokens.active is first:
        wait_out(kept)
    assert kept.clock.time <= first.lease.ends - first.lease.grace + 1
    assert server.asked == ["login", "renew-self", "renew-self", "login"]


def test_logins_that_keep_failing_end_with_the_lease(server, keep, caplog):
    """A handful of them, each warned of; the next read tries again, and is told why it cannot."""
    server.logs_in("b.one", ttl=1000, renewable=False)
    kept = keep(APPROLE)
    first = kept.current()
    server.fails("login")
    pauses = []
    while kept.turn() is not None:
        pauses.append(wait_out(kept))
    assert min(pauses) >= 0.5
    assert 5 <= len(pauses) <= 20
    assert kept.clock.time >= first.lease.ends
    assert len(warnings_of(caplog)) == len(pauses)
    assert "was not replaced by a new login" in warnings_of(caplog)[0]
    kept.clock.time += 60
    with pytest.raises(StoreUnavailableError):
        kept.current()
    server.logs_in("b.two")
    kept.clock.time += 60
    assert kept.current().token == "b.two"


def test_token_that_is_refused_when_renewed_is_replaced_at_once(server, keep):
    """It was revoked: there is nothing to wait for."""
    server.logs_in("s.one", ttl=100)
    kept = keep(APPROLE)
    kept.current()
    server.logs_in("s.two", ttl=100)
    wait_out(kept)
    kept.turn()
    assert server.asked == ["login", "renew-self", "secret", "lookup-self", "login"]
    assert kept.current().token == "s.two"


def test_token_that_may_not_renew_itself_is_replaced(server, keep, caplog):
    """Without the policy `default`: said once, and not tried again with the tokens that follow."""
    server.knows_the_token()
    server.logs_in("s.one", ttl=100)
    kept = keep(APPROLE)
    kept.current()
    for token in ("s.two", "s.three", "s.four"):
        server.logs_in(token, ttl=100)
        while kept.tokens.active.token != token:
            kept.clock.time += kept.turn()
    assert server.asked.count("renew-self") == 1
    assert server.asked.count("login") == 4
    assert len(warnings_of(caplog)) == 1
    assert "its policies do not allow auth/token/renew-self" in warnings_of(caplog)[0]


def test_machine_that_slept_past_the_end_logs_in_at_the_next_read(server, keep):
    """The clock goes on while it sleeps, so that no dead token is sent."""
    server.logs_in("s.one", ttl=100)
    kept = keep(APPROLE)
    kept.current()
    kept.turn()
    kept.clock.time += 5000
    server.logs_in("s.two", ttl=100)
    assert kept.current().token == "s.two"
    assert kept.turn() == pytest.approx(71.67, abs=0.1)


# --- a token that was given -------------------------------------------------------------------------------------------


def test_given_token_is_looked_up_once(server, keep, caplog):
    """A second after its first use, since it may live for a few; then it is renewed by the lease that is told."""
    server.looks_up(ttl=50, creation_ttl=100, renewable=True, expire_time="2026-01-02T03:04:05Z", num_uses=0)
    server.renews(ttl=100)
    kept = keep(StaticToken("s.given"))
    kept.current()
    assert wait_out(kept) == 1
    assert wait_out(kept) == pytest.approx(35.8, abs=0.1)
    assert wait_out(kept) == pytest.approx(71.67, abs=0.1)
    assert server.asked == ["lookup-self", "renew-self", "renew-self"]
    assert not warnings_of(caplog)


HALF_GONE = {"creation_ttl": 60, "period": 60, "renewable": True, "expire_time": "2026-01-02T03:04:05Z", "num_uses": 0}


def test_given_token_with_less_than_half_of_its_period_left_is_renewed_at_once(server, keep):
    """Each process plans from its own start, and one that ends before its plan would never renew the token."""
    server.looks_up(ttl=29, **HALF_GONE)
    server.renews(ttl=60)
    kept = keep(StaticToken("s.given"))
    kept.current()
    assert wait_out(kept) == 1
    assert server.asked == ["lookup-self", "renew-self"]
    assert wait_out(kept) == pytest.approx(43, abs=0.1)


def test_given_token_whose_renewal_brings_less_than_half_is_not_renewed_again_at_once(server, keep):
    server.looks_up(ttl=5, **HALF_GONE)
    server.renews(ttl=20)
    kept = keep(StaticToken("s.given"))
    kept.current()
    wait_out(kept)
    assert wait_out(kept) == pytest.approx(14.3, abs=0.1)
    assert server.asked == ["lookup-self", "renew-self", "renew-self"]


@pytest.mark.parametrize(
    ("end", "life", "renewed"),
    [
        *some(
            ((end, {"ttl": 29}, True) for end in ("close", "exit", "unclosed", "get", "run", "check")),
            lambda row: row[0] in {"exit", "get"},
        ),
        ("exit", {"ttl": 30}, False),
        ("exit", {"ttl": 29, "renewable": False}, False),
        pytest.param("exit", {"ttl": 29, "num_uses": 3}, False, marks=pytest.mark.long),
        pytest.param(
            "exit", {"ttl": 0, "creation_ttl": 0, "period": None, "expire_time": None}, False, marks=pytest.mark.long
        ),
    ],
)
def test_short_process_renews_a_given_token_at_its_end(server, fault_server, stored, life, renewed, end, tmp_path):
    """Of a library and of a command. It knows nothing of the token's life before."""
    fault_server.answers[:] = [server.answer]
    server.replies["k"] = 200, json.loads(stored(k="v").partition(b"\r\n\r\n")[2])
    server.replies["secret"] = 200, {"data": {"type": "kv", "path": "secret/", "options": {"version": "2"}}}
    server.looks_up(**{**HALF_GONE, **life})
    server.renews(ttl=60)
    (tmp_path / "strongroom.toml").write_text('chain = ["vault"]\n[secrets]\nK = { at = "app/k#k" }\n')
    cli = [str(Path(sys.executable).with_name("strongroom")), "--config", "strongroom.toml"]
    words = {
        "close": ["-c", "from strongroom import *; assert get_secret('app/k', 'k') == 'v'; close()"],
        "exit": ["-c", "from strongroom import *; assert get_secret('app/k', 'k') == 'v'"],
        "unclosed": ["-c", "from strongroom import *; kept = SecretsManager(); kept.get_secret('app/k', 'k')"],
        "get": [*cli, "get", "app/k", "k"],
        "run": [*cli, "run", "--", "true"],
        "check": [*cli, "check"],
    }[end]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VAULT_ADDR": fault_server.url}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env={**environment, "VAULT_TOKEN": "s.given"},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert server.asked.count("lookup-self") == 1
    assert server.asked.count("renew-self") == renewed
    assert "Traceback" not in done.stderr


def test_given_token_without_an_end_is_left_alone(server, keep, caplog):
    """A root token, for example."""
    server.looks_up(ttl=0, creation_ttl=0, renewable=False, expire_time=None, num_uses=0)
    kept = keep(StaticToken("s.given"))
    held = kept.current()
    wait_out(kept)
    assert kept.turn() is None
    assert not kept.renewal.has_work(held)
    assert server.asked == ["lookup-self"]
    assert not warnings_of(caplog)


def test_given_token_that_cannot_be_renewed_is_warned_of_at_start_and_late_in_life(server, keep, caplog):
    """With what is left, and what to do."""
    server.looks_up(ttl=1000, creation_ttl=1000, renewable=False, expire_time="2026-01-02T03:04:05Z", num_uses=0)
    kept = keep(StaticToken("s.given"))
    kept.current()
    wait_out(kept)
    (warning,) = warnings_of(caplog)
    assert warning.startswith("The token of mount 'secret' cannot be renewed: it expires in 1000 s. Give the store")
    assert wait_out(kept) == pytest.approx(800)
    assert "is at the end of its life: it expires in 200 s" in warnings_of(caplog)[1]
    assert kept.turn() is None
    assert server.asked == ["lookup-self"]


def test_given_token_that_has_reached_its_greatest_age_is_warned_of(server, keep, caplog):
    """As one that cannot be renewed, from then on."""
    server.looks_up(ttl=100, creation_ttl=100, renewable=True, expire_time="2026-01-02T03:04:05Z", num_uses=0)
    server.renews(ttl=20)
    kept = keep(StaticToken("s.given"))
    kept.current()
    while (pause := kept.turn()) is not None:
        kept.clock.time += pause
    assert server.asked == ["lookup-self", "renew-self"]
    assert ["cannot be renewed" in warnings_of(caplog)[0], "end of its life" in warnings_of(caplog)[1]] == [True, True]
    assert len(warnings_of(caplog)) == 2


def test_given_token_with_counted_uses_is_not_renewed(server, keep, caplog):
    """Each renewal would spend one."""
    server.looks_up(ttl=1000, creation_ttl=1000, renewable=True, expire_time="2026-01-02T03:04:05Z", num_uses=7)
    kept = keep(StaticToken("s.given"))
    kept.current()
    while kept.turn() is not None:
        wait_out(kept)
    assert server.asked == ["lookup-self"]
    assert len(warnings_of(caplog)) == 2


def test_given_token_that_may_not_look_itself_up_is_renewed(server, keep):
    """A renewal tells the life that it gives."""
    server.knows_the_token()
    server.renews(ttl=100)
    kept = keep(StaticToken("s.given"))
    kept.current()
    wait_out(kept)
    assert wait_out(kept) == pytest.approx(71.67, abs=0.1)
    assert server.asked == ["lookup-self", "secret", "renew-self", "renew-self"]


def test_given_token_that_may_do_neither_is_warned_of_once(server, keep, caplog):
    """And used for as long as it is accepted."""
    server.knows_the_token()
    kept = keep(StaticToken("s.given"))
    kept.current()
    wait_out(kept)
    assert kept.turn() is None
    (warning,) = warnings_of(caplog)
    assert warning.startswith("How long the token of mount 'secret' lives is not known, and it is not renewed, since")
    assert server.asked == ["lookup-self", "secret", "renew-self"]


def test_lookup_that_fails_is_tried_again(server, keep, caplog):
    """At growing intervals, without a warning: no renewal has failed yet."""
    server.fails("lookup-self")
    kept = keep(StaticToken("s.given"))
    kept.current()
    assert [wait_out(kept) for _ in range(8)] == [1, 10, 20, 40, 80, 160, 300, 300]
    server.looks_up(ttl=100, creation_ttl=100, renewable=True, expire_time="2026-01-02T03:04:05Z", num_uses=0)
    wait_out(kept)
    assert kept.turn() == pytest.approx(71.67, abs=0.1)
    assert not warnings_of(caplog)


def test_given_token_that_was_revoked_is_warned_of_when_it_is_renewed(server, keep, caplog):
    """Nothing can be done about it."""
    server.looks_up(ttl=100, creation_ttl=100, renewable=True, expire_time="2026-01-02T03:04:05Z", num_uses=0)
    kept = keep(StaticToken("s.given"))
    kept.current()
    wait_out(kept)
    del server.replies["lookup-self"]
    wait_out(kept)
    assert kept.turn() is None
    assert "does not accept it any more" in warnings_of(caplog)[0]


@pytest.mark.parametrize(
    "body", [[], {"auth": {}}, {"auth": {"lease_duration": "x"}}, {"auth": {"lease_duration": True}}]
)
def test_renewal_that_is_not_vaults_is_a_failure(server, keep, caplog, body):
    """And changes nothing of what is known."""
    server.logs_in(ttl=100)
    server.replies["renew-self"] = 200, body
    kept = keep(APPROLE)
    held = kept.current()
    lease = held.lease
    wait_out(kept)
    assert held.lease is lease
    assert "the reply is not Vault's" in warnings_of(caplog)[0]


def test_token_file_that_is_not_rewritten_is_read_at_growing_intervals(server, keep, tmp_path):
    """And the new token is taken once it is there."""
    file = tmp_path / "token"
    file.write_text("s.given")
    server.looks_up(ttl=1000, creation_ttl=1000, renewable=False, expire_time="2026-01-02T03:04:05Z", num_uses=0)
    kept = keep(TokenFile(token_file=file))
    kept.current()
    wait_out(kept)
    pauses = [wait_out(kept) for _ in range(3)]
    assert pauses == [pytest.approx(716.67, abs=1), 10, 20]
    file.write_text("s.fresh")
    wait_out(kept)
    assert kept.current().token == "s.fresh"
    assert server.asked == ["lookup-self"]


def test_agents_token_is_the_agents_affair(keep):
    """Nothing is asked about it."""
    kept = keep(Made(False, lambda send: Grant(None)))
    held = kept.current()
    assert not kept.renewal.has_work(held)
    assert kept.turn() is None


# --- logins that fail -------------------------------------------------------------------------------------------------


def logins(server):
    return server.asked.count("login")


def test_refused_login_is_remembered_for_a_while(server, keep):
    """5 s, then twice as long each time, up to a minute: a hundred reads are one login."""
    server.fails("login", 400)
    kept = keep(APPROLE)
    pauses = []
    for _ in range(6):
        before, began = logins(server), kept.clock.time
        while logins(server) == before:
            with pytest.raises(VaultAuthenticationError):
                kept.current()
            kept.clock.time += 1
        pauses.append(kept.clock.time - 1 - began)
    assert pauses == pytest.approx([0, 4, 9, 19, 39, 59], abs=1.1)
    server.logs_in()
    kept.clock.time += 60
    assert kept.current().token == "s.one"


def test_outage_is_remembered_for_less(server, keep):
    """1 s at first: it may be over soon. A call that nobody else can answer does not wait for that."""
    server.fails("login")
    kept = keep(APPROLE)
    for _ in range(3):
        with fail_fast(), pytest.raises(StoreUnavailableError):
            kept.current()
    assert logins(server) == 1
    with pytest.raises(StoreUnavailableError):
        kept.current()
    assert logins(server) == 2
    with fail_fast(), pytest.raises(StoreUnavailableError):
        kept.current()
    assert logins(server) == 2
    server.logs_in()
    kept.clock.time += 2
    with fail_fast():
        assert kept.current().token == "s.one"


def test_login_that_a_close_breaks_off_holds_nobody_back(server, keep):
    """It says nothing of the credentials, with which another store of this process may log in at once."""

    def login(_):
        with time_limit(0.01):  # it waits no longer for this login
            kept.tokens.close()
        return Grant(SensitiveStr("s.late"), 100.0, revocable=True)

    kept = keep(Made(True, login))
    with pytest.raises(StoreError, match="closed"):
        kept.current()
    assert [request.headers["x-vault-token"] for request in server.fault_server.requests] == ["s.late"]
    assert server.asked == ["revoke-self"]
    assert kept.tokens.backoff_until <= kept.clock.time


def test_error_is_each_callers_own(server, keep):
    """Raising an object writes its traceback and its path."""
    server.fails("login", 400)
    kept = keep(APPROLE)
    caught = []
    for _ in range(2):
        with pytest.raises(VaultAuthenticationError) as error:
            kept.current()
        caught.append(error.value)
    assert caught[0] is not caught[1]
    assert str(caught[0]) == str(caught[1])
    assert all(error.__context__ is None and error.__cause__ is None for error in caught)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_good_token_makes_a_denial_final_for_a_minute(server, keep):
    """One question for one path, and one a second for many."""
    server.logs_in()
    server.knows_the_token()
    kept = keep(APPROLE)
    held = kept.current()
    for _ in range(59):
        assert kept.is_good(held, "one")
        kept.clock.time += 1
    assert server.asked.count("secret") == 1
    kept.clock.time += 1
    for _ in range(100):
        assert kept.is_good(held, "one")
        assert kept.is_good(held, "two")
    assert server.asked.count("secret") == 2


def test_token_that_was_revoked_after_a_denial_is_found_out_at_the_next_path(server, keep):
    """What was denied before stays denied; what is refused newly is asked about."""
    server.logs_in()
    server.knows_the_token()
    kept = keep(APPROLE)
    held = kept.current()
    assert kept.is_good(held, "denied")
    del server.replies["secret"]
    kept.clock.time += 2
    assert not kept.is_good(held, "allowed")


def test_verdict_is_about_one_token(server, keep):
    """The next one is asked about anew."""
    server.logs_in()
    kept = keep(APPROLE)
    held = kept.current()
    assert not kept.is_good(held, "one")
    assert not kept.is_good(held, "two")
    assert server.asked == ["login", "secret", "lookup-self"]
    server.knows_the_token()
    server.logs_in("s.two")
    assert kept.is_good(kept.replacement(held), "one")


def test_denial_leads_to_one_login_a_minute(server, keep):
    """Where nothing shows that the token was ever good; where something does, it is dead, and a second is enough."""
    server.logs_in(ttl=1000)
    kept = keep(APPROLE)
    held = kept.current()
    assert not kept.tokens.may_replace(held)
    kept.clock.time += 59
    assert not kept.tokens.may_replace(held)
    held.accepted = True
    assert kept.tokens.may_replace(held)
    held.accepted = False
    kept.clock.time += 1
    assert kept.tokens.may_replace(held)
    assert not keep(StaticToken("s.given")).tokens.may_replace(held)


def test_refusal_joins_the_login_that_is_under_way(server, keep):
    """However short ago that began: the token that it brings is awaited, and no other is asked for."""
    server.logs_in("s.one", ttl=1000)
    kept = keep(APPROLE)
    held = kept.current()
    server.logs_in("s.two", ttl=1000)
    server.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.replacement, held)
        while logins(server) < 2:
            first.done()
        assert kept.tokens.may_replace(held)
        second = pool.submit(kept.replacement, held)
        server.open.set()
        assert first.result(60) is second.result(60)
    assert logins(server) == 2
    assert kept.tokens.may_replace(held)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_every_token_of_ours_is_revoked_at_the_end(server, keep):
    """The one in use, and those before it that still live."""
    server.logs_in("s.one", ttl=100)
    kept = keep(APPROLE)
    first = kept.current()
    server.logs_in("s.two", ttl=100)
    kept.replacement(first)
    kept.tokens.close()
    kept.tokens.close()
    revoked = [request for request in server.fault_server.requests if name_of(request) == "revoke-self"]
    assert [request.headers["x-vault-token"] for request in revoked] == ["s.one", "s.two"]
    assert kept.tokens.active is None
    with pytest.raises(Exception, match="closed"):
        kept.current()


def test_token_that_is_over_is_not_revoked(server, keep):
    """There is nothing left of it."""
    server.logs_in(ttl=100)
    kept = keep(APPROLE)
    kept.current()
    kept.clock.time += 100
    kept.tokens.close()
    assert server.asked == ["login"]


def test_given_token_is_not_revoked(server, keep):
    """Somebody else may need it."""
    kept = keep(StaticToken("s.given"))
    kept.current()
    kept.tokens.close()
    assert server.asked == []


def test_tokens_that_were_replaced_are_few(server, keep):
    """The oldest is given back when there are more than four: what was under way with it has long ended."""
    server.logs_in("s.0", ttl=100)
    kept = keep(APPROLE)
    held = kept.current()
    for number in range(1, 7):
        server.logs_in(f"s.{number}", ttl=100)
        held = kept.replacement(held)
    revoked = [request for request in server.fault_server.requests if name_of(request) == "revoke-self"]
    assert [request.headers["x-vault-token"] for request in revoked] == ["s.0", "s.1"]


def test_child_of_a_fork_logs_in_for_itself(server, keep):
    """And never gives back what is its parent's."""
    server.logs_in("s.one", ttl=100)
    kept = keep(APPROLE)
    kept.current()
    kept.tokens.reset()
    assert kept.tokens.active is None
    server.logs_in("s.two", ttl=100)
    assert kept.current().token == "s.two"
    kept.tokens.close()
    revoked = [request for request in server.fault_server.requests if name_of(request) == "revoke-self"]
    assert [request.headers["x-vault-token"] for request in revoked] == ["s.two"]


def test_child_of_a_fork_goes_on_with_a_token_that_cannot_be_had_again(server, keep):
    """It never gives it back."""
    grant = Grant(SensitiveStr("s.once"), 100.0, renewable=True, revocable=True)
    kept = keep(Made(False, lambda send: grant))
    before = kept.current()
    kept.tokens.reset()
    assert kept.current().token == "s.once"
    assert kept.current().lease is before.lease
    kept.tokens.close()
    assert server.asked == []


def test_no_token_is_shown(server, keep):
    """Not by a repr of what holds it."""
    server.logs_in()
    kept = keep(APPROLE)
    held = kept.current()
    assert "s.one" not in f"{held!r} {vars(kept.tokens)!r} {vars(kept.renewal)!r} {json.dumps(server.asked)}"
