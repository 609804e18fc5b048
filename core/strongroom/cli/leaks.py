"""Search for known values in files, archives, streams and the history of a git repository."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from strongroom.errors import ConfigurationError
from strongroom.fingerprints import Fingerprints

_BLOCK = 1 << 22
"""Bytes that are searched at once."""

_OVERLAP = 1 << 16
"""Bytes that are searched again with the next block: longer than nearly every form of a value."""

_LARGEST = 1 << 30
"""Bytes of an archive's member, or of a compressed file, that are searched."""

_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError),
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error),
)
"""The errors of an archive that is damaged, encrypted, or of another format than its name."""


_COMPRESSED: dict[str, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}


_GIT = ("git", "-c", "log.showSignature=false", "-c", "core.alternateRefsCommand=")
_GIT_VARIABLES = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
"""They let git run no program and connect to nothing that the configuration of a repository names: a checker of
signatures, or a transport that fetches the objects which a partial clone lacks."""


class Leak(NamedTuple):
    """A known value at a place.

    Attributes:
        place: the file, with `!` and the member of an archive; or the file and the commit of a repository.
        line: the line, from 1.
        name: PATH#KEY of the secret.
        form: the form in which it stands: see `fingerprints.Match`.
    """

    place: str
    line: int
    name: str
    form: str


def search(known: Fingerprints, stream: IO[bytes] | io.BufferedIOBase, place: str) -> Iterator[Leak]:
    """Yield the leaks in a stream, block by block."""
    line, skip, held = 1, 0, b""
    left = _LARGEST
    while left > 0:
        block = stream.read(min(_BLOCK, left))
        left -= len(block)
        text = (held + block).decode("latin-1")
        last = not block or left <= 0
        limit = len(text) if last else max(len(text) - _OVERLAP, 0)
        counted = 0
        for match in known.find(text):
            if match.start >= limit:
                break
            if match.start >= skip:
                line += text.count("\n", counted, match.start)
                counted = match.start
                skip = match.end
                yield Leak(place, line, match.name, match.form)
        if last:
            return
        line += text.count("\n", counted, limit)
        held = text[limit:].encode("latin-1")
        skip = max(skip - limit, 0)


def search_path(known: Fingerprints, path: Path) -> Iterator[Leak]:
    """Yield the leaks in a file, or in all files below a folder. Symbolic links and `.git` are skipped.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    files = [path] if not path.is_dir() else sorted(_files(path))
    for file in files:
        try:
            with file.open("rb") as stream:
                yield from search(known, stream, str(file))
                stream.seek(0)
                yield from _search_archive(known, stream, str(file))
        except OSError as error:
            fault = error.strerror or "it cannot be read"
        else:
            continue
        raise ConfigurationError(f"Cannot scan {file}: {fault}")


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_symlink() or entry.name == ".git":
            continue
        if entry.is_dir():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


def _search_archive(known: Fingerprints, stream: IO[bytes], place: str) -> Iterator[Leak]:
    """Yield the leaks in the members of an archive, or in the content of a compressed file."""
    try:
        if place.endswith((".zip", ".whl", ".jar")):
            yield from _search_zip(known, stream, place)
        elif place.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
            with tarfile.open(fileobj=stream) as archive:
                for member in archive:
                    if member.isfile() and (content := archive.extractfile(member)) is not None:
                        yield from search(known, content, f"{place}!{member.name}")
        elif (opened := _COMPRESSED.get(place[place.rfind(".") :])) is not None:
            with opened(stream) as expanded:
                yield from search(known, expanded, f"{place}!")
    except _DAMAGE:
        return


def _search_zip(known: Fingerprints, stream: IO[bytes], place: str) -> Iterator[Leak]:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as content:
                    yield from search(known, content, f"{place}!{member.filename}")


def search_git(known: Fingerprints, repository: Path) -> Iterator[Leak]:
    """Yield the leaks in every version of every file that a repository's commits have, each content once.

    Raises:
        ConfigurationError: it is not a repository, or git is not installed.
    """
    listed = _git(repository, "rev-list", "--objects", "--all", "--missing=allow-promisor")
    objects = listed.decode("utf-8", "replace").split("\n")  # not `splitlines`: a name may have other line ends
    names = {name: path for name, _, path in (line.partition(" ") for line in objects) if path}
    with subprocess.Popen(  # noqa: S603  # fixed arguments
        [*_GIT, "-C", str(repository), "cat-file", "--batch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_GIT_VARIABLES},
    ) as process:
        assert process.stdin is not None  # noqa: S101  # both are pipes
        assert process.stdout is not None  # noqa: S101
        for name, path in names.items():
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            if not (answer := process.stdout.readline()):
                raise ConfigurationError(f"Cannot scan the history of {repository}: git has ended early")
            _, kind, *size = answer.split()
            if not size:
                continue  # a partial clone lacks it
            content = process.stdout.read(int(size[0]) + 1)[:-1]
            if kind == b"blob":
                yield from _search_blob(known, repository, content, name, path)


def _search_blob(known: Fingerprints, repository: Path, content: bytes, name: str, path: str) -> Iterator[Leak]:
    stream = io.BytesIO(content)
    leaks = list(search(known, stream, path))
    stream.seek(0)
    leaks += _search_archive(known, stream, path)
    if leaks:
        log = _git(repository, "log", "--all", "--reverse", "--format=%h", f"--find-object={name}").split()
        commit = log[0].decode() if log else name[:12]
        yield from (leak._replace(place=f"{leak.place} (commit {commit})") for leak in leaks)


def _git(repository: Path, *arguments: str) -> bytes:
    call = [*_GIT, "-C", str(repository), *arguments]
    environment = {**os.environ, **_GIT_VARIABLES}
    try:
        return subprocess.run(call, capture_output=True, check=True, env=environment).stdout  # noqa: S603  # fixed
    except FileNotFoundError:
        fault = "git is not installed"
    except subprocess.CalledProcessError:
        fault = "it is not a git repository, or git refuses it"
    raise ConfigurationError(f"Cannot scan the history of {repository}: {fault}")
