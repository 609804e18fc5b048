"""Secrets as types of the application: models, their faults, and one result from every store."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_type_hints
from uuid import UUID

import msgspec
import pydantic
import pytest
import typing_extensions

from strongroom import SecretsManager, SensitiveDict, SensitiveStr
from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.store.memory import open_memory

STORED = {"host": "db.example", "port": 5432, "password": "hunter2-value", "replicas": ["a-value", "b-value"]}
"""A secret as Vault holds it: JSON types."""

AS_TEXT = {"host": "db.example", "port": "5432", "password": "hunter2-value", "replicas": '["a-value", "b-value"]'}
"""The same secret as the environment holds it: text."""


@dataclass(frozen=True, slots=True)
class DataclassConfig:
    host: str
    port: int
    password: str
    replicas: list[str] = field(default_factory=list)


class TypedDictConfig(TypedDict):
    host: str
    port: int
    password: str
    replicas: NotRequired[list[str]]


class ExtendedTypedDictConfig(typing_extensions.TypedDict):
    host: str
    port: int
    password: str
    replicas: list[str]


class ModelConfig(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    host: str
    port: int
    password: str
    replicas: list[str]


class StructConfig(msgspec.Struct, frozen=True):
    host: str
    port: int
    password: str
    replicas: list[str] = []


TYPES = [DataclassConfig, TypedDictConfig, ExtendedTypedDictConfig, ModelConfig, StructConfig]
each_type = pytest.mark.parametrize("wanted", TYPES, ids=lambda wanted: wanted.__name__)


def manager(data: dict[str, Any]) -> SecretsManager:
    return SecretsManager(chain=[open_memory(secrets={"database/connection": data})])


def as_dict(made: Any) -> dict[str, Any]:
    if isinstance(made, dict):
        return made
    return {name: getattr(made, name) for name in STORED}


@each_type
@pytest.mark.parametrize("data", [STORED, AS_TEXT], ids=["json", "text"])
def test_a_whole_secret_is_an_object_of_the_type_and_equal_from_every_store(wanted, data):
    with manager(data) as secrets:
        made = secrets.get_secret("database/connection", as_=wanted)
    assert type(made) is wanted or (isinstance(made, dict) and "TypedDict" in wanted.__name__)
    assert as_dict(made) == STORED


@each_type
def test_the_repr_shows_no_text_of_the_secret(wanted):
    with manager(STORED) as secrets:
        made = secrets.get_secret("database/connection", as_=wanted)
    assert "value" not in repr(made)
    assert isinstance(as_dict(made)["password"], SensitiveStr)


NUMBERS = {
    "whole": 77_801, "part": 7780.1, "exact": "778.01", "moment": "2077-08-01T03:04:05Z", "day": "2077-08-01",
    "length": "PT7780S", "id": "77801770-9dad-11d1-80b4-00c04fd430c8", "inner": {"whole": 77_801, "all": [77_801]},
    "several": [77_801, 77_801],
}  # fmt: skip
"""A secret whose every value has `77` or `78` in its text, and no text."""


class NumbersTypedDict(TypedDict):
    whole: int
    part: float
    exact: Decimal
    moment: datetime
    day: date
    length: timedelta
    id: UUID
    inner: InnerModel
    several: tuple[int, ...]


class InnerModel(pydantic.BaseModel):
    whole: int
    all: list[int]


class InnerStruct(msgspec.Struct):
    whole: int
    all: list[int]


HINTS = get_type_hints(NumbersTypedDict)
NUMBER_TYPES = [
    NumbersTypedDict,
    make_dataclass("NumbersDataclass", HINTS.items(), frozen=True),
    pydantic.create_model("NumbersModel", **{name: (hint, ...) for name, hint in HINTS.items()}),
    msgspec.defstruct("NumbersStruct", (HINTS | {"inner": InnerStruct}).items()),
]


@pytest.mark.parametrize("wanted", NUMBER_TYPES, ids=lambda wanted: wanted.__name__)
def test_the_repr_shows_no_number_or_date_of_the_secret(wanted):
    """At any level, also in a copy; and each is equal to the plain one, and has its text."""
    with manager(NUMBERS) as secrets:
        made = secrets.get_secret("database/connection", as_=wanted)
    held = made if isinstance(made, dict) else {name: getattr(made, name) for name in HINTS}
    for shown in (made, copy.deepcopy(made), [*held.values()]):
        assert not re.search("77|78", repr(shown))
    assert (held["whole"], str(held["whole"]), f"{held['whole']:07}") == (77_801, "77801", "0077801")
    assert (held["exact"], str(held["exact"])) == (Decimal("778.01"), "778.01")
    assert held["moment"] == datetime(2077, 8, 1, 3, 4, 5, tzinfo=UTC)
    assert (str(held["id"]), hash(held["id"])) == (NUMBERS["id"], hash(UUID(NUMBERS["id"])))
    for item in held.values():
        restored = pickle.loads(pickle.dumps(item))
        assert restored == item
        assert "Sensitive" not in repr(restored)


@pytest.mark.parametrize("wanted", [pydantic.PostgresDsn, pydantic.AnyUrl], ids=["multi-host", "single-host"])
def test_the_repr_of_a_url_shows_no_password(wanted):
    """It is equal to the plain one."""
    url = "postgresql://shop:hunter2@db/shop"
    with manager({"url": url}) as secrets:
        made = secrets.get_secret("database/connection", "url", as_=wanted)
        inside = secrets.get_secret("database/connection", as_=pydantic.create_model("M", url=(wanted, ...)))
    assert "hunter2" not in repr((made, inside))
    assert made == wanted(url) == inside.url
    assert (str(made), hash(made)) == (url, hash(wanted(url)))


@each_type
def test_an_object_equals_one_that_the_application_makes(wanted):
    with manager(STORED) as secrets:
        assert secrets.get_secret("database/connection", as_=wanted) == wanted(**STORED)


@each_type
def test_all_faults_are_one_error_without_a_value(wanted):
    faulty = {"host": "db.example", "port": "no-port-value", "replicas": "no-list-value"}
    with manager(faulty) as secrets, pytest.raises(InvalidDataError) as caught:
        secrets.get_secret("database/connection", as_=wanted)
    message = str(caught.value)
    assert caught.value.store == "memory"
    assert all(f"{key}: " in message for key in ("port", "password", "replicas")), message
    assert "value" not in message.replace("valid", "")
    assert caught.value.__context__ is None


class Color(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("/run/app", Path, Path("/run/app")),
        ("12.50", Decimal, Decimal("12.50")),
        ("2027-01-02T03:04:05Z", datetime, datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("PT90S", timedelta, timedelta(seconds=90)),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", UUID, UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        ("red", Color, Color.RED),
        ("a", Literal["a", "b"], "a"),
        (["a", "b"], list[str], ["a", "b"]),
        ('["a", "b"]', list[str], ["a", "b"]),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        (5, str | None, "5"),
        ("5", Annotated[int, pydantic.Field(gt=4)], 5),
    ],
    ids=str,
)
def test_the_value_of_a_key_is_of_the_requested_type(value, wanted, expected):
    with manager({"key": value}) as secrets:
        assert secrets.get_secret("database/connection", "key", as_=wanted) == expected


def test_a_secret_string_of_pydantic_stays_one():
    with manager({"key": "hunter2"}) as secrets:
        made = secrets.get_secret("database/connection", "key", as_=pydantic.SecretStr)
    assert made == pydantic.SecretStr("hunter2")


class Unsupported:
    pass


def test_text_instead_of_a_type_is_shown_in_quotes():
    """`as_="int"` is a name, where `as_=int` would be the type itself."""
    with manager({"key": "x"}) as secrets, pytest.raises(TypeError, match=r"^as_='int' is not a supported type"):
        secrets.get_secret("database/connection", "key", as_="int")


@pytest.mark.parametrize(
    "wanted", [Unsupported, list[Unsupported], "text", 5, str.upper, len, lambda _: 1, type, type[int], Callable]
)
def test_a_type_that_is_not_supported_is_refused_before_any_read(wanted):
    with manager({"key": "x"}) as secrets, pytest.raises(TypeError, match="is not a supported type"):
        secrets.get_secret("nowhere/at-all", "key", as_=wanted)


def test_a_whole_secret_is_no_scalar():
    with manager({"key": "x"}) as secrets, pytest.raises(TypeError, match="as_=int is the type of one key's value"):
        secrets.get_secret("database/connection", as_=int)


def test_a_whole_secret_can_be_asked_for_as_a_dict():
    with manager(STORED) as secrets:
        assert isinstance(secrets.get_secret("database/connection", as_=dict), SensitiveDict)


class Owner(pydantic.BaseModel):
    name: str
    age: int


class Nested(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    owner: Owner
    labels: dict[str, int]


def test_a_fault_deep_in_a_model_names_its_fields_and_no_key_of_a_mapping():
    data = {"owner": '{"age": "x-value"}', "labels": {"secret-value": "x-value"}, "other": "y-value"}
    with manager(data) as secrets, pytest.raises(InvalidDataError) as caught:
        secrets.get_secret("database/connection", as_=Nested)
    message = str(caught.value)
    assert "owner.name: Field required" in message
    assert "owner.age: " in message
    assert "labels: " in message
    assert "other: Extra inputs are not permitted" in message
    assert "-value" not in message


class Refusing(pydantic.BaseModel):
    key: str

    @pydantic.field_validator("key")
    @classmethod
    def refuse(cls, value: str) -> str:
        raise ValueError(f"I do not like {value}")


def test_the_message_of_a_validator_is_not_repeated():
    with manager({"key": "hunter2"}) as secrets, pytest.raises(InvalidDataError) as caught:
        secrets.get_secret("database/connection", as_=Refusing)
    assert "key: Not valid (value_error)" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_reference_in_the_place_of_a_path_is_refused_with_the_call_to_write():
    """Its type would be that of a whole secret, so a type checker would refuse a correct program."""
    import asyncio

    reference = "database/connection#key"
    calls = {
        "get_secret": lambda secrets: secrets.get_secret(reference, default=None),
        "get_secret ": lambda secrets: secrets.get_secret(reference, as_=str, fresh=True),
        "aget_secret": lambda secrets: asyncio.run(secrets.aget_secret(reference)),
        "resolve": lambda secrets: secrets.resolve(reference),
        "aresolve": lambda secrets: asyncio.run(secrets.aresolve(reference)),
        "get_accepted": lambda secrets: secrets.get_accepted(reference, grace="1h"),
        "get_accepted ": lambda secrets: asyncio.run(secrets.aget_accepted(reference, grace="1h")),
    }
    with manager({"key": "sk-1"}) as secrets:
        secrets.get_secret("database/connection")  # it is in the cache
        for name, call in calls.items():
            with pytest.raises(InvalidPathError) as caught:
                call(secrets)
            assert str(caught.value).endswith(
                "database/connection#key (it has a #, and the key is an argument of its own). "
                f'Call {name.strip()}("database/connection", "key")'
            )
        for half in ("#key", "database/connection#"):
            with pytest.raises(InvalidPathError, match="Pass the path without #"):
                secrets.get_secret(half)


def test_a_path_may_have_a_number_sign():
    """With a key nothing is ambiguous, and many secrets have no keys as arguments."""
    with SecretsManager(chain=[open_memory(secrets={"ci#1": {"key": "sk-1"}})]) as secrets:
        assert secrets.get_secret("ci#1", "key") == secrets.resolve("ci#1", "key").value == "sk-1"
        assert secrets.get_secrets(["ci#1"])["ci#1"] == {"key": "sk-1"}


async def read_asynchronously(secrets: SecretsManager) -> tuple[object, object]:
    made = await secrets.aget_secret("database/connection", as_=DataclassConfig)
    return made, await secrets.aget_secret("database/connection", "host")


def test_the_asynchronous_form_takes_the_same_types():
    import asyncio

    with manager(STORED) as secrets:
        assert asyncio.run(read_asynchronously(secrets)) == (DataclassConfig(**STORED), "db.example")


def test_a_missing_library_is_named_with_its_extra():
    """Without pydantic the built-in types still work."""
    program = (
        "import sys; sys.modules['pydantic'] = None; from pathlib import Path; from strongroom import SecretsManager\n"
        "from strongroom.store.memory import open_memory\n"
        "secrets = SecretsManager(chain=[open_memory(secrets={'a/b': {'k': '5'}})])\n"
        "assert secrets.get_secret('a/b', 'k', as_=int) == 5\n"
        "try: secrets.get_secret('a/b', 'k', as_=Path)\n"
        "except TypeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "as_=Path needs pydantic: pip install 'strongroom[typed]'" in done.stdout
