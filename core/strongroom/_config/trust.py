"""Trust in configuration files that were found in the working directory rather than named by somebody.

Such a file must belong to this user or to root, must not be writable by others, and must not be a link out of its
folder (`ownership_fault`). On the command line it also needs trust: `strongroom trust` records its content
(`is_file_trusted`), as direnv and mise do. A record names the file and the SHA-256 of its content, so that a changed
file has to be trusted again. Before that,

- a command that passes secrets to a program does not run: no list of variable names can tell which of them make a
  program send a secret away, or run code;
- a command that writes does not run if the file is `./strongroom.toml`: a row, or the order of the chain, would say
  where a value is stored;
- no command runs if the user or the machine has a configuration, which the file would override;
- other commands do not use the file's addresses, locations, credentials, recipients and TLS settings.

A configuration that the user named needs no trust. An untrusted `./.env` beside it is ignored.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import ConfigurationError
from strongroom.files.bounded import read_bytes

if TYPE_CHECKING:
    from strongroom._config import Config

TRUSTED_PATHS = "STRONGROOM_TRUSTED_PATHS"
"""Folders, separated by `os.pathsep`, in which every found file is trusted: for containers, CI and Windows."""


_LARGEST_RECORD = 1 << 16
"""Bytes of a record: a digest and a path."""


class FoundFiles:
    """The rules for files that were found in the working directory, applied while they are read.

    Args:
        environ: the process's variables.
        require_trust: fill `untrusted`.

    Attributes:
        untrusted: the names, as messages show them, of files whose content was not recorded, in the order of reading.
    """

    def __init__(self, environ: Mapping[str, str], *, require_trust: bool = False) -> None:
        self._environ = environ
        self._require_trust = require_trust
        self.untrusted: list[str] = []

    def inspect(self, file: Path, shown: str) -> Callable[[os.stat_result, bytes], str]:
        """Return a function that takes the file's status and content, and returns why it must not be read."""

        def inspect(status: os.stat_result, content: bytes) -> str:
            if in_trusted_path(file, self._environ):
                return ""
            if self._require_trust and not is_file_trusted(file, content, self._environ):
                self.untrusted.append(shown)
            return ownership_fault(file, status)

        return inspect


def require_trusted_origin(config: Config, setting: str, effect: str) -> None:
    """Raise ConfigurationError if a file that is not trusted gives the setting; see `require_trusted`."""
    given = config.settings.get(setting)
    if given is not None:
        require_trusted(given.found_file, config.untrusted, effect)


def require_trusted(file: str, untrusted: Sequence[str], effect: str) -> None:
    """Raise ConfigurationError if a found file is not trusted; `effect` is a predicate, such as "sets x"."""
    if file in untrusted:
        raise not_trusted(untrusted, f"{'it' if len(untrusted) == 1 else file} {effect}")


def not_trusted(files: Sequence[str], reason: str) -> ConfigurationError:
    """Return the error of found files that the command line must not use before `strongroom trust`.

    Args:
        files: all files that are not trusted, so that one `strongroom trust` is enough.
        reason: why one of them needs trust.
    """
    fault = f"{files[0]} is" if len(files) == 1 else f"{' and '.join(files)} are"
    review = "the file" if len(files) == 1 else "the files"
    return ConfigurationError(
        f"{fault} not trusted: {reason}. Review {review}, then run: strongroom trust {' '.join(files)}"
    )


def ownership_fault(file: Path, status: os.stat_result) -> str:
    """Return why a found file is not safe to read, or the empty string.

    Args:
        file: its path, as it was found.
        status: the status of the opened file, so that it cannot be replaced between the check and the read.
    """
    if fault := writer_fault(status):
        return fault
    real = Path(os.path.realpath(file))
    if real.parent != _folder(file):
        return "it is a symbolic link out of its folder"
    try:
        now = os.lstat(real)
    except OSError:
        now = None
    if now is None or not os.path.samestat(now, status):
        return "it was replaced while it was read"
    return ""


def writer_fault(status: os.stat_result, _: bytes = b"") -> str:
    """Return why others than the user and root may have written a file, or the empty string."""
    if not hasattr(os, "geteuid"):  # Windows, where every file has the mode 0666 and the owner 0
        remedy = f"name it in STRONGROOM_CONFIG, or its folder in {TRUSTED_PATHS}"
        return f"this system does not tell who may write to it: {remedy}"
    if status.st_uid not in {os.geteuid(), 0}:
        return f"it belongs to user {status.st_uid}, not to you or root"
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)):
        return "others may write to it: run chmod go-w"
    return ""


def is_file_trusted(file: Path, content: bytes, environ: Mapping[str, str]) -> bool:
    """Return True if the folder is in STRONGROOM_TRUSTED_PATHS, or this content of the file was recorded."""
    return in_trusted_path(file, environ) or _recorded(file) == _digest(content)


def in_trusted_path(file: Path, environ: Mapping[str, str]) -> bool:
    """Return True if the file lies in or below a folder of STRONGROOM_TRUSTED_PATHS."""
    folder = _folder(file)
    trusted = (Path(path) for path in environ.get(TRUSTED_PATHS, "").split(os.pathsep))
    return any(path.is_absolute() and folder.is_relative_to(os.path.realpath(path)) for path in trusted)


def record_of(file: Path) -> Path:
    """Return the path of the file in which the trusted content of a configuration file is recorded.

    Raises:
        ConfigurationError: the user has no home folder.
    """
    import hashlib

    from strongroom.files.private import user_folder

    name = hashlib.sha256(os.fsencode(_absolute(file))).hexdigest()
    return user_folder("state") / "trusted" / name


def record_text(file: Path, content: bytes) -> bytes:
    """Return the record that makes this content of the file trusted: its digest, and the path for a reader."""
    return f"{_digest(content)}  ".encode() + os.fsencode(_absolute(file)) + b"\n"


def _recorded(file: Path) -> str:
    """Return the recorded digest. A record that somebody else could have written or placed does not count."""
    if not hasattr(os, "geteuid"):  # Windows: `strongroom trust` writes no record
        return ""
    try:
        record = record_of(file)
        folder = os.lstat(record.parent)
        if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.geteuid() or folder.st_mode & 0o077:
            return ""
        content, status = read_bytes(record, _LARGEST_RECORD, follow_links=False)
    except (OSError, ConfigurationError):
        return ""
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return ""
    return content.partition(b" ")[0].decode("ascii", "replace")


def _absolute(file: Path) -> Path:
    return _folder(file) / file.name


def _folder(file: Path) -> Path:
    # Not `Path.resolve`, which raises RuntimeError for links in a circle.
    return Path(os.path.realpath(file.parent))


def _digest(content: bytes) -> str:
    import hashlib

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
