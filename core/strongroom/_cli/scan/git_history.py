"""Search for known values in the history of a git repository."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from strongroom._cli.scan.allowance import Allowance, Reason
from strongroom._cli.scan.archives import spooled
from strongroom._cli.scan.git_repository import (
    GitObject,
    GitObjects,
    GitRepository,
    find_folders,
    is_special,
    opened,
)
from strongroom._cli.scan.search import Leak, search, search_content, search_input
from strongroom._redaction.fingerprints import Fingerprints
from strongroom.errors import ConfigurationError

_EVERYTHING = ("--all", "--reflog", "--indexed-objects")
"""Branches, tags, notes and stashes; older stashes, amended commits and deleted branches; staged files."""

_LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")
_POINTER_SIZE = 1 << 10

_OWN_FILES = (
    *("config", "config.worktree", "packed-refs", "HEAD", "*_HEAD", "MERGE_MSG", "SQUASH_MSG"),
    *("logs/**/*", "hooks/*", "info/*", "rebase-*/*", "worktrees/*/*", "worktrees/*/logs/**/*"),
)
"""The files of the repository's folder that are searched, beside its objects. Not the draft of the last message, which
is in the commit."""

_COMMITTED = re.compile(rb"\tcommit[^:\n]*:.*")
"""The message of a commit in a reflog, which is in the commit."""

_MESSAGE = b"\n\n"


class _Listing(NamedTuple):
    """The objects of a repository.

    Attributes:
        paths: a path of each object, or an empty text.
        absent: the objects that git does not have.
        whole: False if git could not follow the history to its end.
    """

    paths: Mapping[str, str]
    absent: tuple[str, ...]
    whole: bool


def search_git(known: Fingerprints, path: Path, allowance: Allowance) -> Iterator[Leak]:
    """Yield the leaks in every version of every file, each content once, and in all else that git keeps.

    That is: commits and tags, the names of files and references, and the files of git's own folder, such as `config`
    and FETCH_HEAD. What git cannot read is noted in the allowance, and the rest is searched.

    Args:
        known: the values.
        path: a folder in a repository, or a bare repository: see `find_folders`.
        allowance: bounds what archives and objects expand to.

    Raises:
        ConfigurationError: it is not a repository, or git is not installed.
    """
    try:
        for folder in find_folders(path):
            with opened(folder) as repository:
                yield from _search(known, repository, allowance)
    except (ConfigurationError, OSError) as error:
        fault = (error.strerror or "it cannot be read") if isinstance(error, OSError) else str(error)
    else:
        return
    raise ConfigurationError(f"Cannot scan the history of {path}: {fault}")


def _search(known: Fingerprints, repository: GitRepository, allowance: Allowance) -> Iterator[Leak]:
    for file in repository.special:
        allowance.leave(str(file), Reason.REFUSED)
    yield from _search_own_files(known, repository.folder, allowance)
    references, _ = repository.try_to("for-each-ref", "--format=%(refname)%00%(symref)")
    yield from search(known, io.BytesIO(references), "names of references")
    listing = _list(repository)
    if not listing.whole:
        allowance.leave(f"history of {repository.folder}", Reason.OBJECT)
    for name in listing.absent:
        allowance.leave(f"object {name[:12]}", Reason.OBJECT)
    found: dict[str, list[Leak]] = {}
    with GitObjects(repository) as objects:
        for name, path in listing.paths.items():
            place = path or f"object {name[:12]}"
            found_object = objects.open(name)
            if found_object is not None and found_object.kind == "blob":
                if leaks := list(_search_blob(known, found_object, place, repository.folder, allowance)):
                    found[name] = leaks
            elif found_object is not None:
                yield from _search_text(known, found_object, name, path)
            if found_object is None or found_object.damaged:
                allowance.leave(f"{path} (object {name[:12]})" if path else place, Reason.OBJECT)
    commits, whole = _first_commits(repository, found) if found else ({}, True)
    for name, leaks in found.items():
        where = f"commit {commits[name]}" if name in commits else "in no commit" if whole else "commit unknown"
        yield from (leak._replace(place=f"{leak.place} ({where})") for leak in leaks)


def _search_own_files(known: Fingerprints, folder: Path, allowance: Allowance) -> Iterator[Leak]:
    """Yield the leaks in the files that git keeps beside its objects. They hold addresses, and messages of commits."""
    for file in sorted({file for pattern in _OWN_FILES for file in folder.glob(pattern)}):
        if is_special(file):
            allowance.leave(str(file), Reason.REFUSED)
        elif file.is_file():
            try:
                with file.open("rb") as stream:
                    content = _without_commits(stream) if "logs" in file.relative_to(folder).parts else stream
                    yield from search_input(known, content, str(file), allowance)
            except OSError:
                allowance.leave(str(file), Reason.REFUSED)


def _without_commits(reflog: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(_COMMITTED.sub(b"", reflog.read())))


def _list(repository: GitRepository) -> _Listing:
    """Return all objects of the repository. If git cannot follow its history, those that are in its files.

    A partial clone may lack objects, which its server has. In any other repository they are lost.
    """
    output, whole = repository.try_to("rev-list", "--objects", *_EVERYTHING, "--missing=print")
    lines = output.decode("utf-8", "surrogateescape").split("\n")  # not `splitlines`: a name may have other line ends
    paths = {name: path for name, _, path in (line.partition(" ") for line in lines) if name and name[0] != "?"}
    if not whole:
        listed, _ = repository.try_to("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
        paths = {**dict.fromkeys((line.partition(" ")[0] for line in listed.decode().splitlines()), ""), **paths}
    is_partial = any((repository.folder / "objects/pack").glob("*.promisor"))
    absent = () if is_partial else tuple(line[1:].partition(" ")[0] for line in lines if line.startswith("?"))
    return _Listing(paths, absent, whole)


def _search_text(known: Fingerprints, found: GitObject, name: str, path: str) -> Iterator[Leak]:
    """Yield the leaks in a commit, a tag, or the names of the files in a folder."""
    if found.kind == "tree":
        place = f"names of files in {path}" if path else f"names of files in tree {name[:12]}"
        yield from search(known, io.BufferedReader(found), place)
        if path:  # a value may stand over the names of several folders
            yield from search(known, io.BytesIO(path.encode("utf-8", "surrogateescape")), place)
        return
    content = spooled(io.BufferedReader(found))
    header = content.peek().partition(_MESSAGE)[0]
    yield from search(known, io.BytesIO(header), f"header of {found.kind} {name[:12]}")
    content.seek(len(header) + len(_MESSAGE))
    yield from search(known, content, f"message of {found.kind} {name[:12]}")


def _search_blob(
    known: Fingerprints, found: GitObject, place: str, folder: Path, allowance: Allowance
) -> Iterator[Leak]:
    """Yield the leaks in a version of a file, and in its name.

    An object that is stored whole is bounded as an archive is, by its size in the repository. A delta is not: in a
    history of small changes, it expands to any multiple of its size.
    """
    yield from search(known, io.BytesIO(place.encode("utf-8", "surrogateescape")), f"name of {place}")
    with allowance.input(place, found.size if found.is_delta else found.stored):
        limited = io.BufferedReader(found) if found.is_delta else allowance.limited(found, place)
        with spooled(limited) as content:
            beginning = content.peek(_POINTER_SIZE)
            yield from search_content(known, content, place, allowance)
    if (pointer := _LFS_POINTER.match(beginning)) is not None:
        stored = pointer[1].decode()
        file = folder / "lfs/objects" / stored[:2] / stored[2:4] / stored
        if file.is_file():  # it may not be fetched
            with file.open("rb") as stream:
                yield from search_input(known, stream, place, allowance)


def _first_commits(repository: GitRepository, blobs: Mapping[str, object]) -> tuple[dict[str, str], bool]:
    """Return the oldest commit that has each blob, its first 12 digits, and whether git could read all commits."""
    raw = ("--raw", "--no-abbrev", "--no-renames", "--format=commit %H")
    commit, first = "", dict[str, str]()
    output, whole = repository.try_to("log", "--all", "--reflog", *raw)
    for line in output.splitlines():  # the newest comes first, also if git ends early
        if line.startswith(b"commit "):
            commit = line.removeprefix(b"commit ").decode()[:12]
        elif line.startswith(b":") and (blob := line.split(b" ", 4)[3].decode()) in blobs:
            first[blob] = commit
    return first, whole
