"""A cached field from the first link, beside what it cannot do without and what others take for the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from aws_secretsmanager_caching import SecretCache
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom import SecretsManager
from strongroom.secret import SensitiveStr
from support.stores import RemoteStore

_R = TypeVar("_R")

VALUE = "postgresql://app:correct-horse-battery@db.internal:5432/app"

SECRET_REPLY = {
    "ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:database/connection-a1B2c3",
    "Name": "database/connection",
    "VersionId": "a6b7c8d9-0123-4567-89ab-cdef01234567",
    "SecretString": VALUE,
    "VersionStages": ["AWSCURRENT"],
    "CreatedDate": datetime(2026, 11, 1, 12, 0, 0, 123000, tzinfo=UTC),
    "ResponseMetadata": {
        "RequestId": "01234567-89ab-cdef-0123-456789abcdef",
        "HTTPStatusCode": 200,
        "HTTPHeaders": {
            "x-amzn-requestid": "01234567-89ab-cdef-0123-456789abcdef",
            "content-type": "application/x-amz-json-1.1",
            "content-length": "312",
            "date": "Sun, 01 Nov 2026 12:00:00 GMT",
        },
        "RetryAttempts": 0,
    },
}
"""What boto3 returns of `get_secret_value`: that library copies it at each hit."""

pytestmark = pytest.mark.benchmark(group="a cached field")


def timed(benchmark: BenchmarkFixture, call: Callable[..., _R], *arguments: object) -> _R:
    """Rounds of many calls: one call takes no longer than reading the clock does."""
    pedantic: Callable[..., _R] = benchmark.pedantic
    return pedantic(call, arguments, rounds=300, iterations=1000, warmup_rounds=5)


@pytest.fixture
def manager() -> Iterator[SecretsManager]:
    store = RemoteStore({"database/connection": {"url": VALUE, "host": "db.internal", "port": 5432}})
    with SecretsManager(chain=[store, "env"]) as manager:
        manager.get_secret("database/connection", "url")
        yield manager


def test_get_secret(benchmark: BenchmarkFixture, manager: SecretsManager) -> None:
    get: Callable[[str, str], SensitiveStr] = manager.get_secret
    benchmark.extra_info["bounds"] = {"test_aesgcm_decrypt": 2.5, "test_aws_secretsmanager_caching": 1 / 15}
    assert timed(benchmark, get, "database/connection", "url") == VALUE


def test_aesgcm_decrypt(benchmark: BenchmarkFixture) -> None:
    """The yardstick: opening one such seal, and nothing else."""
    aead, nonce, bound = (
        AESGCM(AESGCM.generate_key(256)),
        os.urandom(12),
        b"string 6:remote 19:database/connection 3:url",
    )
    sealed = aead.encrypt(nonce, VALUE.encode(), bound)
    assert timed(benchmark, aead.decrypt, nonce, sealed, bound) == VALUE.encode()


def test_aws_secretsmanager_caching(benchmark: BenchmarkFixture) -> None:
    """Another library's hit in its cache, which is not encrypted."""

    class Client:
        meta = type("Meta", (), {"config": type("Config", (), {"user_agent_extra": ""})})

        def describe_secret(self, SecretId: str) -> dict[str, object]:  # noqa: N803  # the service's own name
            return {"VersionIdsToStages": {"v1": ["AWSCURRENT"]}, "Name": SecretId}

        def get_secret_value(self, **_: str) -> dict[str, object]:
            return SECRET_REPLY

    cache = SecretCache(client=Client())
    assert timed(benchmark, cache.get_secret_string, "database/connection") == VALUE
