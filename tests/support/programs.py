"""Programs of Debian that tests need, and programs in Python that tests write.

A module without imports of servers and drivers, which few tests need.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

DEBIAN = (
    "cc",
    "chromium",
    "crontab",
    "curl",
    "dbus-daemon",
    "dbus-run-session",
    "diff",
    "docker",
    "dockerd",
    "etcd",
    "etcdctl",
    "git",
    "gnome-keyring-daemon",
    "gpg",
    "gpgconf",
    "ip",
    "java",
    "jq",
    "keepassxc-cli",
    "kubectl",
    "logrotate",
    "mariadb-install-db",
    "mariadbd",
    "nsenter",
    "openssl",
    "pass",
    "promtool",
    "redis-server",
    "setpriv",
    "ss",
    "systemctl",
    "unshare",
)
"""All programs that a test may need beside a shell and the tools of every Linux.

`.ci/run` reads this tuple, one name in a line, and runs the tests without these programs first.
"""


def require(*programs: str) -> None:
    """Skip the test, or the module that calls this, if a program is not installed.

    Raises:
        ValueError: the program is not in `DEBIAN`, so that no run of `.ci/run` was without it.
    """
    for program in programs:
        if program not in DEBIAN:
            raise ValueError(f"{program} is not in DEBIAN of {__name__}: add it")
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed", allow_module_level=True)


def write_python(file: Path, code: str, *options: str) -> Path:
    """Write a program that this Python runs with these options.

    A first line `#!INTERPRETER` cannot hold a path with a space. This one is of a shell, to which the next two lines
    are a command, and to Python a string.
    """
    command = shlex.join([sys.executable, *options])
    file.write_text(f"#!/bin/sh\n'''exec' {command} \"$0\" \"$@\"\n' '''\n{code}", "utf-8")
    file.chmod(0o755)
    return file
