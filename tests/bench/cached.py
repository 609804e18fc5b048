"""Reads from the cache in memory, beside one decryption and another library's cache; and with metrics."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aws_secretsmanager_caching import SecretCache
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from prometheus_client import CollectorRegistry

from bench.measuring import Bench, Turn, timed
from strongroom import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.integrations.metrics.prometheus import StrongroomCollector
from strongroom.secret import SensitiveStr
from support.stores import RemoteStore

VALUE = "postgresql://app:correct-horse-battery@db.internal:5432/app"
FIVE = {"url": VALUE, "host": "db.internal", "user": "app", "password": "correct-horse-battery", "name": "app"}

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


def cached(bench: Bench) -> None:
    """One key, one key in an event loop, and five keys, all of text."""
    count = 10 if bench.once else 20_000
    with SecretsManager(chain=[RemoteStore({"database/connection": FIVE}), "env"]) as manager:
        manager.get_secret("database/connection", "url")
        turns = {
            "AES-GCM alone": timed(decryption(), count),
            "get_secret": timed(lambda: manager.get_secret("database/connection", "url"), count),
            "aget_secret": in_event_loop(manager, count),
            "get_secret, five keys": timed(lambda: manager.get_secret("database/connection"), count),
            "aws-secretsmanager-caching": timed(aws_cache(), count),
        }
        bench.pairs("cached", turns, count=count)


def decryption() -> Callable[[], bytes]:
    """The yardstick: opening one such seal, and nothing else."""
    aead, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(12)
    bound = b"string 6:remote 19:database/connection 3:url"
    sealed = aead.encrypt(nonce, VALUE.encode(), bound)
    return lambda: aead.decrypt(nonce, sealed, bound)


def in_event_loop(manager: SecretsManager, count: int) -> Turn:
    async def reads() -> float:
        began = time.perf_counter()
        for _ in range(count):
            await manager.aget_secret("database/connection", "url")
        return time.perf_counter() - began

    return lambda: asyncio.run(reads())


def aws_cache() -> Callable[[], str]:
    """Another library's hit in its cache, which is not encrypted."""

    class Client:
        meta = type("Meta", (), {"config": type("Config", (), {"user_agent_extra": ""})})

        def describe_secret(self, SecretId: str) -> dict[str, object]:  # noqa: N803  # the service's own name
            return {"VersionIdsToStages": {"v1": ["AWSCURRENT"]}, "Name": SecretId}

        def get_secret_value(self, **_: str) -> dict[str, object]:
            return SECRET_REPLY

    cache = SecretCache(client=Client())
    return lambda: cache.get_secret_string("database/connection")


def metrics(bench: Bench) -> None:
    """Cached reads with the metrics of Prometheus.

    Without metrics, a read leaves out the counter too, which is not the case in the library: it always counts.
    """
    count = 10 if bench.once else 50_000
    with SecretsManager(chain=[RemoteStore({"app": {"key": "correct-horse-battery"}})]) as manager:
        manager.get_secret("app", "key")
        chain, registry = parts_of(manager).chain, CollectorRegistry()
        reads = timed(lambda: manager.get_secret("app", "key"), count)

        def without() -> float:
            parts_of(manager).peek = uncounted(chain.links[0].cache)
            return reads()

        def with_metrics() -> float:
            parts_of(manager).peek = chain.peek
            registry.register(collector := StrongroomCollector())
            try:
                return reads()
            finally:
                registry.unregister(collector)
                collector.close()

        bench.pairs("metrics", {"without": without, "with metrics": with_metrics}, count=count)


def uncounted(cache: Any) -> Callable[[str, str], SensitiveStr | None]:
    """Return `MemoryCache.text` without its counter."""

    class Uncounted(type(cache)):
        def text(self, path, key):
            try:
                until, decrypt, nonce, ciphertext, bound = self._fields[path][key]
            except KeyError:
                return None
            if until <= self.clock():
                return None
            try:
                text = SensitiveStr(decrypt(nonce, ciphertext, bound), "utf-8")
            except self._sealer.broken_seal:
                return None
            return text

    twin = Uncounted.__new__(Uncounted)
    vars(twin).update(vars(cache))
    return twin.text
