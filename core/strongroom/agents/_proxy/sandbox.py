"""A sandbox without root: a command in a user and network namespace whose only way out is a proxy outside.

The launcher, this file run by itself, enters the namespaces, listens on their loopback interface, passes that socket
out to the proxy, and becomes the command. The command keeps the user's files. Sockets of other families than IP are
refused, since a socket in the file system leads out of the namespace: to D-Bus, which starts programs outside, to
Docker, or to an agent of SSH. So is input that a command types into its own terminal.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys
from typing import NoReturn

PROXY = ("127.0.0.1", 3128)
"""The address of the proxy in the sandbox. Nothing else listens there."""

BACKLOG = 512
"""Connections that wait while the proxy is imported: the command is started before it."""

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2

_MACHINES = {"x86_64": (0xC000003E, 41, 16), "aarch64": (0xC00000B7, 198, 29)}
"""The audit architecture, and the numbers of `socket` and `ioctl`."""
_IO_URING_SETUP = 425  # makes sockets without a system call for each
_X32 = 0x40000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # of classic BPF
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # positions in `struct seccomp_data`, little-endian


class Sandbox:
    """A sandbox, from the side of the process that runs the proxy."""

    def __init__(self) -> None:
        self._ours, self._launcher = socket.socketpair()

    def wrap(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """Return the command that runs `command` in the sandbox. It must inherit this process's descriptors."""
        self._launcher.set_inheritable(True)
        # By its path: an isolated interpreter finds no package that PYTHONPATH or `pip install --user` provides.
        return (sys.executable, "-I", __file__, str(self._launcher.fileno()), *command)

    def listeners(self) -> list[socket.socket]:
        """Wait for the launcher, and return the socket that listens in the sandbox; none if the sandbox failed.

        The launcher has told why on stderr, and exits with the code 126. Call this once, after the launcher's start.
        """
        self._launcher.close()
        with self._ours:
            _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def _launch(channel: int, command: list[str]) -> NoReturn:
    try:
        with socket.socket(fileno=channel) as outside:
            _enter_namespaces()
            with socket.create_server(PROXY, backlog=BACKLOG) as listener:
                _restrict_system_calls()
                socket.send_fds(outside, [b"\0"], [listener.fileno()])
    except OSError as error:
        _fail(
            f"The sandbox cannot be made: {error.strerror}. The system may forbid it: see user.max_user_namespaces, "
            "kernel.apparmor_restrict_unprivileged_userns, and the seccomp profile of a container"
        )
    try:
        os.execvp(command[0], command)  # noqa: S606  # the user's own command
    except FileNotFoundError:
        _fail(f"Command not found: {command[0]}", 127)
    except OSError as error:
        _fail(f"Cannot run {command[0]}: {error.strerror}")


def _fail(message: str, code: int = 126) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)


def _enter_namespaces() -> None:
    """Enter new namespaces, keep the user and the group, and start the loopback interface."""
    if sys.version_info < (3, 12):  # the proxy needs it too
        raise OSError(_ENOSYS, "Python 3.12 or later is needed")
    import fcntl  # Windows lacks it

    user, group = os.geteuid(), os.getegid()
    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
    for name, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  # pathlib would delay the command
            file.write(content)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _restrict_system_calls() -> None:
    """Refuse sockets that are not of IP, ways around this, and input that is typed into the terminal.

    Raises:
        OSError: the kernel has no filters, or the machine is unknown.
    """
    if (machine := platform.machine()) not in _MACHINES:
        raise OSError(_ENOSYS, f"the machine {machine} is not supported")
    architecture, socket_number, ioctl_number = _MACHINES[machine]
    refused = _REFUSE | _EAFNOSUPPORT
    # Each jump skips the number of instructions that it names: if the values are equal, then otherwise.
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),  # 32-bit programs have other numbers
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),
        (_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),
        (_EQUAL, 0, 5, socket_number),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 7, 0, socket.AF_INET),
        (_EQUAL, 6, 0, socket.AF_INET6),
        (_EQUAL, 5, 0, socket.AF_NETLINK),
        (_RETURN, 0, 0, refused),
        (_EQUAL, 0, 3, ioctl_number),
        (_LOAD, 0, 0, _SECOND),
        (_EQUAL, 2, 0, _TIOCSTI),
        (_EQUAL, 1, 0, _TIOCLINUX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
    ]
    instructions = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
    library = ctypes.CDLL(None, use_errno=True)
    for call in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(described))):
        if library.prctl(*call, 0, 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2:])
