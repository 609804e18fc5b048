"""The reach of a command in the sandbox."""

import os
import socket
import subprocess
import sys

import pytest

from strongroom.agents._proxy.sandbox import PROXY, Sandbox

pytestmark = pytest.mark.skipif(not hasattr(os, "unshare"), reason="Python 3.12 or later on Linux is needed")

COMMON = "import fcntl, os, socket, sys\n"


def run(program, serve=None):
    """Run a program in a sandbox and return its output; `serve` gets the connection that it makes to the proxy."""
    sandbox = Sandbox()
    command = sandbox.wrap((sys.executable, "-c", COMMON + program))
    process = subprocess.Popen(command, close_fds=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    listeners = sandbox.listeners()
    if not listeners:
        _, told = process.communicate()
        assert told.startswith("The sandbox cannot be made"), told
        pytest.skip(told.strip())
    with listeners[0] as listener:
        if serve is not None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)
        output, told = process.communicate()
    assert process.returncode == 0, told
    return output


def test_it_starts_with_a_package_that_only_pythonpath_provides(monkeypatch):
    """As one of `pip install --user` does: an isolated interpreter finds neither."""
    monkeypatch.setattr("sys.executable", sys._base_executable)
    assert run("print('started')") == "started\n"


def test_it_reaches_the_proxy():
    program = f"c = socket.create_connection({PROXY!r}); c.sendall(b'hello'); print(c.recv(9))"
    assert run(program, lambda connection: connection.sendall(connection.recv(9).upper())) == "b'HELLO'\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "1.1.1.1"])
def test_it_reaches_nothing_else(address):
    """A server on the loopback interface outside is not on that inside, and no other interface is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
try:
    socket.create_connection(({address!r}, {port}), 5)
    print("connected")
except OSError:
    print("refused")
"""
        assert run(program) == "refused\n"


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_VSOCK", "AF_PACKET", "AF_ALG"])
def test_it_makes_no_socket_that_leads_out_in_another_way(family):
    kind = "SOCK_RAW" if family == "AF_PACKET" else "SOCK_SEQPACKET" if family == "AF_ALG" else "SOCK_STREAM"
    program = f"""
try:
    socket.socket(socket.{family}, socket.{kind})
    print("made")
except OSError as error:
    print(error.errno)
"""
    assert run(program) == "97\n"


def test_it_may_talk_to_its_own_children():
    assert run("a, b = socket.socketpair(); a.sendall(b'x'); print(b.recv(1))") == "b'x'\n"


def test_it_types_nothing_into_its_terminal():
    program = """
try:
    fcntl.ioctl(0, 0x5412, b"x")
except OSError as error:
    print(error.errno)
"""
    assert run(program) == "1\n"


def test_it_reads_no_environment_of_a_process_outside():
    program = f"""
try:
    open("/proc/{os.getpid()}/environ", "rb").read()
    print("read")
except PermissionError:
    print("refused")
"""
    assert run(program) == "refused\n"


def test_its_namespace_does_not_open_those_outside():
    program = f"""
try:
    os.open("/proc/{os.getpid()}/ns/net", os.O_RDONLY)
    print("opened")
except PermissionError:
    print("refused")
"""
    assert run(program) == "refused\n"


def test_it_keeps_its_user_and_its_exit_code():
    assert run("print(os.getuid(), os.getgid())") == f"{os.getuid()} {os.getgid()}\n"


def test_a_command_that_is_not_there_has_the_code_of_a_shell():
    sandbox = Sandbox()
    process = subprocess.Popen(sandbox.wrap(("no-such-command",)), close_fds=False, stderr=subprocess.PIPE, text=True)
    if listeners := sandbox.listeners():
        listeners[0].close()
        _, told = process.communicate()
        assert (process.returncode, told) == (127, "Command not found: no-such-command\n")
    else:
        pytest.skip(process.communicate()[1].strip())
