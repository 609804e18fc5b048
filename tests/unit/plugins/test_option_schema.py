"""The schema that a signature is, reading values as its types, and resolving what a plugin is opened with."""

import json
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import Ambient, Config, Rank, Setting
from strongroom._config.file import read_file
from strongroom._config.precedence import Arguments, build
from strongroom._config.setting_types import (
    MISMATCH,
    Count,
    PositiveSeconds,
    Seconds,
    Text,
    convert,
    read_json,
    read_value,
)
from strongroom._config.variables import read_variables
from strongroom._plugins.option_schema import read_schema
from strongroom._plugins.option_values import check_written, resolve
from strongroom.errors import ConfigurationError, PluginError
from strongroom.formats.variables import EnvironmentMapping
from strongroom.secret import SensitiveStr, protect_data
from strongroom.store import Option, checked_by

CANARY = "canary-77ab"
URL = "https://vault.example:8200"
FOUND = "./strongroom.toml"
AMBIENT_TOKEN = {"VAULT_TOKEN": CANARY}


@checked_by(lambda **_: None, removed={"old_name": "set mount"})
def opener(
    *,
    url: Annotated[list[str], Option("where", ambient=("BAO_ADDR", "VAULT_ADDR"), address=True)],
    token: Annotated[str | None, Option(ambient=("BAO_TOKEN", "VAULT_TOKEN"), secret=True, sent_to="url")] = None,
    auth: Annotated[dict[str, Any] | None, Option(secret=True)] = None,
    mount: str = "secret",
    retries: Annotated[int, Option(ambient=("VAULT_MAX_RETRIES",))] = 2,
    ratio: float = 0.5,
    verify: bool | Path = True,
    trust_all: Annotated[bool, Option(ambient=("VAULT_SKIP_VERIFY",), verifies="url")] = False,
    kv: Literal["auto", 1, 2] = "auto",
    labels: dict[str, str] | None = None,
    groups: dict[str, dict[str, str]] | None = None,
    mapping: EnvironmentMapping,
) -> object:
    """Takes an option of every type."""


SCHEMA = read_schema(opener, "vault")


class Shared(TypedDict, total=False):
    """Options that several openers unpack."""

    url: Required[Annotated[str, Option("where", address=True)]]
    token: Annotated[str | None, Option("the token", ambient=("CORP_TOKEN",), secret=True, sent_to="url")]
    skip_verify: Annotated[bool, Option(verifies="url")]
    retries: int | None


class Reserved(TypedDict):
    plugin: str


def open_shared(*, mount: str = "secret", **shared: Unpack[Shared]) -> object:
    """Takes the options that others take too."""


class Source:
    """What a test says, and how its options resolve."""

    def __init__(
        self,
        text: str = "",
        *,
        environ: dict[str, str] | None = None,
        dotenv: dict[str, str] | None = None,
        found: bool = False,
        files: dict[str, str] | None = None,
        **said: Any,
    ) -> None:
        process = {name: SensitiveStr(value) for name, value in (environ or {}).items()}
        document = protect_data(tomllib.loads(text))
        source = FOUND if found else "app.toml"
        environment = said.pop("environment", None)
        file = read_file(document, source, environment=environment, found=found, folder=Path("/etc/app"))
        ambient = [Ambient(process)]
        if not file.production:
            ambient.append(Ambient(protect_data(dotenv or {}), Rank.DOTENV, "./.env"))
        self.config: Config = build(Arguments(**said), read_variables(process), file, ambient)
        self.files = files or {}

    def read(self, file: Path, where: str) -> str:
        if str(file) not in self.files:
            raise ConfigurationError(f"{where}: the file {file}: it is not there")
        return self.files[str(file)]

    def resolve(self, function: Callable[..., object] = opener, store: str = "vault") -> dict[str, Setting]:
        about = self.config.store(store)
        return resolve(about, read_schema(function, about.plugin), self.config, self.read)


def settings(text: str = "", **said: Any) -> dict[str, Setting]:
    return Source(text, **said).resolve()


def values(text: str = "", **said: Any) -> dict[str, object]:
    return {name: setting.value for name, setting in settings(text, **said).items()}


def refusal(text: str = "", **said: Any) -> str:
    source = Source(text, **said)
    with pytest.raises(ConfigurationError) as caught:
        source.resolve()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = shown[shown.index("strongroom/_plugins") :]
    assert CANARY not in ours
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestSchema:
    def test_a_signature_is_a_schema(self):
        """Types in words, defaults, what is required, and what `Option` adds; the mapping is not configurable."""
        assert SCHEMA.mapping == "mapping"
        assert {name: option.type_name for name, option in SCHEMA.options.items()} == {
            "url": "a list of strings",
            "token": "a string",
            "auth": "a table",
            "mount": "a string",
            "retries": "an integer",
            "ratio": "a number",
            "verify": "true or false or a file's path",
            "trust_all": "true or false",
            "kv": 'one of "auto", 1, 2',
            "labels": "a table of strings",
            "groups": "a table of tables",
        }
        assert [name for name, option in SCHEMA.options.items() if option.required] == ["url"]
        assert SCHEMA.options["retries"].default == 2
        assert SCHEMA.options["url"].option.help == "where"
        assert SCHEMA.options["token"].option.secret

    def test_hints_that_are_strings_are_read(self):
        """As they are under `from __future__ import annotations`."""

        def written(*, root: "Annotated[Path, Option('a folder')]", names: "list[str] | None" = None) -> object: ...

        schema = read_schema(written, "files")
        assert (schema.options["root"].hint, schema.options["root"].option.help) == (Path, "a folder")

    def test_an_option_beside_a_member_of_a_union(self):
        """`Annotated[str, …] | None` says the same as `Annotated[str | None, …]`."""

        def written(*, token: Annotated[str, Option(secret=True)] | None = None) -> object: ...

        option = read_schema(written, "x").options["token"]
        assert option.option.secret
        assert option.hint == str | None

    def test_a_class_is_an_opener_too(self):
        """Its constructor's signature is the schema."""

        class Store:
            def __init__(self, *, root: Path) -> None: ...

        assert list(read_schema(Store, "x").options) == ["root"]

    def test_keys_of_an_unpacked_typed_dict_are_options(self):
        """After the parameters. What may be absent has the default None, or False for a bool."""
        options = read_schema(open_shared, "corp").options
        assert list(options) == ["mount", "url", "token", "skip_verify", "retries"]
        assert [name for name, option in options.items() if option.required] == ["url"]
        assert [option.default for option in options.values()] == ["secret", None, None, False, None]
        assert options["token"].option == Option("the token", ambient=("CORP_TOKEN",), secret=True, sent_to="url")
        assert (options["token"].type_name, options["skip_verify"].type_name) == ("a string", "true or false")

    def test_typed_dict_with_hints_that_are_strings(self):
        """As they are under `from __future__ import annotations`, where its own set of required keys is wrong."""

        class Kept(TypedDict):
            root: "Annotated[Path, Option('a folder')]"
            limit: "NotRequired[int]"

        class Shared(Kept, total=False):
            url: "Required[str]"
            token: "str | None"

        def written(**shared: Unpack[Shared]) -> object: ...

        options = read_schema(written, "corp").options
        assert {name for name, option in options.items() if option.required} == {"root", "url"}
        assert (options["root"].hint, options["root"].option.help) == (Path, "a folder")

    def test_unpacked_keys_that_are_no_options_are_a_broken_plugin(self):
        """Keys have the rules of parameters, and none may have the name of a parameter."""

        def doubled(*, url: str, **shared: Unpack[Shared]) -> object: ...
        def reserved(**shared: Unpack[Reserved]) -> object: ...
        def untyped(**shared: Unpack[dict[str, str]]) -> object: ...

        for broken, words in (
            (doubled, "its signature cannot be read .duplicate parameter name: 'url'"),
            (reserved, "its option plugin has a reserved name: rename it"),
            (untyped, "its signature cannot be read"),
        ):
            with pytest.raises(PluginError, match=f"^The plugin corp is broken: {words}"):
                read_schema(broken, "corp")

    def test_options_of_a_typed_dict_are_resolved_as_others(self):
        """From a file and ambient variables, with an origin; what nothing sets is left to the opener."""
        source = Source(f'[stores.corp]\nurl = "{URL}"\nskip_verify = false', environ={"CORP_TOKEN": CANARY})
        given = source.resolve(open_shared, "corp")
        assert {name: setting.value for name, setting in given.items()} == {
            "url": URL, "skip_verify": False, "token": CANARY,
        }  # fmt: skip
        assert given["token"].secret
        with pytest.raises(ConfigurationError, match='the plugin corp has no option tokn; did you mean "token"'):
            Source(f'[stores.corp]\nurl = "{URL}"\ntokn = "x"').resolve(open_shared, "corp")

    @pytest.mark.parametrize("word", ["adress", "address", "endpoint", "ADDR"])
    def test_another_word_for_the_address_suggests_its_option(self, word):
        """Never one that is spelled a little alike, such as `headers`."""

        def open_corp(*, base_url: Annotated[str, Option(address=True)], headers: str = "") -> object: ...

        with pytest.raises(ConfigurationError, match=f'has no option {word}; did you mean "base_url"'):
            Source(f'[stores.corp]\n{word} = "{URL}"').resolve(open_corp, "corp")
        with pytest.raises(ConfigurationError, match="has no option hedge; known here"):
            Source('[stores.corp]\nhedge = ""').resolve(open_corp, "corp")

    def test_a_fault_of_a_value_is_an_error_before_the_store_is_opened(self):
        """Also in an environment that is not selected. The message has the option's origin, and no value."""

        def open_corp(*, auth: Annotated[dict[str, str], Option(fault=lambda table: "x" not in table and "no x")]): ...

        assert Source('[stores.corp]\nauth = {x = "1"}').resolve(open_corp, "corp")["auth"].value == {"x": "1"}
        wrong = Source(f'[stores.corp]\nauth = {{y = "{CANARY}"}}')
        schema = read_schema(open_corp, "corp")
        for read in (
            lambda: wrong.resolve(open_corp, "corp"),
            lambda: check_written(wrong.config.store("corp"), schema, production=False),
        ):
            with pytest.raises(ConfigurationError) as caught:
                read()
            assert str(caught.value) == "app.toml: [stores.corp] auth: no x"
            assert CANARY not in str(caught.value)

    def test_a_signature_that_is_no_schema_is_a_broken_plugin(self):
        """Each names the plugin and the option."""

        def positional(url: str) -> object: ...
        def variadic(**options: str) -> object: ...
        def unhinted(*, url) -> object: ...
        def unreadable(*, url: bytes) -> object: ...
        def nested(*, urls: list[set[str]]) -> object: ...
        def unknown(*, url: "Nowhere") -> object: ...  # noqa: F821
        def lost(*, token: Annotated[str, Option(sent_to=("url", "address"))], url: str) -> object: ...
        def idle(*, ca: Annotated[str, Option(verifies="address")]) -> object: ...

        for broken, words in (
            (positional, "option url is not keyword-only"),
            (variadic, "option options is not keyword-only"),
            (unhinted, "option url has no type hint"),
            (unreadable, "option url has a type that no configuration can give"),
            (nested, "option urls has a type that no configuration can give"),
            (unknown, "its signature cannot be read"),
            (lost, "option token is sent to address, which it lacks"),
            (idle, "option ca vouches for address, which it lacks"),
        ):
            with pytest.raises(PluginError, match=words) as caught:
                read_schema(broken, "corp")
            assert "The plugin corp is broken" in str(caught.value)

    @pytest.mark.parametrize(
        ("hint", "words"),
        [
            ("exit(0)", r"its signature cannot be read \(SystemExit\)"),
            ("1 / 0", r"its signature cannot be read \(ZeroDivisionError\)"),
            (Annotated[str, Option("a"), Option(secret=True)], "option url has 2 Options: keep one"),
            (Annotated[str, Option("a")] | Annotated[None, Option("b")], "option url has 2 Options: keep one"),
            (
                Annotated[str, Option(ambient="URL")],
                r'option url has an Option whose ambient is str, not a tuple of names such as \("NAME",\)',
            ),
            (
                Annotated[str, Option(ambient=("MY URL",))],
                "whose ambient variable 'MY URL' is not the name of an environment variable",
            ),
            (
                Annotated[str, Option(ambient=("STRONGROOM_CONFIG",))],
                "whose ambient variable STRONGROOM_CONFIG is reserved: names that begin with STRONGROOM_ configure",
            ),
            (Annotated[str, Option(secret="yes")], "option url has an Option whose secret is str, not bool"),
            (Annotated[str, Option(recipients=1)], "option url has an Option whose recipients is int, not bool"),
            (Annotated[str, Option(credential_variables=("A",))], "whose credential_variables is tuple, not callable"),
            *(
                (Annotated[str, Option(tls_schemes=wrong)], "whose tls_schemes is not a tuple of schemes")
                for wrong in ("rediss", (), ("REDISS",), ("rediss://",))
            ),
            (Annotated[str, Option(help=None)], "option url has an Option whose help is NoneType, not str"),
        ],
        ids=str,
    )
    def test_annotation_that_is_no_option_is_a_broken_plugin(self, hint, words):
        """A malformed annotation is refused when the plugin is loaded, not when a value is looked up."""

        def broken(*, url) -> object: ...

        broken.__annotations__["url"] = hint
        with pytest.raises(PluginError, match=words) as caught:
            read_schema(broken, "corp")
        assert "The plugin corp is broken" in str(caught.value)

    def test_reserved_name_is_a_broken_plugin(self):
        """`plugin` in the table of a store names the plugin: an option of that name could never be set."""

        def broken(*, plugin: str) -> object: ...

        with pytest.raises(PluginError, match="option plugin has a reserved name: rename it"):
            read_schema(broken, "corp")


class TestReading:
    @pytest.mark.parametrize(
        ("value", "hint", "expected"),
        [
            ("x", str, "x"),
            (3, float, 3.0),
            (True, bool, True),
            ("a/b", Path, Path("/base/a/b")),
            ("/a", Path, Path("/a")),
            ("one", list[str], ["one"]),
            (["a", "b"], list[str], ["a", "b"]),
            ([1, 2], list[int], [1, 2]),
            ({"a": 1}, dict[str, int], {"a": 1}),
            ({"a": {"b": [1]}}, dict[str, Any], {"a": {"b": [1]}}),
            (None, str | None, None),
            ("a", str | list[str], "a"),
            (["a"], str | list[str], ["a"]),
            (2, Literal["auto", 1, 2], 2),
            (["a", "b"], tuple[Text, ...], ("a", "b")),
            ("5m", Seconds, 300.0),
        ],
    )
    def test_a_value_of_the_type(self, value, hint, expected):
        """Integers are numbers, one string is a list of one, paths are below the folder of their file."""
        assert read_value(value, hint, text=False, folder=Path("/base")) == expected

    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (5, str),
            ("5", int),
            (True, int),
            (1, bool),
            (1.5, int),
            (float("nan"), float),
            (10**400, float),
            ("", Path),
            ("a\0b", Path),
            ("~nobody-of-that-name/x", Path),
            (5, Path),
            (5, list[str]),
            (["a", 5], list[str]),
            ({"a": 5}, dict[str, str]),
            ({5: "a"}, dict[str, str]),
            ("a", dict[str, str]),
            (True, Literal[1]),
            ("3", Literal["auto", 3]),
            (None, str),
            (b"x", list[str]),
            ("a", tuple[Text, ...]),
            (["a", ""], tuple[Text, ...]),
            (-1, Seconds),
            (0, Count),
            (True, Count),
        ],
    )
    def test_a_value_of_another_type(self, value, hint):
        """TOML has types: none of them is guessed into another."""
        assert read_value(value, hint, text=False) is MISMATCH

    @pytest.mark.parametrize(
        ("text", "hint", "expected"),
        [
            ("5", int, 5),
            ("-5", int, -5),
            ("0.5", float, 0.5),
            ("on", bool, True),
            ("F", bool, False),
            ("false", bool | Path, False),
            ("/etc/ca.pem", bool | Path, Path("/etc/ca.pem")),
            ("5", str | int, 5),
            ("five", str | int, "five"),
            ("2", Literal["auto", 1, 2], 2),
            ("auto", Literal["auto", 1, 2], "auto"),
            ("5", str, "5"),
            ("five", int, MISMATCH),
            ("inf", float, MISMATCH),
            ("1_000", int, MISMATCH),
            ("٣", int, MISMATCH),
            ("maybe", bool, MISMATCH),
        ],
    )
    def test_text_is_read_as_the_type_that_is_asked_for(self, text, hint, expected):
        """A variable has no type of its own."""
        assert read_value(text, hint, text=True) == expected

    @pytest.mark.parametrize(
        ("value", "hint", "words"),
        [
            (1.5, str | int | None, "a string or an integer, not a number"),
            (5, Text | None, "a string, not an integer"),
            ("", Text | None, "a string that is not empty"),
            ("soon", Seconds | None, 'a duration such as "30s", "5m", "1h", or a number of seconds'),
            (0, PositiveSeconds, "more than zero"),
        ],
    )
    def test_a_message_names_all_types_of_a_hint_or_the_rule_that_is_broken(self, value, hint, words):
        with pytest.raises(ConfigurationError) as caught:
            convert(value, hint, "The setting")
        assert str(caught.value) == f"The setting must be {words}"

    @given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
    def test_text_of_a_value_is_the_value(self, value):
        """What is printed is read back, in its own type."""
        read = read_value(str(value), type(value), text=True)
        assert (read, type(read)) == (value, type(value))

    @given(st.text() | st.binary() | st.none() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers()))
    def test_reading_never_raises(self, value):
        """An error would carry the value."""
        for hint in (str, int, float, bool, Path, list[str], dict[str, str], Literal["a"], str | None):
            read_value(value, hint, text=True)
            read_value(value, hint, text=False)

    @given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
    def test_json_text_of_a_list_is_the_list(self, value):
        """Other text stays as it is, also when it only looks like JSON."""
        assert read_json(json.dumps([value])) == [value]
        assert read_json("[x") == "[x"
        assert read_json("5") == "5"
        assert read_json("[" * 100_000) == "[" * 100_000


class TestResolution:
    def test_the_higher_source_counts(self):
        """Arguments, variables, the file, BAO_ then VAULT_ in the process, then the same in ./.env."""
        said: dict[str, Any] = {
            "dotenv": {"BAO_ADDR": "https://6", "VAULT_ADDR": "https://7"},
            "environ": {"BAO_ADDR": "https://4", "VAULT_ADDR": "https://5", "STRONGROOM_STORES_VAULT_URL": "https://2"},
            "text": '[stores.vault]\nurl = "https://3"',
            "vault_url": "https://1",
        }
        steps = [
            ("https://1", "the argument vault_url", lambda: said.pop("vault_url")),
            (
                "https://2",
                "the environment variable STRONGROOM_STORES_VAULT_URL",
                lambda: said["environ"].pop("STRONGROOM_STORES_VAULT_URL"),
            ),
            ("https://3", "app.toml: [stores.vault] url", lambda: said.pop("text")),
            ("https://4", "the environment variable BAO_ADDR", lambda: said["environ"].pop("BAO_ADDR")),
            ("https://5", "the environment variable VAULT_ADDR", lambda: said["environ"].pop("VAULT_ADDR")),
            ("https://6", "BAO_ADDR in ./.env", lambda: said["dotenv"].pop("BAO_ADDR")),
            ("https://7", "VAULT_ADDR in ./.env", lambda: said["dotenv"].pop("VAULT_ADDR")),
        ]
        for value, origin, drop in steps:
            url = settings(**said)["url"]
            assert (url.value, url.origin) == ([value], origin)
            drop()
        message = refusal(**said)
        assert message == ("The store vault: the option url is missing: it is a list of strings, or set VAULT_ADDR")

    def test_only_what_is_said_is_given(self):
        """For everything else the plugin has its own default."""
        assert values(environ={"VAULT_ADDR": URL}) == {"url": [URL]}

    def test_references_anywhere_in_an_option(self):
        """To a variable of the process or of ./.env, and to a file, whose last line end is not a part of it."""
        found = values(
            f"""
            [stores.vault]
            url = ["{URL}", {{ env = "SECOND" }}]
            mount = {{ env = "MOUNT" }}
            retries = {{ env = "RETRIES" }}
            auth = {{ method = "approle", secret_id = {{ file = "secret-id" }}, more = [{{ file = "~/x" }}] }}
            """,
            environ={"SECOND": "https://two", "MOUNT": "kv"},
            dotenv={"MOUNT": "not this one", "RETRIES": "7"},
            files={"/etc/app/secret-id": f"{CANARY}\r\n", str(Path("~/x").expanduser()): "a\nb"},
        )
        assert found == {
            "url": [URL, "https://two"],
            "mount": "kv",
            "retries": 7,
            "auth": {"method": "approle", "secret_id": CANARY, "more": ["a\nb"]},
        }
        assert CANARY not in repr(found)

    def test_addresses_are_parted_at_commas(self):
        """The nodes of a cluster in one variable, in the file's text, and in an argument."""
        nodes = ["https://one:8200", "https://two:8200"]
        text = " https://one:8200 , https://two:8200,"
        assert values(environ={"VAULT_ADDR": text})["url"] == nodes
        assert values(f"[stores.vault]\nurl = '{text}'")["url"] == nodes
        assert values(vault_url=text)["url"] == nodes
        assert values(vault_url=nodes)["url"] == nodes

    def test_lists_and_tables_in_variables_are_json(self):
        """References in them are followed too."""
        auth = json.dumps({"method": "token", "token": {"env": "ELSEWHERE"}})
        found = values(
            environ={
                "STRONGROOM_STORES_VAULT_URL": '["https://one", "https://two"]',
                "STRONGROOM_STORES_VAULT_AUTH": auth,
                "STRONGROOM_STORES_VAULT_RETRIES": "3",
                "STRONGROOM_STORES_VAULT_VERIFY": "false",
                "ELSEWHERE": CANARY,
            }
        )
        assert found == {
            "url": ["https://one", "https://two"],
            "auth": {"method": "token", "token": CANARY},
            "retries": 3,
            "verify": False,
        }

    @pytest.mark.parametrize(
        ("option", "words"),
        [
            ("old_name = 'x'", ["app.toml: [stores.vault] old_name: it was removed: set mount"]),
            ("mnt = 'kv'", ["app.toml: [stores.vault] mnt: the plugin vault has no option mnt", '"mount"?']),
            (f"retries = '{CANARY}'", ["[stores.vault] retries: the option retries must be an integer, not a string"]),
            ("verify = 5", ["the option verify must be true or false or a file's path, not an integer"]),
            (f"kv = '{CANARY}'", ['must be one of "auto", 1, 2']),
            (f"groups = {{ a = '{CANARY}' }}", ["the option groups must be a table of tables, not a table"]),
            (f"labels = {{ a = 5, b = '{CANARY}' }}", ["the option labels must be a table of strings, not a table"]),
            ("mapping = 'x'", ["has no option mapping"]),
            ("token = { env = 'UNSET' }", ["[stores.vault] token: the environment variable UNSET is not set"]),
            ("token = { env = 'EMPTY' }", ["the environment variable EMPTY is not set, or is empty"]),
            ("token = { file = 'none' }", ["[stores.vault] token: the file /etc/app/none: it is not there"]),
            ("token = { file = 'empty' }", ["[stores.vault] token: the file /etc/app/empty is empty"]),
            ("token = { file = '~nobody-of-that-name/x' }", ["[stores.vault] token: { file = … } names no file"]),
            (
                "retries = { env = 'TOKEN' }",
                ["from the environment variable TOKEN", "must be an integer, not this text"],
            ),
            ("url = 'vault.example'", ["[stores.vault] url: must be a URL"]),
            ("url = 'http://[::1'", ["[stores.vault] url: must be a URL"]),
            (f"url = 'https://me:{CANARY}@vault.example'", ["[stores.vault] url: a URL holds no user or password"]),
        ],
    )
    def test_a_mistake_is_one_line_that_names_the_option(self, option, words):
        """The value is not shown, in no frame either."""
        store = "[stores.vault]\n" + ("" if option.startswith("url") else f"url = '{URL}'\n") + option
        message = refusal(store, environ={"TOKEN": CANARY, "EMPTY": ""}, files={"/etc/app/empty": "\n"})
        assert [word for word in words if word not in message] == [], message

    def test_json_of_a_variable_is_in_no_frame(self):
        """Also when it has another shape than the option."""
        text = json.dumps([CANARY, {"a": CANARY}])
        message = refusal(environ={"VAULT_ADDR": URL, "STRONGROOM_STORES_VAULT_LABELS": text})
        assert message == (
            "the environment variable STRONGROOM_STORES_VAULT_LABELS: "
            "the option labels must be a table of strings, not this text"
        )

    def test_a_setting_shows_no_secret(self):
        """Neither one that its plugin marks, nor one that came through a reference, nor a table."""
        found = settings(
            f"""
            [stores.vault]
            url = "{URL}"
            token = "{CANARY}"
            mount = {{ env = "MOUNT" }}
            labels = {{ a = "{CANARY}" }}
            kv = 1
            """,
            environ={"MOUNT": CANARY},
        )
        assert CANARY not in repr(found)
        assert CANARY not in repr([setting.value for setting in found.values()])
        assert repr(found["url"]) == f"Setting(['{URL}'], origin='app.toml: [stores.vault] url')"
        assert found["mount"].origin == "app.toml: [stores.vault] mount, from the environment variable MOUNT"

    def test_credentials_of_different_sources_are_not_mixed(self):
        """`auth` and a token beside it are two ways to say who one is: the higher source's counts."""
        file = f'[stores.vault]\nurl = "{URL}"\nauth = {{ method = "kubernetes" }}\n'
        environ = {"VAULT_TOKEN": "ambient"}
        assert values(file, environ=environ) == {"url": [URL], "auth": {"method": "kubernetes"}}
        assert values(file, environ=environ, vault_token="t") == {"url": [URL], "token": "t"}
        assert values(file, environ={**environ, "STRONGROOM_STORES_VAULT_TOKEN": "t"}) == {"url": [URL], "token": "t"}
        over = f'[environments.dev.stores.vault]\ntoken = "t"\n{file}'
        assert values(over, environ=environ, environment="dev") == {"url": [URL], "token": "t"}
        under = (
            f'[environments.dev.stores.vault]\nauth = {{ method = "x" }}\n[stores.vault]\nurl = "{URL}"\ntoken = "t"'
        )
        assert values(under, environment="dev") == {"url": [URL], "auth": {"method": "x"}}
        both = values(f'{file}token = "t"')
        assert set(both) == {"url", "auth", "token"}, "of one source the plugin is told both, and can refuse them"


class TestBoundSources:
    """A file that was merely found redirects no credential and weakens no TLS setting of another source."""

    @pytest.mark.parametrize(
        ("said", "address"),
        [
            ({"text": f'[stores.vault]\nurl = "{URL}"', "found": True, "environ": AMBIENT_TOKEN}, FOUND),
            ({"text": f'[stores.vault]\nurl = ["{URL}"]', "found": True, "environ": {"BAO_TOKEN": CANARY}}, FOUND),
            ({"text": f'[stores.vault]\nurl = "{URL}"', "found": True, "dotenv": AMBIENT_TOKEN}, FOUND),
            ({"text": "[stores.vault]\nurl = { file = 'address' }", "found": True, "environ": AMBIENT_TOKEN}, FOUND),
            (
                {"text": f"[stores.vault]\nurl = ['{URL}', {{ env = 'U' }}]", "found": True, "environ": AMBIENT_TOKEN},
                FOUND,
            ),
            ({"text": "[stores.vault]\nurl = { env = 'D' }", "found": True, "environ": AMBIENT_TOKEN}, "./.env"),
            ({"dotenv": {"VAULT_ADDR": URL}, "environ": AMBIENT_TOKEN}, "./.env"),
            ({"dotenv": {"VAULT_ADDR": URL}, "vault_token": CANARY}, "./.env"),
            ({"text": f'[stores.vault]\nurl = "{URL}"', "found": True, "vault_token": CANARY}, FOUND),
            ({"dotenv": {"VAULT_ADDR": URL}, "environ": {"STRONGROOM_STORES_VAULT_TOKEN": CANARY}}, "./.env"),
        ],
    )
    def test_one_is_not_sent_where_only_a_found_file_points(self, said, address):
        """Whether the address stands in the file, in a file that it names, or in ./.env."""
        said = {**said, "environ": {"U": "https://two", **said.get("environ", {})}}
        said["dotenv"] = {"D": URL, **said.get("dotenv", {})}
        message = refusal(**said, files={"/etc/app/address": URL})
        assert "The store vault has its token from" in message
        assert f"only {address} gives" in message

    @pytest.mark.parametrize(
        ("said", "file"),
        [
            ({"text": "[stores.vault]\ntrust_all = true", "found": True}, FOUND),
            ({"dotenv": {"VAULT_SKIP_VERIFY": "1"}}, "./.env"),
        ],
    )
    def test_one_is_not_sent_to_whom_only_a_found_file_trusts(self, said, file):
        """The file's author must not choose which server answers at the address of the process or of the code."""
        for address in (
            {"environ": {**AMBIENT_TOKEN, "VAULT_ADDR": URL}},
            {"vault_url": URL, "environ": AMBIENT_TOKEN},
        ):
            message = refusal(**said, **address)
            assert f"not sent to a server that only trust_all of {file} trusts" in message

    @pytest.mark.parametrize(
        "said",
        [
            {"text": "[stores.vault]\ntrust_all = true", "found": True},
            {"dotenv": {"VAULT_SKIP_VERIFY": "1"}},
        ],
    )
    def test_an_address_keeps_its_own_trust(self, said):
        """Also without a credential: what is written to such a server would be read by another."""
        assert "trust_all does not apply to the address from" in refusal(**said, vault_url=URL)

    def test_a_found_file_weakens_no_tls_through_a_variable_of_the_process(self):
        """`CI=1` is set on every runner: the file's author chooses the variable, and so its value."""
        text = '[stores.vault]\ntrust_all = { env = "CI" }'
        message = refusal(text, found=True, environ={"CI": "1", "VAULT_ADDR": URL})
        assert "trust_all does not apply to the address from" in message

    def test_a_found_file_removes_no_authority(self):
        """An empty text would take the place of the process's own authorities, and trust the system's."""

        def pinned(
            *,
            url: Annotated[str, Option(ambient=("VAULT_ADDR",), address=True)],
            ca: Annotated[str | None, Option(ambient=("VAULT_CACERT_BYTES",), verifies="url")] = None,
        ) -> object:
            """Has authorities as text."""

        source = Source('[stores.vault]\nca = ""', found=True, environ={"VAULT_ADDR": URL, "VAULT_CACERT_BYTES": "PEM"})
        with pytest.raises(ConfigurationError, match="ca does not apply to the address from"):
            source.resolve(pinned)

    def test_one_address_of_a_list_is_bound_too(self):
        """A named file names the variable, and ./.env gives its value."""
        text = f"[stores.vault]\nurl = ['{URL}', {{ env = 'U' }}]"
        message = refusal(text, environ=AMBIENT_TOKEN, dotenv={"U": "https://elsewhere.example"})
        assert "not sent to an address that only ./.env gives" in message

    @pytest.mark.parametrize("address", ["api", "login"])
    def test_one_may_have_several_receivers(self, address):
        """A key is sent to a token server, and the token to the service: a found file may choose neither."""

        def exchanging(
            *,
            key: Annotated[str, Option(ambient=("CORP_KEY",), secret=True, sent_to=("api", "login"))],
            api: Annotated[str, Option(address=True)] = URL,
            login: Annotated[str, Option(address=True)] = URL,
        ) -> object:
            """Exchanges a key for a token."""

        source = Source(f'[stores.vault]\n{address} = "{URL}"', found=True, environ={"CORP_KEY": "k"})
        with pytest.raises(ConfigurationError, match=f"not sent to an address that only {FOUND} gives"):
            source.resolve(exchanging)

    def test_credentials_that_a_plugin_finds_itself_are_bound(self):
        """boto3 signs with the process's credentials, and sends its session token."""

        def signing(
            *,
            endpoint: Annotated[str | None, Option(address=True)] = None,
            profile: Annotated[str | None, Option(sent_to="endpoint")] = None,
        ) -> object:
            """Has no option for a credential, only for its choice."""

        text = f'[stores.vault]\nendpoint = "{URL}"\n'
        with pytest.raises(ConfigurationError, match="set profile there"):
            Source(text, found=True).resolve(signing)
        assert Source(f'{text}profile = "mine"', found=True).resolve(signing)
        referring = Source(f'{text}profile = {{ env = "P" }}', found=True, environ={"P": "mine"})
        assert referring.resolve(signing)
        check_written(referring.config.store("vault"), read_schema(signing, "vault"), production=False)
        assert Source(text).resolve(signing)


class TestUntrustedFiles:
    """The command line uses no address, credential or TLS setting of a found file before `strongroom trust`."""

    @pytest.mark.parametrize(
        ("text", "setting"),
        [
            (f'[stores.vault]\nurl = "{URL}"', "it sets url of store vault"),
            ('[stores.vault]\ntoken = "s.token"', "it sets token of store vault"),
            ("[stores.vault]\ntrust_all = true", "it sets trust_all of store vault"),
            ('[stores.vault]\ntoken = { env = "GITHUB_TOKEN" }', "token of store vault reads a variable or a file"),
            (
                '[stores.vault]\nlabels = { a = { file = "/etc/x" } }',
                "labels of store vault reads a variable or a file",
            ),
        ],
    )
    def test_its_settings_are_refused(self, text, setting):
        source = Source(text, found=True, environ={"VAULT_ADDR": URL, "GITHUB_TOKEN": CANARY})
        source.config = replace(source.config, untrusted=(FOUND,))
        with pytest.raises(ConfigurationError, match="is not trusted") as caught:
            source.resolve()
        assert setting in str(caught.value)
        assert str(caught.value).endswith(f"run: strongroom trust {FOUND}")

    def test_variables_of_dotenv_are_refused(self):
        source = Source(dotenv={"VAULT_ADDR": URL})
        source.config = replace(source.config, untrusted=("./.env",))
        with pytest.raises(ConfigurationError, match=r"\./\.env is not trusted: it sets url of store vault"):
            source.resolve()

    def test_other_settings_are_used(self):
        source = Source('[stores.vault]\nmount = "kv"', found=True, environ={"VAULT_ADDR": URL})
        source.config = replace(source.config, untrusted=(FOUND,))
        assert source.resolve()["mount"].value == "kv"


class TestBoundSourcesThatWork:
    """Sources that may be combined."""

    @pytest.mark.parametrize(
        "said",
        [
            {"text": f'[stores.vault]\nurl = "{URL}"', "environ": AMBIENT_TOKEN},
            {"text": f'[stores.vault]\nurl = "{URL}"\ntrust_all = true', "environ": AMBIENT_TOKEN},
            {"dotenv": {**AMBIENT_TOKEN, "VAULT_ADDR": URL, "VAULT_SKIP_VERIFY": "1"}},
            {"environ": {**AMBIENT_TOKEN, "VAULT_ADDR": URL, "VAULT_SKIP_VERIFY": "1"}},
            {
                "text": "[stores.vault]\ntrust_all = false",
                "found": True,
                "environ": {**AMBIENT_TOKEN, "VAULT_ADDR": URL},
            },
            {
                "text": f'[stores.vault]\nurl = "{URL}"\ntoken = {{ env = "VAULT_TOKEN" }}',
                "found": True,
                "environ": AMBIENT_TOKEN,
            },
            {
                "text": f'[stores.vault]\nurl = "{URL}"\ntoken = {{ env = "VAULT_TOKEN" }}',
                "found": True,
                "dotenv": AMBIENT_TOKEN,
            },
            {
                "text": '[stores.vault]\nurl = { env = "WHERE" }',
                "found": True,
                "environ": {**AMBIENT_TOKEN, "WHERE": URL},
            },
            {"text": '[stores.vault]\nmount = "kv"', "found": True, "environ": {**AMBIENT_TOKEN, "VAULT_ADDR": URL}},
            {"dotenv": {**AMBIENT_TOKEN, "VAULT_ADDR": URL}},
            {"environ": {"VAULT_ADDR": URL}, "dotenv": AMBIENT_TOKEN},
        ],
    )
    def test_one_is_sent_where_somebody_meant_it_to_go(self, said):
        """The file was named, or names the token's source; the process gives the address; both are from ./.env."""
        found = values(**said)
        assert (found["url"], found["token"]) == ([URL], CANARY)

    def test_a_token_that_is_not_used_is_not_refused(self):
        """A found file that says how to authenticate asks for no token of the process."""
        file = f'[stores.vault]\nurl = "{URL}"\nauth = {{ method = "kubernetes" }}'
        assert set(values(file, found=True, environ=AMBIENT_TOKEN)) == {"url", "auth"}


class TestProduction:
    @pytest.mark.parametrize("url", ["http://vault.example:8200", "http://10.0.0.1:8200", "ftp://localhost.example"])
    def test_no_address_in_the_clear_off_loopback(self, url):
        """Of the address its scheme and host alone are shown."""
        store = f'production = true\n[stores.vault]\nurl = ["{URL}", "{url}"]'
        assert "is not https, and production" in refusal(store)
        assert values(store.removeprefix("production = true"))["url"] == [URL, url]

    def test_no_address_in_the_clear_among_others_in_one_text(self):
        """Each of them is looked at."""
        file = "production = true\n[stores.vault]\nmount = 'kv'"
        assert "is not https, and production" in refusal(file, environ={"VAULT_ADDR": f"{URL},http://10.0.0.1:8200"})
        assert "no user or password" in refusal(environ={"VAULT_ADDR": f"{URL},https://me:{CANARY}@vault.example"})

    @pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8200", "http://[::1]:8200", "http://LocalHost:8200"])
    def test_https_and_loopback_are_allowed(self, url):
        """An agent on the same machine speaks http."""
        assert values(f'production = true\n[stores.vault]\nurl = "{url}"')["url"] == [url]

    def test_tls_can_have_another_name_than_https(self):
        """An option names its schemes of TLS. Then https is none, unless it is named."""

        def open_corp(*, url: Annotated[str, Option(address=True, tls_schemes=("rediss", "amqps"))]) -> object: ...

        def resolved(url):
            return Source(f'production = true\n[stores.corp]\nurl = "{url}"').resolve(open_corp, "corp")["url"].value

        for allowed in ("rediss://cache.example", "amqps://queue.example", "redis://127.0.0.1"):
            assert resolved(allowed) == allowed
        for refused in ("redis", "https"):
            with pytest.raises(ConfigurationError, match=f"{refused}://cache.example is not rediss or amqps, and"):
                resolved(f"{refused}://cache.example/0")
        with pytest.raises(ConfigurationError, match="must be a URL such as rediss://host"):
            resolved("cache.example")

    def test_nothing_comes_from_dotenv(self):
        """Neither ambient nor by reference."""
        assert "url is missing" in refusal("production = true", dotenv={"VAULT_ADDR": URL})
        store = f'production = true\n[stores.vault]\nurl = "{URL}"\nmount = {{ env = "MOUNT" }}'
        assert "MOUNT is not set" in refusal(store, dotenv={"MOUNT": "kv"})

    def test_the_dotenv_store_reads_another_file_than_the_developer_s(self):
        """A rendered file of an agent is fine, ./.env is not."""

        def open_dotenv(*, mapping: EnvironmentMapping, file: Path = Path(".env")) -> object: ...

        for file in (".env", "./.env", str(Path(".env").absolute())):
            source = Source("production = true", environ={"STRONGROOM_STORES_DOTENV_FILE": file})
            with pytest.raises(ConfigurationError, match=r"production reads no \./\.env"):
                source.resolve(open_dotenv, "dotenv")
        with pytest.raises(ConfigurationError, match=r"production reads no \./\.env"):
            Source("production = true").resolve(open_dotenv, "dotenv")
        source = Source('production = true\n[stores.dotenv]\nfile = "/run/secrets/app.env"')
        assert source.resolve(open_dotenv, "dotenv")["file"].value == Path("/run/secrets/app.env")
        assert Source().resolve(open_dotenv, "dotenv") == {}
