"""Search for known values in the history of a git repository."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from strongroom._cli.operate.scan.allowance import Allowance
from strongroom._cli.operate.scan.files import Leak, search, search_input
from strongroom._cli.operate.scan.git_repository import GitRepository, find_folders, opened
from strongroom._fingerprints import Fingerprints
from strongroom.errors import ConfigurationError

_EVERYTHING = ("--all", "--reflog", "--indexed-objects")
"""Branches, tags, notes and stashes; older stashes, amended commits and deleted branches; staged files."""

_LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")


def search_git(known: Fingerprints, path: Path, allowance: Allowance) -> Iterator[Leak]:
    """Yield the leaks in every version of every file, each content once, and in the messages of commits and tags.

    Args:
        known: the values.
        path: a folder in a repository, or a bare repository: see `find_folders`.
        allowance: bounds what archives expand to.

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
    listed = repository.run("rev-list", "--objects", *_EVERYTHING, "--missing=allow-promisor")
    objects = listed.decode("utf-8", "replace").split("\n")  # not `splitlines`: a name may have other line ends
    names = {name: path for name, _, path in (line.partition(" ") for line in objects) if name}
    media = repository.folder / "lfs/objects"
    with repository.start("cat-file", "--batch") as process:
        assert process.stdin is not None  # noqa: S101  # both are pipes
        assert process.stdout is not None  # noqa: S101
        found: dict[str, list[Leak]] = {}
        for name, path in names.items():
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            if not (answer := process.stdout.readline()):
                raise ConfigurationError("git has ended early")
            _, kind, *size = answer.split()
            if not size:
                continue  # a partial clone lacks it
            content = process.stdout.read(int(size[0]) + 1)[:-1]
            if kind == b"blob":
                place = path or f"object {name[:12]}"
                if leaks := list(_search_blob(known, content, place, media, allowance)):
                    found[name] = leaks
            elif kind in {b"commit", b"tag"}:
                message = content.partition(b"\n\n")[2]
                yield from search(known, io.BytesIO(message), f"message of {kind.decode()} {name[:12]}")
    commits = _first_commits(repository, found) if found else {}
    for name, leaks in found.items():
        place = f"commit {commits[name]}" if name in commits else "in no commit"
        yield from (leak._replace(place=f"{leak.place} ({place})") for leak in leaks)


def _search_blob(known: Fingerprints, content: bytes, place: str, media: Path, allowance: Allowance) -> Iterator[Leak]:
    yield from search_input(known, io.BufferedReader(io.BytesIO(content)), place, allowance)
    if (pointer := _LFS_POINTER.match(content)) is not None:
        stored = pointer[1].decode()
        file = media / stored[:2] / stored[2:4] / stored
        if file.is_file():  # it may not be fetched
            with file.open("rb") as stream:
                yield from search_input(known, stream, place, allowance)


def _first_commits(repository: GitRepository, blobs: Collection[str]) -> dict[str, str]:
    """Return the oldest commit that has each blob, its first 12 digits. Those that no commit has are left out."""
    raw = ("--raw", "--no-abbrev", "--no-renames", "--format=commit %H")
    commit, first = "", dict[str, str]()
    for line in repository.run("log", "--all", "--reflog", "--reverse", *raw).splitlines():
        if line.startswith(b"commit "):
            commit = line.removeprefix(b"commit ").decode()[:12]
        elif line.startswith(b":") and (blob := line.split(b" ", 4)[3].decode()) in blobs:
            first.setdefault(blob, commit)
    return first
