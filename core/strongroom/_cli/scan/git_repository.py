"""A git repository whose objects are read without its configuration, which can name programs.

Git reads the configuration of a repository before each command, and dozens of its settings name a program. So git gets
another repository here: a private folder with a configuration of ours, and links to the objects, references and indexes
of the repository, which are data. Its environment is made of a few variables.

Git has no time limit, since a large history takes long. It stays in this process group, so that Ctrl-C ends it too.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Self

from strongroom.errors import ConfigurationError

_LINKED = ("objects", "packed-refs", "shallow", "index")
_COPIED = ("refs", "reftable", "worktrees", "logs")
"""The parts of the repository in the private folder, beside HEAD and the parts of a split index. Not `config` and
`hooks`, and not `info`, whose attributes name drivers and whose grafts hide commits."""

_CONFIGURATION = """\
[core]
bare = true
bigFileThreshold = 1m
[remote "none"]
promisor = true
"""
"""Git writes larger files piece by piece. A remote without an address, so that a partial clone may lack objects."""

_FORMAT = {
    "core.repositoryformatversion": {"0", "1"},
    "extensions.objectformat": {"sha1", "sha256"},
    "extensions.refstorage": {"files", "reftable"},
}
"""Settings that say how data is stored, and their known values. All other extensions may, too."""

_IGNORED = {
    *("extensions.compatobjectformat", "extensions.noop", "extensions.noop-v1", "extensions.partialclone"),
    *("extensions.preciousobjects", "extensions.relativeworktrees", "extensions.worktreeconfig"),
}
"""Extensions without which the data can be read."""

_LONGEST = 1 << 16
"""Bytes that are read of a file with the name of a folder or a reference."""

_REFUSED = "it is not a git repository, or git refuses it"


class GitRepository:
    """A repository that git reads through a private folder.

    Attributes:
        folder: the repository's own folder: `.git`, or that of a bare repository.
        special: files that git would wait for, such as named pipes, and that are left out.
    """

    def __init__(self, folder: Path, private: Path) -> None:
        self.folder = folder
        self.special: list[Path] = []
        self._private = private
        self._index = _index_of_a_hook(folder)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of git. HOME is not in it: no configuration of the user applies, in any release of git."""
        return {
            "PATH": os.pathsep.join(filter(os.path.isabs, os.get_exec_path())),
            "LC_ALL": "C",
            "GIT_DIR": str(self._private),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",  # for releases before 2.45, which do not know the variable above
            **({} if self._index is None else {"GIT_INDEX_FILE": str(self._index)}),
        }

    def run(self, *arguments: str) -> bytes:
        """Return the output of a git command.

        Raises:
            ConfigurationError: it failed, or git is not installed.
        """
        output, ended_well = self.try_to(*arguments)
        if not ended_well:
            raise ConfigurationError(_REFUSED)
        return output

    def try_to(self, *arguments: str) -> tuple[bytes, bool]:
        """Return the output of a git command up to its end or to its first error, and whether it had none.

        Raises:
            ConfigurationError: git is not installed.
        """
        with self.start(*arguments) as process:
            output, _ = process.communicate()
        return output, process.returncode == 0

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a git command with pipes to its input and from its output.

        Raises:
            ConfigurationError: git is not installed.
        """
        try:
            return subprocess.Popen(  # noqa: S603  # fixed arguments
                ["git", *arguments],  # noqa: S607  # the user's git
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it would be in the way of ours, which names the object
                cwd=self._private,
                env=self.environment,
            )
        except FileNotFoundError:
            raise ConfigurationError("git is not installed") from None


@contextmanager
def opened(folder: Path) -> Iterator[GitRepository]:
    """Open the repository with this folder, one of `find_folders`.

    Raises:
        ConfigurationError: git cannot read it.
    """
    with TemporaryDirectory(prefix="strongroom-git-") as name:
        private = Path(name)
        repository = GitRepository(folder, private)
        repository.special += filter(is_special, _files_below(folder / "objects"))
        if repository.special:
            raise ConfigurationError(f"{repository.special[0]} is not a file, and git would wait for it")
        for part in (*(folder / part for part in _LINKED), *folder.glob("sharedindex.*")):
            if is_special(part):
                repository.special.append(part)
            elif part.exists():
                (private / part.name).symlink_to(part)
        for part in (folder / part for part in _COPIED):  # small, and git reads no reflogs behind a link
            if part.is_dir():
                special = [file for file in _files_below(part) if is_special(file)]
                repository.special += special
                shutil.copytree(
                    part, private / part.name, symlinks=True, copy_function=shutil.copyfile, ignore=_without(special)
                )
        (private / "HEAD").write_bytes(_beginning(folder / "HEAD"))  # git takes a link for a symbolic reference
        (private / "config").write_text(_configuration(repository), "utf-8")
        yield repository


def _files_below(folder: Path) -> Iterator[Path]:
    return (Path(name, file) for name, _, files in os.walk(folder) for file in files)


def is_special(file: Path) -> bool:
    """Return whether a file is a named pipe, a socket or a device, or a link to one: a reader may wait for ever."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _without(files: Collection[Path]) -> Callable[[str, list[str]], list[str]]:
    return lambda folder, names: [name for name in names if Path(folder, name) in files]


def find_folders(path: Path) -> list[Path]:
    """Return the folders of the repositories that a path stands for.

    One is the nearest `.git` in the folder or above. If the folder itself is a bare repository, it is one too: neither
    that nor files that only look like a bare repository hide the repository around them.

    Raises:
        ConfigurationError: the path has no repository.
    """
    found: list[Path | None] = []
    if path.is_dir():
        path = path.resolve()
        above = (_folder_of(folder / ".git") for folder in (path, *path.parents))
        found = [next(filter(None, above), None), path if _is_git_folder(path) else None]
    if folders := list(dict.fromkeys(filter(None, found))):
        return folders
    raise ConfigurationError(_REFUSED)


def _folder_of(entry: Path) -> Path | None:
    """Return the folder that has the objects for `.git`: a folder, or the file of a worktree or a submodule."""
    if entry.is_file():
        mark, _, name = os.fsdecode(_beginning(entry)).rstrip("\r\n").partition(": ")
        folder = entry.parent / name
        if (common := folder / "commondir").is_file():
            folder /= os.fsdecode(_beginning(common)).rstrip("\r\n")
        if mark != "gitdir" or not _is_git_folder(folder):
            raise ConfigurationError(_REFUSED)
    else:
        folder = entry
    return folder.resolve() if _is_git_folder(folder) else None


def _is_git_folder(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_LONGEST)


def _index_of_a_hook(folder: Path) -> Path | None:
    """Return the index that git names for its hooks: `git commit -a` runs them before it replaces the index."""
    index = Path(os.environ.get("GIT_INDEX_FILE", "")).resolve()
    return index if index.is_file() and index.is_relative_to(folder) else None


def _configuration(repository: GitRepository) -> str:
    """Return the configuration of the private folder: how the repository stores its data, and nothing else of its own.

    Raises:
        ConfigurationError: it stores them in an unknown way.
    """
    settings = _format_settings(repository)
    if any(name not in _IGNORED and value not in _FORMAT.get(name, ()) for name, value in settings.items()):
        raise ConfigurationError(_REFUSED)
    known = ((*name.split("."), value) for name, value in settings.items() if name in _FORMAT)
    return _CONFIGURATION + "".join(f"[{section}]\n{key} = {value}\n" for section, key, value in known)


def _format_settings(repository: GitRepository) -> dict[str, str]:
    """Return the settings of the repository's own configuration that may say how data is stored."""
    file = repository.folder / "config"
    if not file.is_file():
        return {}
    listed = repository.run("config", "--file", str(file), "--no-includes", "--list", "-z").decode("utf-8", "replace")
    settings = (setting.partition("\n") for setting in listed.split("\0"))
    return {name: value for name, _, value in settings if name in _FORMAT or name.startswith("extensions.")}


# --- objects ----------------------------------------------------------------------------------------------------------

_BATCH = "--batch=%(objecttype) %(objectsize) %(objectsize:disk) %(deltabase)"
_FIELDS = 4

_REST = 1 << 20
"""Bytes of an object's rest that are read to reach the next object. For more, git is started again."""


class GitObject(io.RawIOBase):
    """An object, read from the pipe of `git cat-file`. It ends early if git finds it damaged.

    Attributes:
        kind: `blob`, `tree`, `commit` or `tag`.
        size: its bytes.
        stored: the bytes that it takes in the repository.
        is_delta: it is stored as the difference from another object.
        left: bytes that are not read yet.
        damaged: git has ended before it wrote all bytes.
    """

    def __init__(self, kind: str, size: int, stored: int, source: IO[bytes], *, is_delta: bool) -> None:
        self.kind = kind
        self.size = size
        self.stored = stored
        self.is_delta = is_delta
        self.left = size
        self.damaged = False
        self._source = source

    def readable(self) -> bool:
        return True

    def read1(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        found = self._source.read(min(size, self.left))
        self.left -= len(found)
        self.damaged = self.damaged or (self.left > 0 and len(found) == 0 < size)
        return found

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # it is called with one
        found = self.read1(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class GitObjects:
    """Opens one object after another, from one `git cat-file`. Each is read before the next one is opened."""

    def __init__(self, repository: GitRepository) -> None:
        self._repository = repository
        self._process: subprocess.Popen[bytes] | None = None
        self._open: GitObject | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def open(self, name: str) -> GitObject | None:
        """Return an object, None if git cannot read it."""
        self._finish()
        if self._process is None:
            self._process = self._repository.start("cat-file", _BATCH)
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None  # noqa: S101  # both are pipes
        assert sink is not None  # noqa: S101
        sink.write(f"{name}\n".encode())
        sink.flush()
        fields = source.readline().decode().split()
        if len(fields) != _FIELDS:  # "missing", or the end of git
            if not fields:
                self._stop()
            return None
        kind, size, stored, base = fields
        self._open = GitObject(kind, int(size), int(stored), source, is_delta=bool(base.strip("0")))
        return self._open

    def _finish(self) -> None:
        """Read the rest of the last object."""
        last, self._open = self._open, None
        if last is not None and self._process is not None:
            if last.left <= _REST and not last.damaged:
                while last.left and last.read1(_REST):
                    pass
            if last.left or last.damaged:
                self._stop()
            else:
                assert self._process.stdout is not None  # noqa: S101  # it is a pipe
                self._process.stdout.read(1)  # the newline behind it

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
