"""Sessions in several processes: forks, multiprocessing, gunicorn."""

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from strongroom_vault.plugin import open_vault
from support.clock import LONG
from support.forks import forked
from support.processes import answer_with, answer_with_own_store, read_and_close, renewers
from support.vault.approle import approle, lives, living
from support.vault.recorded_vault import RecordedVault
from support.vault.sessions import token_of

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")]


def test_child_logs_in_for_itself_and_leaves_its_parents_token_alone(openbao):
    """Each process renews and revokes its own token."""
    store = open_vault(**approle(openbao, token_ttl="1h"))
    store.read("mine/app")
    mine = token_of(store)
    value, childs, threads, left = forked(lambda: read_and_close(store))
    assert (value, threads, left) == ("v", 1, 0)
    assert childs != mine
    assert not lives(openbao, childs)
    assert lives(openbao, mine)
    assert store.read("mine/app").data["k"] == "v"
    assert token_of(store) == mine
    store.close()
    assert not lives(openbao, mine)


def test_child_that_closes_at_once_gives_nothing_back(openbao):
    """The child has no token to revoke."""
    store = open_vault(**approle(openbao, token_ttl="1h"))
    assert forked(lambda: store.close() or len(renewers())) == 0
    assert lives(openbao, token_of(store))
    store.close()


def test_child_goes_on_with_a_given_token(openbao):
    """Neither process revokes a token that was given."""
    openbao.put("mine/app", {"k": "v"})
    token = openbao.issue_token({"secret/data/mine/*": ["read"]})
    store = open_vault(url=openbao.url, token=token)
    assert forked(lambda: read_and_close(store))[:2] == ["v", token]
    assert store.read("mine/app").data["k"] == "v"
    store.close()
    assert lives(openbao, token)


def test_fork_while_threads_log_in_and_read(openbao):
    """No child inherits a held lock, or a connection in use."""
    store, stopping = open_vault(**approle(openbao, token_ttl="1s", token_max_ttl="2s")), threading.Event()

    def read():
        while not stopping.is_set():
            store.read("mine/app")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        values = [forked(lambda: read_and_close(store))[0] for _ in range(12)]
    finally:
        stopping.set()
        for thread in threads:
            thread.join(LONG)
    assert values == ["v"] * 12
    store.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(openbao, method):
    """Each process has its own token and revokes it."""
    options = approle(openbao, token_ttl="1h")
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    store = open_vault(**options)
    store.read("mine/app")
    jobs = [(answer_with_own_store, (options, answers))] * 2
    if method == "fork":
        jobs.append((answer_with, (store, answers)))
    processes = [context.Process(target=target, args=arguments) for target, arguments in jobs]
    for process in processes:
        process.start()
    came = [answers.get(timeout=LONG) for _ in processes]
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    tokens = {token for _, token in came}
    assert {value for value, _ in came} == {"v"}
    assert len(tokens) == len(processes)
    assert token_of(store) not in tokens
    assert not any(lives(openbao, token) for token in tokens)
    assert lives(openbao, token_of(store))
    store.close()


# --- gunicorn ---------------------------------------------------------------------------------------------------------

DEFAULT_MANAGER = """
import os, strongroom

strongroom.get_secret("mine/app", "k")

def application(environ, start_response):
    value = strongroom.get_secret("mine/app", "k", fresh=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{value} {os.getpid()}".encode()]
"""

APPLICATION = """
import atexit, os
from strongroom import SecretsManager

secrets = SecretsManager.from_config("strongroom.toml")
secrets.get_secret("mine/app", "k")
atexit.register(secrets.close)

def application(environ, start_response):
    value = secrets.get_secret("mine/app", "k", fresh=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{value} {os.getpid()}".encode()]
"""


def configure(folder, options):
    """Write a strongroom.toml with these options of the only store."""
    auth = ", ".join(f"{name} = {json.dumps(value)}" for name, value in options["auth"].items())
    (folder / "strongroom.toml").write_text(
        f'chain = [{{ store = "vault" }}]\n[stores.vault]\nurl = "{options["url"]}"\nauth = {{ {auth} }}\n'
    )


class Gunicorn:
    """A gunicorn server whose application reads a secret for each request."""

    def __init__(self, folder, sockets, options, workers, preload, application=APPLICATION):
        (folder / "application.py").write_text(application)
        configure(folder, options)
        self.address = str(sockets / "socket")
        command = [sys.executable, "-m", "gunicorn", "--bind", f"unix:{self.address}", "--workers", str(workers)]
        command += ["--graceful-timeout", "10", "--worker-tmp-dir", str(folder)]
        command += ["--preload"] if preload else []
        self.output = folder / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen([*command, "application"], cwd=folder, stdout=output, stderr=output)

    def get(self):
        connection = http.client.HTTPConnection("localhost", timeout=LONG)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.settimeout(LONG)
            connection.sock.connect(self.address)
            connection.request("GET", "/")
            reply = connection.getresponse()
            return reply.status, reply.read().decode()

    def wait(self):
        until = time.monotonic() + LONG * 2
        while time.monotonic() < until and self.process.poll() is None:
            try:
                return self.get()
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.output.read_text())


@pytest.mark.parametrize(("preload", "workers"), [(False, 2), (True, 4)], ids=["not preloaded", "preloaded"])
def test_gunicorn(tmp_path, socket_folder, preload, workers):
    """Over several token lifetimes and a reload: no failed request, no hot loop and no token left at the end."""
    with RecordedVault(tmp_path / "audit.log") as server:
        options = approle(server, token_ttl="2s", token_max_ttl="4s")
        renewals = partial(server.requests, "auth/token/renew-self", operation="update")
        gunicorn = Gunicorn(tmp_path, socket_folder, options, workers, preload)
        try:
            gunicorn.wait()
            began, processes = time.monotonic(), set()
            reloaded = False
            while time.monotonic() - began < 6 or renewals() < 2:
                status, body = gunicorn.get()
                assert (status, body.split()[0]) == (200, "v"), gunicorn.output.read_text()
                processes.add(body.split()[1])
                if not reloaded and time.monotonic() - began > 3:
                    reloaded = True
                    gunicorn.process.send_signal(signal.SIGHUP)
                time.sleep(0.02)
            took = time.monotonic() - began
            gunicorn.process.send_signal(signal.SIGTERM)
            assert gunicorn.process.wait(LONG) == 0, gunicorn.output.read_text()
        finally:
            gunicorn.process.kill()
            gunicorn.process.wait()
        login = f"auth/{options['auth']['mount']}/login"
        logins = server.requests(login, operation="update")
        alive = 2 * workers + 1
        assert len(processes) >= 2
        assert logins + renewals() <= alive * (2 + took * 1.5)
        left = []
        for accessor in server.call("LIST", "auth/token/accessors")["data"]["keys"]:
            found = server.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            left += [found] if found["path"] == login else []
        assert not left
        assert "Traceback" not in gunicorn.output.read_text()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_preloaded_workers_of_gunicorn_revoke_their_tokens(openbao, tmp_path, socket_folder, end):
    """Each worker that used the default manager of its parent has logged in for itself."""
    options = approle(openbao, token_ttl="1h")
    gunicorn = Gunicorn(tmp_path, socket_folder, options, 2, preload=True, application=DEFAULT_MANAGER)
    try:
        gunicorn.wait()
        workers, until = set(), time.monotonic() + LONG
        while len(workers) < 2 and time.monotonic() < until:
            workers.add(gunicorn.get()[1])
        assert len(living(openbao, options)) == 1 + len(workers)
        gunicorn.process.send_signal(end)
        assert gunicorn.process.wait(LONG) == 0, gunicorn.output.read_text()
    finally:
        gunicorn.process.kill()
        gunicorn.process.wait()
    assert living(openbao, options) == []


CHILDREN = """
import multiprocessing, os, sys, strongroom

def read():
    assert strongroom.get_secret("mine/app", "k", fresh=True) == "v"

def started():
    process = multiprocessing.get_context(sys.argv[2]).Process(target=read)
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    if sys.argv[1] == "used":
        read()
    if sys.argv[2] == "os.fork":
        if (pid := os.fork()) == 0:
            read()
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        started()
"""


@pytest.mark.parametrize(
    ("parent", "method"),
    [
        *(("used", method) for method in ("os.fork", "fork", "spawn", "forkserver")),
        *(("unused", method) for method in ("os.fork", "fork")),  # the others inherit nothing that could differ
    ],
)
def test_children_revoke_the_tokens_of_the_default_manager(openbao, tmp_path, parent, method):
    """Whether the parent has used it before the fork or not."""
    options = approle(openbao, token_ttl="1h")
    configure(tmp_path, options)
    (tmp_path / "children.py").write_text(CHILDREN)
    subprocess.run([sys.executable, "children.py", parent, method], cwd=tmp_path, check=True, timeout=LONG * 2)
    assert living(openbao, options) == []
