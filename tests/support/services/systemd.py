"""A real systemd in separate namespaces, with the machine's files below an overlay, for the page about units."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs import require
from support.scenarios.load import wait_until
from support.services.containers import fill_python, new_root

_BOOT = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
for folder in etc var srv; do
  over=/run/over/$folder
  mkdir -p "$over/upper" "$over/work"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$over/upper,workdir=$over/work" "/$folder"
done
touch /run/console
mount --bind /run/console /dev/console
mount --bind "$1/usr/local" /usr/local
ldconfig
# Nothing of the machine starts, apart from the journal.
units=/usr/lib/systemd/system
for unit in "$units"/*.target.wants/* /etc/systemd/system/*.target.wants/* "$units/tmp.mount"; do
  case $unit in *journal*) ;; *) ln -sf /dev/null "/etc/systemd/system/${unit##*/}" ;; esac
done
mount --make-rshared /  # a unit's credentials are mounted by a child
exec env -i container=test PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --unit=basic.target
"""


_PYTHON = """#!/bin/sh
# For `python3 -m venv FOLDER`: a `pip install` there finds its packages installed, as in the images of containers.py.
mkdir -p "$3" && ln -s /usr/local/bin "$3/bin"
"""


@contextlib.contextmanager
def running_systemd(home: Path) -> Iterator[Path]:
    """Run systemd, for a folder whose `bash` is a shell beside it; skip the test if there can be none."""
    require("unshare", "nsenter", "systemctl")
    if os.geteuid() != 0:
        pytest.skip("a systemd in namespaces needs root")
    root = new_root(home / "root")
    fill_python(root)
    for library in (root / "usr" / "lib").glob("libpython*"):
        library.rename(root / "usr" / "local" / "lib" / library.name)
    spaces = ["--fork", "--pid", "--mount", "--cgroup", "--uts", "--ipc", "--kill-child"]
    with subprocess.Popen(["unshare", *spaces, "bash", "-c", _BOOT, "boot", root], stdin=subprocess.DEVNULL) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            wait_until(lambda: children.read_text().strip())
            [inner] = map(int, children.read_text().split())
            enter = ["nsenter", f"--target={inner}", "--mount", "--pid", "--cgroup", "--uts", "--ipc"]
            ready = [*enter, "systemctl", "is-active", "basic.target"]
            wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).stdout == b"active\n")
            programs = home / "programs"
            programs.mkdir()
            shell = programs / "bash"
            shell.write_text(f'#!/bin/sh\nexec {" ".join(enter)} --wdns="$PWD" -- /usr/bin/bash "$@"\n', "utf-8")
            shell.chmod(0o755)
            python = programs / "python3"
            python.write_text(_PYTHON, "utf-8")
            python.chmod(0o755)
            yield programs
        finally:
            outer.send_signal(signal.SIGKILL)  # and --kill-child ends the inner one, and that all others
