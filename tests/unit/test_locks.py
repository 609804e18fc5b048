"""Locks that a fork's child can take, in one table."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

import strongroom
import strongroom_aws
import strongroom_env
import strongroom_google
import strongroom_local
import strongroom_vault
from strongroom import secrets_manager
from strongroom._boundary.guard import GuardedStore
from strongroom._files.codec import JsonCodec
from strongroom._files.file_store import FileStore
from strongroom.errors import StrongroomError
from strongroom.files.private import lock_folder
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock, time_limit
from strongroom.store.memory import MemoryStore
from strongroom_vault.auth import Grant, approle
from strongroom_vault.dynamic.dynamic_store import VaultDynamic
from strongroom_vault.dynamic.lease_client import Row
from strongroom_vault.http.messages import Reply
from strongroom_vault.session.login_backoff import LoginBackoff
from strongroom_vault.session.token_check import TokenCheck
from strongroom_vault.session.tokens import ActiveToken, Tokens
from support.clock import LONG
from support.representatives import some

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


# --- the table --------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A lock, and an operation that takes it.

    The table names private locks: no public call holds one of them for as long as a fork takes.
    """

    lock: Any
    operation: Callable[[], object]


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


def new_dynamic() -> VaultDynamic:
    session = SimpleNamespace(location="nowhere", active_token=None, close=lambda: None)
    return VaultDynamic(session, {"a": Row("creds/a")})  # type: ignore[arg-type]


def guard_close(tmp_path: Path) -> Held:
    store = GuardedStore(MemoryStore(), "memory")
    return Held(store._watchdog._closing, store.close)


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


def default_manager(tmp_path: Path) -> Held:
    return Held(secrets_manager._making, lambda: secrets_manager.set_default_manager(None))


def token_login(tmp_path: Path) -> Held:
    tokens, _, sender = new_tokens()
    return Held(tokens._lock, lambda: tokens.current(sender.send))


def token_close(tmp_path: Path) -> Held:
    tokens, _, sender = new_tokens()
    tokens.current(sender.send)
    return Held(tokens._lock, tokens.close)


def token_check(tmp_path: Path) -> Held:
    check = TokenCheck("secret", "nowhere", time.monotonic)
    active = ActiveToken(SensitiveStr("t"), revocable=False, requested_at=0.0, lease=None)
    return Held(check._lock, lambda: check.is_good(Sender().send, active, "a"))


def unwrapping(tmp_path: Path) -> Held:
    def unwrap() -> None:
        send: Any = lambda *_, **__: Reply(403, {}, b"")  # noqa: E731
        approle._unwrap_secret_id(send, SensitiveStr("s.token"), mount="approle", role=None, namespace=None)

    return Held(approle._lock, unwrap)


def dynamic_close(tmp_path: Path) -> Held:
    store = new_dynamic()
    return Held(store._lock, store.close)


def dynamic_role(tmp_path: Path) -> Held:
    store = new_dynamic()
    return Held(store.roles["a"].lock, store.close)


TABLE = [
    guard_close,
    memory_read,
    file_read,
    file_write,
    file_close,
    default_manager,
    token_login,
    token_close,
    token_check,
    unwrapping,
    dynamic_close,
    dynamic_role,
]


# --- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", some(TABLE, {file_write, default_manager, token_login}.__contains__))
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


def is_free(lock: Any) -> bool:
    """Return True if another thread can take the lock."""
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False)))
    thread.start()
    thread.join()
    return taken[0]


class Owner:
    def __init__(self) -> None:
        self.lock = fork_safe_lock(self, "lock")


def test_a_child_releases_a_lock_that_it_forked_under() -> None:
    owner = Owner()
    with owner.lock:
        pid = os.fork()
        if pid == 0:
            owner.lock.release()
            os._exit(0 if is_free(owner.lock) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert is_free(owner.lock)


def test_locks_that_nobody_has_are_forgotten() -> None:
    owner = Owner()
    gone = weakref.ref(owner), weakref.ref(owner.lock)
    del owner
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


NAMED = re.compile(r"(?:(self)\.)?(\w+) = fork_safe_lock\((self|sys\.modules\[__name__\]), \"(\w+)\"\)")


def test_each_lock_is_renewed_under_its_own_name() -> None:
    """A misspelled name would leave the child with the lock of its parent."""
    found = []
    for package in (strongroom, strongroom_aws, strongroom_env, strongroom_google, strongroom_local, strongroom_vault):
        for file in Path(str(package.__file__)).parent.rglob("*.py"):
            for line in file.read_text().splitlines():
                if "= fork_safe_lock(" in line:
                    match = NAMED.fullmatch(line.strip())
                    assert match is not None, line
                    assert match[2] == match[4], line
                    assert bool(match[1]) == (match[3] == "self"), line
                    found.append(line)
    assert found


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
