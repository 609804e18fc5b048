"""Exit codes on a real server: each once of the installed command in a process of its own, the rest in this process."""

import contextlib
import itertools
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from strongroom._cli.exit_codes import ExitCode
from support.command_line import Caller
from support.representatives import some
from support.vault import faults
from support.vault.proxy import FaultProxy

STRONGROOM = str(Path(sys.executable).parent / "strongroom")

CONFIGURATION = """
chain = [{ store = "vault", timeout = "1m" }]

[secrets]
DB_PASSWORD = "database/connection#password"

[stores.vault]
mount = "MOUNT"
"""

TEAPOT, DENIED, GONE = faults.status(418), faults.status(403), faults.reset()


@pytest.fixture(scope="module")
def proxy(openbao):
    """What stands between, and fails where it is asked to."""
    with FaultProxy(openbao.url) as proxy:
        yield proxy


@pytest.fixture
def call(capsys):
    """A command line, run in this process."""
    return Caller(capsys)


@pytest.fixture
def server(openbao, proxy, kv2, monkeypatch):
    """Two versions of one secret, a token that may do all below the mount, and the configuration of both."""
    for value in ("old", "new"):
        openbao.put("database/connection", {"password": value}, mount=kv2)
    everything = ["create", "read", "update", "patch", "delete", "list"]
    rules = {f"{kv2}/*": everything, f"sys/internal/ui/mounts/{kv2}": ["read"]}
    Path("strongroom.toml").write_text(CONFIGURATION.replace("MOUNT", kv2), "utf-8")
    Path("wrong.toml").write_text("chain = 1\n", "utf-8")
    monkeypatch.setenv("VAULT_ADDR", proxy.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.issue_token(rules))
    yield proxy
    proxy.heal()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("code", "line"),
    some(
        [
            (0, "get database/connection password"),
            (1, "get database/connection password > /dev/full"),
            (2, "destroy database/connection 1 < /dev/null"),
            (3, "get database/none password"),
            (6, "get database//connection"),
            (7, "--config wrong.toml get database/connection"),
            (10, "diff database/connection --versions 1 2"),
            (42, "run -- sh -c 'exit 42'"),
            (126, "run -- ./strongroom.toml"),
            (127, "run -- no-such-program"),
            (128 + signal.SIGTERM, "run -- sh -c 'kill -TERM $$'"),
        ],
        lambda row: row[0] in {0, 1, 42},
    ),
)
def test_a_code(code, line):
    """Each code of a process of its own."""
    Path("strongroom.toml").write_text(Path("strongroom.toml").read_text("utf-8").replace("}]", '}, "env"]'), "utf-8")
    done = subprocess.run(
        ["sh", "-c", f"{shlex.quote(STRONGROOM)} {line}"], stdout=subprocess.PIPE, check=False, timeout=60
    )
    assert done.returncode == code


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("code", "line"),
    [
        (0, "diff database/connection --versions 1 1"),
        (2, "get"),
        (3, "get database/none password"),
        (3, "get database/connection none"),
        (3, "rollback database/connection 9"),
        (6, "history database/connection --store env"),
        (7, "set database/connection password --store none"),
        (7, "--config wrong.toml get database/connection"),
    ],
)
def test_a_code_is_that_of_the_outcome(call, code, line):
    """The outcome decides the code, whatever the command is."""
    Path("strongroom.toml").write_text(Path("strongroom.toml").read_text("utf-8").replace("}]", '}, "env"]'), "utf-8")
    assert call(*line.split()).code == code


@pytest.mark.parametrize(
    ("code", "fault", "line"),
    [
        (5, GONE, "get database/connection password"),
        pytest.param(4, DENIED, "run -- true", marks=pytest.mark.long),
        pytest.param(5, GONE, "run -- true", marks=pytest.mark.long),
    ],
)
def test_what_the_server_answers_decides_on_the_code(server, code, fault, line):
    """In a separate process."""
    with server.fault(fault):
        done = subprocess.run([STRONGROOM, *line.split()], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    ("code", "fault", "line"),
    [
        (1, TEAPOT, "get database/connection password"),
        (4, DENIED, "get database/connection password"),
        (5, GONE, "list"),
        (4, DENIED, "list"),
        (1, TEAPOT, "check"),
        (5, GONE, "check"),
        (4, DENIED, "export --format json"),
        (1, TEAPOT, "doctor"),
        (4, DENIED, "doctor"),
        (5, GONE, "doctor"),
        (4, DENIED, "explain database/connection"),
        (4, DENIED, "history database/connection"),
        (4, DENIED, "delete database/connection --yes"),
    ],
)
def test_an_answer_means_the_same_for_each_command(server, call, code, fault, line):
    """The code depends on the server's answer alone."""
    with server.fault(fault):
        done = call(*line.split())
    assert done.code == code, done.err
    assert done.err


def test_done_in_part(server, call):
    """Where the second of three versions cannot be destroyed, the first one is."""
    asked = itertools.count()
    with server.fault(TEAPOT, when=lambda request: "/destroy/" in request.target and next(asked) > 0):
        done = call("destroy", "database/connection", "1", "2", "--yes")
    assert (done.code, done.out) == (8, "")
    assert "Destroyed before the failure: 1 of versions 1 and 2\n" in done.err


def test_a_reader_that_goes_away_and_an_interruption(server):
    """As a shell has it: 128 and the number of the signal."""
    process = subprocess.Popen([STRONGROOM, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(60)) == (b"", 128 + signal.SIGPIPE)
    process.stderr.close()
    server.requests.clear()
    with server.fault(faults.hang()):
        process = subprocess.Popen([STRONGROOM, "list"], stderr=subprocess.PIPE)
        while not server.requests:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        with contextlib.closing(process.stderr):
            assert (process.stderr.read().strip(), process.wait(60)) == (b"", 128 + signal.SIGINT)


def test_every_code_of_the_table_is_one_of_these(request):
    """One that is added is shown here."""
    shown = {8, 11, 128 + signal.SIGPIPE, 128 + signal.SIGINT}  # 11: tests/unit/cli/read/test_on_change.py
    for function in (test_a_code, test_what_the_server_answers_decides_on_the_code):
        marks = (mark for mark in function.pytestmark if mark.name == "parametrize" and "code" in mark.args[0])
        rows = (row for mark in marks for row in mark.args[1])
        shown |= {getattr(row, "values", row)[0] for row in rows}  # a row with a mark is a `ParameterSet`
    assert {int(code) for code in ExitCode} <= shown
