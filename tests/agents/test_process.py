"""The processes of `agent run`: signals, a proxy that is killed, and what another process may read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from support.agents.workers import VALUE, rule

_WAIT = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
print("got", int(signal.sigwait({signal.SIGTERM})), flush=True)
sys.exit(9)
"""


def test_signal_is_forwarded_and_the_exit_code_is_that_of_the_command(operator):
    command = operator.command("run", "--", sys.executable, "-c", _WAIT)
    with subprocess.Popen(command, env=operator.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == f"got {signal.SIGTERM:d}\n"
        assert process.wait(30) == 9


def test_requests_fail_once_the_proxy_is_killed(operator, upstream):
    with operator.worker() as door, httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as client:
        assert client.get(upstream.origin).status_code == 200
        door.process.kill()
        door.process.wait(30)
        with pytest.raises(httpx.TransportError):
            client.get(upstream.origin)
    assert len(upstream.requests) == 1


def test_files_of_the_session_are_removed_and_have_no_key(operator):
    with operator.worker() as door:
        folder = Path(door.environ["SSL_CERT_FILE"]).parent
        assert folder.parent == Path(tempfile.gettempdir())
        for file in folder.iterdir():
            assert b"PRIVATE KEY" not in file.read_bytes()
            assert VALUE.encode() not in file.read_bytes()
    assert not folder.exists()


def test_nothing_is_written_to_the_home_of_the_operator(operator, upstream, tmp_path):
    with (
        operator.worker(environ={"HOME": str(tmp_path)}) as door,
        httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as client,
    ):
        client.get(upstream.origin, headers={"authorization": door.placeholder})
    assert not (tmp_path / ".mitmproxy").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every process")
def test_another_process_of_the_user_cannot_read_the_environment_of_the_proxy(operator):
    with operator.worker() as door, pytest.raises(PermissionError):
        Path(f"/proc/{door.process.pid}/environ").read_bytes()


def test_use_is_recorded_in_the_audit_log(operator_of, upstream, tmp_path):
    operator = operator_of(f'[audit]\nfile = "{tmp_path / "audit.log"}"\n' + rule([f"localhost:{upstream.port}"]))
    with operator.worker() as door, httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as client:
        client.get(f"{upstream.origin}/v1?q=1", headers={"authorization": door.placeholder})
    written = (tmp_path / "audit.log").read_text()
    assert '"/v1"' in written
    assert VALUE not in written
    assert "q=1" not in written


def test_worker_does_not_wait_for_a_proxy_that_cannot_start(operator, tmp_path):
    broken = tmp_path / "mitmproxy"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError")
    environ = {"PYTHONPATH": str(tmp_path)}
    with operator.worker(environ=environ) as door, pytest.raises(httpx.TransportError):
        httpx.get("https://localhost", proxy=door.url, verify=door.tls, timeout=60)
    assert "Unexpected failure in the background: ImportError" in door.err
