"""The debug log shows each store's answer to each kind of read, also from the caches in memory and on disk."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom import SecretNotFoundError, SecretsManager, StoreUnavailableError
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._plugins.identity import StoreIdentity
from strongroom.events import cache_hits
from strongroom.store.memory import MemoryStore
from support.clock import Clock
from support.stores import RemoteStore

LOGGER = "strongroom.secrets_manager"
CANARY = "s3cret-4711"
DATABASE = {"host": "db", "port": "5432", "user": "app", "password": CANARY, "name": "app"}

READS: dict[str, tuple[str, Callable[[SecretsManager], object]]] = {
    "a key": ("app", lambda manager: manager.get_secret("app", "key")),
    "a whole secret": ("app", lambda manager: manager.get_secret("app")),
    "a typed key": ("app", lambda manager: manager.get_secret("app", "key", as_=bytes)),
    "a batch": ("app", lambda manager: manager.get_secrets(["app"])),
    "an API key": ("api-keys/openai", lambda manager: manager.get_api_key("openai")),
    "a database URL": ("database/connection", lambda manager: manager.get_database_url()),
    "interpolation": ("app", lambda manager: manager.interpolate("strongroom://app#key")),
    "a resolution": ("app", lambda manager: manager.resolve("app", "key")),
    "await of a key": ("app", lambda manager: asyncio.run(manager.aget_secret("app", "key"))),
    "await of a whole secret": ("app", lambda manager: asyncio.run(manager.aget_secret("app"))),
    "await of a batch": ("app", lambda manager: asyncio.run(manager.aget_secrets(["app"]))),
    "await of an API key": ("api-keys/openai", lambda manager: asyncio.run(manager.aget_api_key("openai"))),
}


@pytest.fixture
def store() -> RemoteStore:
    secrets = {"app": {"key": CANARY}, "api-keys/openai": {"key": CANARY}, "database/connection": DATABASE}
    return RemoteStore(secrets)


@pytest.fixture
def manager(store: RemoteStore) -> Iterator[SecretsManager]:
    with SecretsManager(chain=[store]) as manager:
        yield manager


def answers(caplog: pytest.LogCaptureFixture, path: str) -> list[str]:
    """Return the answers that the log has for the path since the last call, without their times."""
    begin = f"{path}: store remote: "
    found = [message.removeprefix(begin) for message in caplog.messages if message.startswith(begin)]
    assert CANARY not in caplog.text
    caplog.clear()
    return [re.sub(r"(, \d+ s old)? \(\d+\.\d ms\)$", "", answer) for answer in found]


@pytest.mark.parametrize("kind", READS)
def test_each_kind_of_read_is_logged_once(manager: SecretsManager, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """The first one is the store's answer, and the second one is that of the cache."""
    path, read = READS[kind]
    caplog.set_level(logging.DEBUG, LOGGER)
    read(manager)
    assert answers(caplog, path) == ["found, version 1"]
    read(manager)
    assert answers(caplog, path) == ["found, version 1, cached"]


@pytest.mark.parametrize("kind", READS)
def test_a_stale_answer_is_logged(
    manager: SecretsManager, store: RemoteStore, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path, read = READS[kind]
    clock = Clock.of(manager)
    read(manager)
    store.fault = StoreUnavailableError()
    clock.move(400)
    caplog.set_level(logging.DEBUG, LOGGER)
    read(manager)
    assert answers(caplog, path) == ["found, version 1, stale"]


def test_a_default_and_a_cached_absence_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    rows = {"FLAG": {"at": "app#flag", "default": "off"}}
    config = {"chain": ["memory"], "stores": {"memory": {"plugin": "memory"}}, "secrets": rows}
    with SecretsManager.from_config(config) as manager:
        caplog.set_level(logging.DEBUG, LOGGER)
        manager.get_secret("app", "flag")
    assert "app: no store has the key flag: the default of [secrets]" in caplog.messages
    caplog.clear()
    with SecretsManager(chain=[RemoteStore()]) as manager:
        for _ in range(2):
            with pytest.raises(SecretNotFoundError):
                manager.get_secret("absent", "key")
    assert [answer.partition(":")[0] for answer in answers(caplog, "absent")] == ["not found"] * 2


def test_one_version_is_a_read(caplog: pytest.LogCaptureFixture) -> None:
    """It is past the cache, and denials and absences of it are logged like those of any other read."""
    with SecretsManager(chain=[RemoteStore({"app": {"key": CANARY}})]) as manager:
        caplog.set_level(logging.DEBUG, LOGGER)
        assert manager.versions.read("app", 1).data["key"] == CANARY
        with pytest.raises(SecretNotFoundError):
            manager.versions.read("app", 7)
    found = answers(caplog, "app")
    assert (len(found), found[0], found[1].partition(":")[0]) == (2, "found, version 1", "not found")


def test_each_link_of_a_chain_is_logged(store: RemoteStore, caplog: pytest.LogCaptureFixture) -> None:
    with SecretsManager(chain=[MemoryStore(), store]) as manager:
        caplog.set_level(logging.DEBUG, LOGGER)
        manager.get_secret("app", "key")
    begins = [message.partition(" (")[0] for message in caplog.messages if message.startswith("app: ")]
    assert begins[0].startswith("app: store memory: not found")
    assert begins[1] == "app: store remote: found, version 1"


def test_the_level_can_change_while_the_process_runs(manager: SecretsManager, caplog: pytest.LogCaptureFixture) -> None:
    """A parent's level, a disabled logger and `logging.disable` count too."""
    logger = logging.getLogger(LOGGER)
    manager.get_secret("app", "key")
    for _ in range(2):
        assert manager.get_secret("app", "key") == CANARY
        assert answers(caplog, "app") == []
        with caplog.at_level(logging.DEBUG, "strongroom"):
            manager.get_secret("app", "key")
            assert len(answers(caplog, "app")) == 1
            logger.disabled = True
            assert manager.get_secret("app", "key") == CANARY
            logger.disabled = False
            logging.disable(logging.DEBUG)
            assert manager.get_secret("app", "key") == CANARY
            logging.disable(logging.NOTSET)
            assert answers(caplog, "app") == []


def test_the_log_of_a_cached_read_changes_no_count(manager: SecretsManager, caplog: pytest.LogCaptureFixture) -> None:
    manager.get_secret("app", "key")
    before = cache_hits()["remote"]
    manager.get_secret("app", "key")
    caplog.set_level(logging.DEBUG, LOGGER)
    manager.get_secret("app", "key")
    assert cache_hits()["remote"] == before + 2


def test_an_answer_of_the_disk_cache_is_logged(
    store: RemoteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read by another chain, such as that of another process, and its second read is cached in memory."""
    caplog.set_level(logging.DEBUG, LOGGER)
    for expected in ("found, version 1", "found, version 1, disk cache"):
        disk = StoreCache(Container(tmp_path, 1 << 22), "remote", lambda: StoreIdentity({}), CacheConfig())
        chain = Chain([Link(LinkConfig("remote"), lambda: store, CacheConfig(), disk)])
        for answer in (expected, "found, version 1, cached"):
            assert chain.resolve("app", "key").value == CANARY
            assert answers(caplog, "app") == [answer]
        chain.close()
