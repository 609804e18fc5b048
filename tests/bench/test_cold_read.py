"""One read that no cache answers, beside the client that everybody starts with, and beside libcurl alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import hvac
import pycurl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom import SecretsManager
from strongroom_vault.testing import TestVault

PATH = "database/connection"
DATA = {"url": "postgresql://app:secret@db.internal:5432/app", "host": "db.internal", "port": 5432}
READS = 300
ROUNDS = 7


@pytest.fixture
def manager(openbao: TestVault) -> Iterator[SecretsManager]:
    with SecretsManager(vault_url=openbao.url, vault_token=openbao.token, enable_fallback=False) as manager:
        manager.set_secret(PATH, DATA, replace=True)
        yield manager


@pytest.fixture
def by_hvac(openbao: TestVault, manager: SecretsManager) -> Callable[[], Any]:
    """As its documentation reads a secret."""
    read = hvac.Client(url=openbao.url, token=openbao.token).secrets.kv.v2.read_secret_version
    return lambda: read(path=PATH, raise_on_deleted_version=True)["data"]["data"]


@pytest.fixture
def by_pycurl(openbao: TestVault, manager: SecretsManager) -> Iterator[Callable[[], Any]]:
    """The least that a read can take with this library: one handle, the same request, and its JSON."""
    parts: list[bytes] = []
    with closing(pycurl.Curl()) as easy:
        easy.setopt(pycurl.URL, f"{openbao.url}/v1/secret/data/{PATH}")
        easy.setopt(pycurl.HTTPHEADER, [f"X-Vault-Token: {openbao.token}"])
        easy.setopt(pycurl.WRITEFUNCTION, parts.append)

        def read() -> Any:
            parts.clear()
            easy.perform()
            return json.loads(b"".join(parts))["data"]["data"]

        yield read


@pytest.mark.benchmark(group="a cold read")
def test_strongroom(
    benchmark: BenchmarkFixture, manager: SecretsManager, by_hvac: Callable[[], Any], by_pycurl: Callable[[], Any]
) -> None:
    """All take turns: a machine that has something else to do for a while is slower for each of them."""
    beside: dict[str, tuple[list[float], float]] = {"hvac": ([], 0.5), "pycurl": ([], 1.3)}

    def reads(read: Callable[[], Any]) -> None:
        for _ in range(READS):
            assert read() == DATA

    def others() -> None:
        for (taken, _), read in zip(beside.values(), (by_hvac, by_pycurl), strict=True):
            began = time.perf_counter()
            reads(read)
            taken.append(time.perf_counter() - began)

    reads(lambda: manager.get_secret(PATH, fresh=True))
    benchmark.extra_info["beside"] = beside
    benchmark.pedantic(reads, (lambda: manager.get_secret(PATH, fresh=True),), setup=others, rounds=ROUNDS)
