"""Locks that a signal handler and a fork's child can take: every lock of the sources, in one table."""

from __future__ import annotations

import ast
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import pytest

import strongroom
import strongroom_aws
import strongroom_env
import strongroom_local
import strongroom_vault
from strongroom import dotenv, secrets_manager
from strongroom._boundary.validation import ValidatedStore
from strongroom._chain import merge as merge_module
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom._files import file_store as file_store_module
from strongroom._files.file_store import FileStore
from strongroom._files.json_codec import JsonCodec
from strongroom.env_names import EnvironmentMapping
from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError
from strongroom.private_file import lock_folder
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom.store import ReentrantEvent, is_held_here, locks, reentrant_lock, remaining, time_limit
from strongroom.store.memory import MemoryStore
from strongroom_env.variables import VariableStore
from strongroom_vault.auth import Grant, wrapping
from strongroom_vault.dynamic.dynamic_store import VaultDynamic
from strongroom_vault.http.drivers.urllib3_driver import _Queue
from strongroom_vault.http.messages import Reply
from strongroom_vault.http.rate_limit import RequestRate
from strongroom_vault.session import tokens as tokens_module
from strongroom_vault.session.background import Background
from strongroom_vault.session.login_backoff import LoginBackoff
from strongroom_vault.session.token_check import TokenCheck
from strongroom_vault.session.tokens import ActiveToken, Tokens
from support.clock import LONG
from support.signals import signalled_at

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals and fork")


# --- the table --------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A lock, and an operation that takes it."""

    lock: Any
    operation: Callable[[], object]


class Work:
    def turn(self) -> None:
        return None


class Variables(VariableStore):
    def variables(self, path: str | None) -> Mapping[str, str]:
        return {"REDIS_PORT": "tcp://10.0.0.1:6379"}

    def close(self) -> None:
        pass


class Auth:
    """Gives a new token at each login."""

    repeatable = True

    def __init__(self) -> None:
        self.made: list[str] = []

    def login(self, send: object) -> Grant:
        self.made.append(f"t{len(self.made)}")
        return Grant(SensitiveStr(self.made[-1]), ttl=1000.0, renewable=True, revocable=True)


class Sender:
    """Accepts every request, and notes the tokens that were revoked."""

    def __init__(self) -> None:
        self.revoked: list[str] = []

    def send(self, request: Any, **_: object) -> Reply:
        return Reply(204, {}, b"")

    def revoke(self, token: str) -> Reply:
        self.revoked.append(str(token))
        return Reply(204, {}, b"")


def new_tokens() -> tuple[Tokens, Auth, Sender]:
    auth, sender = Auth(), Sender()
    return Tokens(auth, sender.revoke, LoginBackoff(time.monotonic), "nowhere", clock=time.monotonic), auth, sender  # type: ignore[arg-type]


def new_file_store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "secrets.json", JsonCodec())


def new_link() -> Link:
    return Link(LinkConfig("memory"), MemoryStore, CacheConfig())


def new_dynamic() -> VaultDynamic:
    session = SimpleNamespace(location="nowhere", active_token=None, close=lambda: None)
    return VaultDynamic(session, {"a": "creds/a"})  # type: ignore[arg-type]


def guard_close(tmp_path: Path) -> Held:
    store = ValidatedStore(MemoryStore(), "memory")
    return Held(store._boundary._closing, store.close)


def memory_read(tmp_path: Path) -> Held:
    store = MemoryStore()
    store.write("a", {"k": "v"})
    return Held(store._lock, lambda: store.read("a"))


def file_read(tmp_path: Path) -> Held:
    store = new_file_store(tmp_path)
    store.write("a", {"k": "v"})
    return Held(store._lock, lambda: store.read("a"))


def file_write(tmp_path: Path) -> Held:
    store = new_file_store(tmp_path)
    return Held(store._lock, lambda: store.write("a", {"k": "v"}))


def file_close(tmp_path: Path) -> Held:
    store = new_file_store(tmp_path)
    return Held(store._lock, store.close)


def unchecked(*_: object) -> None:
    """Refuse no merge."""


def link_merge(tmp_path: Path) -> Held:
    link = new_link()
    lock = link._merges._path_locks["a"] = reentrant_lock()
    return Held(lock, lambda: link.merge("a", SensitiveDict({"k": "v"}), unchecked))


def default_manager(tmp_path: Path) -> Held:
    return Held(secrets_manager._making, lambda: secrets_manager.set_default_manager(None))


def variable_warning(tmp_path: Path) -> Held:
    store = Variables(EnvironmentMapping({}), "the environment")
    return Held(store._warning, lambda: store._usable("REDIS_PORT", store.variables(None)))


def dotenv_warning(tmp_path: Path) -> Held:
    return Held(dotenv._logging, lambda: dotenv.log_once(tmp_path / ".env", "note"))


def request_rate(tmp_path: Path) -> Held:
    rate = RequestRate(10, 10)
    return Held(rate._lock, rate.turn)


def background_wake(tmp_path: Path) -> Held:
    work = Work()
    background = Background(work.turn, "background under test")
    return Held(background._shared.lock, lambda: (background.wake(), work))


def background_stop(tmp_path: Path) -> Held:
    background = Background(Work().turn, "background under test")
    return Held(background._shared.lock, lambda: background.stop(LONG))


def background_event(tmp_path: Path) -> Held:
    work = Work()
    background = Background(work.turn, "background under test")
    return Held(background._shared.wake._changed, lambda: (background.wake(), work))


def token_login(tmp_path: Path) -> Held:
    tokens, _, sender = new_tokens()
    return Held(tokens._lock, lambda: tokens.current(sender.send))


def token_close(tmp_path: Path) -> Held:
    tokens, _, sender = new_tokens()
    tokens.current(sender.send)
    return Held(tokens._lock, tokens.close)


def token_check(tmp_path: Path) -> Held:
    check = TokenCheck("secret", "nowhere", time.monotonic)
    check._accepts = lambda *_: True  # type: ignore[method-assign]
    active = ActiveToken(SensitiveStr("t"), revocable=False, requested_at=0.0, lease=None)
    return Held(check._lock, lambda: check.is_good(Sender().send, active, "a"))


def unwrapping(tmp_path: Path) -> Held:
    def unwrap() -> None:
        send: Any = lambda *_, **__: Reply(403, {}, b"")  # noqa: E731
        wrapping.unwrap_secret_id(send, SensitiveStr("s.token"), mount="approle", role=None, namespace=None)

    return Held(wrapping._lock, unwrap)


def dynamic_close(tmp_path: Path) -> Held:
    store = new_dynamic()
    return Held(store._lock, store.close)


def dynamic_role(tmp_path: Path) -> Held:
    store = new_dynamic()
    return Held(store._roles["a"].lock, store.close)


def connection_queue(tmp_path: Path) -> Held:
    queue = _Queue(1)
    return Held(queue.mutex, lambda: (queue.put(None, block=False), queue.get(block=False)))


def driver_closed(tmp_path: Path) -> Held:
    event = ReentrantEvent()
    return Held(event._changed, event.set)


TABLE = [
    guard_close,
    memory_read,
    file_read,
    file_write,
    file_close,
    link_merge,
    default_manager,
    variable_warning,
    dotenv_warning,
    request_rate,
    background_wake,
    background_stop,
    background_event,
    token_login,
    token_close,
    token_check,
    unwrapping,
    dynamic_close,
    dynamic_role,
    connection_queue,
    driver_closed,
]


# --- any lock ---------------------------------------------------------------------------------------------------------


@contextmanager
def handling(handler: Callable[[], object]) -> Iterator[None]:
    """Handle SIGUSR1, and fail instead of waiting for a lock that is never released."""

    def too_long(*_: object) -> None:
        raise AssertionError("deadlock")

    before = signal.signal(signal.SIGUSR1, lambda *_: handler()), signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, LONG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGALRM, before[1])


@pytest.mark.parametrize("make", TABLE)
def test_a_handler_never_waits_for_a_lock_of_its_own_thread(make: Callable[[Path], Held], tmp_path: Path) -> None:
    """It gets an answer, or an error at once."""
    held = make(tmp_path)
    took: list[float] = []

    def handler() -> None:
        began = time.monotonic()
        with time_limit(LONG / 2), suppress(StrongroomError):
            held.operation()
        took.append(time.monotonic() - began)

    with handling(handler), held.lock:
        signal.raise_signal(signal.SIGUSR1)
    assert took[0] < LONG / 4


@pytest.mark.parametrize("make", TABLE)
def test_a_child_never_waits_for_a_lock_of_its_parents_threads(make: Callable[[Path], Held], tmp_path: Path) -> None:
    held = make(tmp_path)
    holding, go = threading.Event(), threading.Event()

    def hold() -> None:
        with held.lock:
            holding.set()
            assert go.wait(LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(LONG)
    gc.collect()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(int(LONG))
            began = time.monotonic()
            with time_limit(LONG / 2), suppress(StrongroomError):
                held.operation()
            code = 0 if time.monotonic() - began < LONG / 4 else 2
        finally:
            os._exit(code)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        go.set()
        thread.join()


def test_a_child_releases_a_lock_that_it_forked_under() -> None:
    lock = reentrant_lock()
    with lock:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if is_held_here(lock) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not is_held_here(lock)


def test_locks_that_nobody_has_are_forgotten() -> None:
    lock = reentrant_lock()
    assert lock in locks._locks
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None


PLAIN = {"Lock", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Queue", "LifoQueue", "PriorityQueue"}

NOT_IN_A_HANDLER = {
    "strongroom/_cli/operate/status/monitor.py": "the command `status` alone has it, and forks no child",
    "strongroom/_cli/operate/status/server.py": "the command `ui` alone has it, and forks no child",
    "strongroom/testing/faulty_services.py": "tests",
    "strongroom/testing/overrides.py": "tests",
    "strongroom_aws/service.py": "only daemon threads hold it, and another process has another one",
    "strongroom_vault/dev/server.py": "the server of `dev` is started by one thread, once",
    "strongroom_vault/http/drivers/urllib3_driver.py": "the subclass of LifoQueue has a reentrant lock",
    "strongroom_vault/testing/server.py": "tests",
}


def test_the_sources_have_no_other_lock() -> None:
    """A plain lock can hang a signal handler or a child: `reentrant_lock` cannot, and belongs into the table."""
    found = set()
    for package in (strongroom, strongroom_aws, strongroom_env, strongroom_local, strongroom_vault):
        root = Path(str(package.__file__)).parent
        for file in root.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names: set[str] = set()
                if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in {"threading", "queue"}:
                    names = {node.attr}
                elif isinstance(node, ast.ImportFrom) and node.module in {"threading", "queue"}:
                    names = {alias.name for alias in node.names}
                if names & PLAIN:
                    found.add(f"{root.name}/{file.relative_to(root).as_posix()}")
    assert found <= NOT_IN_A_HANDLER.keys()


# --- at any line of an operation --------------------------------------------------------------------------------------


Prepared: TypeAlias = "tuple[Callable[[], object], Callable[[], object], Callable[[], None]]"
"""A call, the signal handler, and the check after both."""


def each_line(source: str, prepare: Callable[[], Prepared]) -> None:
    for line in range(1, 2000):
        call, handler, check = prepare()
        with handling(handler):
            inside = signalled_at(line, {source}, call)
        check()
        if not inside:
            assert line > 5
            return
    pytest.fail("the call has no end")


def test_a_login_in_a_handler_leaves_no_token_alive() -> None:
    """At any line of a login, which then continues: `close` revokes both tokens."""

    def prepare() -> Prepared:
        tokens, auth, sender = new_tokens()

        def check() -> None:
            tokens.close()
            assert sorted(sender.revoked) == sorted(auth.made)

        send = sender.send
        return lambda: tokens.current(send), lambda: tokens.replacement(send, tokens.active), check

    each_line(str(tokens_module.__file__), prepare)


def test_a_close_in_a_handler_leaves_no_token_alive() -> None:
    """At any line of a login, which is then refused."""

    def prepare() -> Prepared:
        tokens, auth, sender = new_tokens()

        def call() -> None:
            with suppress(StoreError):
                tokens.current(sender.send)

        def check() -> None:
            tokens.close()
            assert sorted(sender.revoked) == sorted(auth.made)

        return call, tokens.close, check

    each_line(str(tokens_module.__file__), prepare)


def test_an_interrupt_at_any_line_of_a_login_leaves_no_login_to_wait_for() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def prepare() -> Prepared:
        tokens, _, sender = new_tokens()

        def call() -> None:
            with suppress(KeyboardInterrupt):
                tokens.current(sender.send)

        def check() -> None:
            with time_limit(LONG / 2):
                tokens.current(sender.send)
                assert remaining() > LONG / 4

        return call, interrupt, check

    each_line(str(tokens_module.__file__), prepare)


def test_a_write_in_a_handler_is_refused_or_kept(tmp_path: Path) -> None:
    """At any line of another write to the file: none of both is lost without an error."""

    def prepare() -> Prepared:
        for file in tmp_path.iterdir():
            file.unlink()
        store = new_file_store(tmp_path)
        written: dict[str, str] = {}

        def write(path: str) -> None:
            with suppress(StoreUnavailableError):
                store.write(path, {"k": path})
                written[path] = path

        def check() -> None:
            assert written["a"] == "a"
            assert {path: store.read(path).data["k"] for path in store.walk("")} == written

        return lambda: write("a"), lambda: write("b"), check

    each_line(str(file_store_module.__file__), prepare)


def test_a_merge_in_a_handler_is_refused_or_kept() -> None:
    """At any line of another merge into the same secret."""

    def prepare() -> Prepared:
        link = new_link()
        written: dict[str, str] = {}

        def merge(key: str) -> None:
            with suppress(StoreUnavailableError):
                link.merge("a", SensitiveDict({key: key}), unchecked)
                written[key] = key

        def check() -> None:
            assert written["x"] == "x"
            assert dict(link.read("a").data) == written

        return lambda: merge("x"), lambda: merge("y"), check

    each_line(str(merge_module.__file__), prepare)


def test_a_child_that_is_forked_during_a_write_does_not_keep_the_lock_of_the_folder(tmp_path: Path) -> None:
    """It has a copy of the descriptor, for as long as it lives."""
    read, write = os.pipe()
    with lock_folder(tmp_path, LONG):
        pid = os.fork()
        if pid == 0:
            os.close(write)
            os.read(read, 1)  # until the parent has written, or is gone
            os._exit(0)
    try:
        with lock_folder(tmp_path, 0.0):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(pid, 0)
