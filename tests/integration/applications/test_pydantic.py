"""Settings of pydantic-settings that come from a chain."""

import traceback
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from strongroom import PermissionDeniedError, SecretsManager, StoreUnavailableError
from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.integrations.settings.pydantic import FromSecret, StrongroomSettingsSource
from strongroom.testing import SimulatedFailure


class FromChain(BaseSettings):
    """Base class: arguments first, then the environment, then the chain."""

    @classmethod
    def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **_):
        return init_settings, env_settings, StrongroomSettingsSource(settings_cls, "shop/config")


class Database(BaseModel):
    host: str
    port: int = 5432
    password: SecretStr


class Settings(FromChain):
    api_key: Annotated[SecretStr, FromSecret("api-keys/payments#key")]
    database: Annotated[Database, FromSecret("database/connection")]
    replica: Annotated[Database, FromSecret("database/replica")] | None = None
    region: str = "eu"


SECRETS: dict[str, Any] = {
    "api-keys/payments": {"key": "sk-4711"},
    "database/connection": {"host": "db", "port": 6432, "password": "s3cret"},
}


def test_annotated_fields_and_models_are_read(strongroom_override):
    strongroom_override(SECRETS)
    settings = Settings()
    assert settings.api_key.get_secret_value() == "sk-4711"
    assert settings.database == Database(host="db", port=6432, password=SecretStr("s3cret"))
    assert (settings.replica, settings.region) == (None, "eu")
    assert "sk-4711" not in repr(settings)


def test_they_are_read_from_a_real_server(openbao, kv2, monkeypatch):
    """Types that the server keeps become the types of the fields."""
    openbao.put("app", {"port": 6432, "host": "db", "password": "s3cret"}, mount=kv2)
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", kv2)

    class Remote(BaseSettings):
        port: Annotated[int, FromSecret("app#port")]
        whole: Annotated[Database, FromSecret("app")]

    with SecretsManager(openbao.url, openbao.token) as manager:
        data = StrongroomSettingsSource(Remote, manager=manager)()
    assert Remote(**data).port == Remote(**data).whole.port == 6432


def test_other_fields_come_from_the_keys_of_one_secret(strongroom_override):
    """By name or alias; a nested model by a mapping, or by names with the delimiter."""

    class Keys(FromChain):
        model_config = SettingsConfigDict(env_nested_delimiter="__", env_prefix="SHOP_")
        token: SecretStr = Field(validation_alias=AliasChoices("auth-token", "token"))
        debug: bool
        first: Database
        second: Database

    second = {"second__host": "b", "second__port": "1", "second__password": "b"}
    first = {"host": "a", "password": "a"}
    strongroom_override({"shop/config": {"auth-token": "t", "debug": True, "first": first, **second}})
    keys = Keys()
    assert (keys.token.get_secret_value(), keys.debug, keys.first.port, keys.second.port) == ("t", True, 5432, 1)


@pytest.mark.parametrize("stored", [6432, "6432"])
def test_every_store_gives_the_same_type(strongroom_override, stored):
    """A number of one store is text in another, such as the environment."""

    class Port(FromChain):
        number: Annotated[int, FromSecret("app#port")]
        text: Annotated[str, FromSecret("app#port")]
        hosts: Annotated[list[str], FromSecret("app#hosts")]

    strongroom_override({"app": {"port": stored, "hosts": ["a"] if stored == 6432 else '["a"]'}})
    port = Port()
    assert (port.number, port.text, port.hosts) == (6432, "6432", ["a"])


@pytest.mark.parametrize(
    ("failure", "error"),
    [(SimulatedFailure.DENIED, PermissionDeniedError), (SimulatedFailure.UNAVAILABLE, StoreUnavailableError)],
)
def test_a_denied_or_unavailable_secret_is_never_a_default(strongroom_override, failure, error):
    """Only a confirmed absence falls through to the default."""
    strongroom_override({**SECRETS, "database/replica": failure})
    with pytest.raises(error, match="database/replica"):
        Settings()
    strongroom_override({**SECRETS, "shop/config": failure})
    with pytest.raises(error, match="shop/config"):
        Settings()
    strongroom_override({**SECRETS, "database/replica": SimulatedFailure.MISSING})
    assert Settings().replica is None


def test_an_absent_secret_is_a_missing_field(strongroom_override):
    strongroom_override({"api-keys/payments": SECRETS["api-keys/payments"]})
    with pytest.raises(ValidationError, match="database\n  Field required"):
        Settings()


def test_a_field_that_an_earlier_source_sets_is_not_read(strongroom_override, monkeypatch):
    """So a test passes values, and needs no store."""
    strongroom_override({**SECRETS, "api-keys/payments": SimulatedFailure.UNAVAILABLE})
    assert Settings(api_key=SecretStr("test")).api_key.get_secret_value() == "test"
    monkeypatch.setenv("API_KEY", "from the environment")
    assert Settings().api_key.get_secret_value() == "from the environment"


def test_fields_of_nested_models_can_be_annotated(strongroom_override):
    """Also those of a model that may contain itself, beside keys that another source sets."""

    class Node(BaseModel):
        token: Annotated[str, FromSecret("node#token")] = "none"
        name: str = "unnamed"
        next: "Node | None" = None

    class Tree(FromChain):
        node: Node | None = None

    strongroom_override({"node": {"token": "t"}})
    assert Tree().node == Node(token="t")
    assert Tree(node={"name": "root"}).node == Node(token="t", name="root")  # type: ignore[arg-type]


def test_no_error_shows_a_value(strongroom_override):
    """Neither the message nor the traceback of a value that does not fit its field."""

    class Wrong(FromChain):
        pin: Annotated[bool, FromSecret("card#pin")]
        limits: Annotated[dict[str, int], FromSecret("card")]

    strongroom_override({"card": {"pin": 471147}})
    with pytest.raises(ValidationError) as raised:
        Wrong(limits={})
    assert "471147" not in "".join(traceback.format_exception(raised.value))


def test_keys_that_differ_only_in_case_are_refused(strongroom_override):
    """Either could be meant: pydantic-settings would take the last."""
    strongroom_override({"shop/config": {"region": "eu", "REGION": "us"}, **SECRETS})
    with pytest.raises(InvalidDataError, match="case_sensitive"):
        Settings()


def test_a_reference_is_checked_where_it_is_written():
    with pytest.raises(InvalidPathError):
        FromSecret("../database#url")


def test_the_source_shows_its_class_and_path():
    assert (
        repr(StrongroomSettingsSource(Settings, "shop/config"))
        == "StrongroomSettingsSource(Settings, path='shop/config')"
    )
