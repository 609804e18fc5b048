"""The store `etcd` on real servers: its content, lost replies, endpoints, users, TLS, watches and the command line."""

import json
import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom.testing import dripping_server
from strongroom_etcd.plugin import open_etcd
from strongroom_etcd.store import MAX_SIZE
from support.clock import SOON
from support.command_line import Caller
from support.services.etcd import APP, DENIED, PASSWORD
from support.vault import faults
from support.vault.proxy import FaultProxy

pytestmark = pytest.mark.long

CHANGE = "/v3/kv/txn"


@pytest.fixture
def prefix():
    return f"strongroom/{secrets.token_hex(4)}"


@pytest.fixture
def connect(etcd, prefix):
    """A function that opens a store of this test, at the server if no endpoints are given."""
    stores = []

    def open_(*endpoints, **options):
        stores.append(open_etcd(**{"endpoints": list(endpoints) or [etcd.url], "prefix": prefix, **options}))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def proxy(etcd):
    with FaultProxy(etcd.url) as proxy:
        yield proxy


def changes(request):
    return request.target == CHANGE


# --- content ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"plain text\n", {"value": "plain text\n"}),
        (b"", {"value": ""}),
        (b"\xff\x00", {"value": b"\xff\x00"}),
        (b"[1]", {"value": "[1]"}),
        (b"{}", {"value": "{}"}),
        (b'{"a": 1, "a": 2}', {"value": '{"a": 1, "a": 2}'}),
    ],
)
def test_what_other_programs_wrote_is_the_key_value_and_is_written_back_alike(connect, etcd, prefix, content, data):
    """Byte for byte, so that they can read it again."""
    etcd.put(f"{prefix}/app", content)
    store = connect()
    assert store.read("app").data == data
    store.write("app", data)
    assert etcd.get(f"{prefix}/app") == content


def test_secret_of_several_keys_is_a_json_object(connect, etcd, prefix):
    etcd.put(f"{prefix}/app", b' {"user": "me", "port": 5432}')
    store = connect()
    assert store.read("app").data == {"user": "me", "port": 5432}
    store.write("app", {"user": "ключ", "port": 5433})
    assert json.loads(etcd.get(f"{prefix}/app")) == {"user": "ключ", "port": 5433}


@pytest.mark.parametrize(
    "data", [{"value": '{"a": 1}'}, {"value": b"text"}, {"strongroom:bytes": "AA=="}, {"strongroom:bytes": b"\0"}]
)
def test_content_that_would_be_read_as_another_secret_is_json(connect, data):
    store = connect()
    store.write("app", data)
    assert store.read("app").data == data


def test_names_that_are_no_paths_are_listed_and_leave_others_alone(connect, etcd, prefix):
    for name in ("app", "/double", "tail/", "back\\slash"):
        etcd.put(f"{prefix}/{name}", b"x")
    store = connect()
    assert sorted(store.walk("")) == ["/double", "app", "back\\slash", "tail/"]
    assert store.read("app").data == {"value": "x"}


@pytest.mark.parametrize(("given", "beginning"), [("/", "/"), ("/a", "/a/"), ("a/", "a/"), ("a/b", "a/b/")])
def test_prefix_is_the_beginning_of_all_keys(connect, etcd, given, beginning):
    name = secrets.token_hex(4)
    connect(prefix=given).write(name, {"value": "x"})
    assert etcd.get(beginning + name) == b"x"


def test_largest_secret_fits_and_a_larger_one_is_refused_before_it_is_sent(connect, proxy):
    store = connect(proxy.url)
    path = "p" * 900
    store.write(path, {"value": "x" * MAX_SIZE})
    assert len(store.read(path).data["value"]) == MAX_SIZE
    proxy.forget()
    for refuse in (store.vet, store.write, lambda *given: store.write_if(*given, None)):
        with pytest.raises(SecretTooLargeError):
            refuse("app", {"value": "x" * (MAX_SIZE + 1)})
    assert not proxy.requests


# --- lost replies -----------------------------------------------------------------------------------------------------

LOST = [
    faults.reset(forward=True),
    faults.truncated(),
    faults.reset(),
    faults.answer(faults.reply(503, {"code": 14, "message": "etcdserver: leader changed"}), forward=True),
    faults.answer(faults.reply(504, {"code": 4, "message": "context deadline exceeded"})),
]


@pytest.mark.parametrize("fault", LOST, ids=["executed", "half a reply", "not executed", "503", "504"])
def test_change_whose_reply_was_lost_is_made_once(connect, proxy, etcd, fault):
    """The transaction is repeated: its comparison tells whether the first one was executed."""
    store, other = connect(proxy.url), connect()
    first = store.write("app", {"n": 1})
    proxy.inject(fault, times=1, when=changes)
    second = store.write("app", {"n": 2})
    proxy.inject(fault, times=1, when=changes)
    third = store.write_if("app", {"n": 3}, second)
    assert first < second < third
    assert (other.read("app").version, other.read("app").data) == (third, {"n": 3})
    with pytest.raises(ConflictError):
        store.write_if("app", {"n": 4}, second)
    proxy.inject(fault, times=1, when=changes)
    store.delete("app")
    with pytest.raises(SecretNotFoundError):
        other.read("app")


@pytest.mark.parametrize("change", ["write", "write_if", "delete"])
def test_change_of_another_client_after_a_lost_reply_is_kept(connect, proxy, change):
    """Nobody can tell then if the first one was executed: the outcome is unknown, and nothing is overwritten."""
    store, other = connect(proxy.url), connect()
    version = store.write("app", {"n": 1})

    def lose(exchange):
        exchange.forward()
        other.write("app", {"n": "theirs"})
        exchange.reset()

    proxy.inject(lose, times=1, when=changes)
    call = {
        "write": lambda: store.write("app", {"n": 2}),
        "write_if": lambda: store.write_if("app", {"n": 2}, version),
        "delete": lambda: store.delete("app"),
    }[change]
    with pytest.raises(WriteOutcomeUnknownError):
        call()
    assert other.read("app").data == {"n": "theirs"}


def test_refusal_after_a_lost_reply_is_an_unknown_outcome(connect, proxy):
    store = connect(proxy.url)
    denial = faults.reply(403, {"code": 7, "message": "etcdserver: permission denied"})
    proxy.inject(faults.answer(denial), times=2, when=changes)
    proxy.inject(faults.reset(forward=True), times=1, when=changes)
    with pytest.raises(WriteOutcomeUnknownError):
        store.write("app", {"n": 2})
    with pytest.raises(PermissionDeniedError):
        store.write("app", {"n": 3})


def test_writes_of_many_clients_each_have_a_revision(connect):
    """A write that another one overtakes is repeated after it."""
    stores = [connect() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: stores[number % 4].write("app", {"n": number}), range(24)))
    assert len(set(found)) == 24
    assert stores[0].read("app").version == max(found)


# --- endpoints --------------------------------------------------------------------------------------------------------


def test_next_endpoint_answers_and_is_asked_first_from_then_on(connect, proxy, closed_port):
    connect().write("app", {"n": 1})
    with FaultProxy("http://127.0.0.1:1") as silent:
        silent.inject(faults.hang())
        store = connect(f"http://127.0.0.1:{closed_port}", silent.url, proxy.url)
        with time_limit(30):
            assert store.read("app").data == {"n": 1}
        store.read("app")
        assert (len(silent.requests), len(proxy.requests)) == (1, 2)


@pytest.mark.parametrize("has_fallback", [False, True])
def test_failure_of_all_endpoints_is_repeated_although_a_fallback_could_answer(connect, proxy, has_fallback):
    """While a leader is elected, for example."""
    connect().write("app", {"n": 1})
    store = connect(proxy.url, proxy.url)
    proxy.inject(faults.answer(faults.reply(503, {"code": 14, "message": "etcdserver: leader changed"})), times=3)
    with fail_fast(has_fallback):
        assert store.read("app").data == {"n": 1}
    assert len(proxy.requests) == 4


def test_endpoints_that_refuse_connections_are_tried_once_if_a_fallback_can_answer(connect, closed_port):
    began = time.monotonic()
    with fail_fast(), pytest.raises(StoreUnavailableError, match="ConnectError"):
        connect(f"http://127.0.0.1:{closed_port}").read("app")
    assert time.monotonic() - began < SOON


def test_proxies_and_passwords_of_the_environment_are_not_used(connect, proxy, monkeypatch, closed_port, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login app password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    connect(proxy.url).write("app", {"n": 1})
    assert not [request for request in proxy.requests if "authorization" in request.headers]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"code": 3, "message": "etcdserver: user name is empty"}, AuthenticationError),
        (401, {"code": 16, "message": "etcdserver: invalid auth token"}, AuthenticationError),
        (403, {"code": 7, "message": "etcdserver: permission denied"}, PermissionDeniedError),
        (403, {"code": 7, "message": "another"}, PermissionDeniedError),
        (400, {"code": 3, "message": "etcdserver: request is too large"}, SecretTooLargeError),
        (429, {"code": 8, "message": "grpc: received message larger than max (3 vs. 2)"}, SecretTooLargeError),
        (429, {"code": 8, "message": "etcdserver: too many requests"}, StoreUnavailableError),
        (429, {"code": 8, "message": "etcdserver: mvcc: database space exceeded"}, StoreError),
        (400, {"code": 11, "message": "etcdserver: mvcc: required revision has been compacted"}, StoreError),
        (503, {"code": 14, "message": "etcdserver: request timed out"}, StoreUnavailableError),
        (500, {}, StoreUnavailableError),
        (404, {"code": 5, "message": "Not Found"}, StoreUnavailableError),
        (404, {}, StoreUnavailableError),
        (403, {}, StoreUnavailableError),
        (302, {}, StoreUnavailableError),
        (200, {}, StoreUnavailableError),
        (200, [], StoreUnavailableError),
        (200, {"header": {}, "kvs": 5}, StoreUnavailableError),
        (200, {"header": {}, "kvs": [{"mod_revision": "x"}]}, StoreUnavailableError),
        (200, {"header": {}, "kvs": [{"mod_revision": "5", "value": "?"}]}, StoreUnavailableError),
    ],
)
def test_each_error_has_its_class_and_none_is_an_absence(connect, proxy, status, body, kind):
    proxy.inject(faults.answer(faults.reply(status, body)))
    with time_limit(1.0), fail_fast(), pytest.raises(StoreError) as caught:
        connect(proxy.url).read("app")
    assert type(caught.value) is kind


def test_reply_that_never_ends_is_refused(connect, proxy):
    proxy.inject(faults.huge())
    with pytest.raises(SecretTooLargeError):
        connect(proxy.url).read("app")


def test_dripping_body_ends_at_the_deadline(connect):
    """Each byte restarts the timeout of httpx, and the store looks at the time after each one."""
    with dripping_server(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") as (host, port):
        store, began = connect(f"http://{host}:{port}"), time.monotonic()
        with time_limit(0.5), pytest.raises(StoreUnavailableError, match=r"Timeout|in time"):
            store.read("app")
        assert time.monotonic() - began < 20


# --- users and TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def user(secure_etcd, prefix):
    """A function that opens a store as the user `app`, with other options if they are given."""
    stores = []

    def open_(**options):
        stores.append(open_etcd(**{**secure_etcd.options, "prefix": prefix, **options}))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


def test_user_reads_and_writes_what_the_role_allows(user):
    store = user()
    store.write("app", {"n": 1})
    assert store.read("app").data == {"n": 1}
    assert list(store.walk("")) == ["app"]
    for refused in (user(username=DENIED), user(prefix="elsewhere")):
        for call in (
            lambda refused=refused: refused.read("app"),
            lambda refused=refused: refused.write("app", {"n": 1}),
            lambda refused=refused: refused.delete("app"),
            lambda refused=refused: list(refused.walk("")),
            lambda refused=refused: list(refused.newest_versions(["app"])),
        ):
            with pytest.raises(PermissionDeniedError):
                call()


@pytest.mark.parametrize(
    "options", [{"password": "wrong"}, {"password": None}, {"username": "nobody"}, {"username": None}]
)
def test_wrong_password_and_missing_user_are_authentication_errors(user, options):
    with pytest.raises(AuthenticationError):
        user(**options).read("app")


def test_token_that_etcd_has_revoked_is_replaced_by_one_login(user, secure_etcd):
    store = user()
    store.write("app", {"n": 1})
    secure_etcd.administer("auth/user/changepw", name=APP, password=PASSWORD)
    assert store.read("app").data == {"n": 1}


REFUSALS = [
    (401, {"code": 16, "message": "etcdserver: invalid auth token"}),  # expired, or revoked
    (400, {"code": 3, "message": "etcdserver: revision of auth store is old"}),  # older than a change of roles
    (400, {"code": 3, "message": "etcdserver: user name is empty"}),  # from a time without authentication
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["expired", "old", "empty"])
def test_threads_share_one_login_and_one_replacement(connect, proxy, refusal):
    """A login takes etcd 86 ms with its default cost."""
    lock, valid = threading.Lock(), ["first"]
    logins = []

    def answer(exchange):
        with lock:
            if exchange.request.target.endswith("authenticate"):
                logins.append(valid[0])
                reply = 200, {"header": {}, "token": valid[0]}
            elif exchange.request.headers.get("authorization") == valid[0]:
                reply = 200, {"header": {}}
            else:
                reply = refusal
        exchange.send(faults.reply(*reply))

    proxy.inject(answer)
    store = connect(proxy.url, username=APP, password=PASSWORD)

    def read(_):
        with pytest.raises(SecretNotFoundError):
            store.read("app")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))
        valid[0] = "second"
        list(pool.map(read, range(16)))
    assert logins == ["first", "second"]


def test_user_is_ignored_while_authentication_is_disabled(connect):
    connect(username=APP, password=PASSWORD).write("app", {"n": 1})
    assert connect().read("app").data == {"n": 1}


def test_server_without_trust_and_client_without_certificate_are_outages_with_a_reason(user):
    with fail_fast(), pytest.raises(StoreUnavailableError, match="certificate is not trusted"):
        user(ca_cert=None).read("app")
    with fail_fast(), pytest.raises(StoreUnavailableError):
        user(client_cert=None, client_key=None).read("app")


def test_file_that_is_no_certificate_is_a_wrong_option(user, tmp_path):
    text = tmp_path / "text.pem"
    text.write_text("none")
    for name in ("ca_cert", "client_cert"):
        for file in (text, tmp_path / "missing.pem"):
            with pytest.raises(ConfigurationError, match=f"^{name}: "):
                user(**{name: file})


def test_password_and_token_are_in_no_log(user, secure_etcd, caplog):
    """Nor in the attributes of a record. httpx logs each request at INFO, and httpcore its parts at DEBUG."""
    caplog.set_level(logging.DEBUG)
    store = user()
    store.write("app", {"key": "canary-value"})
    store.read("app")
    with pytest.raises(AuthenticationError):
        user(password="canary-wrong").read("app")
    shown = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "canary" not in shown
    assert not {record.name.partition(".")[0] for record in caplog.records} & {"httpx", "httpcore"}
    assert "canary" not in repr(vars(store))


# --- processes, watches and the command line --------------------------------------------------------------------------


@pytest.fixture
def manager(etcd, prefix):
    """A manager that asks this server alone."""
    stores = {"etcd": {"endpoints": [etcd.url], "prefix": prefix}}
    with SecretsManager.from_config({"chain": ["etcd"], "stores": stores}) as manager:
        yield manager


def test_watch_asks_for_revisions_and_reads_only_what_changed(connect, proxy, prefix):
    """Also a secret that is created, and one that is deleted."""
    writer = connect()
    for path in ("app", "other"):
        writer.write(path, {"n": "1"})
    stores = {"etcd": {"endpoints": [proxy.url], "prefix": prefix}}
    arrived, found = threading.Condition(), []

    def note(change):
        with arrived:
            found.append((change.path, change.kind))
            arrived.notify_all()

    def wait_for(change):
        with arrived:
            assert arrived.wait_for(lambda: change in found, 60)

    with (
        SecretsManager.from_config({"chain": ["etcd"], "stores": stores}) as manager,
        manager.watch(["app", "other", "new"], note, interval=0.05),
    ):
        proxy.forget()
        version = writer.write("app", {"n": "2"})
        wait_for(("app", "updated"))
        assert manager.get_secret("app", "n") == "2"
        writer.write("new", {"n": "1"})
        wait_for(("new", "created"))
        writer.delete("new")
        wait_for(("new", "deleted"))
    assert version
    read = [json.loads(request.body) for request in proxy.requests if request.target == "/v3/kv/range"]
    assert len(read) <= 3
    looks = [json.loads(request.body) for request in proxy.requests if request.target == CHANGE]
    assert looks
    assert all(each["request_range"]["keys_only"] for look in looks for each in look["success"])


def test_disk_cache_holds_its_answers_for_each_address_and_prefix(connect, proxy, prefix, monkeypatch, tmp_path):
    connect().write("app", {"n": "1"})
    monkeypatch.setenv("STRONGROOM_CACHE_DISK", "true")
    monkeypatch.setenv("STRONGROOM_CACHE_FOLDER", str(tmp_path / "cache"))

    def read(beginning):
        stores = {"etcd": {"endpoints": [proxy.url], "prefix": beginning}}
        with SecretsManager.from_config({"chain": ["etcd"], "stores": stores}) as manager:
            return manager.get_secret("app", "n")

    assert (read(prefix), read(prefix)) == ("1", "1")
    assert len(proxy.requests) == 1
    with pytest.raises(SecretNotFoundError):
        read(f"{prefix}/other")


def test_command_line_checks_writes_and_reports(etcd, prefix, capfd, closed_port):
    Path("strongroom.toml").write_text(
        f'chain = ["etcd"]\n[stores.etcd]\nendpoints = ["{etcd.url}", "http://127.0.0.1:{closed_port}"]\n'
        f'prefix = "{prefix}"\n',
        "utf-8",
    )
    call = Caller(capfd)
    assert call("set", "app", "password", piped="canary-value\n").code == 0
    assert call("get", "app", "password").out == "canary-value"
    assert call("list").out == "app\n"
    for command in (("doctor",), ("status",)):
        done = call(*command)
        assert (done.code, "canary" in done.out + done.err) == (0, False), done
    report = call("doctor")
    assert "secrets: 1" in report.out
    assert f"http://127.0.0.1:{closed_port}: ConnectError" in report.out
    assert call("delete", "app", "--yes").code == 0
    assert call("get", "app", "password").code != 0


def test_probe_of_a_user_without_rights_to_list_is_a_warning(user, secure_etcd):
    health = user(prefix="elsewhere").probe()
    assert health.ok
    assert [(check.name, check.state.value) for check in health.checks] == [("listing", "warning"), ("endpoint", "ok")]
