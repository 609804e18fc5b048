"""Reads from a server: one, a few and a thousand, beside a raw socket, libcurl, hvac and other tools."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, chdir, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import hvac
import pycurl
import trustme

from bench.measuring import Bench, Turn, timed
from strongroom import SecretsManager
from strongroom_vault.testing import TestVault
from support.vault.tls_vault import TLSVault

PATH = "database/connection"
DATA = {"url": "postgresql://app:secret@db.internal:5432/app", "host": "db.internal", "port": 5432}
FOLDER = "secretspec/bench/default"  # where secretspec looks
LINKS = 32


class RawSockets:
    """The floor: requests on open sockets, and JSON. A socket sends its next request when its reply is read."""

    def __init__(self, server: TestVault, count: int) -> None:
        address = server.url.removeprefix("http://")
        host, port = address.split(":")
        self._end = f" HTTP/1.1\r\nHost: {address}\r\nX-Vault-Token: {server.token}\r\n\r\n".encode()
        self._sockets = [socket.create_connection((host, int(port))) for _ in range(count)]

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def read(self, paths: list[str]) -> list[Any]:
        """Return the data of each path."""
        links, replies = len(self._sockets), []
        for number, path in enumerate(paths[:links]):
            self._send(number, path)
        for number in range(len(paths)):
            replies.append(self._receive(self._sockets[number % links]))
            if number + links < len(paths):
                self._send(number % links, paths[number + links])
        return replies

    def _send(self, number: int, path: str) -> None:
        self._sockets[number].sendall(b"GET /v1/secret/data/" + path.encode() + self._end)

    @staticmethod
    def _receive(link: socket.socket) -> Any:
        reply = link.recv(65536)
        head, _, body = reply.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += link.recv(65536)
        return json.loads(body)["data"]["data"]


@contextmanager
def libcurl(server: TestVault) -> Iterator[Callable[[], Any]]:
    """One handle of libcurl, the same request, and its JSON."""
    parts: list[bytes] = []
    with closing(pycurl.Curl()) as easy:
        easy.setopt(pycurl.URL, f"{server.url}/v1/secret/data/{PATH}")
        easy.setopt(pycurl.HTTPHEADER, [f"X-Vault-Token: {server.token}"])
        easy.setopt(pycurl.WRITEFUNCTION, parts.append)

        def read() -> Any:
            parts.clear()
            easy.perform()
            return json.loads(b"".join(parts))["data"]["data"]

        yield read


def by_hvac(server: TestVault, **options: Any) -> Callable[[str], Any]:
    """Read as its documentation does."""
    read = hvac.Client(url=server.url, token=server.token, **options).secrets.kv.v2.read_secret_version
    return lambda path: read(path=path, raise_on_deleted_version=True)["data"]["data"]


def on_eight_threads(read: Callable[[str], Any], paths: Iterable[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, paths))


def manager(server: TestVault, *, disk: bool = False, ttl: float | None = None) -> SecretsManager:
    address = {"vault_url": server.url, "vault_token": server.token}
    return SecretsManager(**address, cache_ttl=ttl, enable_fallback=False, disk_cache=disk)


def cold(bench: Bench) -> None:
    """One secret, past the cache."""
    bench.vault.put(PATH, DATA)
    count = 3 if bench.once else 300
    with ExitStack() as stack:
        raw = stack.enter_context(closing(RawSockets(bench.vault, 1)))
        without, cached = (stack.enter_context(manager(bench.vault, ttl=ttl)) for ttl in (0, None))
        read_by_hvac, read_by_curl = by_hvac(bench.vault), stack.enter_context(libcurl(bench.vault))
        actions = {
            "raw socket": lambda: raw.read([PATH]),
            "pycurl": read_by_curl,
            "strongroom, ttl 0": lambda: without.get_secret(PATH, fresh=True),
            "strongroom": lambda: cached.get_secret(PATH, fresh=True),
            "hvac": lambda: read_by_hvac(PATH),
        }
        assert all(action() in (DATA, [DATA]) for action in actions.values())
        bench.pairs("cold", {name: timed(action, count) for name, action in actions.items()}, count=count)


def fill(server: TestVault, count: int) -> list[str]:
    """Write small secrets, and return their paths."""
    paths = [f"{FOLDER}/S{number}" for number in range(count)]
    for path in paths:
        server.put(path, {"value": "postgresql://app:secret@db.internal:5432/app"})
    return paths


def bulk(bench: Bench) -> None:
    """A thousand secrets, and a batch of twenty."""
    paths = fill(bench.vault, 20 if bench.once else 1000)
    one_by_one = by_hvac(bench.vault)
    with manager(bench.vault, ttl=0) as ours, closing(RawSockets(bench.vault, LINKS)) as raw:
        turns: dict[str, Turn] = {
            "raw sockets": timed(lambda: raw.read(paths)),
            "strongroom": timed(lambda: ours.get_secrets(paths, strict=True)),
            "hvac on eight threads": timed(lambda: on_eight_threads(one_by_one, paths)),
            "secretspec": secretspec(bench, paths),
        }
        if wrk := find_wrk(bench, paths):
            turns["wrk"] = wrk
        bench.pairs("thousand", turns, count=len(paths))
        some, times = paths[:20], 1 if bench.once else 11
        several = {
            "raw sockets": lambda: raw.read(some),
            "get_secrets": lambda: ours.get_secrets(some, strict=True),
            "get_secret in a loop": lambda: [ours.get_secret(path) for path in some],
            "hvac in a loop": lambda: [one_by_one(path) for path in some],
        }
        bench.pairs("twenty", {name: timed(action, times) for name, action in several.items()}, count=times)


def secretspec(bench: Bench, paths: list[str]) -> Turn:
    """A batch of its library, which has a core in Rust: everything that a profile needs."""
    from secretspec import SecretSpec

    folder = bench.new_folder()
    write_secretspec(folder, [path.rpartition("/")[2] for path in paths])
    provider = f"openbao://{bench.vault.url.removeprefix('http://')}/secret?tls=false"

    def read() -> None:
        variables = {"BAO_TOKEN": bench.vault.token, "XDG_STATE_HOME": str(folder)}  # it keeps an audit log there
        with chdir(folder), mock.patch.dict(os.environ, variables):
            assert len(SecretSpec.builder().with_provider(provider).load().secrets) == len(paths)

    return timed(read)


def write_secretspec(folder: Path, names: Iterable[str]) -> None:
    rows = "\n".join(f'{name} = {{ description = "x", required = true }}' for name in names)
    text = f'[project]\nname = "bench"\nrevision = "1.0"\n\n[profiles.default]\n{rows}\n'
    Path(folder, "secretspec.toml").write_text(text, "utf-8")


def find_wrk(bench: Bench, paths: list[str]) -> Turn | None:
    """A load generator in C, if it is installed. It has a duration and reports a rate, from which the time follows."""
    program = shutil.which("wrk")
    if program is None:
        bench.results["skipped"]["wrk"] = "not on PATH"
        return None
    script = bench.new_folder() / "thousand.lua"
    urls = "\n".join(
        f'requests[{number}] = wrk.format("GET", "/v1/secret/data/{path}")' for number, path in enumerate(paths)
    )
    script.write_text(f"""
        local requests, number = {{}}, -1
        function init()
          {urls}
        end
        function request()
          number = (number + 1) % {len(paths)}
          return requests[number]
        end
    """)
    header = f"X-Vault-Token: {bench.vault.token}"
    command = [program, "-t1", "-c16", "-d1s", "-s", str(script), "-H", header, bench.vault.url]

    def read() -> float:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in output
        (rate,) = (float(line.split()[1]) for line in output.splitlines() if line.startswith("Requests/sec"))
        return len(paths) / rate

    return read


def tls(bench: Bench) -> None:
    """The same thousand with TLS, with HTTP/2 on one connection and with HTTP/1.1 on many, beside plain HTTP."""
    folder, authority = bench.new_folder(), trustme.CA()
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    server = bench.serve(TLSVault(folder, authority))
    paths = fill(server, 20 if bench.once else 1000)
    client = hvac.Client(url=server.tls_url, token=server.token, verify=str(file)).secrets.kv.v2

    def by_hvac_with_tls(path: str) -> Any:
        return client.read_secret_version(path=path, raise_on_deleted_version=True)["data"]["data"]

    def open_warm(url: str) -> SecretsManager:
        ours = SecretsManager(vault_url=url, vault_token=server.token, cache_ttl=0, enable_fallback=False)
        ours.get_secrets(paths, strict=True)  # opens its connections while the settings below hold
        return stack.enter_context(ours)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {"VAULT_CACERT": str(file)}))
        plain, http2 = open_warm(server.url), open_warm(server.tls_url)
        with mock.patch.object(pycurl, "CURL_HTTP_VERSION_2TLS", pycurl.CURL_HTTP_VERSION_1_1):
            http1 = open_warm(server.tls_url)
        turns = {
            "strongroom, plain HTTP": timed(lambda: plain.get_secrets(paths, strict=True)),
            "strongroom, HTTP/2": timed(lambda: http2.get_secrets(paths, strict=True)),
            "strongroom, HTTP/1.1": timed(lambda: http1.get_secrets(paths, strict=True)),
            "hvac on eight threads": timed(lambda: on_eight_threads(by_hvac_with_tls, paths)),
        }
        bench.pairs("tls", turns, count=len(paths))


def disk(bench: Bench) -> None:
    """300 secrets with the cache on disk. Each turn has a new manager, as a process that starts has."""
    paths = fill(bench.vault, 10 if bench.once else 300)
    folder = bench.new_folder() / "cache"

    def read(*, disk: bool) -> None:
        with manager(bench.vault, disk=disk) as ours:
            assert len(ours.get_secrets(paths, strict=True)) == len(paths)

    with mock.patch.dict(os.environ, {"STRONGROOM_CACHE_FOLDER": str(folder)}):
        turns = {
            "no disk cache": timed(lambda: read(disk=False)),
            "disk cache, cold": timed(
                lambda: read(disk=True), prepare=lambda: shutil.rmtree(folder, ignore_errors=True)
            ),
            "disk cache, warm": timed(lambda: read(disk=True), prepare=lambda: read(disk=True)),
        }
        bench.pairs("disk", turns, count=1)
