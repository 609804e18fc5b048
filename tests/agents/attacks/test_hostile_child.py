"""A hostile worker under the user of the proxy: other processes, files, and the proxy itself.

Root may trace every process. So, as root, the proxy and its worker run as another user, which keeps the right to read
files: the interpreter may be in root's folder.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.agents.workers import VALUE, Operator, rule

HOSTILE = str(Path(__file__).parents[2] / "support/agents/hostile.py")
NOBODY = 65534
READ = "+dac_read_search"

NOT_ROOT: tuple[str, ...] = ()
if os.geteuid() == 0:
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    NOT_ROOT = ("setpriv", *ids, f"--inh-caps={READ}", f"--ambient-caps={READ}")

needs_setpriv = pytest.mark.skipif(
    bool(NOT_ROOT) and shutil.which("setpriv") is None, reason="setpriv is not installed"
)


@pytest.fixture(scope="module")
def operator(served, upstream_file):
    """Starts `strongroom agent` in a folder that another user may read."""
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder)
        shared.chmod(0o755)
        roots = shared / "upstreams.pem"
        roots.write_bytes(upstream_file.read_bytes())
        made = Operator(shared, roots)
        made.write_rules(rule([f"localhost:{served.port}"]))
        for file in (roots, made.config):
            file.chmod(0o644)
        yield made


@pytest.fixture
def value():
    """A value that no other test has, since all processes are searched for it."""
    return f"sk-proj-{secrets.token_hex(20)}"


@pytest.fixture
def look(operator, value):
    """Runs a hostile worker, and returns its findings."""

    def run(*options, prefix=NOT_ROOT, victim=0):
        command = [*prefix, *operator.command("run", *options, "--", sys.executable, HOSTILE, str(victim))]
        environ = operator.environ | {"OPENAI_API_KEY": value}
        folders = [str(operator.folder), "/dev/shm"]
        wrapped = ["sh", "-c", 'exec "$@" "$(dirname "$SSL_CERT_FILE")"', "sh", *command[-3:], *folders]
        done = subprocess.run(
            [*command[:-3], *wrapped], env=environ, cwd=operator.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert value not in done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


@needs_setpriv
def test_neither_processes_nor_files_show_the_value_or_a_key(look, value):
    found = look()
    assert "strongroom" in found["victim"]
    assert found["placeholder"] in found["processes"]  # its own environment: the search finds what is there
    assert value not in found["processes"]
    assert "BEGIN CERTIFICATE" in found["files"]
    assert value not in found["files"]
    assert "PRIVATE KEY" not in found["files"]
    assert found["descriptors"] == []


@needs_setpriv
def test_the_proxy_cannot_be_read_or_traced_by_the_same_user(look):
    assert look()["ways"] == []


@needs_setpriv
def test_the_search_finds_a_process_that_is_not_protected(look):
    with subprocess.Popen([*NOT_ROOT, "sleep", "60"]) as sleeping:
        found = look(victim=sleeping.pid)
        sleeping.kill()
    assert {f"/proc/{sleeping.pid}/environ", f"/proc/{sleeping.pid}/mem", "attach", "process_vm_readv"} <= {
        *found["ways"]
    }


def test_the_sandbox_cannot_read_or_trace_the_proxy(look, value):
    found = look("--sandbox", prefix=())
    assert found["ways"] == []
    assert found["interfaces"] == ["lo"]
    assert found["descriptors"] == []
    assert value not in found["processes"] + found["files"]


@needs_setpriv
def test_a_crash_of_the_proxy_leaves_no_core(operator, value):
    program = "ulimit -c unlimited; kill -ABRT $PPID; sleep 1"
    command = [*NOT_ROOT, *operator.command("run", "--", "sh", "-c", program)]
    folder = operator.folder / "crashed"
    folder.mkdir()
    folder.chmod(0o777)
    limited = ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *command]
    environ = operator.environ | {"OPENAI_API_KEY": value}
    done = subprocess.run(limited, env=environ, cwd=folder, capture_output=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert list(folder.iterdir()) == []


def test_the_proxy_has_no_page_of_administration(agent_run, upstream):
    """mitmproxy answers requests to the host `mitm.it` itself, and has a web interface; neither is loaded."""
    program = "import urllib.request as u; print(u.urlopen('http://mitm.it/').status)"
    done = agent_run(sys.executable, "-c", program)
    assert done.returncode == 1
    assert "mitmproxy" not in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize("sandboxed", [False, True])
def test_without_the_proxy_nothing_is_sent(operator, upstream, sandboxed):
    """The worker kills the proxy, and tries again: through it, and in the sandbox also past it."""
    program = f"""
import os, signal, ssl, time, urllib.request
def ask(opener):
    request = urllib.request.Request("{upstream.origin}/", headers={{"X-Api-Key": os.environ["OPENAI_API_KEY"]}})
    try:
        return opener.open(request, timeout=20).status
    except OSError as error:
        return type(error).__name__
proxied, direct = urllib.request.build_opener(), urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
print(ask(proxied), flush=True)
os.kill({"int(open('/proc/self/stat').read().split()[3])"}, signal.SIGKILL)
print(ask(proxied), *([ask(direct)] if {sandboxed} else []), flush=True)
"""
    options = ["--sandbox"] if sandboxed else []
    command = operator.command("run", *options, "--", sys.executable, "-c", program)
    with subprocess.Popen(
        command, env=operator.environ, cwd=operator.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, told = process.communicate()  # until the worker closes its side, too
    assert process.returncode == -signal.SIGKILL, told
    assert out.split() == ["200", "URLError", *(["URLError"] if sandboxed else [])], told
    assert [request.header("x-api-key") for request in upstream.requests] == [VALUE]
