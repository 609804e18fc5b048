"""What a person wrote into a file: read as everybody would read it, or refused with its line, path and key."""

import time

import pytest

from strongroom._files.codec import JsonCodec
from strongroom._files.csv_codec import CsvCodec
from strongroom._files.dotenv_codec import DotenvCodec
from strongroom._files.kubernetes_codec import KubernetesCodec
from strongroom._files.yaml_codec import YamlCodec
from strongroom.errors import InvalidDataError, InvalidPathError, SecretTooLargeError
from strongroom.formats.dotenv import set_values
from strongroom.formats.kubernetes import check_data
from strongroom.formats.variables import EnvironmentMapping

JSON = JsonCodec()
YAML = YamlCodec()
CSV = CsvCodec(1 << 20)
SECRET = "hunter2-9c"


def refusal(codec, text):
    """What is said of a file that cannot be read, which never shows a value."""
    with pytest.raises((InvalidDataError, InvalidPathError)) as caught:
        codec.decode(text if isinstance(text, bytes) else text.encode())
    assert SECRET not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
    assert caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1, column 1: it is not JSON"),
        ('{"a/b": {"key": "hunter2-9c"', "line 1, column 29: it is not JSON"),
        ('{"a/b": {"key": "hunter2-9c"}, "a/b": {"key": "hunter2-9c"}}', "the name 'a/b' appears twice"),
        ('{"a/b": {"key": "hunter2-9c", "key": ""}}', "the name 'key' appears twice"),
        ('{"a/b": {"key": {"x": 1, "x": 2}}}', "the name 'x' appears twice"),
        ('{"a/b": {"key": NaN}}', "NaN is not JSON"),
        ('{"a/b": {"key": -Infinity}}', "-Infinity is not JSON"),
        ('{"a/b": {"key": 1e999}}', "key 'key': a number would be rounded"),
        ('{"a/b": {"key": %s}}' % ("9" * 5000), "a number has too many digits"),
        ('{"a/b": {"key": "\\ud800"}}', "a/b (key 'key': a string with a lone surrogate"),
        ('{"a/b": "hunter2-9c"}', "a/b (it is not an object of keys"),
        ('{"a/b": {}}', "a/b (a secret has at least one key"),
        ('["hunter2-9c"]', "it is not an object of paths"),
        ('{"/a//b": {"key": "v"}}', "Invalid path: /a//b"),
        ('{"a/b": {"": "v"}}', "Invalid path: a/b (the key is empty"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": {"k": ' + "[" * 500 + "1" + "]" * 500 + "}}", "nested too deeply"),
        (b'{"a": {"k": "x"},\n"b": {"k": "\xff"}}', "line 2: it is not UTF-8"),
    ],
)
def test_json_that_is_not_clear_is_refused(text, says):
    assert says in refusal(JSON, text)


def test_json_of_a_windows_editor_is_read():
    """A byte order mark is no part of it."""
    assert JSON.decode(b'\xef\xbb\xbf{"a": {"k": "v"}}') == {"a": {"k": "v"}}


@pytest.mark.parametrize(
    "value",
    [
        *("no", "yes", "on", "OFF", "y", "N", "0123", "0o17", "0x1f", "1_000", "1:30", "+1", "1e3", ".5", "1.", ".inf"),
        *(
            "2024-01-01",
            "2024-01-01 10:00:00",
            "=",
            "!!python/name:os.system x",
            "!!set {a}",
            "!mine x",
            "!!binary '*'",
        ),
    ],
)
def test_yaml_that_readers_read_differently_is_refused(value):
    """A country, a file mode, a version, a date: nobody knows whether it was meant as text."""
    assert "line 3: " in refusal(YAML, f"a/b:\n  user: app\n  key: {value}\n")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("no-reply", "no-reply"), ("'no'", "no"), ('"0123"', "0123"), ("v1.2", "v1.2")),
        *(("5432", 5432), ("-1", -1), ("0", 0), ("0.5", 0.5), ("1.5e+3", 1500.0), ("true", True), ("False", False)),
        *(("null", None), ("~", None), ("", None), ("!!binary aGk=", b"hi"), ("[1, a]", [1, "a"]), ("{}", {})),
        *(("|\n    one\n    two\n", "one\ntwo\n"), (">-\n    one\n    two\n", "one two"), ("a b  # note", "a b")),
    ],
)
def test_yaml_that_is_clear_is_read(written, value):
    read = YAML.decode(f"a/b:\n  key: {written}\n".encode())["a/b"]["key"]
    assert read == value
    assert isinstance(read, type(value))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a/b: {key: hunter2-9c, key: x}", "line 1: the name 'key' appears twice"),
        ("a/b: {key: x}\na/b: {key: hunter2-9c}", "line 2: the name 'a/b' appears twice"),
        ("a/b: {key: &all [hunter2-9c], other: *all}", "line 1: an alias refers to it"),
        ("base: &base {k: v}\na/b: {<<: *base}", "line 2: a name must be text"),
        ("1: {key: v}", "line 1: a name must be text"),
        ("a/b: {no: v}", "line 1: a name must be text"),
        ("a/b: {? [x] : v}", "line 1: a name must be text"),
        ("é: {k: v}\na/b: {key: ! 12}", "line 2: readers of YAML differ on the tag '!'"),
        ("a/b: {key: ! [hunter2-9c]}", "line 1: readers of YAML differ on the tag '!'"),
        ("é/b: {k: v}\na/b: { ?hunter2-9c: v }", "line 2: readers of YAML differ on a '?' before a name"),
        ("a/b: {key: [?hunter2-9c]}", "line 1: readers of YAML differ on a '?' before a name"),
        ("a/b: hunter2-9c", "a/b (it is not a mapping of keys"),
        ("- hunter2-9c", "line 1: it is not a mapping"),
        ("a: {k: v}\n---\nb: {k: v}", "more than one document"),
        ("a/b:\n  key: 'hunter2-9c\n", "it is not YAML"),
        ("a/b:\n\tkey: hunter2-9c\n", "line 2: it is not YAML"),
        ("a: {k: \x01hunter2-9c}", "it is not YAML"),
        ("a: " + "[" * 300, "nested too deeply"),
        ("a: " + "{a: " * 300, "nested too deeply"),
        ("- " * 300, "nested too deeply"),
        ("a: {k: " + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
    ],
)
def test_yaml_that_is_not_clear_is_refused(text, says):
    assert says in refusal(YAML, text)


def test_question_marks_and_explicit_keys_that_every_reader_takes_alike():
    text = "? a/b\n: {'?x': y?, a?b: ?}\nc?: {? k : v, \"?l\": '!'}\n?d: {k: '! 12'}\n"
    with pytest.raises(InvalidDataError):  # PyYAML does not take a lone ? for text
        YAML.decode(text.encode())
    text = text.replace(": ?}", ": '?'}")
    assert YAML.decode(text.encode()) == {
        "a/b": {"?x": "y?", "a?b": "?"}, "c?": {"k": "v", "?l": "!"}, "?d": {"k": "! 12"}
    }  # fmt: skip


@pytest.mark.parametrize("level", ["[", "{a: ", "- "])
def test_yaml_of_many_levels_is_refused_by_every_parser(level):
    """Some refuse it themselves. The composers of others would overflow the stack and end the process."""
    refused = refusal(YAML, level * 100_000)
    assert "nested too deeply" in refused or "it is not YAML" in refused


def test_yaml_bombs_do_not_go_off():
    """Nine lines of aliases that stand for a billion texts."""
    lines = ['a0: &a0 ["lol","lol","lol"]'] + [f"a{n}: &a{n} [*a{n - 1},*a{n - 1},*a{n - 1}]" for n in range(1, 30)]
    assert "alias" in refusal(YAML, "a/b: {k: {" + ", ".join(lines) + "}}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user,hunter2-9c\n", "the first row must name the columns path, key, value, type"),
        ("path;key;value\na;b;hunter2-9c\n", "the first row must name the columns"),
        ("path,key,value,comment\n", "the first row must name the columns"),
        ("path,key,value\na,b,hunter2-9c,d\n", "line 2: it has 4 fields, and not 3"),
        ("path,key,value\na,b,one\na,b,hunter2-9c\n", "a (line 3: key 'b' appears twice"),
        ('path,key,value\na,b,"hunter2-9c\n', "it is not CSV: is a quote left open?"),
        ("path,key,value,type\na,b,text,hunter2-9c\n", "a (key 'b': its type is not one of text, base64, json"),
        ("path,key,value,type\na,b,hunter2-9c,base64\n", "a (key 'b': it is not base64"),
        ("path,key,value,type\na,b,hunter2-9c,json\n", "a (key 'b': line 1, column 1: it is not JSON"),
        ("path,key,value\na//b,k,v\n", "Invalid path: a//b"),
        ("path,key,value\na,,v\n", "Invalid path: a (the key is empty"),
    ],
)
def test_csv_that_is_not_clear_is_refused(text, says):
    assert says in refusal(CSV, text)


def test_csv_of_a_spreadsheet_is_read():
    """Any order of columns, no types, no quotes, a byte order mark, and rows of one secret apart from one another."""
    text = '\ufeffvalue,path,key\r\none,a/b,x\r\n"t""w,o",c,y\r\n\r\n three ,a/b,z\r\n'
    assert CSV.decode(text.encode()) == {"a/b": {"x": "one", "z": " three "}, "c": {"y": 't"w,o'}}


def test_csv_holds_more_than_the_library_s_own_limit():
    """131,072 characters, where nobody raises it."""
    secrets = {"a": {"k": "x" * 200_000}}
    assert CSV.decode(CSV.encode(secrets, b"")) == secrets


def test_csv_does_not_mangle_what_a_spreadsheet_takes_for_a_formula():
    """It is written as it is: a mark before it would be a part of the value."""
    assert b'"=1+1"' in CSV.encode({"a": {"k": "=1+1"}}, b"")


# --- Kubernetes -------------------------------------------------------------------------------------------------------

MANIFEST = """\
# from somewhere
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: prod
  creationTimestamp: null
  labels: {team: core}
type: kubernetes.io/basic-auth
data: {username: YXBw, blob: //4=}
stringData: {password: 'hunter2-9c'}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec: {template: {spec: {volumes: [{secret: {defaultMode: 0440}}]}}}
"""


def test_a_manifest_of_anybody_s_is_read():
    """Its name is the path; text is what is UTF-8; `stringData` comes first, as in a cluster; others are left out."""
    codec = KubernetesCodec()
    secrets = codec.decode(f"{DEPLOYMENT}---\n{MANIFEST}---\n".encode())
    assert secrets == {"db": {"username": "app", "blob": b"\xff\xfe", "password": SECRET}}
    assert codec.decode(b"") == {}


def test_what_is_no_secret_of_the_store_stays_as_it_is():
    """Other kinds, other namespaces, labels, types."""
    codec = KubernetesCodec("prod")
    other = MANIFEST.replace("namespace: prod", "namespace: test")
    before = f"{DEPLOYMENT}---\n{MANIFEST}---\n{other}".encode()
    secrets = {"db": {"username": "new", "port": 5432}, "cache/redis": {"url": "redis://"}}
    after = codec.encode(secrets, before)
    assert codec.decode(after) == secrets
    assert KubernetesCodec("test").decode(after)["db"]["username"] == "app"
    text = after.decode()
    assert "defaultMode: 0440" in text
    assert "type: kubernetes.io/basic-auth" in text
    assert text.count("labels: {team: core}") == 2
    assert text.count("password") == 1


def test_a_list_of_secrets_is_read_and_changed():
    """As `kubectl get secrets -o yaml` prints it."""
    item = MANIFEST.replace("\n", "\n    ").replace("# from somewhere\n    ", "")
    before = f"apiVersion: v1\nkind: List\nitems:\n  - {item}".encode()
    codec = KubernetesCodec()
    assert codec.decode(before)["db"]["username"] == "app"
    after = codec.encode({"db": {"username": "new"}, "more": {"k": "v"}}, before)
    assert codec.decode(after) == {"db": {"username": "new"}, "more": {"k": "v"}}
    assert b"kind: List" in after
    assert codec.decode(codec.encode({"more": {"k": "v"}}, after)) == {"more": {"k": "v"}}


def test_a_secret_that_is_left_alone_keeps_its_text():
    """Nothing of a document changes where its secret does not."""
    codec = KubernetesCodec()
    before = MANIFEST.encode()
    after = codec.encode(codec.decode(before), before).decode()
    assert "stringData: {password: 'hunter2-9c'}" in after
    assert "creationTimestamp: null" in after


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            f"{MANIFEST}---\n{MANIFEST.replace('prod', 'test')}",
            "Invalid data: db (two Secrets have it). Name the namespace",
        ),
        (MANIFEST.replace("YXBw", "hunter2-9c"), "db (key 'username': it is not base64). Put text under stringData"),
        (MANIFEST.replace("'hunter2-9c'", "5432"), "db (key 'password': its value is not text"),
        (MANIFEST.replace("name: db", "label: x"), "line 2: the Secret has no name"),
        ("- hunter2-9c", "line 1: it is not a manifest"),
        (
            MANIFEST.replace("labels:", 'annotations: {strongroom/types: \'{"blob": "zip"}\'}\n  labels:'),
            "db (the annotation strongroom/types is not one that Strongroom wrote",
        ),
        (
            MANIFEST.replace("labels:", 'annotations: {strongroom/types: \'{"username": "json"}\'}\n  labels:'),
            "db (key 'username': line 1, column 1: it is not JSON). Take it out of the annotation",
        ),
    ],
)
def test_a_manifest_that_is_not_clear_is_refused(text, says):
    assert says in refusal(KubernetesCodec(), text)


@pytest.mark.parametrize("key", ["..x", "..", ".", "a b"])
def test_keys_that_kubernetes_refuses_are_refused_by_the_plan(key):
    """The API server refuses a key that begins with two dots, too: a mounted volume has its own such names."""
    with pytest.raises(InvalidPathError, match=r"not '\.' alone or '\.\.' at the beginning"):
        check_data("app", {key: "v"})
    check_data("app", {".x": "v", "a..b": "v"})


@pytest.mark.parametrize("key", ["two words", "a/b", "é", "..", ".", "k" * 254])
def test_a_key_that_kubernetes_does_not_take_is_refused(key):
    """With path and key, before anything is written."""
    with pytest.raises(InvalidPathError, match=r"a/b .*Kubernetes takes letters"):
        KubernetesCodec().vet("a/b", {key: "v"})


def test_a_secret_of_more_than_a_mebibyte_is_refused():
    """Of all its values together, as the cluster counts."""
    codec = KubernetesCodec()
    codec.vet("a/b", {"one": "x" * (1 << 19), "two": b"y" * (1 << 19)})
    with pytest.raises(SecretTooLargeError, match=r"a/b .*1,048,577 bytes"):
        codec.vet("a/b", {"one": "x" * (1 << 19), "two": b"y" * (1 << 19), "three": "z"})


def test_paths_that_look_alike_have_names_of_their_own():
    """A name has neither slashes nor capitals."""
    secrets = {path: {"k": "v"} for path in ("a/b", "a-b", "A/b", "a//b".replace("//", "/_"), "é", "ü", "x" * 300)}
    codec = KubernetesCodec()
    assert codec.decode(codec.encode(secrets, b"")) == secrets


def test_a_name_that_is_taken_is_refused():
    """Two Secrets of one name would be one in the cluster."""
    codec = KubernetesCodec()
    name = codec.encode({"a/b": {"k": "v"}}, b"").decode().partition('name: "')[2].partition('"')[0]
    with pytest.raises(InvalidPathError, match="would have the name of that of"):
        codec.encode({"a/b": {"k": "v"}, name: {"k": "v"}}, b"")


# --- .env -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeated", ["kind: List", "items: []"])
def test_a_list_with_a_field_twice_is_refused(repeated):
    """A parser that takes the last one would lose the Secrets of the first."""
    text = f"apiVersion: v1\nkind: List\nitems:\n- {MANIFEST.strip().replace(chr(10), chr(10) + '  ')}\n{repeated}\n"
    codec = KubernetesCodec()
    assert f"the name '{repeated.split(':')[0]}' appears twice" in refusal(codec, text)
    with pytest.raises(InvalidDataError, match="appears twice"):
        codec.encode({"db": {"username": "new"}}, text.encode())


def test_a_dotenv_file_keeps_what_is_not_its_secrets():
    """Comments, order, blank lines, other variables, `export`; of duplicates the last one counts, and one is left."""
    before = (
        b"# head\n\nDB_HOST=one  # note\nOTHER=x\n\nexport DB_USER='app'\nDB_PORT=1\nDB_PORT=2\nVAULT_TOKEN=t\nDB_NAME="
    )
    codec = DotenvCodec(EnvironmentMapping())
    secrets = codec.decode(before)
    assert secrets == {"database/connection": {"host": "one", "user": "app", "port": "2"}}
    after = codec.encode(
        {"database/connection": {"host": "one", "user": "it's", "port": "3", "password": "a b"}}, before
    )
    assert after.decode() == (
        '# head\n\nDB_HOST=one  # note\nOTHER=x\n\nexport DB_USER="it\'s"\nDB_PORT=3\nVAULT_TOKEN=t\nDB_NAME=\n'
        "DB_PASSWORD='a b'\n"
    )


@pytest.mark.parametrize(
    ("host", "after"),
    [
        ("one", "DB_HOST='one'\nDB_HOST\nDB_PASSWORD=p\n"),
        ("two", "DB_HOST=two\nDB_PASSWORD=p\n"),
        (None, "DB_PASSWORD=p\n"),
    ],
)
def test_a_bare_name_does_not_take_the_place_of_the_variable_that_is_set_above_it(host, after):
    """It counts as not set, so the value is that of the line above."""
    codec = DotenvCodec(EnvironmentMapping())
    connection = {"host": host, "password": "p"} if host else {"password": "p"}
    written = codec.encode({"database/connection": connection}, b"DB_HOST='one'\nDB_HOST\n")
    assert written.decode() == after
    assert codec.decode(written) == {"database/connection": connection}


@pytest.mark.parametrize(
    ("line", "value", "after"),
    [
        ("DB_HOST=one  # note", "two", "DB_HOST=two  # note\n"),
        ("\n\nexport DB_HOST='one # two'# note # more\n", "a b", "\n\nexport DB_HOST='a b' # note # more\n"),
        ("DB_HOST=one#two\t# it's", "two", "DB_HOST=two\t# it's\n"),
        ('DB_HOST="one\n# two" # note\n', "two\n# 3", "DB_HOST='two\n# 3' # note\n"),
        ("DB_HOST=one#two\n", "two", "DB_HOST=two\n"),
        ("DB_HOST=one\v# a;b\n", "two", "DB_HOST=two # a;b\n"),
        ("DB_HOST= # note\n", "two", "DB_HOST=two # note\n"),
    ],
)
def test_the_comment_at_the_end_of_a_rewritten_line_stays(line, value, after):
    """What is no comment but a part of the old value goes with it."""
    codec = DotenvCodec(EnvironmentMapping())
    written = codec.encode({"database/connection": {"host": value}}, line.encode())
    assert written.decode() == after
    assert codec.decode(written) == {"database/connection": {"host": value}}


@pytest.mark.parametrize(
    ("path", "data", "says"),
    [
        ("app/config", {"key": "v"}, "Invalid path: app/config (no variable stands for key 'key'). Add a row to"),
        ("database/connection", {"port": 5432}, "key 'port': it is not text"),
        ("database/connection", {"host": ""}, "key 'host': it is empty"),
        ("database/connection", {"host": "a\0hunter2-9c"}, "key 'host': a .env file cannot hold it"),
        ("database/connection", {"host": "hunter2-9c'$"}, "key 'host': a .env file cannot hold it"),
        ("database/connection", {"host": "hunter2-9c${HOME}"}, "key 'host': a .env file cannot hold it"),
    ],
)
def test_what_a_dotenv_file_cannot_hold_is_refused(path, data, says):
    with pytest.raises((InvalidDataError, InvalidPathError)) as caught:
        DotenvCodec(EnvironmentMapping()).vet(path, data)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["DB_HOST='" + "x #" * 30_000 + "' # mine\n", "DB_HOST=" + "x#" * 30_000 + " # mine\n"],
    ids=["quoted", "bare"],
)
def test_a_value_of_many_number_signs_is_replaced_at_once(line):
    """Each could begin the comment. The text before it was parsed for each of them: hours for the largest file."""
    started = time.process_time()
    assert set_values(line, {"DB_HOST": "new"}) == "DB_HOST=new # mine\n"
    assert time.process_time() - started < 2


def test_a_name_that_stands_twice_among_many_is_found_at_once():
    """Not by comparing each name with all others, which took minutes."""
    text = "{" + ",".join(f'"{number}":0' for number in range(250_000)) + ',"0":1}'
    begun = time.process_time()
    assert "the name '0' appears twice" in refusal(JSON, text)
    assert time.process_time() - begun < 5


def test_a_dotenv_file_that_cannot_be_read_is_refused():
    """With its line."""
    codec = DotenvCodec(EnvironmentMapping())
    assert "line 2: it is not NAME=value" in refusal(codec, "DB_HOST=x\nDB_USER='hunter2-9c\n")
