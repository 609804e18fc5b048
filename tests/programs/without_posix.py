"""Runs Python code without the modules and names that Windows lacks. Run as a program.

    python without_posix.py CODE [MODULE…]

Parts of the standard library and these third-party MODULEs are imported before: on Windows they have other code.
"""

import asyncio
import importlib
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import tempfile

import platformdirs.unix

MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NAMES = {
    os: """
        O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK chown fchmod fchown fork getegid geteuid getgid getpgrp
        getuid killpg memfd_create pread pwrite register_at_fork set_blocking setsid tcgetpgrp uname
        WIFSTOPPED WNOHANG WUNTRACED
    """,
    signal: """
        ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1
        SIGUSR2 SIGWINCH SIGXFSZ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK pthread_sigmask setitimer
    """,
    socket: "AF_UNIX",
}
LOADED = (asyncio, multiprocessing.connection, subprocess, tempfile, platformdirs.unix)


class Hidden:
    """Finder that finds none of the hidden modules."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide():
    """Hide them from now on."""
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Hidden())
    for module, names in NAMES.items():
        for name in names.split():
            delattr(module, name)
    os.supports_dir_fd.clear()


if __name__ == "__main__":
    for module in sys.argv[2:]:
        importlib.import_module(module)
    hide()
    exec(sys.argv[1])  # the code of a test
