"""The law of every format: what it encodes it decodes to the same again, types included, or it refuses to encode it."""

import base64
import json
import shutil
import subprocess
from contextlib import suppress

import dotenv
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from strongroom._files.codec import JsonCodec
from strongroom._files.csv_codec import CsvCodec
from strongroom._files.dotenv_codec import DotenvCodec
from strongroom._files.kubernetes_codec import KubernetesCodec
from strongroom._files.yaml_codec import YamlCodec
from strongroom.errors import InvalidDataError, InvalidPathError, StoreError
from strongroom.formats.dotenv import dotenv_line
from strongroom.formats.variables import TABLE, EnvironmentMapping
from strongroom.paths import check_key, check_path
from strongroom.secret import protect_data, same
from strongroom.testing import CASES
from support.representatives import some

LOOK_ALIKES = [
    *("", " ", "null", "~", "true", "no", "NO", "off", "y", "0123", "0o17", "0x1f", "1_000", "1:30", "1e3", ".5", "+1"),
    *(
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "=",
        "<<",
        "*a",
        "&a",
        "!!str x",
        "- a",
        "a: b",
        "# c",
        "---",
        "...",
        "%TAG",
    ),
    *("a\nb", "a\n", "\na", "a\r\nb", "\r", "\t", " led", "trailed ", "\x85", "\u2028", "\ufeff", "\x00", "\x7f", "🔑"),
    *(
        "=1+1",
        "@cmd",
        "'",
        '"',
        "''",
        '""',
        "\\",
        "a\\",
        "\\'",
        '\\"',
        "$",
        "${HOME}",
        "`id`",
        "a'b$c",
        "'\\",
        "#",
        "a #b",
    ),
    *("-----BEGIN PRIVATE KEY-----\nMIIE+/==\n-----END PRIVATE KEY-----\n", "{{ x }}", "x" * 200, "a,b", "x: |\n  y"),
]
texts = st.sampled_from(LOOK_ALIKES) | st.text(max_size=12)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = texts | st.binary(max_size=8) | numbers | st.booleans() | st.none()
names = texts.filter(lambda text: text)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner, max_size=3)
        | inner.map(lambda value: {"strongroom:bytes": value})
    ),
    max_leaves=6,
)


def valid(check):
    def is_valid(text):
        try:
            return bool(check(text))
        except InvalidPathError:
            return False

    return is_valid


paths = (st.lists(names, min_size=1, max_size=3).map("/".join) | names).filter(valid(check_path))
keys = (names | st.sampled_from(["a", "B", "a.b", "a-b", "n", "1", ".k"])).filter(valid(check_key))
contents = st.dictionaries(paths, st.dictionaries(keys, values, min_size=1, max_size=4).map(protect_data), max_size=4)

CODECS = [JsonCodec(), YamlCodec(), CsvCodec(1 << 20), KubernetesCodec("prod"), KubernetesCodec()]


def held(codec, secrets):
    """Those of the secrets that the format takes."""
    taken = {}
    for path, data in secrets.items():
        with suppress(StoreError):
            codec.vet(path, data)
            taken[path] = data
    return taken


legal_keys = st.from_regex(r"[-._a-zA-Z0-9]{1,8}", fullmatch=True).filter(
    lambda key: key != "." and not key.startswith("..")
)
legal = st.dictionaries(paths, st.dictionaries(legal_keys, scalars, min_size=1, max_size=3), min_size=1, max_size=3)


@given(secrets=legal)
@example(secrets={"a/b": {"text": "x", "bytes": b"x", "odd": b"\xff", "empty": b"", "number": 1, "null": None}})
def test_manifests_hold_every_type(secrets):
    """Though all that Kubernetes knows is bytes."""
    codec = KubernetesCodec()
    taken = held(codec, secrets)
    assert taken.keys() == secrets.keys()
    assert same(codec.decode(codec.encode(taken, b"")), taken)


@pytest.mark.parametrize("codec", CODECS[:3], ids=lambda codec: codec.name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_formats_with_types_hold_every_hard_input(codec, case):
    """JSON, YAML and CSV refuse none of them."""
    codec.vet(case.path, case.data)
    assert same(codec.decode(codec.encode({case.path: case.data}, b"")), {case.path: case.data})


@pytest.mark.parametrize(
    "codec", some(CODECS, lambda codec: codec.name in {"YAML", "CSV"}), ids=lambda codec: codec.name
)
@given(before=contents, after=contents)
def test_what_is_encoded_is_decoded(codec, before, after):
    """All paths, keys, values and types; nothing that the file held before is left."""
    before, after = held(codec, before), held(codec, after)
    first = codec.encode(before, b"")
    assert same(codec.decode(first), before)
    assert same(codec.decode(codec.encode(after, first)), after)


@pytest.mark.parametrize("codec", CODECS[:4], ids=lambda codec: codec.name)
def test_an_integer_that_no_reader_takes_is_refused_by_its_key(codec):
    """Python itself reads no more than 4300 digits."""
    with pytest.raises(InvalidDataError, match=r"Invalid data: a/b .*key 'big'"):
        codec.vet("a/b", {"big": 10**5000})


# --- what other programs read -----------------------------------------------------------------------------------------


@given(secrets=contents)
def test_other_readers_read_the_yaml_alike(secrets):
    """PyYAML's own safe loader gives the same."""
    assert same(yaml.safe_load(YamlCodec().encode(secrets, b"")), secrets)


@given(secrets=st.dictionaries(paths, st.dictionaries(keys, texts, min_size=1), max_size=3))
def test_other_readers_read_the_json_alike(secrets):
    """Text stands in it as it is."""
    assert json.loads(JsonCodec().encode(secrets, b"")) == secrets


@given(secrets=contents)
def test_a_cluster_takes_the_manifests(secrets):
    """Every name, key and annotation is legal, no two have one name, and `data` is base64 of what is to be mounted."""
    taken = held(KubernetesCodec(), secrets)
    found = list(yaml.safe_load_all(KubernetesCodec("prod").encode(taken, b"")))
    names = [manifest["metadata"]["name"] for manifest in found]
    assert len(set(names)) == len(names) == len(taken)
    for manifest, (path, data) in zip(found, taken.items(), strict=True):
        assert manifest["metadata"]["annotations"]["strongroom/path"] == path
        assert all(type(value) is str for value in manifest["metadata"]["annotations"].values())
        assert (manifest["apiVersion"], manifest["kind"], manifest["type"]) == ("v1", "Secret", "Opaque")
        for key, value in data.items():
            mounted = base64.b64decode(manifest["data"][key], validate=True)
            assert not isinstance(value, str) or mounted == value.encode()
            assert not isinstance(value, bytes) or mounted == value


# --- .env -------------------------------------------------------------------------------------------------------------

MAPPING = EnvironmentMapping()
rows = st.dictionaries(st.sampled_from(sorted(TABLE)), texts, max_size=6)


def folded(variables):
    secrets = {}
    for variable, value in variables.items():
        path, key = TABLE[variable]
        secrets.setdefault(path, {})[key] = value
    return secrets


@given(variables=rows, before=rows)
def test_a_dotenv_file_holds_text_or_refuses_it(variables, before):
    """Written over another one, whose other lines stay."""
    codec = DotenvCodec(MAPPING)
    taken, earlier = held(codec, folded(variables)), held(codec, folded(before))
    first = codec.encode(earlier, b"# mine\nOTHER='kept'\nexport EMPTY=\n")
    second = codec.encode(taken, first)
    assert same(codec.decode(second), taken)
    assert second.startswith(b"# mine\nOTHER='kept'\nexport EMPTY=\n")


@given(before=texts, value=texts, comment=st.sampled_from(["# it's", '  # "x', "\t#\\", "# '#' `x` $HOME"]))
@example(before="a", value="a\\", comment=" # it's '")
def test_a_comment_stays_whatever_stands_before_it(before, value, comment):
    """On its line."""
    codec = DotenvCodec(MAPPING)
    line = None if before == value or not before else dotenv_line("DB_HOST", before, comment)
    assume(line is not None and value and dotenv_line("DB_HOST", value))
    after = codec.encode({"database/connection": {"host": value}}, line.encode())
    assert same(codec.decode(after), {"database/connection": {"host": value}})
    assert comment.strip() in after.decode()


def portable(value):
    """A .env file can hold it: a shell and python-dotenv read it alike."""
    if {"\0", "\r"} & set(value) or "${" in value:
        return False
    return not {"$", "`"} & set(value) or not ("'" in value or "\\\\" in value or value.endswith("\\"))


@given(value=texts)
@example(value="a'b")
@example(value="a'\\")
def test_what_a_dotenv_line_can_hold(value):
    """Nothing else is refused, but for surrogates."""
    assume(value.isprintable())
    assert (dotenv_line("NAME", value) is not None) == portable(value)


ATTACKS = [
    "';touch PWNED;#",
    "'\ntouch PWNED\n'",
    "'$(touch PWNED)'",
    "$(touch PWNED)",
    "`touch PWNED`",
    '";touch PWNED;#',
    "x;touch PWNED",
    "\\';touch PWNED;#",
    "it's $(touch PWNED)",
    "x\ntouch PWNED",
    "x # ;touch PWNED",
    "${X:-$(touch PWNED)}",
    "~",
    "a=~:~",
    "{a,b}",
    "*",
    "!!",
    "a\\\nb",
]
pieces = st.sampled_from([*"'\"\\$`# \na=!", "${HOME}", "$(touch PWNED)", ";touch PWNED;"])
hostile = st.sampled_from(ATTACKS) | st.lists(pieces, max_size=6).map("".join) | texts
SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]


@given(values=st.lists(hostile, min_size=1, max_size=20))
@example(values=ATTACKS)
def test_a_shell_and_python_dotenv_read_every_written_line_alike(values, tmp_path_factory):
    """Sourced by a shell or read by python-dotenv as it is by default, the file gives the same values; nothing runs."""
    folder = tmp_path_factory.mktemp("shell")
    lines = {f"V{number}": line for number, value in enumerate(values) if (line := dotenv_line(f"V{number}", value))}
    expected = {name: values[int(name[1:])] for name in lines}
    file = folder / "env"
    file.write_text("".join(lines.values()), newline="")
    assert dotenv.dotenv_values(file) == expected
    script = "set -eu\n. ./env\n" + "".join(f"printf '%s\\0' \"${name}\"\n" for name in lines)
    for shell in SHELLS:
        done = subprocess.run([shell, "-c", script], cwd=folder, capture_output=True, check=True, timeout=60)
        assert done.stdout.decode().split("\0")[:-1] == list(expected.values())
        assert done.stderr == b""
    assert [path.name for path in folder.iterdir()] == ["env"]


@given(value=texts)
def test_a_dotenv_value_is_never_something_else(value):
    """The line, read by python-dotenv, is the value."""
    from io import StringIO

    from dotenv import dotenv_values

    line = dotenv_line("NAME", value)
    assume(line is not None)
    assert dotenv_values(stream=StringIO(line, newline=""), interpolate=False) == {"NAME": value}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("x" * (1 << 20), "it is too long: a .env file has at most 1,048,576 bytes"),
        ("x\n" * 20_000, "it has too many lines: a .env file has at most 20,000"),
        (f"x{' ' * 101}x", "it has more than 100 blanks in a row"),
        ("it's `date`", "so that a shell and python-dotenv read the same"),
    ],
)
def test_a_dotenv_file_names_why_it_cannot_hold_a_value(value, fault):
    with pytest.raises(InvalidDataError, match=fault):
        DotenvCodec(MAPPING).vet("database/connection", {"password": value})
