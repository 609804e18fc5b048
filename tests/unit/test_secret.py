"""Values, their redaction, the rules for paths and data, and bytes in JSON."""

import collections.abc
import copy
import dataclasses
import json
import math
import pickle
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import SecretsManager
from strongroom.encoding import as_text, check_type, convert, from_json, to_json, to_json_text
from strongroom.errors import InvalidDataError, InvalidPathError, MissingKeyError, SecretNotFoundError
from strongroom.paths import MAX_PATH_LENGTH, check_key, check_path, check_prefix, check_separate, parse_reference
from strongroom.secret import (
    MAX_DEPTH,
    Secret,
    SensitiveDict,
    SensitiveStr,
    check_data,
    conceal,
    protect,
    protect_data,
    same,
)

CANARY = "canary-model-2f"

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
names = text | st.just("strongroom:bytes")
values = st.recursive(
    scalars | text | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
keys = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20)
data = st.dictionaries(keys, values, min_size=1, max_size=5)
segments = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\\"), min_size=1, max_size=12
).filter(lambda segment: segment not in {".", ".."})
paths = st.lists(segments, min_size=1, max_size=5).map("/".join)


# --- redaction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        repr,
        lambda s: f"{s!r}",
        lambda s: "%r" % s,  # noqa: UP031  # what logging does
        lambda s: "%a" % s,  # noqa: UP031
        ascii,
        lambda s: repr([s]),
        lambda s: repr({"k": s}),
        lambda s: repr(s[:80]),
        lambda s: repr(s[3]),
        lambda s: repr(list(s)),
        lambda s: repr(copy.copy(s)),
        lambda s: repr(copy.deepcopy([s])),
    ],
)
def test_sensitive_text_is_not_shown(made):
    """No form of `repr` shows it, of the whole or of a part."""
    shown = made(SensitiveStr(CANARY))
    assert CANARY not in shown
    assert "canary" not in shown
    assert "*" in shown


@pytest.mark.parametrize(
    "made",
    [
        repr,
        str,
        ascii,
        format,
        lambda b: f"{b}",
        lambda b: "%s" % b,  # noqa: UP031  # what logging does
        lambda b: repr(b[:20]),
        lambda b: str(b[1:]),
        lambda b: f"{b[::2]!r}",
        lambda b: repr([b[3:]]),
    ],
)
def test_sensitive_bytes_are_not_shown(made):
    """Text made of them is their `repr`, which shows nothing of the whole or of a part."""
    shown = made(protect(CANARY.encode()))
    assert CANARY[:6] not in shown
    assert CANARY[3:] not in shown
    assert "*" in shown


def test_sensitive_bytes_are_bytes():
    """They equal, hash, join, decode and give their numbers as the bytes that they are."""
    sensitive = protect(b"bytes")
    assert sensitive == b"bytes"
    assert hash(sensitive) == hash(b"bytes")
    assert sensitive[0] == ord("b")
    assert sensitive[1:] == b"ytes"
    assert list(sensitive) == list(b"bytes")
    assert b"%s" % sensitive == b"".join([sensitive]) == b"bytes"
    assert sensitive.decode() == "bytes"


def test_sensitive_text_is_a_string():
    """It equals, hashes, joins, encodes and serialises as the text that it is."""
    sensitive = SensitiveStr("text")
    assert sensitive == "text"
    assert hash(sensitive) == hash("text")
    assert {"text": 1}[sensitive] == 1
    assert f"{sensitive}" == str(sensitive) == "text"
    assert json.dumps(sensitive) == '"text"'
    assert sensitive.encode() == b"text"
    assert copy.copy(sensitive) is sensitive
    assert copy.deepcopy(sensitive) is sensitive
    assert isinstance(sensitive[1:], SensitiveStr)
    assert sensitive[1:] == "ext"
    assert sensitive[-1] == "t"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_holds_plain_values(protocol):
    """Another process that unpickles needs no Strongroom, and gets the plain types all the way down."""
    value = protect_data({"text": "t", "bytes": b"\x00", "list": ["l", {"k": "v"}], "number": 5})
    back = pickle.loads(pickle.dumps(value, protocol))
    assert back == {"text": "t", "bytes": b"\x00", "list": ["l", {"k": "v"}], "number": 5}
    assert [type(item) for item in back.values()] == [str, bytes, list, int]
    assert type(back) is dict
    assert b"strongroom" not in pickle.dumps(value, protocol)


CONTAINERS = protect_data(
    {"text": CANARY, "bytes": CANARY.encode(), "list": [CANARY, 4711], "dict": {"in": CANARY}, "n": 4711}
)


@pytest.mark.parametrize(
    "made",
    [
        lambda d: d,
        lambda d: d.copy(),
        lambda d: d | {"more": CANARY},
        copy.copy,
        copy.deepcopy,
        lambda d: d["list"],
        lambda d: copy.copy(d["list"]),
        lambda d: copy.deepcopy(d["list"]),
        lambda d: d["list"].copy(),
        lambda d: d["list"][:],
        lambda d: d["list"] + [4711],
        lambda d: [4711] + d["list"],
        lambda d: d["list"] * 2,
        lambda d: 2 * d["list"],
        lambda d: {"n": 4711} | d,
        lambda d: d["bytes"],
        lambda d: copy.deepcopy(d["bytes"]),
        lambda d: d["dict"],
        lambda d: Secret("a", d),
        lambda d: dataclasses.asdict(Secret("a", d)),
        lambda d: dataclasses.replace(Secret("a", d), version=2),
        conceal,
    ],
)
def test_containers_are_not_shown(made):
    """No container of a secret's data, and no copy of one, shows a value."""
    shown = repr(made(CONTAINERS))
    assert CANARY not in shown
    assert "4711" not in shown


@pytest.mark.parametrize(
    "value", [CONTAINERS, *(CONTAINERS[key] for key in ("list", "text", "bytes")), Secret("a", CONTAINERS)]
)
def test_rich_shows_nothing(value):
    """rich's pretty printer, which also draws tracebacks with locals, goes past `repr` for containers."""
    from rich.pretty import pretty_repr

    for shown in (pretty_repr(value), pretty_repr(value, max_string=8), pretty_repr({"k": [value]}, expand_all=True)):
        assert "canary" not in shown
        assert "4711" not in shown


@pytest.mark.parametrize("value", [CONTAINERS, *(CONTAINERS[key] for key in ("list", "text", "bytes", "dict"))])
def test_sentry_shows_nothing(value):
    """Sentry's serializer goes through containers and shows their numbers, except for classes with its hook."""
    shown = type(value).__sentry_repr__(value)
    assert shown == repr(value)
    assert "4711" not in shown


@given(values)
def test_reveal_returns_plain_values(value):
    """At every level, whatever the depth, with the value unchanged."""

    def types(item):
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        return {type(item)}.union(*map(types, inner))

    protected = protect_data({"k": value})
    revealed = protected.reveal()
    assert same(revealed, {"k": value})
    assert types(revealed) <= {str, bytes, int, float, bool, type(None), list, dict}
    if isinstance(value, str | bytes | list | dict):
        assert type(protected["k"].reveal()) is type(value)


def test_reveal_satisfies_libraries_that_check_the_exact_type():
    """They refuse a subclass of str."""
    import msgspec
    import yaml

    secret = protect_data({"text": "t", "list": ["l", {"k": b"v"}]})
    secret["added"] = {"later": SensitiveStr("s")}
    revealed = secret.reveal()
    assert yaml.safe_load(yaml.safe_dump(revealed)) == secret
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(revealed)) == secret
    with pytest.raises(yaml.representer.RepresenterError):
        yaml.safe_dump(SensitiveStr("t"))


def test_pydantic_takes_it_as_a_field():
    """A model's field of this type is validated as text and stays redacted."""
    from pydantic import BaseModel, ValidationError

    class Settings(BaseModel):
        password: SensitiveStr

    settings = Settings(password=CANARY)
    assert type(settings.password) is SensitiveStr
    assert CANARY not in repr(settings)
    assert settings.model_dump_json() == f'{{"password":"{CANARY}"}}'
    assert Settings.model_json_schema()["properties"]["password"]["type"] == "string"
    with pytest.raises(ValidationError):
        Settings(password=5)


@given(values)
def test_protect_changes_no_value(value):
    """It is the same value, once protected or twice."""
    once = protect(value)
    assert same(once, value)
    assert once == value or isinstance(value, list | dict)
    twice = protect(once)
    assert same(twice, once)
    assert type(twice) is type(once)


@given(data)
def test_protect_shares_nothing_mutable(given_data):
    """What the caller changes afterwards is not in the copy."""
    kept = protect_data(given_data)
    before = to_json_text(kept)
    for value in given_data.values():
        if isinstance(value, list | dict):
            value.clear()
    given_data.clear()
    assert to_json_text(kept) == before


# --- JSON -------------------------------------------------------------------------------------------------------------


@given(values)
def test_from_json_is_the_inverse_of_to_json(value):
    """Through JSON text too: bytes and their look-alikes come back as what they were."""
    assert same(from_json(to_json(value)), value)
    assert same(from_json(json.loads(to_json_text(value))), value)


@given(values)
def test_to_json_is_the_inverse_of_from_json_on_what_it_made(value):
    """Both ways, so that a store which reads, changes nothing and writes, changes nothing."""
    written = to_json(value)
    assert to_json(from_json(written)) == written


@given(values)
def test_json_text_is_stable(value):
    """Protected or not, a value has one text."""
    assert to_json_text(protect(value)) == to_json_text(value)


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        ({"strongroom:bytes": "AAE="}, b"\x00\x01"),
        ({"strongroom:bytes": ""}, b""),
        ({"strongroom:bytes": "not base64!"}, {"strongroom:bytes": "not base64!"}),
        ({"strongroom:bytes": "AAE"}, {"strongroom:bytes": "AAE"}),
        ({"strongroom:bytes": "AA E="}, {"strongroom:bytes": "AA E="}),
        ({"strongroom:bytes": 5}, {"strongroom:bytes": 5}),
        ({"strongroom:bytes": "AAE=", "more": 1}, {"strongroom:bytes": "AAE=", "more": 1}),
        ({"strongroom:bytes": {"strongroom:bytes": "AAE="}}, {"strongroom:bytes": "AAE="}),
    ],
)
def test_what_others_wrote_comes_back_as_it_stands(stored, value):
    """Only an exact envelope is bytes; anything near it, written by hand, is what it looks like."""
    assert same(from_json(stored), value)


# --- paths ------------------------------------------------------------------------------------------------------------


@given(paths)
def test_segments_and_single_slashes_are_a_path(path):
    """Whatever is in the segments, a path is given back as it is, and as the folder to list with a slash or without."""
    if len(path) <= MAX_PATH_LENGTH:
        assert check_path(path) == path
        assert check_prefix(path) == check_prefix(path + "/") == path


def test_a_slash_alone_is_no_folder_and_is_named():
    """The top is the empty string; what was typed is what the message says."""
    assert check_prefix("") == ""
    with pytest.raises(InvalidPathError, match=r"^Invalid path: / \(it has a leading"):
        check_prefix("/")


@given(st.text())
def test_a_path_is_refused_or_is_itself(path):
    """There is no third outcome: nothing is normalised, so two paths never name one secret."""
    with suppress(InvalidPathError):
        assert check_path(path) is path
        assert not {"", ".", ".."} & set(path.split("/"))


@given(st.text())
def test_a_refusal_is_one_printable_line(path):
    """Whatever the path is, the message can stand in a log."""
    assert str(InvalidPathError(path, "a reason")).isprintable()


@pytest.mark.parametrize(
    "path",
    [
        "../../sys/mounts",
        "a//b",
        "a/",
        "/a",
        "",
        "/",
        ".",
        "a/./b",
        "a/..",
        "a\x00b",
        "a\r\nb",
        "a\tb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\\b",
        "a\udc80b",
        "x" * 5000,
        None,
        b"a",
        5,
    ],
    ids=lambda path: ascii(path)[:20],
)
def test_path_that_could_be_another_is_refused(path):
    """Each of these has been an alias of another secret, or a way out of the mount, in some client."""
    with pytest.raises(InvalidPathError) as caught:
        check_path(path)
    assert len(str(caught.value)) < 4200  # paths are shown whole, and an absurd one is cut
    assert str(caught.value).isprintable()


URL = "postgresql+psycopg://me:canary-4711@db/shop"


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: check_path(URL),
        lambda: check_path(URL + "x" * 5000),
        lambda: parse_reference(f"{URL}#password"),
        lambda: check_separate("redis://:canary#4711@cache/0", None, "get_secret"),
    ],
)
def test_a_url_in_the_place_of_a_path_is_not_shown(refuse):
    """It has a password, and belongs to a function of another library that has the same name."""
    with pytest.raises(InvalidPathError, match="it is a URL, which is not shown") as caught:
        refuse()
    assert "canary" not in f"{caught.value} {caught.value!r} {vars(caught.value)} {caught.value.args}"


def test_longest_path_and_key():
    """The bound is inclusive."""
    assert check_path("x" * MAX_PATH_LENGTH)
    assert check_key("x" * MAX_PATH_LENGTH)
    for check in (check_path, check_key):
        with pytest.raises(InvalidPathError):
            check("x" * (MAX_PATH_LENGTH + 1))


@pytest.mark.parametrize("key", ["", "a\x00", "a\nb", "\ud800", "\u2028", None, 5])
def test_key_that_names_nothing_is_refused(key):
    """A key may hold slashes and backslashes, and nothing that would break a line."""
    with pytest.raises(InvalidPathError):
        check_key(key, "path")
    assert check_key("a/b\\c#d e") == "a/b\\c#d e"


@given(paths, keys)
def test_reference_is_divided_at_its_last_mark(path, key):
    """A path may hold a `#`; a key of a reference may not."""
    if "#" not in key:
        assert parse_reference(f"{path}#{key}") == (path, key)
    if "#" not in path:
        assert parse_reference(path) == (path, None)


@pytest.mark.parametrize("reference", ["#key", "a#", "a//b#key", "a/#k", ""])
def test_reference_without_path_or_key_is_refused(reference):
    """Both halves are there, or there is no mark."""
    with pytest.raises(InvalidPathError):
        parse_reference(reference)


# --- data -------------------------------------------------------------------------------------------------------------


@given(data)
def test_data_of_values_is_taken_as_it_is(given_data):
    """What consists of values is kept, exactly, under a `repr` that shows none of it."""
    kept = check_data("a", given_data)
    assert isinstance(kept, SensitiveDict)
    assert same(kept, given_data)


def nested(levels):
    value = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("given_data", "says"),
    [
        ({}, "at least one key"),
        ({"k": math.nan}, "'k': a number that is not finite"),
        ({"k": [1, {"in": -math.inf}]}, "'k': a number that is not finite"),
        ({"k": "\ud800"}, "'k': a string with a lone surrogate"),
        ({"k": {"\ud800": 1}}, "'k': a name in it"),
        ({"k": {5: 1}}, "'k': a name in it"),
        ({"k": {1, 2}}, "'k': a value of type set"),
        ({"k": datetime.now(UTC)}, "'k': a value of type datetime"),
        ({"k": bytearray(b"x")}, "'k': a value of type bytearray"),
        ({"k": nested(MAX_DEPTH + 1)}, f"'k': more than {MAX_DEPTH} levels"),
        ("text", "not str"),
        (None, "not NoneType"),
        ([("k", "v")], "not list"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_data_that_could_not_come_back_is_refused(given_data, says):
    """The message names the key and the rule."""
    with pytest.raises(InvalidDataError, match=says):
        check_data("a", given_data)


def test_deepest_data():
    """The bound is inclusive, and what lies far below it is not even looked at."""
    assert same(check_data("a", {"k": nested(MAX_DEPTH)}), {"k": nested(MAX_DEPTH)})
    with pytest.raises(InvalidDataError, match=f"more than {MAX_DEPTH} levels"):
        check_data("a", {"k": nested(50_000)})


@pytest.mark.parametrize(
    "given_data", [{"k": CANARY, "bad": {CANARY}}, {"bad": CANARY + "\ud800"}, {"bad": [CANARY, math.nan]}]
)
def test_refusal_of_data_shows_none_of_it(given_data):
    """Neither in the message nor in its attributes."""
    with pytest.raises(InvalidDataError) as caught:
        check_data("a", given_data)
    assert CANARY not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        ("", ""),
        (5432, "5432"),
        (1.5, "1.5"),
        (True, "true"),
        ([1, "ü"], '[1,"ü"]'),
        ({"k": None}, '{"k":null}'),
        ({"k": b"\x00"}, '{"k":{"strongroom:bytes":"AA=="}}'),
    ],
)
def test_text_of_a_value(value, shown):
    """Vault's 5432 and the environment's "5432" are the same to who asks for text."""
    assert as_text(value, "a", "k") == shown
    assert isinstance(as_text(value, "a", "k"), SensitiveStr)


@pytest.mark.parametrize(("value", "hint"), [(None, "as_=object"), (b"\x00", "as_=bytes")])
def test_what_has_no_text_names_the_way(value, hint):
    """Null and bytes are not turned into words."""
    with pytest.raises(InvalidDataError, match=hint):
        as_text(value, "a", "k")


@pytest.mark.parametrize(
    ("value", "wanted", "result"),
    [
        ("5432", int, 5432),
        (" 5432\n", int, 5432),
        (5432, int, 5432),
        (5.0, int, 5),
        ("0.5", float, 0.5),
        ("-1e3", float, -1000.0),
        (" 7\n", float, 7.0),
        (str(2**53), float, float(2**53)),
        (5, float, 5.0),
        (2**53, float, float(2**53)),
        ("true", bool, True),
        ("OFF", bool, False),
        (" Yes ", bool, True),
        ("T", bool, True),
        (False, bool, False),
        (5, str, "5"),
        ("text", bytes, b"text"),
        (b"\x00", bytes, b"\x00"),
        ('{"k": [1]}', dict, {"k": [1]}),
        ('{"strongroom:bytes": "AA=="}', object, '{"strongroom:bytes": "AA=="}'),
        ("[1, 2]", list, [1, 2]),
        ({"k": 1}, dict, {"k": 1}),
        (None, object, None),
    ],
)
def test_value_as_a_type(value, wanted, result):
    """Text is read as what is asked for; a number is one of the other kind only where that is exact."""
    converted = convert(protect(value), wanted, "a", "k")
    assert converted == result
    assert wanted is object or isinstance(converted, wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("5432x", int),
        ("", int),
        ("5.5", int),
        (5.5, int),
        (True, int),
        (None, int),
        ("9" * 5000, int),
        ("1_000", int),
        ("٣", int),
        (str(2**53 + 1), float),
        ("1_0.5", float),
        ("٣.5", float),
        ("9" * 5000, float),
        ("nan", float),
        ("inf", float),
        (True, float),
        (2**53 + 1, float),
        (10**400, float),
        ("maybe", bool),
        (1, bool),
        ("", bool),
        ("[1]", dict),
        ('{"a": 1, "a": 2}', dict),
        ('{"k": {"a": 1, "a": 2}}', dict),
        ("[NaN]", list),
        ("[-Infinity]", list),
        ("[1e999]", list),
        ('{"k": 1}', list),
        ("{", dict),
        ("[" * 100_000, list),
        (5, bytes),
        (None, dict),
    ],
    ids=lambda value: ascii(value)[:16],
)
def test_value_of_another_type_is_refused(value, wanted):
    """Nothing is guessed, rounded or cut, and the message shows the type and not the value."""
    with pytest.raises(InvalidDataError, match=f"'k' does not hold {wanted.__name__}") as caught:
        convert(protect(value), wanted, "a", "k")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("wanted", [tuple, type(None), "int", list[str], datetime, collections.abc.Mapping])
def test_type_that_no_value_has_is_a_mistake_of_the_caller(wanted):
    """The message lists the types that there are."""
    with pytest.raises(TypeError, match="as_ is one of str, bytes, int, float, bool, dict, list, object, not "):
        check_type(wanted)


@pytest.mark.parametrize("wanted", [str, bytes, int, float, bool, dict, list, object, SensitiveStr, SensitiveDict])
def test_types_of_values_are_accepted(wanted):
    check_type(wanted)


# --- a whole secret ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [lambda d: d, copy.copy, copy.deepcopy, lambda d: d.copy()])
def test_missing_key_of_a_secret_is_named_with_the_keys_that_it_has(made):
    secret = made(protect_data({"host": CANARY, "port": 4711}).of_store("database/connection", "vault"))
    with pytest.raises(KeyError) as caught:
        secret["password"]
    error = caught.value
    assert isinstance(error, MissingKeyError)
    assert str(error) == (
        "Key not found: database/connection (store vault: it has no key 'password'). Its keys are host, port"
    )
    for twin in (error, error.copy(), pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(twin) == str(error)
        assert CANARY not in f"{twin!r} {vars(twin)} {twin.args}"
    assert secret.get("password") is None
    with pytest.raises(MissingKeyError, match="no key of type int"):
        secret[5]


def test_missing_key_of_other_data_is_a_plain_key_error():
    """What a store or a merge made was not read from a chain, and a pickle is a plain dict."""
    secret = protect_data({"host": {"in": 1}}).of_store("a", "vault")
    for data in (secret["host"], secret | {"k": 1}, pickle.loads(pickle.dumps(secret)), secret.reveal()):
        with pytest.raises(KeyError) as caught:
            data["password"]
        assert type(caught.value) is KeyError


def test_error_names_a_few_of_many_keys():
    secret = protect_data({f"key{n}": "v" for n in range(1000)}).of_store("a", "vault")
    with pytest.raises(MissingKeyError, match=r"key19 and 980 more$"):
        secret["password"]


@given(values)
def test_value_as_object_is_the_value(value):
    """Asked for as object, a value is as it is stored, null too."""
    assert same(convert(value, object, "a", "k"), value)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_text_and_types_agree(value):
    """What a store of text holds is read as the type that a store of types holds."""
    shown = as_text(value, "a", "k")
    try:
        assert convert(shown, type(value), "a", "k") == value
    except InvalidDataError:
        assert isinstance(value, int)
        assert len(shown) > 4000


def test_secret_keeps_its_data_to_itself():
    """A secret copies its data, and compares by what it holds."""
    mine = {"k": ["v"]}
    secret = Secret("a", mine, version=3)
    mine["k"].append("w")
    assert secret.data == {"k": ["v"]}
    assert secret == Secret("a", {"k": ["v"]}, version=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        secret.path = "b"


@pytest.mark.parametrize(("path", "text"), [(" ", "' '"), (" a", "' a'"), ("a/b ", "'a/b '"), ("a b", "a b")])
def test_a_blank_at_the_end_of_a_path_is_visible_in_a_message(path, text):
    with SecretsManager(chain=["memory"]) as manager, pytest.raises(SecretNotFoundError) as caught:
        manager.get_secret(path)
    assert str(caught.value).startswith(f"Secret not found: {text} (memory")


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("", "the key is empty"),
        ("x" * 2000, "the key has 2,000 characters"),
        ("a\n", "control character"),
    ],
)
def test_the_fault_of_a_key_is_the_one_that_it_has(key, fault):
    with pytest.raises(InvalidPathError, match=fault):
        check_key(key, "path")


@pytest.mark.parametrize("call", [SecretsManager.get_secrets, lambda manager, paths: manager.watch(paths, print)])
def test_a_single_path_where_several_are_taken_belongs_into_a_list(call):
    with SecretsManager(chain=["memory"]) as manager, pytest.raises(TypeError, match="put a single path into a list"):
        call(manager, "a/b")
