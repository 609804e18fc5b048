"""A `.env` file as a store."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
)
from strongroom.formats import dotenv
from strongroom.formats.variables import EnvironmentMapping
from strongroom_env.variables import open_dotenv

CANARY = "canary-c07d22"
URL = ("database/connection", "url")


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch):
    monkeypatch.setattr(dotenv, "_logged", set())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / ".env"
    path.touch(0o600)
    return path


@pytest.fixture
def store(file):
    return open_dotenv(mapping=EnvironmentMapping(), file=file)


def test_reads_by_the_mapping(store, file):
    """Whole reads, exact reads and listings follow the mapping, over the file and not over the environment."""
    file.write_text(
        '\ufeffexport DB_HOST=db.example\r\nDB_PASSWORD="${DB_HOST}#x"\r\nDB_PORT=\r\nAPP_X_Y=1\r\nPATH=/bin\r\n'
    )
    assert store.read("database/connection").data == {"host": "db.example", "password": "${DB_HOST}#x"}
    assert store.read_key("app/x", "y") == "1"
    assert list(GuardedStore(store, "dotenv").walk()) == ["database/connection"]


def test_the_environment_is_not_asked(store, monkeypatch):
    """What only the process has is not in the file, and what the file has does not get into the process."""
    monkeypatch.setenv("DATABASE_URL", CANARY)
    before = dict(os.environ)
    with pytest.raises(SecretNotFoundError):
        store.read_key(*URL)
    assert dict(os.environ) == before


def test_an_edit_is_seen(store, file):
    """The file is read as it is at each read, also when its size and its time stay the same."""
    file.write_text("DATABASE_URL=one\n")
    os.utime(file, (1, 1))
    assert store.read_key(*URL) == "one"
    file.write_text("DATABASE_URL=two\n")
    os.utime(file, (1, 1))
    assert store.read_key(*URL) == "two"


def test_default_file_stays_where_it_was(tmp_path, monkeypatch):
    """`.env` is that of the working directory at opening, whatever the directory is later."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("DATABASE_URL=one\n")
    Path(".env").chmod(0o600)
    store = open_dotenv(mapping=EnvironmentMapping())
    monkeypatch.chdir("/")
    assert store.read_key(*URL) == "one"


class TestFailures:
    def test_miss(self, store, file):
        """A miss names the variable and the file."""
        with pytest.raises(SecretNotFoundError, match=f"DATABASE_URL is not set in {file}"):
            store.read_key(*URL)

    def test_no_file(self, store, file):
        """Without a file nothing is there, and nothing is listed."""
        file.unlink()
        for call in (lambda: store.read_key(*URL), lambda: store.read(URL[0])):
            with pytest.raises(SecretNotFoundError, match=f"there is no {file}"):
                call()
        assert list(store.list_entries("")) == []

    def test_virtual_environment(self, store, file):
        """A folder named .env is no .env file."""
        file.unlink()
        file.mkdir()
        (file / "pyvenv.cfg").touch()
        with pytest.raises(SecretNotFoundError, match=f"{file} is a folder, not a file"):
            store.read_key(*URL)
        assert list(store.list_entries("")) == []
        assert (store.probe().ok, store.probe().detail) == (True, f"{file} is a folder, not a file")

    def test_file_that_docker_did_not_find(self, store, file):
        """Docker creates an empty folder for a missing file of a bind mount: no variable is confirmed absent."""
        file.unlink()
        file.mkdir()
        with pytest.raises(StoreUnavailableError, match=f"{file} is an empty folder, not a file"):
            store.read_key(*URL)

    def test_not_readable(self, guarded, ordinary_user):
        """A file that may not be read is denied: never absent, neither in reads nor in listings."""
        file = guarded / ".env"
        file.write_text(f"DATABASE_URL={CANARY}\n")
        file.chmod(0)
        store = open_dotenv(mapping=EnvironmentMapping(), file=file)
        with ordinary_user():
            for call in (
                lambda: store.read_key(*URL),
                lambda: store.read(URL[0]),
                lambda: list(store.list_entries("")),
            ):
                with pytest.raises(PermissionDeniedError, match="may not be read"):
                    call()

    def test_not_a_file(self, store, file):
        """A pipe is unavailable, at once."""
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(StoreUnavailableError, match="not a regular file"):
            store.read_key(*URL)

    def test_link_loop(self, store, file):
        """A link to itself is unavailable, not absent."""
        file.unlink()
        file.symlink_to(file)
        with pytest.raises(StoreUnavailableError):
            store.read_key(*URL)

    def test_open_quote(self, store, file):
        """A line that cannot be read stops every read, with file and line, though other lines could be read."""
        file.write_text(f'DB_HOST=x\nDATABASE_URL="{CANARY}\n')
        front = GuardedStore(store, "dotenv")
        for call in (lambda: front.read_key(*URL), lambda: front.read(URL[0]), lambda: list(front.list_entries(""))):
            with pytest.raises(ConfigurationError, match=f"{file}, line 2: ") as caught:
                call()
            assert CANARY not in str(caught.value)
            assert caught.value.__context__ is None


def test_no_value_is_shown(store, file, caplog):
    """Neither python-dotenv nor we log a value, whatever is odd about the file."""
    caplog.set_level(logging.DEBUG)
    file.write_text(f"DB_HOST={CANARY}\nDB_HOST={CANARY}\nREDIS_PORT=tcp://{CANARY}\n{CANARY}\n")
    file.chmod(0o644)
    shown = [repr(store), repr(store.read("database/connection"))]
    with pytest.raises(SecretNotFoundError) as caught:
        store.read("cache/redis")
    assert CANARY not in "".join([*shown, str(caught.value), caplog.text])
    assert len(caplog.messages) == 4
