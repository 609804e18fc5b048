"""`strongroom cache`: what it shows of the cache on disk, and what it removes."""

import json
import os
import sqlite3

import pytest

from strongroom._config import CacheConfig
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._plugins.identity import StoreIdentity
from strongroom.secret import Secret

CANARY = "canary-19d4"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STRONGROOM_CACHE_DISK", "true")
    monkeypatch.setenv("STRONGROOM_CACHE_FOLDER", str(tmp_path / "cache"))
    return tmp_path / "cache"


def open_cache(folder):
    return StoreCache(Container(folder, 1 << 22), "vault", lambda: StoreIdentity({"plugin": "vault"}), CacheConfig())


@pytest.fixture
def cache(folder):
    """A cache with two secrets."""
    cache = open_cache(folder)
    for path in ("db/app", "db/other"):
        cache.fetch(path, lambda path=path: Secret(path, {"k": CANARY}))
    return cache


def damage(folder):
    (file,) = folder.glob("*.sqlite")
    database = sqlite3.connect(file)
    database.execute("UPDATE entries SET ends = ends + 1 WHERE rowid = 1")
    database.commit()
    database.close()


def status(command):
    return json.loads(command("cache", "status", "--json").out)


def test_the_status_of_a_cache_that_is_empty_or_disabled(command, folder, monkeypatch):
    found = status(command)
    assert (found["enabled"], found["exists"], found["entries"], found["fault"]) == (True, False, 0, None)
    assert not folder.exists()
    monkeypatch.delenv("STRONGROOM_CACHE_DISK")
    assert "enabled\tno: set disk = true in [cache]" in command("cache", "status").out.decode()


@pytest.mark.usefixtures("cache")
def test_the_status_of_a_cache(command, folder):
    found = status(command)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert (found["entries"], found["expired"], found["mode"], found["owner"]) == (2, 0, "0700", os.geteuid())
    assert (found["size"], found["other_files"], 0 <= found["key_age"] < 600) == (size, 0, True)
    folder.chmod(0o755)
    assert status(command)["fault"] == "other users have access to it; run chmod 700 on it"


@pytest.mark.usefixtures("cache")
def test_verify_finds_damaged_entries(command, folder):
    done = command("cache", "verify", "--json")
    assert (done.code, json.loads(done.out)["ok"]) == (0, True)
    damage(folder)
    done = command("cache", "verify", "--json")
    assert done.code == 1
    assert json.loads(done.out) == {"ok": False, "entries": 2, "damaged": 1, "faults": []} | {
        name: value for name, value in json.loads(done.out).items() if name == "version"
    }
    (file,) = folder.glob("*.sqlite")
    file.write_bytes(b"x" * 8192)
    done = command("cache", "verify")
    assert (done.code, "it is damaged" in done.err) == (1, True)
    assert done.err.endswith("strongroom: The entries cannot be read. To remove them: `strongroom cache clear`\n")


def test_clear_removes_every_file(command, folder, cache):
    assert command("cache", "clear").code == 0
    assert list(folder.iterdir()) == []
    assert cache.current("db/app") is None


def test_clear_follows_no_symbolic_link(command, folder, cache):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    done = command("cache", "clear")
    assert (done.code, "it is a symbolic link" in done.err) == (7, True)
    assert len(list(folder.with_name("elsewhere").iterdir())) > 1


def test_a_running_process_uses_a_rotated_key(command, folder, cache):
    before = (folder / "root.key").read_bytes()
    assert command("cache", "rotate-key").code == 0
    assert (folder / "root.key").read_bytes() != before
    assert list(folder.glob("*.sqlite")) == []
    assert cache.current("db/app") is None
    cache.fetch("db/app", lambda: Secret("db/app", {"k": "new"}))
    assert open_cache(folder).current("db/app").data["k"] == "new"
    assert len(list(folder.glob("*.sqlite"))) == 1


@pytest.mark.usefixtures("cache")
def test_the_doctor_reports_the_cache(command, folder):
    done = command("doctor", "--json")
    assert json.loads(done.out)["disk_cache"]["entries"] == 2
    folder.chmod(0o755)
    done = command("doctor")
    (row,) = [line.split("\t") for line in done.out.decode().splitlines() if line.startswith("disk cache")]
    assert (done.code, row[2]) == (0, "warning")
    assert "chmod 700" in row[4]
