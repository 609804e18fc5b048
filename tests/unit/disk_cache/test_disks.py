"""Disks that are full, read-only or without locks: a miss with one warning, and never the value before a write."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from programs import disk_user
from programs.disk_writers import open_cache
from strongroom._disk_cache.container import Turns
from strongroom.secret import Secret
from support.programs import require

PREFIX = "The disk cache of store vault is not used: "
USER = [sys.executable, disk_user.__file__]
UNSHARE = ("unshare", "--mount", "--map-root-user", "sh", "-ec")

# The first process fills the cache: in the namespace, this user is root, whose keys are others.
READ_ONLY = """
disk=$1; shift; mount -t tmpfs none "$disk"; "$@" old old >"$disk/log"
mount -o remount,ro "$disk"; "$@" old new
"""
FULL = """
disk=$1; shift; mount -t tmpfs -o size=256k none "$disk"; "$@" old old >"$disk/log"
cat /dev/zero >"$disk/rest" || :; "$@" old new; echo; "$@" new newer
"""
FULL_AND_COLD = """
disk=$1; shift; mount -t tmpfs -o size=4k none "$disk"; mkdir -m 700 "$disk/cache"
cat /dev/zero >"$disk/rest" || :; "$@" old new
"""

# A library that refuses locks, like NFS without its lock service.
NO_LOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

int flock(int descriptor, int operation) { errno = CODE; return -1; }

#define REFUSING(name) int name(int descriptor, int command, ...) { \\
    va_list arguments; va_start(arguments, command); void *argument = va_arg(arguments, void *); va_end(arguments); \\
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) { errno = CODE; return -1; } \\
    int (*real)(int, int, ...) = (int (*)(int, int, ...)) dlsym(RTLD_NEXT, #name); \\
    return real(descriptor, command, argument); }

REFUSING(fcntl)
REFUSING(fcntl64)
"""


def warm(folder):
    open_cache(folder).fetch(disk_user.PATH, lambda: Secret(disk_user.PATH, {"k": "old"}))


def use(*command, **environment):
    """Return what each process of the command read, and its warning."""
    environment = {**os.environ, "PYTHONPATH": str(Path(disk_user.__file__).parents[1]), **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(len(each["warnings"]) == 1 for each in found)
    return [(*each["read"], each["warnings"][0].removeprefix(PREFIX)) for each in found]


@pytest.fixture
def mounted(tmp_path):
    """Run a shell script in a separate mount namespace, with a folder and the command as its arguments."""
    disk = tmp_path / "disk"
    disk.mkdir()
    attempt = [*UNSHARE, 'mount -t tmpfs none "$1"; mount -o remount,ro "$1"', "sh", str(disk)]
    require("unshare")
    if subprocess.run(attempt, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("this user may not mount")
    return lambda script: use(*UNSHARE, script, "sh", str(disk), *USER, str(disk / "cache"))


def test_a_read_only_disk(mounted):
    """The process that writes uses the cache no more, since it cannot drop the entry."""
    assert mounted(READ_ONLY) == [("old", "new", "SQLite: attempt to write a readonly database")]


def test_a_full_disk(mounted):
    """The next process does not get the value before the write."""
    fault = "SQLite: database or disk is full"
    assert mounted(FULL) == [("old", "new", fault), ("new", "newer", fault)]


def test_a_full_disk_without_a_cache(mounted):
    assert mounted(FULL_AND_COLD) == [("old", "new", "No space left on device")]


def test_a_file_that_cannot_grow(tmp_path):
    """As with a quota that is used up."""
    folder = tmp_path / "cache"
    warm(folder)
    first = use(*USER, str(folder), "old", "new", "1")
    assert first == [("old", "new", "SQLite: disk I/O error")]
    assert open_cache(folder).current(disk_user.PATH) is None


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks(tmp_path, code):
    """Two processes may read the same secret, and none uses the cache."""
    require("cc")  # builds a library without locks
    library, folder = tmp_path / "locks.so", tmp_path / "cache"
    warm(folder)
    compiler = ["cc", "-shared", "-fPIC", f"-DCODE={code}", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(compiler, input=NO_LOCKS, text=True, check=True, timeout=60)
    ((before, after, fault),) = use(*USER, str(folder), "old", "new", LD_PRELOAD=str(library))
    assert (before, after) == ("old", "new")
    assert fault in {"SQLite: database is locked", "SQLite: disk I/O error"}
    assert open_cache(folder).current(disk_user.PATH) is None


def refuse(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_turns_on_a_file_system_without_locks(tmp_path, monkeypatch):
    """No process waits, and the end of a turn raises nothing."""
    monkeypatch.setattr("fcntl.flock", refuse)
    tmp_path.chmod(0o700)
    with Turns(tmp_path).take([b"name"], 60), Turns(tmp_path).take([b"name"], 60):
        pass


def test_locks_that_are_lost_meanwhile(tmp_path, monkeypatch):
    """The file system loses its lock service while a process has the turn."""
    tmp_path.chmod(0o700)
    with Turns(tmp_path).take([b"name"], 60):
        monkeypatch.setattr("fcntl.flock", refuse)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to another user")
def test_a_folder_of_another_user(tmp_path):
    folder = tmp_path / "cache"
    warm(folder)
    os.chown(folder, 65534, 65534)
    assert use(*USER, str(folder), "old", "new") == [("old", "new", "it is not a folder of this user")]
