"""Many secrets at a time: what single requests would come to, in few connections, in bounded memory, and in time."""

import asyncio
import contextlib
import gc
import itertools
import logging
import socket
import threading
import time
import traceback
from functools import partial

import pytest
import trustme

from strongroom import SecretsManager
from strongroom._boundary import watchdog
from strongroom._boundary.guard import GuardedStore
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import Secret
from strongroom.store import time_limit
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.drivers.driver import AT_ONCE
from strongroom_vault.http.messages import HttpRequest
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.request_policy import exchange
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.plugin import open_vault
from support.clock import LONG, SOON
from support.forks import forked
from support.scenarios.load import wait_until
from support.vault import faults
from support.vault.proxy import FaultProxy
from support.vault.sessions import session_of, token_of

CANARY = "canary-9c1e-value"
HARD_NAMES = [
    "plain",
    "with space",
    "per%cent",
    "%2e",
    "quest?ion",
    "ha#sh",
    "am&p",
    "ünïcode/🗝",
    "plus+",
    "a",
    "a/b",
    "st*r",
]


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


@pytest.fixture
def opened(openbao):
    """A function that opens a front on the shared server, or on a proxy before it."""
    with contextlib.ExitStack() as stack:

        def open_(mount, *, url=openbao.url, token=openbao.token, **options):
            store = open_vault(url=url, token=token, mount=mount, **options)
            return stack.enter_context(contextlib.closing(GuardedStore(store, "vault")))

        yield open_


@pytest.fixture(params=["kv1", "kv2"])
def mount(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(openbao):
    with FaultProxy(openbao.url) as between:
        yield between


def kinds(outcomes):
    return {path: type(outcome) for path, outcome in outcomes}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_batch_reads_what_single_reads_read(opened, mount):
    front = opened(mount, prefix="deep/er")
    for number, name in enumerate(HARD_NAMES):
        front.write(name, {"n": number, "t": f"text {name}", "b": b"\0\xff", "nested": {"a": [1, None]}})
    outcomes = dict(front.read_many(HARD_NAMES))
    assert outcomes == {name: front.read(name) for name in HARD_NAMES}


def test_each_path_has_its_own_outcome(openbao, opened, kv2):
    front = opened(kv2)
    for path in ("there", "deleted", "denied/one"):
        front.write(path, {"k": CANARY})
    front.delete("deleted")
    token = openbao.issue_token({f"{kv2}/data/*": ["read"], f"{kv2}/data/denied/*": ["deny"]})
    paths = ["there", "deleted", "absent", "denied/one", "tab\there", "a//b"]
    assert kinds(opened(kv2, token=token).read_many(paths)) == {
        "there": Secret,
        "deleted": SecretNotFoundError,
        "absent": SecretNotFoundError,
        "denied/one": PermissionDeniedError,
        "tab\there": InvalidPathError,
        "a//b": InvalidPathError,
    }


def test_a_denial_of_many_asks_about_the_token_once(openbao, opened, kv2):
    token = openbao.issue_token({f"{kv2}/data/mine/*": ["read"]})
    before = openbao.requests(f"sys/internal/ui/mounts/{kv2}")
    outcomes = dict(opened(kv2, token=token).read_many([f"theirs/{n}" for n in range(50)]))
    assert {type(outcome) for outcome in outcomes.values()} == {PermissionDeniedError}
    assert openbao.requests(f"sys/internal/ui/mounts/{kv2}") - before <= 4


def test_a_batch_reads_what_was_just_written(opened, kv2):
    front = opened(kv2)
    for number in range(5):
        assert all(isinstance(v, int) for _, v in front.write_many((f"p{n}", {"n": number}) for n in range(40)))
        assert {secret.data["n"] for _, secret in front.read_many(f"p{n}" for n in range(40))} == {number}


def test_memory_is_bounded_whatever_the_length(opened, kv2):
    """Paths are taken a few ahead of what has come, and a caller that stops taking is not read for."""
    taken = itertools.count()
    front, last = opened(kv2), 0

    def paths():
        nonlocal last
        for last in taken:
            yield f"absent/{last}"

    outcomes = front.read_many(paths())
    for given, _ in enumerate(itertools.islice(outcomes, 500)):
        assert last - given <= 8 * AT_ONCE
    outcomes.close()
    stopped = last
    assert next(taken) == stopped + 1


def test_no_more_requests_than_connections_at_a_time(openbao, opened, kv2, proxy):
    busy, most, lock = 0, 0, threading.Lock()

    def counted(exchange):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        answer = exchange.forward()
        with lock:
            busy -= 1
        exchange.send(answer)

    front = opened(kv2, url=proxy.url)
    with proxy.fault(counted):
        assert len(list(front.read_many(f"p{n}" for n in range(100)))) == 100
    assert 1 < most <= AT_ONCE


def test_two_batches_of_an_application_use_the_same_connections(openbao, kv2, opened, proxy):
    paths = [f"p{n}" for n in range(10)]
    list(opened(kv2).write_many((path, {"k": "v"}) for path in paths))
    with SecretsManager(chain=[open_vault(url=proxy.url, token=openbao.token, mount=kv2)]) as secrets:
        assert len(secrets.get_secrets(paths, strict=True)) == 10
        before = proxy.connections
        secrets.invalidate()
        assert len(secrets.get_secrets(paths, strict=True)) == 10
        assert proxy.connections - before < 5  # none, unless the machine kept the first batch from beginning all


def test_nothing_is_left_behind(opened, kv2):
    front = opened(kv2)
    list(front.read_many(["a"]))
    before = set(threading.enumerate())

    def left():
        new = set(threading.enumerate()) - before
        return [thread for thread in new if thread.name.startswith("vault") and thread.name != "vault token"]

    assert len(list(front.read_many(f"p{n}" for n in range(200)))) == 200
    abandoned = front.read_many(f"p{n}" for n in itertools.count())
    next(abandoned)
    abandoned.close()
    gc.collect()
    wait_until(lambda: not left())
    assert list(front.read_many([])) == []


def test_a_fork_within_a_batch_leaves_it_to_the_parent(opened, kv2):
    """Whatever the child does with its copy, the parent's goes on and ends."""
    front = opened(kv2)
    list(front.write_many((f"p{n}", {"n": n}) for n in range(200)))
    outcomes = front.read_many(f"p{n}" for n in range(200))
    next(outcomes)
    forked(lambda: outcomes.close() or gc.collect())
    assert len([secret for _, secret in outcomes if isinstance(secret, Secret)]) == 199


def test_a_batch_that_is_dropped_within_another_ends(opened, kv2):
    """As the garbage collector does it: in the middle of whatever runs."""
    front = opened(kv2)
    dropped = front.read_many(f"p{n}" for n in itertools.count())
    next(dropped)

    def paths():
        yield "a"
        dropped.close()
        yield "b"

    assert len(list(front.read_many(paths()))) == 2

    async def inside():
        another = front.read_many(f"p{n}" for n in itertools.count())
        next(another)
        another.close()

    asyncio.run(inside())


def test_a_caller_with_an_event_loop_is_served_too(opened, kv2):
    front = opened(kv2)
    front.write("a", {"k": "v"})

    async def inside():
        return list(front.read_many(["a"]))

    ((path, secret),) = asyncio.run(inside())
    assert (path, secret.data) == ("a", {"k": "v"})


def test_two_batches_at_a_time_do_not_mix(opened, kv2):
    front = opened(kv2)
    list(front.write_many((f"p{n}", {"n": n}) for n in range(60)))
    one, other = (front.read_many(f"p{n}" for n in order) for order in (range(60), reversed(range(60))))
    for pair in zip(one, other, strict=True):
        for path, secret in pair:
            assert secret.data == {"n": int(path[1:])}


def test_a_batch_speaks_tls_and_checks_it(openbao, opened, kv2, tmp_path):
    import ssl

    authority, stranger = trustme.CA(), trustme.CA()
    for name, ca in (("ca.pem", authority), ("other.pem", stranger)):
        ca.cert_pem.write_to_path(tmp_path / name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("vault.test").configure_cert(context)
    with FaultProxy(openbao.url, context=context) as proxy:
        trusted = {"ca_cert": tmp_path / "ca.pem", "tls_server_name": "vault.test"}
        front = opened(kv2, url=proxy.url, **trusted)
        front.write("a", {"k": "v"})
        assert [secret.data for _, secret in front.read_many(["a"] * 3)] == [{"k": "v"}]
        addresses = [Address.parse(proxy.url)]
        for tls in (
            TLSSettings(ca_cert=tmp_path / "other.pem", server_name="vault.test"),
            TLSSettings(ca_cert=tmp_path / "ca.pem", server_name="another.test"),
        ):
            driver = new_driver(addresses, tls)
            ((_, error),) = driver.run_many(
                [("a", partial(exchange, HttpRequest("GET", "/v1/a", {}), Cluster(addresses)))]
            )
            driver.close()
            assert isinstance(error, VaultConnectionError)
            assert "not trusted" in str(error)


# --- when something goes wrong ----------------------------------------------------------------------------------------

FAULTS = {
    "reset": (faults.reset(), VaultConnectionError),
    "reset within": (faults.reset_within_body(), VaultConnectionError),
    "truncated": (faults.truncated(), VaultConnectionError),
    "html": (faults.html(), StoreUnavailableError),
    "wrong json": (faults.wrong_json(), StoreUnavailableError),
    "echo": (faults.echo(502), StoreUnavailableError),
    "redirect": (faults.redirect("http://127.0.0.1:9"), StoreUnavailableError),
    "501": (faults.status(501), StoreUnavailableError),
    "huge": (faults.huge(5 * faults.MIB), SecretTooLargeError),
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_the_error_that_a_single_read_has(opened, kv2, proxy, caplog, fault, kind):
    """One bad answer among good ones is an error of its path, and shows nothing of token or value."""
    caplog.set_level(logging.DEBUG)
    front = opened(kv2, url=proxy.url, max_retries=1)
    list(front.write_many((f"p{n}", {"k": CANARY}) for n in range(5)))
    caplog.clear()
    with proxy.fault(fault, when=lambda request: request.target.endswith("/p3")):
        outcomes = dict(front.read_many(f"p{n}" for n in range(5)))
        with pytest.raises(kind) as single:
            front.read("p3")
    assert kinds(outcomes.items()) == {f"p{n}": Secret for n in range(5)} | {"p3": single.type}
    shown = "".join(traceback.TracebackException.from_exception(outcomes["p3"], capture_locals=True).format())
    for secret in (CANARY, token_of(front)):
        assert secret not in shown + caplog.text


@pytest.fixture
def late_answers_count(monkeypatch):
    """Let the guard take answers of a batch at any time after the deadline: a busy machine hands them over late."""
    monkeypatch.setattr(watchdog, "GRACE", LONG)


@pytest.mark.usefixtures("late_answers_count")
def test_a_server_that_hangs_takes_the_time_once(opened, kv2, proxy):
    front = opened(kv2, url=proxy.url)
    began = time.monotonic()
    with proxy.fault(faults.hang()), time_limit(0.5):
        outcomes = dict(front.read_many(f"p{n}" for n in range(10)))
    assert {type(outcome) for outcome in outcomes.values()} == {VaultConnectionError}
    assert time.monotonic() - began < SOON


def test_a_slow_server_does_not_make_a_batch_longer_than_its_deadline(openbao, opened, kv2, proxy):
    """The rest is not requested after it, and a write that was under way is in doubt."""
    front = opened(kv2, url=proxy.url)
    front.write("a", {"k": "v"})
    folders = [f"f{n}/a" for n in range(200)]
    assert set(dict(opened(kv2).write_many((path, {"k": "v"}) for path in folders)).values()) == {1}
    listing = opened(kv2, url=proxy.url, token=openbao.issue_token({f"{kv2}/metadata/*": ["list"]}))
    for delay, batch in (
        (0.2, lambda: front.read_many(f"p{n}" for n in range(300))),
        (0.1, lambda: front.write_many((f"p{n}", {"k": "v"}) for n in range(300))),  # each secret is read first
    ):
        began = time.monotonic()
        with proxy.fault(faults.delay(delay)), time_limit(1.4):
            outcomes = dict(batch())
        assert time.monotonic() - began < SOON
        assert len(outcomes) == 300
        errors = [outcome for outcome in outcomes.values() if isinstance(outcome, StoreUnavailableError)]
        assert len(errors) > 100
        written = {path for path, outcome in outcomes.items() if isinstance(outcome, int)}
    with proxy.fault(faults.delay(0.2)):
        began = time.monotonic()
        with time_limit(1.4), pytest.raises(StoreUnavailableError):
            list(listing.walk())
        assert time.monotonic() - began < SOON
    unsure = {path for path, outcome in outcomes.items() if isinstance(outcome, WriteOutcomeUnknownError)}
    there = {path for path in opened(kv2).list_entries() if path.startswith("p")}
    assert written <= there <= written | unsure


@pytest.mark.parametrize("version", [1, 2])
def test_a_change_that_never_arrived_is_repeated(request, opened, proxy, version):
    """The secret is as it was before. A write of a batch names the version, and a repeated delete does."""
    mount = request.getfixturevalue(f"kv{version}")
    front = opened(mount, url=proxy.url)

    def changes(request):
        return request.method in {"POST", "DELETE"} and f"/{mount}/" in request.target

    with proxy.fault(faults.reset(), times=1, when=changes):
        assert list(front.write_many([("a", {"k": "v"})])) == [("a", 1 if version == 2 else None)]
    with proxy.fault(faults.reset(), times=1, when=changes):
        front.delete("a")
    sent = [request for request in proxy.requests if changes(request)]
    assert len(sent) == 4
    assert sent[-1].target == (f"/v1/{mount}/delete/a" if version == 2 else f"/v1/{mount}/a")
    with pytest.raises(SecretNotFoundError):
        front.read("a")


def test_a_batch_that_was_kept_from_running_goes_on(opened, kv2, monkeypatch):
    """As on a busy machine: nothing more is begun late within a call for answers, but something always is."""
    monkeypatch.setattr("strongroom_vault.http.drivers.driver._FRESH", -1.0)
    front = opened(kv2)
    assert len(list(front.write_many((f"p{n}", {"k": "v"}) for n in range(40)))) == 40
    with time_limit(LONG):
        assert all(isinstance(outcome, Secret) for _, outcome in front.read_many(f"p{n}" for n in range(40)))


@pytest.mark.usefixtures("late_answers_count")
def test_a_lookup_that_hangs_holds_up_neither_a_batch_nor_the_end_of_the_process(
    opened, openbao, kv2, monkeypatch, without_pycurl
):
    """A name that has been an address so far. Python waits for every thread at its end that is no daemon."""
    resolve, hangs, over = socket.getaddrinfo, False, threading.Event()

    def lookup(host, *rest, **more):
        if host != "vault.test" or more.get("flags"):
            return resolve(host, *rest, **more)
        if hangs:
            over.wait(30)
        return resolve("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    front = opened(kv2, url=openbao.url.replace("127.0.0.1", "vault.test"))
    assert kinds(front.read_many(["a"])) == {"a": SecretNotFoundError}
    session_of(front).reset()  # its connections are gone
    hangs, began = True, time.monotonic()
    with time_limit(0.5):
        assert kinds(front.read_many(["a"])) == {"a": VaultConnectionError}
    assert time.monotonic() - began < SOON
    assert all(thread.daemon for thread in threading.enumerate() if "vault" in thread.name)
    over.set()


@pytest.mark.parametrize(("each", "whole", "late"), [(3, LONG, False), (3, 2, True)])
def test_each_answer_has_the_links_time_and_all_have_the_calls(openbao, kv2, proxy, each, whole, late):
    """Fifteen rounds of 32 take almost four seconds."""
    store = open_vault(url=proxy.url, token=openbao.token, mount=kv2)
    chain = Chain([Link(LinkConfig("vault", timeout=each), lambda: store, CacheConfig())], timeout=whole)
    began = time.monotonic()
    with proxy.fault(faults.delay(0.25)):
        outcomes = chain.resolve_many(f"p{n}" for n in range(480))
    assert time.monotonic() - began < whole + SOON
    assert len(outcomes) == 480
    assert any(isinstance(outcome, SecretNotFoundError) for outcome in outcomes.values())
    assert any(isinstance(outcome, StoreUnavailableError) for outcome in outcomes.values()) is late
    chain.close()


@pytest.mark.usefixtures("late_answers_count")
def test_a_drip_ends_at_the_deadline(opened, kv2, proxy):
    front = opened(kv2, url=proxy.url)
    front.write("a", {"k": "v" * 10_000})
    began = time.monotonic()
    with proxy.fault(faults.drip()), time_limit(0.5):
        ((_, outcome),) = front.read_many(["a"])
    assert isinstance(outcome, VaultConnectionError)
    assert time.monotonic() - began < SOON


def test_a_server_that_dies_within_a_batch_fails_the_rest(own_openbao):
    mount = own_openbao.fresh_mount()
    manager = SecretsManager(chain=[open_vault(url=own_openbao.url, token=own_openbao.token, mount=mount)])
    for n in range(20):
        own_openbao.put(f"p{n}", {"n": n}, mount=mount)
    paths = [f"p{n}" for n in range(20)] + [f"absent/{n}" for n in range(3000)]
    killer = threading.Timer(0.05, own_openbao.kill)
    killer.start()
    batch = manager.get_secrets(paths)
    killer.join()
    assert all(batch[path] == {"n": int(path[1:])} for path in batch)
    assert {type(error) for error in batch.errors.values()} <= {
        SecretNotFoundError,
        VaultConnectionError,
        StoreUnavailableError,
    }
    batch = manager.get_secrets([f"other/{n}" for n in range(100)])
    assert all(isinstance(error, StoreUnavailableError) for error in batch.errors.values())
    manager.close()


def test_a_token_that_ends_within_a_batch_is_replaced(openbao, opened, kv2):
    """A login gives the next one, and no path is refused for it."""
    openbao.call("POST", "sys/auth/approle-bulk", {"type": "approle"})
    policy = openbao.write_policy({f"{kv2}/data/*": ["read", "create", "update"]})
    openbao.call("POST", "auth/approle-bulk/role/app", {"token_policies": policy, "token_ttl": "1h"})
    role = openbao.call("GET", "auth/approle-bulk/role/app/role-id")["data"]["role_id"]
    secret = openbao.call("POST", "auth/approle-bulk/role/app/secret-id")["data"]["secret_id"]
    auth = {"method": "approle", "mount": "approle-bulk", "role_id": role, "secret_id": secret}
    front = opened(kv2, token=None, auth=auth)
    list(front.write_many((f"p{n}", {"n": n}) for n in range(50)))
    tokens = session_of(front).tokens
    tokens._last_login -= 60  # its login was a while ago: two of them are never close together
    token = tokens.active.token
    openbao.call("POST", "auth/token/revoke", {"token": token})
    assert kinds(front.read_many(f"p{n}" for n in range(50))) == {f"p{n}": Secret for n in range(50)}
    assert tokens.active.token != token


# --- writing ----------------------------------------------------------------------------------------------------------


def test_each_write_of_many_has_its_own_outcome(openbao, opened, mount):
    token = openbao.issue_token(
        {
            f"{mount}/*": ["read", "create", "update"],
            f"{mount}/data/denied/*": ["deny"],
            f"{mount}/denied/*": ["deny"],
        }
    )
    front = opened(mount, token=token)
    items = [
        ("fine", {"k": "v"}),
        ("denied/one", {"k": CANARY}),
        ("large", {"n": 2**60}),
        ("huge", {"k": "x" * (2 * faults.MIB)}),
        ("tab\there", {"k": "v"}),
        ("fine", {"k": "w"}),
    ]
    outcomes = list(front.write_many(items))
    refused = {path: type(outcome) for path, outcome in outcomes if isinstance(outcome, StoreError)}
    assert refused == {
        "denied/one": PermissionDeniedError,
        "large": InvalidDataError,
        "huge": SecretTooLargeError,
        "tab\there": InvalidPathError,
    }
    assert sorted(path for path, _ in outcomes if path not in refused) == ["fine", "fine"]
    assert front.read("fine").data in ({"k": "v"}, {"k": "w"})


def test_many_writes_go_through_where_check_and_set_is_required(openbao, opened, kv2):
    openbao.call("POST", f"{kv2}/config", {"cas_required": True})
    front = opened(kv2)
    for version in (1, 2):
        assert dict(front.write_many((f"p{n}", {"n": version}) for n in range(20))) == {
            f"p{n}": version for n in range(20)
        }


# --- listing ----------------------------------------------------------------------------------------------------------

TREE = ["a", "a/b", "c/d", "c/e/f", "c/e/g h", "ünï/%2e"]


@pytest.fixture
def tree(opened, mount):
    list(opened(mount).write_many((path, {"k": "v"}) for path in TREE))
    return mount


def test_all_names_come_in_one_request_where_the_server_scans(openbao, opened, tree, request):
    front = opened(tree)
    below = "metadata" if request.node.callspec.params["mount"] == "kv2" else ""
    counted = openbao.requests(f"{tree}/{below}", operation="scan") + openbao.requests(
        f"{tree}/{below}/", operation="scan"
    )
    assert sorted(front.walk()) == sorted(TREE)
    now = openbao.requests(f"{tree}/{below}", operation="scan") + openbao.requests(f"{tree}/{below}/", operation="scan")
    assert now - counted == 1
    assert sorted(front.walk("c")) == ["c/d", "c/e/f", "c/e/g h"]
    assert sorted(front.walk("c/e/")) == ["c/e/f", "c/e/g h"]
    assert list(front.walk("none")) == []
    assert sorted(opened(tree, prefix="c").walk()) == ["d", "e/f", "e/g h"]


def test_a_token_that_may_only_list_finds_the_same_names(openbao, opened, tree):
    token = openbao.issue_token({f"{tree}/*": ["read", "list"]})
    front = opened(tree, token=token)
    assert sorted(front.walk()) == sorted(TREE)
    assert sorted(front.walk("c")) == ["c/d", "c/e/f", "c/e/g h"]
    assert list(front.walk("none")) == []


def test_a_server_without_scan_is_listed_folder_by_folder(opened, tree, proxy):
    with proxy.fault(faults.status(405), when=lambda request: request.method == "SCAN"):
        assert sorted(opened(tree, url=proxy.url).walk()) == sorted(TREE)


def test_a_folder_that_is_denied_is_no_shorter_list(openbao, opened, tree):
    token = openbao.issue_token(
        {
            f"{tree}/*": ["read", "list"],
            f"{tree}/metadata/c/e/*": ["deny"],
            f"{tree}/c/e/*": ["deny"],
        }
    )
    with pytest.raises(PermissionDeniedError):
        list(opened(tree, token=token).walk())


def test_names_that_are_too_many_for_one_reply_come_folder_by_folder(opened, tree, proxy):
    with proxy.fault(faults.huge(40 * faults.MIB), when=lambda request: request.method == "SCAN"):
        assert sorted(opened(tree, url=proxy.url).walk()) == sorted(TREE)


@pytest.mark.parametrize("mount", ["kv2"], indirect=True)
@pytest.mark.parametrize("scans", [True, False])
def test_a_folder_of_more_names_than_a_secret_is_long_is_listed(opened, tree, proxy, scans):
    """Forty thousand long names are in one reply of four megabytes and more."""
    names = [f"{'n' * 110}-{number:06d}" for number in range(40_000)]
    if not scans:
        proxy.inject(faults.status(405), when=lambda request: request.method == "SCAN")
    listed = faults.wrong_json({"data": {"keys": names}})
    proxy.inject(listed, when=lambda request: request.method in {"LIST", "SCAN"})
    front = opened(tree, url=proxy.url)
    assert list(front.walk()) == names
    assert list(front.list_entries()) == names


@pytest.mark.parametrize("mount", ["kv2"], indirect=True)
def test_a_name_that_names_nothing_is_given_as_it_is_and_not_looked_into(opened, tree, proxy):
    """A server of long ago may have one: below a folder without a name there would be another, without an end."""
    proxy.inject(faults.status(405), when=lambda request: request.method == "SCAN")
    proxy.inject(faults.wrong_json({"data": {"keys": ["/", "", "a"]}}), when=lambda request: request.method == "LIST")
    front = opened(tree, url=proxy.url)
    assert sorted(itertools.islice(front.walk("c"), 100)) == ["c/", "c//", "c/a"]


@pytest.mark.parametrize("document", [None, {}, {"data": None}, {"data": {"keys": None}}, {"data": {"keys": [1]}}])
def test_a_scan_that_is_not_understood_is_an_outage(opened, tree, proxy, document):
    proxy.inject(faults.wrong_json(document), when=lambda request: request.method == "SCAN")
    with pytest.raises(StoreUnavailableError):
        list(opened(tree, url=proxy.url).walk())


# --- check-and-set ----------------------------------------------------------------------------------------------------


def test_many_are_written_under_check_and_set(opened, kv2):
    """Each is written when its newest version is the expected one, a deleted one counts as none, and others stay."""
    front = opened(kv2)
    for path in ("first", "second", "deleted", "changed"):
        front.write(path, {"k": "old"})
    front.write("changed", {"k": "theirs"})
    front.delete("deleted")
    asked = [
        ("new", None),
        ("first", 1),
        ("second", None),
        ("deleted", None),
        ("changed", 1),
        ("odd", "v1"),
        ("tab\there", None),
        *((f"many{n}", None) for n in range(100)),
    ]
    outcomes = dict(front.write_many_if((path, {"k": CANARY}, expected) for path, expected in asked))
    assert outcomes.keys() == {path for path, _ in asked}
    assert (outcomes["new"], outcomes["first"], outcomes["deleted"]) == (1, 2, 2)
    assert {type(outcomes[path]) for path in ("second", "changed", "odd")} == {ConflictError}
    assert type(outcomes["tab\there"]) is InvalidPathError
    assert {outcomes[f"many{n}"] for n in range(100)} == {1}
    assert front.read("changed").data == {"k": "theirs"}
    assert front.read("second").data == {"k": "old"}


def test_a_write_under_check_and_set_whose_answer_is_lost_is_made_once(opened, kv2, proxy):
    front = opened(kv2, url=proxy.url)
    with proxy.fault(faults.reset(forward=True), times=10, when=lambda request: request.method == "POST"):
        outcomes = dict(front.write_many_if((f"p{n}", {"k": CANARY}, None) for n in range(40)))
    assert set(outcomes.values()) == {1}
    assert {len(opened(kv2).versions(f"p{n}")) for n in range(40)} == {1}
