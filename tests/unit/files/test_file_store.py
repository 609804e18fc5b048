"""A file of secrets on disk: whole or not at all, for its owner alone, by one writer at a time, and read anew."""

import codecs
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyrage
import pytest

from strongroom import _plugins as plugins
from strongroom._boundary.guard import GuardedStore
from strongroom._config import Rank, Setting, StoreConfig
from strongroom._config.discovery import load
from strongroom._files import file_store
from strongroom._files.codec import JsonCodec
from strongroom._files.file_store import FileStore
from strongroom._files.plugin import open_csv, open_dotenv, open_json, open_kubernetes, open_yaml
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidDataError,
    MissingFileError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.files import private
from strongroom.formats.variables import EnvironmentMapping
from strongroom.migrate import endpoints
from strongroom.store import time_limit


@pytest.fixture
def file(tmp_path):
    return tmp_path / "secrets.json"


def opened(file, **options):
    return GuardedStore(open_json(file=file, **options), "file")


def beside(file):
    """The names in the file's folder."""
    return [entry.name for entry in file.parent.iterdir()]


def mode(file):
    return stat.S_IMODE(file.stat().st_mode)


@pytest.fixture
def rewrites(monkeypatch):
    """The names of the files that were written, in order."""
    names = []
    real = private.FolderLock.replace

    def replace(folder, name, content):
        names.append(name)
        return real(folder, name, content)

    monkeypatch.setattr(private.FolderLock, "replace", replace)
    return names


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_made_for_its_owner_alone(file, monkeypatch):
    """Whatever the umask is, and nothing else is left in the folder."""
    before = os.umask(0)
    try:
        opened(file).write("a/b", {"k": "v"})
    finally:
        os.umask(before)
    assert mode(file) == 0o600
    assert beside(file) == [file.name]
    assert json.loads(file.read_text()) == {"a/b": {"k": "v"}}


@pytest.mark.parametrize(("old", "new"), [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400), (0o777, 0o600)])
def test_a_rewrite_never_widens_who_may_read(file, old, new):
    """A mode that was wider is narrowed."""
    file.write_text("{}")
    file.chmod(old)
    opened(file).write("a/b", {"k": "v"})
    assert mode(file) == new


def test_a_link_is_read_and_never_written_through(file, tmp_path):
    """Who may make a link there does not choose what is overwritten."""
    real = tmp_path / "real.json"
    real.write_text('{"a": {"k": "v"}}')
    file.symlink_to(real)
    front = opened(file)
    assert front.read("a").data == {"k": "v"}
    with pytest.raises(StoreError, match=r"is a symbolic link\). Name the file that it leads to"):
        front.write("a", {"k": "w"})
    assert file.is_symlink()
    assert real.read_text() == '{"a": {"k": "v"}}'


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """A name with a mistake in it is no new folder."""
    front = opened(tmp_path / "none" / "secrets.json")
    with pytest.raises(StoreUnavailableError, match="No such file or directory"):
        front.write("a", {"k": "v"})
    with pytest.raises(SecretNotFoundError):
        front.read("a")


def test_a_full_disk_leaves_the_old_file(file, monkeypatch):
    """And no part of the new one."""
    front = opened(file)
    front.write("a", {"k": "old"})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailableError, match=r"No space left on device\). Check its disk"):
        front.write("a", {"k": "new"})
    outcomes = dict(front.write_many([("b", {"k": "v"}), ("c", {"k": "v"})]))
    assert {type(outcome) for outcome in outcomes.values()} == {StoreUnavailableError}
    assert [outcome.path for outcome in outcomes.values()] == ["b", "c"]
    assert front.read("a").data == {"k": "old"}
    assert list(front.walk()) == ["a"]
    assert beside(file) == [file.name]


def test_the_folder_is_synced_too(file, monkeypatch):
    """Without that the rename itself may be lost when the power fails."""
    synced, caller = [], threading.current_thread()

    def sync(descriptor):
        if threading.current_thread() is caller:
            synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", sync)
    opened(file).write("a", {"k": "v"})
    assert synced == [stat.S_IFREG, stat.S_IFDIR]


def test_what_a_killed_writer_left_is_removed(file):
    """It holds secrets, and nobody knows of it."""
    left = file.parent / f".{file.name}.0123456789abcdef.tmp"
    other = file.parent / ".other.json.0123456789abcdef.tmp"
    for leftover in (left, other):
        leftover.write_text("half of it")
    opened(file).write("a", {"k": "v"})
    assert not left.exists()
    assert other.exists()


def test_a_large_file_is_refused_and_never_half_read(file, monkeypatch):
    """Reading and writing."""
    monkeypatch.setattr(file_store, "MAX_SIZE", 100)
    front = opened(file)
    front.write("a", {"k": "v"})
    with pytest.raises(SecretTooLargeError, match="would have more than 100 bytes"):
        front.write("b", {"k": "x" * 100})
    assert list(front.walk()) == ["a"]
    file.write_text(json.dumps({"a": {"k": "x" * 100}}))
    with pytest.raises(SecretTooLargeError, match="has more than 100 bytes"):
        front.read("a")


def test_a_format_that_would_not_read_back_is_not_written(file, monkeypatch):
    """The last guard: whatever is wrong with a format, the file stays."""
    json_store = open_json(file=file)
    json_store.write("a", {"k": "v"})
    encode = JsonCodec.encode
    monkeypatch.setattr(JsonCodec, "encode", lambda *args: encode(*args).replace(b'"new"', b'"other"'))
    with pytest.raises(StoreError, match="JSON would not read back as it was written"):
        json_store.write("a", {"k": "new"})
    assert json_store.read("a").data == {"k": "v"}


# --- kill -9 ----------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from strongroom._files.plugin import open_json
store = open_json(file=Path(sys.argv[1]))
print("ready", flush=True)
turn = 0
while True:
    turn += 1
    text = str(turn) * 2000
    for _ in store.write_many((f"app/{number}", {"turn": str(turn), "text": text}) for number in range(40)):
        pass
"""


def test_a_write_that_is_killed_tears_nothing(file):
    """Killed at twelve moments, the file is always one state, whole; and the next writer goes on."""
    turns = []
    for moment in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, file], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while moment and not file.exists():
                time.sleep(0.001)
            time.sleep(0.01 + 0.007 * moment)
            writer.send_signal(signal.SIGKILL)
            writer.wait(30)
        if file.exists():
            secrets = json.loads(file.read_text())
            turns.append(secrets["app/0"]["turn"])
            assert {len(secrets), *(secret["turn"] for secret in secrets.values())} == {40, turns[-1]}
            assert all(secret["text"] == secret["turn"] * 2000 for secret in secrets.values())
            assert mode(file) == 0o600
    assert turns
    opened(file).write("after", {"k": "v"})
    assert beside(file) == [file.name]


# --- several at once --------------------------------------------------------------------------------------------------


def test_threads_and_stores_lose_no_write(file):
    """Each of several stores of one file writes its own secret, all at once."""
    fronts = [opened(file) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: fronts[number].write(f"a/{number}", {"k": str(number)}), range(6)))
    assert sorted(opened(file).walk()) == [f"a/{number}" for number in range(6)]


def test_processes_lose_no_write(file):
    """As threads do not."""
    program = (
        "import sys; from pathlib import Path; from strongroom._files.plugin import open_json; "
        "s = open_json(file=Path(sys.argv[1])); [s.write(f'{sys.argv[2]}/{n}', {'k': 'v'}) for n in range(8)]"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program, file, name]) for name in "abc"]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert len(list(opened(file).walk())) == 24


def test_a_writer_that_never_ends_is_waited_for_no_longer_than_the_call_may_take(file):
    """And that is an outage: the next try may succeed."""
    front = opened(file)
    with (
        private.lock_folder(file.parent, 1),
        time_limit(0.1),
        pytest.raises(StoreUnavailableError, match="Try again"),
    ):
        front.write("a", {"k": "v"})
    front.write("a", {"k": "v"})


def test_an_edit_is_seen_at_once(file):
    """Also one right after another, of the same length, by an editor that writes in place."""
    front = opened(file)
    for turn in range(50):
        file.write_text(json.dumps({"a": {"k": f"{turn:03}"}}))
        assert front.read("a").data == {"k": f"{turn:03}"}
    file.unlink()
    with pytest.raises(SecretNotFoundError):
        front.read("a")


def test_an_edit_is_seen_where_the_clock_is_coarse(file, monkeypatch):
    """Some file systems give two states of a file one time."""
    now = time.time_ns()
    monkeypatch.setattr(file_store, "_stamp", lambda found: (found.st_size, now))
    front = opened(file)
    for turn in ("one", "two"):
        file.write_text(json.dumps({"a": {"k": turn}}))
        assert front.read("a").data == {"k": turn}


def test_a_file_that_stays_is_parsed_once(file, monkeypatch):
    """Ten thousand single reads of it cost no more than one."""
    file.write_text('{"a": {"k": "v"}, "b": {"k": "w"}}')
    long_ago = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: long_ago() + 5_000_000_000)
    json_store = open_json(file=file)
    parsed = []
    decode = JsonCodec.decode
    monkeypatch.setattr(JsonCodec, "decode", lambda *args: parsed.append(1) or decode(*args))
    assert [json_store.read(path).data["k"] for path in ("a", "b", "a")] == ["v", "w", "v"]
    assert len(parsed) == 1
    json_store.close()
    json_store.read("a")
    assert len(parsed) == 2


def test_many_writes_are_one(file, monkeypatch):
    """One item that the format cannot hold keeps none of the others from being written."""
    replaced = []
    replace = private.FolderLock.replace
    monkeypatch.setattr(private.FolderLock, "replace", lambda *arguments: replaced.append(1) or replace(*arguments))
    items = [(f"a/{number}", {"k": str(number)}) for number in range(500)]
    outcomes = dict(opened(file).write_many([*items, ("bad", {"k": 10**5000})]))
    assert isinstance(outcomes.pop("bad"), InvalidDataError)
    assert set(outcomes.values()) == {None}
    assert len(outcomes) == 500
    assert replaced == [1]


# --- encryption -------------------------------------------------------------------------------------------------------


@pytest.fixture
def key():
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def identity(tmp_path, key):
    (tmp_path / "keys").mkdir()
    identity = tmp_path / "keys" / "identity.txt"
    identity.touch(0o600)
    identity.write_text(f"# created: today\n# public key: {key.to_public()}\n{key}\n")
    return identity


def test_an_encrypted_file_is_for_its_recipients(file, key, identity):
    """For each of them, and it holds nothing in plain."""
    other = pyrage.x25519.Identity.generate()
    front = opened(file, encrypt_to=[str(key.to_public()), str(other.to_public())], identity=identity)
    front.write("a/b", {"k": "hunter2-9c"})
    front.write("c", {"k": "w"})
    assert b"hunter2" not in file.read_bytes()
    for one in (key, other):
        assert json.loads(pyrage.decrypt(file.read_bytes(), [one]))["a/b"] == {"k": "hunter2-9c"}
    assert opened(file, identity=identity).read("a/b").data == {"k": "hunter2-9c"}


def test_without_the_identity_an_encrypted_file_cannot_be_read(file, key, tmp_path):
    """That is no absence."""
    opened(file, encrypt_to=[str(key.to_public())]).write("a", {"k": "v"})
    with pytest.raises(AuthenticationError, match=r"encrypted with age.*option identity"):
        opened(file).read("a")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(AuthenticationError, match="not encrypted to this identity"):
        opened(file, identity=wrong).read("a")
    with pytest.raises(AuthenticationError):
        list(opened(file).walk())


def test_an_encrypted_file_is_never_rewritten_in_plain(file, key, identity):
    """Whoever forgets the option loses nothing."""
    opened(file, encrypt_to=[str(key.to_public())]).write("a", {"k": "v"})
    for options in ({}, {"identity": identity}):
        with pytest.raises(StoreError, match=r"would be written in plain.*encrypt_to"):
            opened(file, **options).write("b", {"k": "v"})


@pytest.mark.parametrize("before", [b"", b"\n", b" \t\r\n\r\n", codecs.BOM_UTF8])
def test_white_space_before_the_armor_makes_an_encrypted_file_no_plain_one(file, key, identity, before):
    """An editor or a heredoc leaves it."""
    armored = pyrage.encrypt(b'{"a/b": {"k": "hunter2-9c"}}', [key.to_public()], armored=True)
    file.write_bytes(before + armored)
    file.chmod(0o600)
    assert opened(file, identity=identity).read("a/b").data == {"k": "hunter2-9c"}
    with pytest.raises(AuthenticationError, match="encrypted with age"):
        opened(file).read("a/b")
    with pytest.raises(StoreError, match="would be written in plain"):
        opened(file, identity=identity).write("c", {"k": "v"})


def test_whoever_cannot_decrypt_can_still_write_a_new_file(file, key, identity):
    """In several steps, and what it wrote itself it knows; what another wrote since, it does not overwrite."""
    front = opened(file, encrypt_to=[str(key.to_public())])
    front.write("a", {"k": "v"})
    front.write("b", {"k": "w"})
    assert front.read("a").data == {"k": "v"}
    assert sorted(opened(file, identity=identity).walk()) == ["a", "b"]
    opened(file, encrypt_to=[str(key.to_public())], identity=identity).write("c", {"k": "x"})
    with pytest.raises(AuthenticationError):
        front.write("d", {"k": "y"})
    assert sorted(opened(file, identity=identity).walk()) == ["a", "b", "c"]


def test_a_plain_file_becomes_encrypted(file, key, identity):
    """From its next write on."""
    opened(file).write("a", {"k": "v"})
    opened(file, encrypt_to=[str(key.to_public())], identity=identity).write("b", {"k": "w"})
    assert file.read_bytes().startswith(b"age-encryption.org/v1\n")
    assert sorted(opened(file, identity=identity).walk()) == ["a", "b"]


def test_what_is_no_recipient_or_identity_is_a_configuration_error(file, key, tmp_path):
    """Named by its option, and never shown: somebody may take the one for the other."""
    with pytest.raises(ConfigurationError, match="encrypt_to: not an age recipient") as caught:
        open_json(file=file, encrypt_to=[str(key)])
    assert "AGE-SECRET" not in str(caught.value)
    with pytest.raises(MissingFileError, match="option identity"):
        open_json(file=file, identity=tmp_path / "none")
    empty = tmp_path / "empty"
    for text in ("# nothing\n", "AGE-SECRET-KEY-1NOT", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"):
        empty.write_text(text)
        with pytest.raises(ConfigurationError, match="option identity: no age identity is in"):
            open_json(file=file, identity=empty)


def test_a_damaged_file_is_an_error(file, key, identity):
    """One byte of it."""
    front = opened(file, encrypt_to=[str(key.to_public())], identity=identity)
    front.write("a", {"k": "v"})
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(AuthenticationError, match="or is damaged"):
        front.read("a")


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", [open_json, open_yaml, open_csv, open_kubernetes])
def test_every_format_round_trips_through_every_other(opener, tmp_path):
    """What is in one file is in the next, types included."""
    data = {
        "a/b": {"text": "x\n", "count": 5, "ratio": 0.5, "on": True, "none": None, "raw": b"\xff", "list": [1, "a"]}
    }
    first = GuardedStore(open_yaml(file=tmp_path / "first"), "first")
    assert set(dict(first.write_many(data.items())).values()) == {None}
    second = GuardedStore(opener(file=tmp_path / "second"), "second")
    assert set(dict(second.write_many((path, first.read(path).data) for path in first.walk())).values()) == {None}
    read = second.read("a/b").data
    assert read == data["a/b"]
    assert [type(value) for value in (read["count"], read["ratio"], read["on"])] == [int, float, bool]


def test_a_namespace_that_cannot_be_is_a_configuration_error(file):
    with pytest.raises(ConfigurationError, match="option namespace"):
        open_kubernetes(file=file, namespace="Not.One")


def test_a_dotenv_file_is_written_by_the_mapping(tmp_path):
    """And read back by the store that applications use."""
    from strongroom_env.variables import open_dotenv as open_link

    file = tmp_path / ".env"
    mapping = EnvironmentMapping({"SENTRY_DSN": ("monitoring/sentry", "dsn")})
    front = GuardedStore(open_dotenv(mapping=mapping, file=file), "dotenv")
    front.write("monitoring/sentry", {"dsn": "https://key@sentry/1"})
    front.write("api-keys/acme", {"key": "it's a secret"})
    assert file.read_text() == 'SENTRY_DSN=https://key@sentry/1\nACME_API_KEY="it\'s a secret"\n'
    link = GuardedStore(open_link(mapping=mapping, file=file), "link")
    assert sorted(link.walk()) == ["api-keys/acme", "monitoring/sentry"]
    assert link.read("api-keys/acme").data == {"key": "it's a secret"}


def test_a_file_that_may_not_be_written_is_a_denial(file, monkeypatch):
    """The folder's, most often."""

    def refuse(*arguments, **more):
        raise PermissionError(errno.EACCES, "Permission denied")

    front = opened(file)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDeniedError, match="may not be written"):
        front.write("a", {"k": "v"})


def test_the_traceback_of_a_refusal_shows_no_value(file):
    """Not even of a file that cannot be parsed, whose text the parser holds."""
    file.write_text('{"a": {"k": "hunter2-9c"')
    with pytest.raises(InvalidDataError) as caught:
        opened(file).read("a")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("plugin", ["json", "yaml", "csv", "kubernetes"])
def test_a_source_that_is_not_there_is_a_mistake(tmp_path, plugin):
    """Where a target is made. A migration of nothing would look as if it were done."""
    config = load(chain=[{"store": "memory"}], folder=tmp_path)
    given = Setting(str(tmp_path / "none"), "a test", Rank.ARGUMENT)
    config = replace(config, stores={"file": StoreConfig("file", plugin, "The store file", {"file": given})})
    with pytest.raises(ConfigurationError, match="The store file: There is no"):
        endpoints.open_endpoint(config, "file", plugins.IMPORTERS)
    target = endpoints.open_endpoint(config, "file", plugins.STORES)
    assert isinstance(target, FileStore)
    target.write("a", {"k": "v"})
    source = endpoints.open_endpoint(config, "file", plugins.IMPORTERS)
    assert isinstance(source, FileStore)
    assert source.read("a").data == {"k": "v"}


def test_writes_in_steps_parse_the_file_once(file, monkeypatch):
    """As a migration writes: a few secrets at a time, each time into the whole file."""
    json_store = open_json(file=file)
    parsed = []
    decode = JsonCodec.decode
    monkeypatch.setattr(
        JsonCodec, "decode", lambda codec, content: parsed.append(len(content)) or decode(codec, content)
    )
    for step in range(20):
        list(json_store.write_many((f"a/{step}/{n}", {"k": "v" * 100}) for n in range(10)))
        json_store.read(f"a/{step}/0")
    assert sum(parsed) < 2 * file.stat().st_size
    assert len(list(opened(file).walk())) == 200


def test_what_another_wrote_between_two_writes_stays(file):
    """Its file is read again, and not what this store remembers."""
    first, second = opened(file), opened(file)
    first.write("a", {"k": "v"})
    second.write("b", {"k": "w"})
    first.write("c", {"k": "x"})
    file.write_text(file.read_text().replace('"x"', '"by hand"'))
    second.write("d", {"k": "y"})
    assert {path: opened(file).read(path).data["k"] for path in "abcd"} == {
        "a": "v",
        "b": "w",
        "c": "by hand",
        "d": "y",
    }


# --- bulk deletes -----------------------------------------------------------------------------------------------------


def test_many_deletes_are_one_rewrite(file, rewrites):
    """An absent secret has its own error, and the others are deleted."""
    front = opened(file)
    list(front.write_many((f"a/{n}", {"k": "v"}) for n in range(50)))
    rewrites.clear()
    outcomes = dict(front.delete_many([*(f"a/{n}" for n in range(40)), "a/absent"]))
    assert rewrites == [file.name]
    assert {path for path, outcome in outcomes.items() if outcome is not None} == {"a/absent"}
    assert isinstance(outcomes["a/absent"], SecretNotFoundError)
    assert outcomes["a/absent"].path == "a/absent"
    assert sorted(opened(file).walk()) == sorted(f"a/{n}" for n in range(40, 50))


def test_deleting_only_absent_secrets_writes_nothing(file, rewrites):
    outcomes = dict(opened(file).delete_many(["a", "b"]))
    assert [type(outcome) for outcome in outcomes.values()] == [SecretNotFoundError] * 2
    assert rewrites == []
    assert not file.exists()


def test_a_failed_bulk_delete_is_the_error_of_each_secret(file, monkeypatch):
    """Nothing was deleted."""
    front = opened(file)
    list(front.write_many((f"a/{n}", {"k": "v"}) for n in range(3)))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(private.FolderLock, "replace", full)
    outcomes = dict(front.delete_many(["a/0", "a/1", "a/absent"]))
    kinds = {path: type(outcome) for path, outcome in outcomes.items()}
    assert kinds == {"a/0": StoreUnavailableError, "a/1": StoreUnavailableError, "a/absent": SecretNotFoundError}
    assert len(list(front.walk())) == 3
