"""What an application's type checker sees. Nothing here runs: mypy and pyright read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

from strongroom import (
    Secret,
    SecretsManager,
    SensitiveDict,
    SensitiveStr,
    Value,
    aget_secret,
    get_accepted,
    get_database_url,
    get_secret,
    get_secrets,
    resolve,
    set_secret,
)
from strongroom.secrets_manager import Resolution
from strongroom.store import VersionInfo


@dataclass
class DatabaseConfig:
    host: str


def reading() -> None:
    assert_type(get_secret("database/connection"), SensitiveDict)
    assert_type(get_secret("database/connection", "url"), SensitiveStr)
    assert_type(get_secret("database/connection", "url", fresh=True), SensitiveStr)
    assert_type(get_secret("database/connection", "url", default=None), SensitiveStr | None)
    assert_type(get_secret("database/connection", default=None), SensitiveDict | None)
    assert_type(get_secret("database/pool", "size", as_=int), int)
    assert_type(get_secret("database/pool", "size", as_=int, default=None), int | None)
    assert_type(get_secret("keys/tls", "der", as_=bytes), bytes)
    assert_type(get_secret("database/connection", as_=DatabaseConfig), DatabaseConfig)
    assert_type(get_secret("database/connection", "replicas", as_=list[str]), list[str])
    assert_type(get_secret("api-keys/openai", "key", as_=str), str)
    assert_type(get_secrets(["database/connection"])["database/connection"], SensitiveDict)
    assert_type(get_database_url(), SensitiveStr)
    assert_type(get_accepted("webhooks/stripe", "secret", grace="1h"), list[SensitiveStr])
    assert_type(get_accepted("webhooks/stripe", grace=3600), list[SensitiveDict])
    assert_type(get_accepted("webhooks/stripe", "secret", grace="1h", as_=bytes), list[bytes])


async def reading_asynchronously() -> None:
    assert_type(await aget_secret("database/connection"), SensitiveDict)
    assert_type(await aget_secret("database/pool", "size", as_=int), int)
    assert_type(await aget_secret("database/connection", "url", default=""), SensitiveStr | str)


async def with_a_manager(secrets: SecretsManager) -> None:
    assert_type(await secrets.aget_secret("database/connection"), SensitiveDict)
    assert_type(await secrets.aget_secret("database/connection", "url"), SensitiveStr)
    assert_type(await secrets.aget_secret("database/pool", "size", as_=int), int)
    assert_type(await secrets.aget_secret("database/connection", "url", default=None), SensitiveStr | None)
    assert_type(await secrets.aresolve("database/connection", "url"), Resolution)
    assert_type(await secrets.aset_secret("database/connection", {"url": "x"}), int | str | None)
    assert_type(await secrets.ainterpolate({"url": "strongroom://a#b"}), dict[str, Any])
    assert_type(await secrets.versions.ahistory("database/connection"), list[VersionInfo])
    await secrets.aset_secret("database/connection", 1)  # type: ignore[arg-type]


def with_provenance() -> None:
    found = resolve("database/connection", "url")
    assert_type(found, Resolution)
    assert_type(found.value, Value)
    assert_type(found.age, float)


def with_versions(secrets: SecretsManager) -> None:
    assert_type(secrets.versions.history("database/connection"), list[VersionInfo])
    assert_type(secrets.versions.read("database/connection", 3), Secret)
    assert_type(secrets.versions.rollback("database/connection", 3, store="vault"), int | str | None)
    assert_type(secrets.versions.metadata("database/connection"), dict[str, str])
    secrets.versions.set_metadata("database/connection", {"owner": 1})  # type: ignore[dict-item]


def a_secret_is_a_str(secrets: SecretsManager) -> None:
    text: str = secrets.get_secret("database/connection", "url")
    text.removeprefix("postgresql://")
    connection: dict[str, Value] = secrets.get_secret("database/connection")
    connection.get("port")


def as_the_guide_has_it() -> None:
    with SecretsManager(
        vault_url="https://vault.company.com", vault_token="s.abcdef", cache_ttl=600, enable_fallback=True
    ) as secrets:
        secrets.set_secret("api-keys/custom", {"key": "new-value"})
        assert_type(secrets.list_secrets("api-keys"), list[str])
    SecretsManager.from_config(Path("strongroom.toml"), environment="prod").close()
    SecretsManager(chain=["vault", {"store": "env", "paths": ["monitoring/*"]}]).close()


def values_of_every_type() -> None:
    set_secret("app/config", {"text": "a", "bytes": b"a", "int": 1, "float": 1.5, "bool": True, "null": None})
    set_secret("app/config", {"list": [1, "two", [None]], "mapping": {"deep": {"deeper": b""}}})


def what_is_wrong_is_found() -> None:
    set_secret("app/config", {"object": object()})  # type: ignore[dict-item]
    get_secret(b"app/config")  # type: ignore[call-overload]
