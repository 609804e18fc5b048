"""`[secrets]` in a manager: declared types, composed values, and secrets that are generated once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from strongroom import SecretNotFoundError, SecretsManager, StoreUnavailableError
from strongroom._config import Config, LinkConfig
from strongroom._config.file import read_file
from strongroom._manager.assembly import assemble
from strongroom._manager.manager import manager_of
from strongroom.errors import InvalidDataError
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from strongroom.testing.overrides import OverrideStore, SimulatedFailure
from support.stores import RemoteStore


def manager(rows: dict[str, Any], *stores: MemoryStore) -> SecretsManager:
    """A manager of these stores with these rows of `[secrets]`."""
    file = read_file({"secrets": rows}, "strongroom.toml")
    named = {f"store-{number}": store for number, store in enumerate(stores, 1)}
    return manager_of(assemble(Config(chain=tuple(map(LinkConfig, named)), secrets=file.secrets), named))


def store(**secrets: dict[str, Any]) -> MemoryStore:
    made = MemoryStore()
    for path, data in secrets.items():
        made.write(path, data)
    return made


# --- type -------------------------------------------------------------------------------------------------------------

TYPED = {"SIZE": {"at": "pool#size", "type": "int"}, "FILE": {"at": "pool#file", "type": "Path", "required": False}}


@pytest.mark.parametrize("size", [5, "5"], ids=["vault", "environment"])
def test_a_declared_type_is_the_same_from_every_store(size):
    with manager(TYPED, store(pool={"size": size, "file": "/run/x", "other": "o"})) as secrets:
        whole = secrets.get_secret("pool")
        assert (type(whole["size"]), whole["size"]) == (int, 5)
        assert whole["file"] == Path("/run/x")
        assert whole["other"] == "o"
        assert secrets.get_secret("pool", "size", as_=object) == 5
        assert secrets.get_secret("pool", as_=dict) == whole
        assert secrets.get_secrets(["pool"])["pool"] == whole
        assert secrets.get_secret("pool", "size") == "5"


def test_a_cached_secret_has_its_declared_types_too():
    with manager(TYPED, RemoteStore({"pool": {"size": "5"}})) as secrets:
        secrets.get_secret("pool")
        assert secrets.get_secret("pool") == {"size": 5}
        assert secrets.resolve("pool").cached


def test_a_value_that_does_not_fit_is_an_error_without_the_value():
    with manager(TYPED, store(pool={"size": "hunter2"})) as secrets:
        with pytest.raises(InvalidDataError, match="key 'size' does not hold int") as caught:
            secrets.get_secret("pool")
        assert "hunter2" not in str(caught.value)
        batch = secrets.get_secrets(["pool"])
        assert isinstance(batch.errors["pool"], InvalidDataError)


# --- compose ----------------------------------------------------------------------------------------------------------

COMPOSED = {
    "USER": "db#user",
    "PASSWORD": "db#password",
    "URL": {"at": "db#url", "compose": "x://{USER}:{PASSWORD}@h"},
    "LINE": {"at": "db#line", "compose": "{USER} {URL}"},
}


def test_a_value_is_composed_of_other_secrets_and_encoded_in_a_url():
    with manager(COMPOSED, store(db={"user": "app"}), store(db={"password": "p@/s"})) as secrets:
        assert secrets.get_secret("db", "url") == "x://app:p%40%2Fs@h"
        assert secrets.get_secret("db", "line") == "app x://app:p%40%2Fs@h"
        found = secrets.resolve("db", "url")
    assert found.store == "composed"
    assert [str(attempt) for attempt in found.attempts] == ["composed: composed of db#user, db#password"]


def test_no_warning_tells_of_a_database_url_that_is_composed(caplog):
    """Its store has the parts of the composition, and need not have those that `get_database_url` looks for."""
    config = {
        "chain": ["memory"],
        "stores": {"memory": {"secrets": {"database/connection": {"password": "p@ss"}}}},
        "secrets": {
            "DB_PASSWORD": "database/connection#password",
            "DATABASE_URL": {"at": "database/connection#url", "compose": "postgresql://app:{DB_PASSWORD}@db/app"},
        },
    }
    with SecretsManager.from_config(config) as manager:
        assert manager.get_database_url() == "postgresql://app:p%40ss@db/app"
    assert not caplog.records


def test_an_explanation_shows_the_composed_value_as_the_one_that_is_served():
    with manager(COMPOSED, store(db={"user": "app", "password": "p"})) as secrets:
        explained = secrets.explain("db", "url")
    assert explained.served is not None
    assert explained.served.attempt.store == "composed"
    assert explained.served.value == "x://app:p@h"
    assert explained.error is None


def test_a_stored_value_comes_before_a_composed_one():
    with manager(COMPOSED, store(db={"user": "app", "password": "p", "url": "stored"})) as secrets:
        assert secrets.get_secret("db", "url") == "stored"


def test_a_missing_part_is_named():
    with manager(COMPOSED, store(db={"user": "app"})) as secrets, pytest.raises(SecretNotFoundError) as caught:
        secrets.get_secret("db", "url")
    assert "password" in str(caught.value)
    assert caught.value.__context__ is None


def test_an_outage_of_a_part_is_no_absence():
    """The part's store is down, so whether the value exists is not known."""
    down = OverrideStore({}, {"db": SimulatedFailure.UNAVAILABLE}, ())
    rows = {"USER": "db#user", "URL": {"at": "other#url", "compose": "x://{USER}@h"}}
    with manager(rows, down) as secrets, pytest.raises(StoreUnavailableError):
        secrets.get_secret("other", "url", default="none")


def test_the_asynchronous_form_composes_too():
    import asyncio

    async def read() -> str:
        async with manager(COMPOSED, store(db={"user": "app", "password": "p"})) as secrets:
            return await secrets.aget_secret("db", "url")

    assert asyncio.run(read()) == "x://app:p@h"


# --- generate ---------------------------------------------------------------------------------------------------------

GENERATED = {
    "PASSWORD": {"at": "db#password", "generate": "password"},
    "TOKEN": {"at": "auth#token", "generate": {"kind": "token", "length": 40}},
    "KEY": {"at": "auth#key", "generate": "hex"},
    "PLAIN": {"at": "auth#plain", "required": False},
}


def test_what_is_missing_is_created_once_and_nothing_else_changes():
    held = store(db={"user": "app"}, auth={"key": "kept"})
    with manager(GENERATED, held) as secrets:
        assert secrets.generate_missing() == ["PASSWORD", "TOKEN"]
        first = {path: held.read(path).data for path in ("db", "auth")}
        assert secrets.generate_missing() == []
        assert first == {path: held.read(path).data for path in ("db", "auth")}
    assert first["db"]["user"] == "app"
    assert first["auth"]["key"] == "kept"
    assert len(str(first["db"]["password"])) == 32
    assert len(str(first["auth"]["token"])) > 40


def test_the_asynchronous_form_generates_too():
    import asyncio

    async def generate() -> list[str]:
        async with manager({"PASSWORD": GENERATED["PASSWORD"]}, store()) as secrets:
            return [*await secrets.agenerate_missing(), await secrets.aget_secret("db", "password")]

    variable, password = asyncio.run(generate())
    assert (variable, len(password)) == ("PASSWORD", 32)


def test_a_generated_password_leaves_the_url_of_the_secret_alone():
    """The URL works, and no database knows the generated password."""
    url = "postgresql://app:known@db/app"
    with manager({"PASSWORD": GENERATED["PASSWORD"]}, store(db={"url": url})) as secrets:
        assert secrets.generate_missing() == ["PASSWORD"]
        assert secrets.get_secret("db", "url") == url


class RacedStore(MemoryStore):
    """Has no secret at first; another process creates it between the first look and the write."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def read(self, path: str) -> Secret:
        self.looks += 1
        if self.looks == 2:
            super().write(path, {"password": "of-the-other-process"})
        return super().read(path)


def test_a_secret_that_another_process_creates_meanwhile_is_kept():
    held = RacedStore()
    rows = {"PASSWORD": GENERATED["PASSWORD"]}
    with manager(rows, held) as secrets:
        assert secrets.generate_missing() == []
        assert secrets.get_secret("db", "password", fresh=True) == "of-the-other-process"


def test_an_outage_creates_nothing():
    down = OverrideStore({}, {"db": SimulatedFailure.UNAVAILABLE}, ())
    with manager({"PASSWORD": GENERATED["PASSWORD"]}, down) as secrets, pytest.raises(StoreUnavailableError):
        secrets.generate_missing()


def test_two_managers_at_once_agree_on_one_value():
    held = store()
    rows = {"PASSWORD": GENERATED["PASSWORD"]}
    ready = threading.Barrier(2, timeout=30)
    created: list[list[str]] = []

    def create(secrets: SecretsManager) -> None:
        ready.wait()
        created.append(secrets.generate_missing())

    with manager(rows, held) as one, manager(rows, held) as two:
        threads = [threading.Thread(target=create, args=[secrets], daemon=True) for secrets in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert sorted(created) == [[], ["PASSWORD"]]
        assert held.read("db").version == 1
