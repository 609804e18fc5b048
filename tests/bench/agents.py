"""Measure the proxy of `strongroom agent` beside mitmproxy alone and no proxy, and write a table for the documentation.

    PYTHONPATH=tests python -m bench.agents FILE [--once]

With `--once`, each row is measured once, with small numbers: that checks the benchmark, and says nothing about time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPSConnection
from importlib.metadata import version
from pathlib import Path
from statistics import median

import trustme

from bench.measuring import ROUNDS, computer, rounds, timed
from support.agents.upstream import Answer, Upstream
from support.agents.workers import Operator, rule

DIRECT, BARE, OURS = "no proxy", "mitmproxy alone", "`strongroom agent`"
CLIENTS = 8
LARGE = 100_000_000
_PART = bytes(50_000)

Row = tuple[str, str, dict[str, list[float]]]
"""The name of a measurement, the format of its numbers, and the numbers of each contender."""


def upstream(folder: Path, port) -> None:
    """Serve 1 KB, or 100 MB, in a process that has none of the clients' work."""

    def answer(request):
        if request.target == "/":
            return Answer(headers=[("content-type", "text/plain")], body=b"a line of 32 characters in bytes" * 32)
        return Answer(headers=[("content-length", str(LARGE))], body=(_PART for _ in range(LARGE // len(_PART))))

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "upstream.pem"))
    with Upstream(authority, "localhost", protocols=["http/1.1"]) as server:
        server.answer = answer
        port.send(server.port)
        port.poll(None)


class Contender:
    """A way to the upstream: through a proxy with this process ID, or through none."""

    def __init__(self, port: int, authority, key="sk-none", proxy: tuple[str, int] | None = None, pid: int = 0) -> None:
        self._port, self._proxy, self._pid = port, proxy, pid
        self._headers = {"authorization": f"Bearer {key}"}
        self._context = ssl.create_default_context(cafile=authority)
        self._context.set_alpn_protocols(["http/1.1"])

    def connection(self) -> HTTPSConnection:
        made = HTTPSConnection(*(self._proxy or ("localhost", self._port)), context=self._context)
        if self._proxy:
            made.set_tunnel("localhost", self._port)
        return made

    def peak(self) -> float:
        """Return the peak of the memory of the proxy, in MiB."""
        status = Path(f"/proc/{self._pid}/status").read_text() if self._pid else "VmHWM: 0 kB"
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def get(self, connection: HTTPSConnection, path="/") -> int:
        """Send a request, and return the length of the answer."""
        connection.request("GET", path, headers=self._headers)
        answer, length, buffer = connection.getresponse(), 0, bytearray(1 << 18)
        while received := answer.readinto(buffer):
            length += received
        assert answer.status == 200
        return length

    # The kinds of clients. Each is a context manager of what sends a request and reads its answer.

    @contextlib.contextmanager
    def one_connection(self) -> Iterator[Callable[[], object]]:
        with contextlib.closing(self.connection()) as connection:
            yield partial(self.get, connection)

    @contextlib.contextmanager
    def new_connection(self) -> Iterator[Callable[[], object]]:
        def ask() -> None:
            with contextlib.closing(self.connection()) as connection:
                self.get(connection)

        yield ask


def milliseconds(client, count: int) -> float:
    """Return the median of the milliseconds that a request takes."""
    with client() as ask:
        ask()
        return median(timed(ask)() for _ in range(count)) * 1000


def per_second(client, count: int) -> float:
    """Return the requests in a second of clients at once."""

    def work(_) -> None:
        with client() as ask:
            for _ in range(count):
                ask()

    with ThreadPoolExecutor(CLIENTS) as threads:
        return CLIENTS * count / timed(lambda: list(threads.map(work, range(CLIENTS))))()


def large(contender: Contender) -> float:
    """Return the MB in a second of a streamed answer."""
    with contextlib.closing(contender.connection()) as connection:
        began = time.perf_counter()
        assert contender.get(connection, "/large") == LARGE
        return LARGE / 1e6 / (time.perf_counter() - began)


@contextlib.contextmanager
def mitmdump(folder: Path, port: int) -> Iterator[Contender]:
    """Start mitmproxy with the options of our proxy, without an addon."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    options = {
        "listen_host": address[0],
        "listen_port": address[1],
        "confdir": folder / "mitmproxy",
        "ssl_verify_upstream_trusted_ca": folder / "upstream.pem",
        "connection_strategy": "eager",
        "rawtcp": "false",
        "store_streamed_bodies": "false",
        "stream_large_bodies": "1",
        "upstream_cert": "false",
    }
    arguments = (text for name, value in options.items() for text in ("--set", f"{name}={value}"))
    process = subprocess.Popen([str(Path(sys.executable).with_name("mitmdump")), "-q", *arguments])
    try:
        while True:  # it says nothing when it listens
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address):
                break
            assert process.poll() is None
            time.sleep(0.05)
        yield Contender(port, folder / "mitmproxy" / "mitmproxy-ca-cert.pem", proxy=address, pid=process.pid)
    finally:
        process.terminate()
        process.wait()


def peaks(contenders: dict[str, Contender], connections: int) -> dict[str, list[float]]:
    """Return the peaks of the memory with open connections that have been used."""
    with contextlib.ExitStack() as stack:
        for contender in contenders.values():
            for _ in range(connections):
                stack.enter_context(contender.one_connection())()
        return {name: [contender.peak()] for name, contender in contenders.items()}


def measure(folder: Path, port: int, *, once: bool) -> Iterator[Row]:
    number, share = (1, 20) if once else (ROUNDS, 1)
    operator = Operator(folder, folder / "upstream.pem")
    operator.write_rules(rule([f"localhost:{port}"]))
    with mitmdump(folder, port) as bare, operator.worker() as door:
        ours = Contender(port, door.environ["SSL_CERT_FILE"], door.placeholder, door.address, door.process.pid)
        contenders = {DIRECT: Contender(port, folder / "upstream.pem"), BARE: bare, OURS: ours}
        memory = {f"connection{'s' * (n > 1)}": (n, peaks(contenders, n)) for n in (1, 200 // share)}
        kinds = {
            "one connection": ("one_connection", 200),
            "a new connection for each": ("new_connection", 40),
        }
        for what, (kind, count) in kinds.items():
            clients = {name: getattr(contender, kind) for name, contender in contenders.items()}
            turns = {name: partial(milliseconds, client, count // share) for name, client in clients.items()}
            yield f"A request, {what}", "{:.2f} ms", rounds(turns, number)
            turns = {name: partial(per_second, client, count // 4 // share or 1) for name, client in clients.items()}
            yield f"Requests of {CLIENTS} clients in a second, {what}", "{:.0f}", rounds(turns, number)
        turns = {name: partial(large, contender) for name, contender in contenders.items()}
        yield "An answer of 100 MB", "{:.0f} MB/s", rounds(turns, number)
        for what, (connections, found) in memory.items():
            yield f"Peak of the memory, {connections} {what}", "{:.0f} MiB", found

    curl = ("sh", "-c", f'curl -sf -o /dev/null -H "authorization: Bearer $OPENAI_API_KEY" https://localhost:{port}/')
    runs = {DIRECT: partial(subprocess.run, curl, env=operator.environ), OURS: partial(operator.run, *curl)}
    turns = {name: timed(lambda run=run: run().check_returncode()) for name, run in runs.items()}
    yield "From the start of a command to the end of its `curl`", "{:.2f} s", rounds(turns, number)


def page(rows: list[Row], load: float) -> str:
    """Return the table."""
    here, names = computer(), (DIRECT, BARE, OURS)
    machine = f"{here['processor']}, {here['cores']} cores, {here['system']}; Python {here['python']}"
    lines = [
        f"{machine}, mitmproxy {version('mitmproxy')}. Medians of {ROUNDS} rounds, in which the three took turns;",
        f"in parentheses, the time that a proxy adds. The load average was at most {load:.1f}.",
        "",
        f"| | {' | '.join(names)} |",
        "| --- | --- | --- | --- |",
    ]
    for what, form, taken in rows:
        cells = {name: form.format(median(taken[name])) if any(taken.get(name, ())) else "–" for name in names}
        for name in set(taken) - {DIRECT} if form.endswith("s") and "/" not in form else ():
            added = median(theirs - direct for theirs, direct in zip(taken[name], taken[DIRECT], strict=True))
            cells[name] += f" (+{form.format(added)})"
        lines.append(f"| {what} | {' | '.join(cells.values())} |")
    return "\n".join(lines) + "\n"


def main(file: Path, *, once: bool) -> None:
    """Measure, and write the table into a file."""
    processes, rows, load = multiprocessing.get_context("fork"), [], os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        port, other = processes.Pipe()
        server = processes.Process(target=upstream, args=(Path(folder), other))
        server.start()
        try:
            for row in measure(Path(folder), port.recv(), once=once):
                load = max(load, os.getloadavg()[0])
                rows.append(row)
                print(page(rows[-1:], load).splitlines()[-1], flush=True)  # noqa: T201
        finally:
            server.terminate()
            server.join()
    file.write_text(page(rows, load), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), once="--once" in sys.argv)
