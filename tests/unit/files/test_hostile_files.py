"""The worst content that each parser of a file takes, or refuses before it parses it: under two seconds if idle.

An ordinary run parses a quarter of it (`nox -s files` parses all), which shows quadratic growth as well.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from strongroom._config.discovery import MAX_FILE_SIZE
from strongroom._config.document import parse_toml
from strongroom._files import csv_codec, yaml_codec
from strongroom._files.codec import JsonCodec
from strongroom._files.csv_codec import CsvCodec
from strongroom._files.dotenv_codec import DotenvCodec
from strongroom._files.file_store import MAX_SIZE
from strongroom._files.kubernetes_codec import KubernetesCodec
from strongroom._files.yaml_codec import YamlCodec
from strongroom.errors import ConfigurationError, StoreError
from strongroom.formats import strict_json
from strongroom.formats.dotenv import MAX_LINES, parse_dotenv
from strongroom.formats.dotenv import MAX_SIZE as DOTENV_SIZE
from strongroom.formats.variables import EnvironmentMapping

pytestmark = pytest.mark.long

JSON, YAML, CSV = JsonCodec().decode, YamlCodec().decode, CsvCodec(MAX_SIZE).decode
KUBERNETES, DOTENV = KubernetesCodec().decode, DotenvCodec(EnvironmentMapping({})).decode


def toml(content: bytes) -> object:
    return parse_toml(content.decode(), "strongroom.toml")


def env(content: bytes) -> object:
    return parse_dotenv(content.decode())


PART = 1 if os.environ.get("TEST_WHOLE_FILES") else 4

LARGEST: dict[str, tuple[Callable[[bytes], object], Callable[[], bytes]]] = {
    "JSON list": (JSON, lambda: b'{"a":{"b":[' + b"0," * ((strict_json.MAX_MARKS - 9) // PART) + b"0]}}"),
    "JSON objects": (JSON, lambda: b'{"a":{"b":[' + b'{"c":0},' * ((strict_json.MAX_OBJECTS - 9) // PART) + b"0]}}"),
    "JSON brackets": (JSON, lambda: b"[" * MAX_SIZE),
    "JSON digits": (JSON, lambda: b'{"a":{"b":' + b"1" * (MAX_SIZE - 12) + b"}}"),
    "JSON too many": (JSON, lambda: b'{"a":{"b":[' + b"0," * (MAX_SIZE // 2 - 9) + b"0]}}"),
    "YAML list": (YAML, lambda: b"a: {b: [" + b"a," * ((yaml_codec.MAX_MARKS - 9) // PART) + b"]}"),
    "YAML secrets": (YAML, lambda: b"".join(b'p%d:\n a: "b"\n' % i for i in range(yaml_codec.MAX_MARKS // 4 // PART))),
    "YAML directives": (
        YAML,
        lambda: b"".join(b"%%TAG !x%d! tag:x\n" % i for i in range(yaml_codec.MAX_MARKS // 2 // PART)),
    ),
    "YAML documents": (YAML, lambda: b"---\n" * ((yaml_codec.MAX_MARKS - 1) // PART)),
    "YAML too many": (YAML, lambda: b"a: {b: [" + b"a," * (MAX_SIZE // 2 - 9) + b"]}"),
    "Kubernetes documents": (KUBERNETES, lambda: b"---\nkind: List\n" * (yaml_codec.MAX_MARKS // 3 // PART)),
    "CSV of JSON": (
        CSV,
        lambda: (
            b"path,key,value,type\n"
            + b"".join(b"%d,a,0,json\n" % i for i in range(csv_codec.MAX_MARKS // 4 // PART - 9))
        ),
    ),
    "CSV too many": (CSV, lambda: b"path,key,value\n" + b"\n" * (MAX_SIZE - 15)),
    "dotenv lines": (DOTENV, lambda: b"".join(b"A%d='x'\n" % i for i in range((MAX_LINES - 1) // PART))),
    "dotenv long lines": (DOTENV, lambda: (b"export A='" + b"#=" * 21 + b"' # x\n") * ((MAX_LINES - 9) // PART)),
    "dotenv quotes": (DOTENV, lambda: b"A='" + b"\\'" * (DOTENV_SIZE // 2 // PART - 9) + b"'"),
    "dotenv too many": (DOTENV, lambda: b"A=1\n" * (MAX_SIZE // 4)),
    "an --env-file of too many lines": (env, lambda: b"A=1\n" * (DOTENV_SIZE // 4)),
    "an --env-file that is too large": (env, lambda: b"A=" + b"x" * (16 << 20)),
    "TOML names": (toml, lambda: b"".join(b"a%d=1\n" % i for i in range(MAX_FILE_SIZE // 10 // PART))),
    "TOML tables": (toml, lambda: b"".join(b"[a%d]\n" % i for i in range(MAX_FILE_SIZE // 9 // PART))),
    "TOML lists of tables": (toml, lambda: b"[[a]]\n" * (MAX_FILE_SIZE // 6 // PART)),
    "TOML dots": (toml, lambda: (b".".join([b"a"] * 99) + b"=1\n") * (MAX_FILE_SIZE // 200 // PART)),
    "TOML brackets": (toml, lambda: b"a=" + b"[" * (MAX_FILE_SIZE - 9)),
    "TOML digits": (toml, lambda: b"a=" + b"1" * (MAX_FILE_SIZE - 9)),
    "TOML text": (toml, lambda: b'a="' + b"\\u00e9" * (MAX_FILE_SIZE // 6 // PART - 9) + b'"'),
    "TOML blanks": (toml, lambda: b"a" + b" " * (MAX_FILE_SIZE - 9) + b"=1"),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_hostile_file_takes_less_than_two_seconds(name: str) -> None:
    """Of processor time on an idle machine, whether it is refused or not."""
    parse, make = LARGEST[name]
    content = make()
    assert len(content) <= MAX_SIZE
    begun = time.process_time()
    with suppress(StoreError, ConfigurationError):
        parse(content)
    assert time.process_time() - begun < 5


def test_twenty_thousand_secrets_are_read_from_every_format() -> None:
    """The limits of the formats leave room for them."""
    paths = [f"app-{number}/database" for number in range(20_000)]
    as_json = json.dumps({path: {"user": "a", "password": "b, c: d"} for path in paths})
    as_yaml = "".join(f'{path}:\n  user: a\n  password: "b, c: d"\n' for path in paths)
    as_csv = "path,key,value\n" + "".join(f'{path},user,a\n{path},password,"b, c: d"\n' for path in paths)
    for parse, text in ((JSON, as_json), (YAML, as_yaml), (CSV, as_csv)):
        assert len(parse(text.encode())) == 20_000  # type: ignore[arg-type]
