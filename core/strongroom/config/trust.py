"""Trust in configuration files that were found in the working directory rather than named by somebody.

Two rules apply to such a file. It must belong to this user or to root, must not be writable by others, and must not
be a link out of its folder (`ownership_fault`). And the command line uses its addresses, credentials and TLS settings
only after `strongroom trust` has recorded its content (`is_trusted`), as direnv and mise do. A record names the file
and the SHA-256 of its content, so that a changed file has to be trusted again.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

_DANGEROUS = re.compile(
    r"PATH|HOME|SHELL|IFS|ENV|EDITOR|VISUAL|PAGER|BASH_.*|SHELLOPTS|PS4|PROMPT_COMMAND|LD_.*|DYLD_.*|GCONV_PATH|NODE_OPTIONS"
    r"|NODE_PATH|PYTHON.*|PERL5.*|PERLLIB|RUBY(LIB|OPT)|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS|GIT_.*|SSH_.*|PIP_.*|NPM_.*"
    r"|(HTTPS?|ALL|NO|FTP)_PROXY|SSL_.*|CURL_.*|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS",
    re.IGNORECASE,
)

TRUSTED_PATHS = "STRONGROOM_TRUSTED_PATHS"
"""Folders, separated by colons, in which every found file is trusted: for containers and CI."""


class FoundFiles:
    """The rules for files that were found in the working directory, applied while they are read.

    Args:
        environ: the process's variables.
        require_trust: fill `untrusted`.

    Attributes:
        untrusted: the names, as messages show them, of files whose content was not recorded.
    """

    def __init__(self, environ: Mapping[str, str], *, require_trust: bool = False) -> None:
        self._environ = environ
        self._require_trust = require_trust
        self.untrusted: set[str] = set()

    def inspect(self, file: Path, shown: str) -> Callable[[os.stat_result, bytes], str]:
        """Return a function that takes the file's status and content, and returns why it must not be read."""

        def inspect(status: os.stat_result, content: bytes) -> str:
            if in_trusted_path(file, self._environ):
                return ""
            if self._require_trust and not is_trusted(file, content, self._environ):
                self.untrusted.add(shown)
            return ownership_fault(file, status)

        return inspect


def is_dangerous_name(variable: str) -> bool:
    """Return True if a program would run code, or trust a server, that the variable's value names."""
    return _DANGEROUS.fullmatch(variable) is not None


def ownership_fault(file: Path, status: os.stat_result) -> str:
    """Return why a found file is not safe to read, or the empty string.

    Args:
        file: its path, as it was found.
        status: the status of the opened file, so that it cannot be replaced between the check and the read.
    """
    if status.st_uid not in {os.geteuid(), 0}:
        return f"it belongs to user {status.st_uid}, not to you or root"
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)):
        return "others may write to it: run chmod go-w"
    if file.is_symlink() and file.resolve().parent != file.parent.resolve():
        return "it is a symbolic link out of its folder"
    return ""


def is_trusted(file: Path, content: bytes, environ: Mapping[str, str]) -> bool:
    """Return True if the folder is in STRONGROOM_TRUSTED_PATHS, or this content of the file was recorded."""
    return in_trusted_path(file, environ) or _recorded(file) == _digest(content)


def in_trusted_path(file: Path, environ: Mapping[str, str]) -> bool:
    """Return True if the file lies in or below a folder of STRONGROOM_TRUSTED_PATHS."""
    place = file.parent.resolve()
    folders = (Path(folder) for folder in environ.get(TRUSTED_PATHS, "").split(os.pathsep))
    return any(folder.is_absolute() and place.is_relative_to(folder.resolve()) for folder in folders)


def record_of(file: Path) -> Path:
    """Return the path of the file in which the trusted content of a configuration file is recorded."""
    from platformdirs import user_state_path

    name = hashlib.sha256(os.fsencode(_absolute(file))).hexdigest()
    return user_state_path("strongroom") / "trusted" / name


def record_text(file: Path, content: bytes) -> str:
    """Return the record that makes this content of the file trusted: its digest, and the path for a reader."""
    return f"{_digest(content)}  {_absolute(file)}\n"


def _recorded(file: Path) -> str:
    """Return the recorded digest. A record that somebody else could have written does not count."""
    record = record_of(file)
    try:
        status = os.lstat(record)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return ""
        return record.read_text("utf-8").partition(" ")[0]
    except (OSError, UnicodeDecodeError):
        return ""


def _absolute(file: Path) -> Path:
    return file.parent.resolve() / file.name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_private_group(group: int) -> bool:
    """Return True for the group that many systems make for each user, so that a umask of 002 is harmless."""
    import grp
    import pwd

    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and set(entry.gr_mem) <= {user.pw_name}
