"""One read that no cache answers, on an open link, beside the client that everybody starts with."""

from __future__ import annotations

from collections.abc import Iterator

import hvac
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom import SecretsManager
from strongroom_vault.testing import TestVault

PATH = "database/connection"
DATA = {"url": "postgresql://app:secret@db.internal:5432/app", "host": "db.internal", "port": 5432}

pytestmark = pytest.mark.benchmark(group="a cold read")


@pytest.fixture
def manager(openbao: TestVault) -> Iterator[SecretsManager]:
    with SecretsManager(vault_url=openbao.url, vault_token=openbao.token, enable_fallback=False) as manager:
        manager.set_secret(PATH, DATA, replace=True)
        manager.get_secret(PATH)
        yield manager


def test_strongroom(benchmark: BenchmarkFixture, manager: SecretsManager) -> None:
    benchmark.extra_info["bounds"] = {"test_hvac": 0.8}
    assert benchmark.pedantic(lambda: manager.get_secret(PATH, fresh=True), rounds=1000, warmup_rounds=50) == DATA


def test_hvac(benchmark: BenchmarkFixture, openbao: TestVault, manager: SecretsManager) -> None:
    """The yardstick, as its documentation reads a secret."""
    client = hvac.Client(url=openbao.url, token=openbao.token)
    read = client.secrets.kv.v2.read_secret_version
    reply = benchmark.pedantic(lambda: read(path=PATH, raise_on_deleted_version=True), rounds=1000, warmup_rounds=50)
    assert reply["data"]["data"] == DATA
