"""A token that the processes of one user share through a file, with real logins."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from approle import CountedRole, lives
from forks import forked
from processes import token_of
from strongroom.errors import ConfigurationError, StoreError
from strongroom.files.private_file import lock, open_file
from strongroom_vault.dev.server import find_binary
from strongroom_vault.plugin import check_vault, open_vault
from strongroom_vault.session import shared_token

SCRIPT = """
import json, os
from pathlib import Path
from strongroom.store import time_limit
from strongroom_vault.plugin import open_vault
options = json.loads(os.environ["OPTIONS"])
with time_limit(240):  # of which half are for the wait for another process
    store = open_vault(**options | {"shared_token_file": Path(options["shared_token_file"])})
    print(store.read("mine/app").data["k"])
"""


class Role(CountedRole):
    """An AppRole, and the file of the token that its processes share."""

    def __init__(self, server, folder, **settings):
        super().__init__(server, **{"token_ttl": "1h", **settings})
        self.file = folder / "token"
        self.options["shared_token_file"] = self.file

    @property
    def record(self):
        return self.file.with_name("token.login")

    def read(self, **changes):
        """Read as a process that ends afterward does; return the token that it used."""
        store = open_vault(**self.options | changes)
        try:
            assert store.read("mine/app").data["k"] == "v"
            return str(token_of(store))
        finally:
            store.close()

    def age(self, seconds):
        """Let the token in the file be older, for the next process."""
        content = json.loads(self.record.read_text())
        self.record.write_text(json.dumps(content | {"began": content["began"] - seconds}))


def start(role):
    """Start a process that reads through the file and prints the value."""
    environment = {**os.environ, "OPTIONS": json.dumps(role.options, default=str)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env=environment, text=True)


@pytest.fixture
def role(fresh_openbao, tmp_path):
    return Role(fresh_openbao, tmp_path)


def test_processes_share_one_login_and_leave_the_token_for_the_next(role):
    """The file holds the bare token, which only this user can read, and the server's own command line accepts it."""
    token = role.read()
    assert {role.read() for _ in range(3)} == {token}
    assert (role.logins, role.renewals) == (1, 0)
    assert lives(role.server, token)
    assert role.file.read_text() == token
    assert {file.stat().st_mode & 0o777 for file in (role.file, role.record)} == {0o600}
    assert token not in role.record.read_text()
    environment = {**os.environ, "BAO_TOKEN": role.file.read_text(), "BAO_ADDR": role.server.url}
    command = [find_binary(), "kv", "get", "-field=k", "secret/mine/app"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "v"


def test_processes_that_start_at_once_log_in_once(role):
    count = 50 if os.environ.get("TEST_DISK_CACHE_LONG") else 4
    processes = [start(role) for _ in range(count)]
    assert [process.communicate(timeout=240)[0] for process in processes] == ["v\n"] * count
    assert [process.returncode for process in processes] == [0] * count
    assert role.logins == 1


@pytest.mark.skipif("TEST_DISK_CACHE_LONG" not in os.environ, reason="three minutes: nox -s disk_cache")
def test_processes_that_start_all_the_time_log_in_once_for_each_life_of_a_token(fresh_openbao, tmp_path):
    """100 start in a minute, for three minutes. A token serves until a second before its end."""
    starts, pause, ttl = 300, 0.6, 30
    role = Role(fresh_openbao, tmp_path, token_ttl=f"{ttl}s", token_max_ttl=f"{ttl}s")
    first, processes = time.monotonic(), []
    for number in range(starts):
        time.sleep(max(0.0, first + number * pause - time.monotonic()))
        processes.append(start(role))
    assert [process.communicate(timeout=240)[0] for process in processes] == ["v\n"] * starts
    assert role.logins <= 1 + (time.monotonic() - first) // (ttl - 1)


def test_a_process_that_waits_in_vain_for_another_has_a_token_of_its_own(role, monkeypatch):
    """The file is left to the process that logs in."""
    monkeypatch.setattr(shared_token, "remaining", lambda: 0.0)
    descriptor = open_file(role.record, os.O_RDWR | os.O_CREAT)
    with os.fdopen(descriptor), lock(descriptor, 10):
        own = role.read()
    assert not lives(role.server, own)
    assert not role.file.exists()


def test_a_token_near_its_end_is_renewed_by_the_process_that_comes(role):
    token = role.read()
    role.age(45 * 60)
    assert [role.read() for _ in range(3)] == [token] * 3
    assert (role.logins, role.renewals) == (1, 1)


def test_a_running_process_renews_the_token_for_all(role):
    token = role.read()
    running = open_vault(**role.options)
    running.read("mine/app")
    role.age(45 * 60)
    active = running.session.active_token
    active.lease = replace(active.lease, ttl=900.0)
    running.session._renewal._log_in(active)  # as its thread does at two thirds of the lease
    assert running.session.active_token is active
    assert running.session.seconds_left > 3000
    running.close()
    assert role.read() == token
    assert (role.logins, role.renewals) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_the_child_of_a_fork_shares_the_token(role):
    store = open_vault(**role.options)
    store.read("mine/app")
    assert forked(lambda: store.read("mine/app").data["k"]) == "v"
    store.close()
    assert (role.logins, role.renewals) == (1, 0)


def test_a_token_that_cannot_be_renewed_serves_until_its_end(fresh_openbao, tmp_path):
    role = Role(fresh_openbao, tmp_path, token_ttl="1h", token_max_ttl="1h", token_type="batch")
    token = role.read()
    role.age(59 * 60)
    assert role.read() == token
    role.age(60)
    assert role.read() != token
    assert (role.logins, role.renewals) == (2, 0)


def test_a_revoked_token_is_replaced_once(role):
    token = role.read()
    running = open_vault(**role.options)
    running.read("mine/app")
    role.server.call("POST", "auth/token/revoke", {"token": token})
    new = role.read()
    assert new != token
    assert running.read("mine/app").data["k"] == "v"
    assert token_of(running) == new
    running.close()
    assert role.read() == new
    assert role.logins == 2


def test_a_denied_read_replaces_no_token(role):
    role.read()
    store = open_vault(**role.options)
    for _ in range(3):
        with pytest.raises(StoreError, match="policies do not allow"):
            store.read("other/app")
    store.close()
    assert role.logins == 1


def test_a_token_goes_to_no_other_address_namespace_or_login(role):
    """A file for each is cheaper: the last login takes the file, and the others log in again."""
    token = role.read()
    other = role.server.url.replace("127.0.0.1", "localhost")
    assert role.read(url=other) != token
    secret_id = role.server.call("POST", f"auth/{role.mount}/role/app/secret-id")["data"]["secret_id"]
    changed = role.read(auth={**role.auth, "secret_id": secret_id})
    assert lives(role.server, token)
    assert role.read() not in {token, changed}
    assert role.logins == 4


def test_somebodys_own_token_is_neither_used_nor_replaced(role, caplog):
    role.file.write_text("s.somebodys-own")
    role.file.chmod(0o600)
    first, second = role.read(), role.read()
    assert first != second
    assert not lives(role.server, first)
    assert role.file.read_text() == "s.somebodys-own"
    assert "not shared through" in caplog.text


@pytest.mark.parametrize("fault", ["link", "mode", "record"])
def test_a_file_that_others_may_have_laid_out_is_not_used(role, caplog, fault):
    token = role.read()
    if fault == "link":
        role.file.rename(role.file.with_name("moved"))
        role.file.symlink_to("moved")
    else:
        (role.file if fault == "mode" else role.record).chmod(0o644)
    before = role.file.read_text()
    own = role.read()
    assert own != token
    assert not lives(role.server, own)
    assert role.file.read_text() == before
    assert {"link": "symbolic link"}.get(fault, "chmod 600") in caplog.text


def test_a_damaged_record_or_a_clock_that_was_set_costs_a_login_at_most(role):
    """A file whose record is lost stays, since Strongroom may not have written it."""
    role.read()
    role.age(-86400)
    role.read()
    assert role.logins == 2
    token = role.file.read_text()
    role.record.write_bytes(b"\xff" * 1024)
    assert role.read() != token
    assert role.file.read_text() == token


def test_a_token_with_counted_uses_is_not_shared(fresh_openbao, tmp_path):
    role = Role(fresh_openbao, tmp_path, token_num_uses=5)
    assert role.read() != role.read()
    assert not role.file.exists()


def test_a_method_without_a_login_of_its_own_is_refused(tmp_path):
    for auth in (
        None,
        {"method": "agent"},
        {"method": "token-file", "token_file": "/t"},
        {"method": "aws", "role": "x"},
    ):
        with pytest.raises(ConfigurationError, match="shared_token_file"):
            check_vault(url="http://127.0.0.1:1", auth=auth, shared_token_file=Path(tmp_path, "token"))
