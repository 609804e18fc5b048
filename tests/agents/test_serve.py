"""`strongroom agent serve`: the proxy on a Unix socket, for a worker in a container."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess

import pytest

from strongroom_vault.dev.server import free_port
from support.agents.workers import VALUE, read_all, read_answer


@pytest.fixture
def serve(operator, socket_folder):
    """Start `agent serve`, and return the socket's file, the worker's variables and the process."""
    file, running = socket_folder / "proxy.sock", []

    def start(*options):
        command = operator.command("serve", "--socket", file, *options)
        process = subprocess.Popen(command, env=operator.environ, stderr=subprocess.PIPE, text=True)
        running.append(process)
        said = process.stderr.readline()
        assert "Serving on" in said, said
        lines = (socket_folder / "worker.env").read_text().splitlines()
        return file, dict(line.split("=", 1) for line in lines), process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def ask(connection, upstream, variables):
    target = f"localhost:{upstream.port}"
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    assert b" 200 " in read_answer(connection)
    context = ssl.create_default_context(cafile=variables["SSL_CERT_FILE"])
    with context.wrap_socket(connection, server_hostname="localhost") as secured:
        authorization = f"Authorization: Bearer {variables['OPENAI_API_KEY']}\r\n"
        secured.sendall(f"GET /x HTTP/1.1\r\nHost: {target}\r\n{authorization}Connection: close\r\n\r\n".encode())
        return read_all(secured)


def test_worker_uses_a_secret_through_the_socket(serve, upstream):
    file, variables, process = serve()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(file))
        answer = ask(connection, upstream, variables)
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    assert VALUE.encode() not in answer
    assert variables["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not file.exists()


def test_worker_reaches_an_address_that_listen_names(serve, upstream):
    port = free_port()
    _, variables, _ = serve("--listen", f"127.0.0.1:{port}")
    assert variables["HTTPS_PROXY"] == f"http://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        ask(connection, upstream, variables)
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::1]", "127.0.0.1"])
def test_operator_is_told_that_others_may_reach_the_proxy(serve, upstream, host):
    listen = f"{host}:{free_port()}"
    _, variables, process = serve("--listen", listen)
    assert variables["HTTPS_PROXY"] == f"http://{listen}"
    process.send_signal(signal.SIGTERM)
    warning = f"strongroom: Anybody who reaches {listen} may connect through the proxy to the hosts that it allows. "
    expected = f"{warning}A key needs its placeholder from worker.env\n" if host in {"0.0.0.0", "[::]"} else ""
    assert (process.stderr.read(), process.wait(30)) == (expected, 0)


def test_environment_of_the_worker_has_nothing_of_the_operator(serve):
    _, variables, _ = serve()
    assert "PATH" not in variables
    assert VALUE not in str(variables)


@pytest.mark.parametrize(
    ("mode", "link", "reason"),
    [
        (0o755, "", "closed to others"),
        (0o700, "worker.env", "worker.env: it is a symbolic link"),
        (0o700, "bundle.pem", "bundle.pem: it is a symbolic link"),
    ],
)
def test_nothing_is_served_or_written_through_a_folder_that_others_changed(operator, tmp_path, mode, link, reason):
    (folder := tmp_path / "worker").mkdir()
    folder.chmod(mode)
    (target := tmp_path / "profile").write_text("mine")
    target.chmod(0o600)
    if link:
        (folder / link).symlink_to(target)
    command = operator.command("serve", "--socket", folder / "proxy.sock")
    done = subprocess.run(command, env=operator.environ, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, reason in done.stderr) == (7, True), done.stderr
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("mine", 0o600)
    assert not (folder / "proxy.sock").exists()


def test_socket_that_is_served_is_not_replaced(serve, operator):
    file, _, _ = serve()
    second = subprocess.run(
        operator.command("serve", "--socket", file), env=operator.environ, check=False, capture_output=True, text=True
    )
    assert (second.returncode, "in use" in second.stderr.lower()) == (7, True), second.stderr
