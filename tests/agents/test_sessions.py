"""Sessions with a real proxy: their logs, their ends, and rules that change."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys

import pexpect
import pytest

from support.agents.upstream import Answer
from support.agents.workers import VALUE, read_all, read_answer, rule
from support.programs import require


def get(url, *more):
    return f'curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" {url} {" ".join(more)};'


def logged(operator, *options):
    done = subprocess.run(
        operator.command("log", *options), env=operator.environ, check=True, capture_output=True, text=True
    )
    assert VALUE not in done.stdout
    return done.stdout.splitlines()


def test_the_operator_sees_uses_refusals_and_destinations(operator_of, upstream):
    require("curl")
    operator = operator_of(rule([f"localhost:{upstream.port}"], methods=["GET"]))
    script = get(f"{upstream.origin}/v1?q=1") + get(f"{upstream.origin}/v1", "-X", "DELETE") + "exit 7"
    done = operator.run("sh", "-c", script)
    assert done.returncode == 7
    host = f"localhost:{upstream.port}"
    _, *lines = logged(operator)
    assert [line.partition("  ")[2] for line in lines] == [
        f"connects to {host}",
        f"200  openai  GET {host}/v1",
        f"403  openai  DELETE {host}/v1: The rule openai allows GET, not DELETE",
    ]
    head, *others = map(json.loads, logged(operator, "--json"))
    assert (head["command"], head["rules"]) == ("sh", ["openai"])
    assert [fields["event"] for fields in others] == ["destination", "use", "refusal"]
    *_, uses, refusals = done.stderr.splitlines()
    assert uses == f"strongroom: Uses by rule: openai 1. Refusals: 1. See strongroom agent log {head['session']}"
    assert refusals == "strongroom: 1 refusal: The rule openai allows GET, not DELETE"


def test_a_request_that_is_refused_after_its_head_is_no_use(operator_of, upstream, tmp_path):
    require("curl")
    where = ["header:authorization", "body:token"]
    operator = operator_of(rule([f"localhost:{upstream.port}"], methods=["POST"], where=where))
    (tmp_path / "long").write_bytes(b"x" * (9 << 20))
    chunks = f'--http1.1 -H "Transfer-Encoding: chunked" --data-binary @{tmp_path}/long'
    done = operator.run("sh", "-c", get(upstream.origin, "-d", "_method=DELETE") + get(upstream.origin, chunks))
    assert upstream.requests == []
    found = [json.loads(line) for line in logged(operator, "--json")]
    assert [(fields["event"], fields.get("status")) for fields in found[2:]] == [("refusal", 403), ("refusal", 413)]
    assert {fields["rule"] for fields in found[2:]} == {"openai"}
    assert "Uses by rule: none. Refusals: 2." in done.stderr


def test_a_state_folder_that_cannot_be_used_does_not_stop_the_worker(operator, upstream):
    done = operator.run("sh", "-c", get(upstream.origin), environ={"XDG_STATE_HOME": "/dev/null"})
    assert (done.returncode, done.stderr.count("cannot be written")) == (0, 1), done.stderr
    assert "Uses by rule: openai 1." in done.stderr
    assert "strongroom agent log" not in done.stderr


@pytest.mark.parametrize("options", [[], ["--sandbox"]], ids=["without", "sandbox"])
def test_a_run_ends_at_its_time_as_timeout_ends_it(operator, options):
    done = operator.run(sys.executable, "-c", "import time; time.sleep(60)", options=["--for", "1s", *options])
    assert done.returncode == 124, done.stderr
    assert "strongroom: The session ended at 20" in done.stderr


def test_a_request_in_flight_is_cut_at_the_end(operator, upstream):
    """The worker ignores SIGTERM, and would read until SIGKILL."""
    require("curl")
    upstream.answer = lambda _: Answer(body=endless())
    script = f'trap "" TERM; {get(upstream.origin, "-o /dev/null")} echo "curl: $?"'
    done = operator.run("sh", "-c", script, options=["--for", "2s"])
    assert done.stdout.startswith("curl: "), done.stderr
    assert done.stdout != "curl: 0\n"


async def endless():
    while True:
        yield b"part"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("given", ["0s", "8d", "soon"])
def test_a_session_has_a_usual_length(operator, given):
    assert operator.run("true", options=["--for", given]).returncode == 2


def test_a_worker_that_replaces_its_folder_does_not_change_the_exit_code(operator):
    script = 'folder=$(dirname "$SSL_CERT_FILE"); rm -r "$folder"; ln -s /nowhere "$folder"; exit 3'
    done = operator.run("sh", "-c", script, options=["--quiet", "--sandbox"])
    assert (done.returncode, done.stderr) == (3, "")


def test_an_audit_log_that_cannot_be_written_is_told(operator_of, upstream, tmp_path):
    log = tmp_path / "audit.log"
    host = f"localhost:{upstream.port}"
    with operator_of(f'[audit]\nfile = "{log}"\n' + rule([host])).worker() as door:
        log.unlink()
        log.mkdir()
        head = f"GET /x HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {door.placeholder}\r\n"
        for _ in range(2):
            answer = door.raw(host, f"{head}Connection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert answer.endswith(b"The use of a secret cannot be recorded\n")
        door.ask("10.0.0.1:443")[0].close()
    assert upstream.requests == []
    assert door.err.count(f"The audit log {log} cannot be written: ") == 1, door.err
    assert "Refused 10.0.0.1" in door.err


def test_refusals_are_told_for_the_first_destinations_only(operator):
    """A worker makes up as many hosts as it likes."""
    with operator.worker() as door:
        for number in range(25):
            door.ask(f"10.0.0.{number}:443")[0].close()
    assert door.err.count("Refused 10.0.0.") == 20
    assert door.err.count("Refused more to the worker") == 1


def test_the_backlog_is_that_of_the_listener(door):
    require("ss")
    found = subprocess.run(["ss", "-Hltn", f"sport = :{door.address[1]}"], check=True, capture_output=True, text=True)
    assert found.stdout.split()[2] == "512"


# --- serve ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(operator_of, socket_folder):
    """Starts `agent serve` with these rules, and returns the operator and the process."""
    running = []

    def start(rules, *options):
        operator = operator_of(rules)
        command = operator.command("serve", "--socket", socket_folder / "proxy.sock", *options)
        running.append(subprocess.Popen(command, env=operator.environ, stderr=subprocess.PIPE, text=True))
        assert "Serving on" in running[-1].stderr.readline()
        return operator, running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def variables(folder):
    return dict(line.split("=", 1) for line in (folder / "worker.env").read_text().splitlines() if "=" in line)


def ask(folder, target, placeholder, bundle):
    host, _, _ = target.rpartition(":")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "proxy.sock"))
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert b" 200 " in read_answer(connection)
        with bundle.wrap_socket(connection, server_hostname=host) as secured:
            head = (
                f"GET /x HTTP/1.1\r\nHost: {target}\r\nAuthorization: Bearer {placeholder}\r\nConnection: close\r\n\r\n"
            )
            secured.sendall(head.encode())
            return read_all(secured)


def test_serve_ends_at_its_time(serve, socket_folder):
    _, process = serve(rule(["api.example.com"]), "--for", "1s")
    assert process.wait(30) == 0
    assert "strongroom: The session ended at 20" in process.stderr.read()
    assert not (socket_folder / "proxy.sock").exists()


def test_serve_takes_changed_rules_at_a_signal(serve, upstream, socket_folder):
    """Programs that run trust the old authority, and have the old placeholders: both go on working."""
    old, new = f"127.0.0.1:{upstream.port}", f"localhost:{upstream.port}"
    first = rule([old])
    operator, process = serve(first)
    before = variables(socket_folder)
    bundle = ssl.create_default_context(cafile=before["SSL_CERT_FILE"])

    def reload(rules):
        operator.write_rules(rules)
        process.send_signal(signal.SIGHUP)
        while "rules" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        return line

    assert reload(first + rule([new], "new", variable="NEW_KEY")) == "strongroom: The rules are now openai and new\n"
    after = variables(socket_folder)
    assert after.pop("NEW_KEY")
    assert after == before
    assert ask(socket_folder, old, before["OPENAI_API_KEY"], bundle).startswith(b"HTTP/1.1 200 ")
    renewed = ssl.create_default_context(cafile=after["SSL_CERT_FILE"])
    assert ask(socket_folder, new, variables(socket_folder)["NEW_KEY"], renewed).startswith(b"HTTP/1.1 200 ")
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {VALUE}"] * 2

    faulty = reload(first.replace("hosts", "host"))
    assert faulty.startswith("strongroom: The rules stay as they were: ")
    assert "host" in faulty
    assert ask(socket_folder, old, before["OPENAI_API_KEY"], renewed).startswith(b"HTTP/1.1 200 ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    told = process.stderr.read() + "".join(logged(operator))
    assert f"connects to {new}" in told


def test_serve_ends_with_its_terminal(operator, socket_folder):
    """SIGHUP means the end of the terminal too."""
    program, *arguments = operator.command("serve", "--socket", socket_folder / "proxy.sock")
    child = pexpect.spawn(program, arguments, env=operator.environ, timeout=60)
    child.expect("Serving on")
    child.ptyproc.fileobj.close()
    assert child.ptyproc.wait() == 130
