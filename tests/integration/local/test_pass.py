"""The profile `pass`, with the real program: entries of people, folders, denials, and where values go."""

import subprocess
from pathlib import Path

import pytest

from strongroom.errors import (
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
)
from strongroom_local.command.plugin import open_command
from support.programs import require


@pytest.fixture
def root(gpg_home, tmp_path):
    return gpg_home.init(tmp_path / "store")


@pytest.fixture
def store(root):
    return open_command(profile="pass", location=str(root))


def test_an_entry_of_a_person_is_one_value(store, root, gpg_home):
    """Plain text is the value of one key, and stays plain text when it is written again."""
    gpg_home.run(root, "insert", "--multiline", "web/site", piped=b"hunter2\nuser: app\n")
    assert store.read("web/site").data == {"value": "hunter2\nuser: app"}
    store.write("web/site", {"value": "hunter3"})
    assert gpg_home.run(root, "show", "web/site") == b"hunter3\n"


def test_a_folder_is_absent_and_not_its_tree(store):
    """`pass show FOLDER` prints the folder's tree and succeeds. No tree is a value."""
    store.write("app/config", {"user": "app"})
    with pytest.raises(SecretNotFoundError):
        store.read("app")
    with pytest.raises(SecretNotFoundError):
        store.delete("app")
    assert store.read("app/config").data == {"user": "app"}


@pytest.fixture
def empty_gpg_home(gpg_home, tmp_path):
    """A home without keys, whose agent ends with the test."""
    home = tmp_path / "gpg"
    home.mkdir(0o700)
    yield home
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


def test_without_the_secret_key_it_is_denied(store, empty_gpg_home, monkeypatch):
    """A secret that gpg cannot decrypt is denied; one that does not exist is absent all the same."""
    store.write("app/config", {"user": "app"})
    monkeypatch.setenv("GNUPGHOME", str(empty_gpg_home))
    with pytest.raises(PermissionDeniedError):
        store.read("app/config")
    with pytest.raises(SecretNotFoundError):
        store.read("app/other")


def test_a_missing_store_is_unavailable(tmp_path):
    """A folder that is not mounted holds no secret, and is not empty either."""
    require("pass")
    store = open_command(profile="pass", location=str(tmp_path / "none"))
    with pytest.raises(StoreUnavailableError):
        store.read("app/config")
    with pytest.raises(StoreUnavailableError):
        list(store.list_entries(""))


def test_a_path_that_looks_like_an_option_is_refused(store):
    """No program takes a path for an option."""
    with pytest.raises(InvalidPathError):
        store.read("--clip")


def test_the_folder_of_git_is_not_listed(store, root):
    """A store under git has files of git in it."""
    (root / ".git").mkdir()
    (root / ".git" / "ref.gpg").touch()
    store.write("app/config", {"user": "app"})
    assert list(store.walk("")) == ["app/config"]


def test_no_value_is_in_arguments_or_environment(monkeypatch, tmp_path):
    """The program of `write` sees the secret on standard input alone, and no credential of another store."""
    monkeypatch.setenv("VAULT_TOKEN", "canary-token")
    monkeypatch.setenv("OWN", "passed on")
    seen = tmp_path / "seen"
    script = f"cat /proc/$$/cmdline /proc/$$/environ > {seen}; cat > {tmp_path}/stdin"
    command = ["sh", "-c", script, "sh", "<path>"]
    store = open_command(read=command, list=["true"], write=command, delete=command, environment=["OWN"])
    store.write("app/config", {"user": "canary-1"})
    assert b"app/config" in seen.read_bytes()
    assert b"OWN=passed on" in seen.read_bytes()
    assert b"canary" not in seen.read_bytes()
    assert (tmp_path / "stdin").read_bytes() == b'{"user":"canary-1"}\n'


def test_files_are_private(store, root):
    """The umask of `pass` holds."""
    store.write("app/config", {"user": "app"})
    assert Path(root, "app/config.gpg").stat().st_mode & 0o077 == 0
    assert [file.name for file in Path(root, "app").iterdir()] == ["config.gpg"]
