"""Tokens of processes that end without `close`, on a real server."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from support import forks
from support.clock import LONG
from support.vault.approle import approle, lives, living
from support.vault.faults import hang
from support.vault.proxy import FaultProxy

SLACK = 10.0
"""For the interpreter itself, on a busy machine."""

OPENED = """
import asyncio, atexit, json, os, sys, threading
from pathlib import Path
from strongroom import SecretsManager
from strongroom_vault.plugin import open_vault

given = json.load(sys.stdin)

def manager(name):
    return SecretsManager(chain=[{"store": "vault", **given[name]}])

def read(store):
    assert store.read("mine/app").data["k"] == "v"
    return store

async def asked():
    secrets = manager("made")
    assert await secrets.aget_secret("mine/app", "k") == "v"
    return secrets
"""


def ended(program, options, **settings):
    """Run a program to its end, with `options` as JSON in `given`, and return its output."""
    command = [sys.executable, "-c", OPENED + program]
    result = subprocess.run(
        command, input=json.dumps(options), capture_output=True, text=True, timeout=LONG, check=False, **settings
    )
    return result.returncode, result.stdout, result.stderr


def test_every_login_of_a_process_is_revoked_when_it_ends(openbao, tmp_path):
    """Of managers, dropped ones too, of a store without a manager, and of a loop that has ended: no accessor is left.

    A token that was given stays.
    """
    role = approle(openbao, token_ttl="1h")
    token = openbao.issue_token({"secret/data/mine/*": ["read"]})
    options = {"made": role, "given": {"url": openbao.url, "token": token}}
    program = """
secrets = manager("made")
atexit.register(lambda: print(secrets.get_secret("mine/app", "k", fresh=True)))
secrets.get_secret("mine/app")
manager("made").get_secret("mine/app")
store, asked_for = read(open_vault(**given["made"])), asyncio.run(asked())
other = manager("given")
other.get_secret("mine/app")
sys.exit(3)
"""
    assert ended(program, options, cwd=tmp_path) == (3, "v\n", "")
    assert living(openbao, role) == []
    assert lives(openbao, token)


def test_hanging_server_delays_the_end_by_seconds_and_nobody_else(openbao):
    """Revocations go side by side, within ten seconds. One warning counts the tokens that are left."""
    hanging, healthy = approle(openbao, token_ttl="1h"), approle(openbao, token_ttl="1h")
    program = """
import time
opened = [read(open_vault(**given[name])) for name in ["healthy"] + ["hanging"] * 5]
print(time.monotonic())
"""
    with FaultProxy(openbao.url) as door:
        door.inject(hang(), when=lambda request: request.target.endswith("/revoke-self"))
        status, stdout, stderr = ended(program, {"healthy": healthy, "hanging": {**hanging, "url": door.url}})
        took = time.monotonic() - float(stdout)
    assert status == 0
    assert stderr == f"Tokens left to expire at {door.url}, because no answer to their revocation came: 5\n"
    assert living(openbao, healthy) == []
    assert len(living(openbao, hanging)) == 5
    assert took < 10 + SLACK


def test_child_of_a_fork_without_hooks_uses_nothing_of_its_parent(openbao):
    """A server written in C, such as uWSGI, does not run the hooks of Python when it forks.

    Such a fork is safe in a process with one thread: where another one waits for the interpreter, the child can
    hang or crash (2 of some 400 on Python 3.13). So the parent ends its renewals first.
    """
    role = approle(openbao, token_ttl="1h")
    program = """
import ctypes
from support.forks import forked
from support.processes import read_and_close
from support.vault.sessions import session_of, token_of

store = read(open_vault(**given))
mine = token_of(store)
session_of(store).renewer.stop(10)
assert threading.active_count() == 1
value, childs, *_ = forked(lambda: read_and_close(store), fork=ctypes.PyDLL(None).fork)
print(json.dumps({"value": value, "is_another": childs != mine, "is_kept": token_of(read(store)) == mine}))
"""
    tests = {**os.environ, "PYTHONPATH": str(Path(forks.__file__).parents[1])}
    status, stdout, stderr = ended(program, role, env=tests)
    assert (status, stderr) == (0, "")
    assert json.loads(stdout) == {"value": "v", "is_another": True, "is_kept": True}
    assert living(openbao, role) == []
