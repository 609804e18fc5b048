"""The disk cache in a folder that has files of others, or an odd name."""

import os
import sqlite3
import time

import pytest

from programs.disk_writers import open_cache
from strongroom._disk_cache import maintenance
from strongroom.secret import Secret

FOREIGN = ("app.sqlite", "app.sqlite-journal", ".app.sqlite.bak", "turn-left.lock", ".root.key.backup", "other.key")
PEM = b"-----BEGIN PRIVATE KEY-----\n" + b"x" * 1600


def read(folder, value):
    return open_cache(folder).fetch("db/app", lambda: Secret("db/app", {"k": value})).data["k"]


@pytest.fixture
def folder(tmp_path):
    """A private folder with old files of an application."""
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    for name in FOREIGN:
        (folder / name).touch(0o600)
        (folder / name).write_bytes(b"theirs")
        os.utime(folder / name, (time.time() - 30 * 86400,) * 2)
    return folder


def test_files_of_others_are_neither_removed_nor_counted(folder):
    """By the sweep at the first entry, by a rotation of the key, and by `clear`."""
    read(folder, "one")
    assert maintenance.inspect(folder).other_files == 0
    maintenance.rotate_key(folder)
    read(folder, "two")
    maintenance.clear(folder)
    assert sorted(file.name for file in folder.iterdir()) == sorted(FOREIGN)
    assert all((folder / name).read_bytes() == b"theirs" for name in FOREIGN)


def test_leftovers_of_killed_writers_are_removed(folder):
    read(folder, "one")
    database = next(file for file in folder.glob("*.sqlite") if len(file.stem) == 32)
    leftovers = (f".{database.name}.0123456789abcdef", ".root.key.0123456789abcdef", ".root.key.0123456789abcdef.tmp")
    for name in leftovers:
        (folder / name).touch(0o600)
    maintenance.clear(folder)
    assert sorted(file.name for file in folder.iterdir()) == sorted(FOREIGN)


def test_a_root_key_of_others_is_kept(folder, caplog):
    """It may be the key of a certificate authority. The message does not advise to clear the folder."""
    (folder / "root.key").touch(0o600)
    (folder / "root.key").write_bytes(PEM)
    assert read(folder, "one") == "one"
    assert "root.key is not a key of the cache; name another folder" in caplog.text
    for change in (maintenance.clear, maintenance.rotate_key):
        with pytest.raises(OSError, match=r"root.key is not a key of the cache; name another folder"):
            change(folder)
    assert (folder / "root.key").read_bytes() == PEM


def test_a_root_key_that_was_cut_is_cleared(folder):
    (folder / "root.key").touch(0o600)
    (folder / "root.key").write_bytes(b"half")
    assert read(folder, "one") == "one"
    maintenance.clear(folder)
    assert read(folder, "two") == read(folder, "three") == "two"


def test_a_folder_whose_name_is_not_utf8_works(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9?#%")
    assert read(folder, "one") == read(folder, "two") == "one"


def test_a_database_of_another_format_is_replaced(folder):
    """It has the name of ours, and other tables."""
    read(folder, "one")
    (file,) = (file for file in folder.glob("*.sqlite") if len(file.stem) == 32)
    file.write_bytes(b"")
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE writes (other)")
    database.close()
    assert read(folder, "two") == "two"
    assert read(folder, "three") in {"two", "three"}
