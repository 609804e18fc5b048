"""A corpus of 500 planted secrets among decoys, in a git history, logs and archives. The same at each run.

Values are made when the corpus is written: the sources hold none that a scanner of this repository would find.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import string
import subprocess
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

WORDS = ("anchor", "basil", "copper", "delta", "ember", "falcon", "garnet", "harbor", "indigo", "jasper", "kestrel",
         "lagoon", "maple", "nickel", "orchid", "pepper", "quartz", "raven", "saffron", "timber", "umber",
         "velvet")  # fmt: skip
SYMBOLS = string.ascii_letters + string.digits + "!#$%&*+-=?@_"


Files: TypeAlias = Sequence[tuple[str, str]]
"""Names and contents."""


class Plant(NamedTuple):
    """One planted secret.

    Attributes:
        area: `files`, `history`, `logs` or `archives`.
        file: the file that holds it, whose name no other has.
        lines: the lines that it takes.
        key: the key of the secret in the store.
        value: the value.
    """

    area: str
    file: str
    lines: range
    key: str
    value: str


def _text(draw: random.Random, alphabet: str, length: int) -> str:
    return "".join(draw.choices(alphabet, k=length))


def _pem(draw: random.Random) -> str:
    body = base64.encodebytes(draw.randbytes(600)).decode().replace("\n", "")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])


def _human(draw: random.Random) -> str:
    return f"{draw.choice(WORDS).title()}{draw.randrange(1990, 2027)}{draw.choice('!?.$')}{draw.choice(WORDS)}"


def _url(draw: random.Random) -> str:
    return f"postgresql://shop:{_text(draw, string.ascii_letters, 16)}@db-{draw.randrange(999)}.internal/shop"


KINDS: dict[str, Callable[[random.Random], str]] = {
    "words": lambda draw: "-".join(draw.choices(WORDS, k=4)),
    "human": _human,
    "short": lambda draw: _text(draw, SYMBOLS, draw.randrange(6, 9)),
    "generated": lambda draw: _text(draw, SYMBOLS, 24),
    "hex": lambda draw: draw.randbytes(20).hex(),
    "base64": lambda draw: base64.b64encode(draw.randbytes(32)).decode(),
    "url": _url,
    "provider": lambda draw: draw.choice((
        "AK" + "IA" + _text(draw, string.ascii_uppercase + "234567", 16),
        "gh" + "p_" + _text(draw, string.ascii_letters + string.digits, 36),
        "sk_" + "live_" + _text(draw, string.ascii_letters + string.digits, 24),
    )),
    "document": lambda draw: json.dumps({"client_id": str(draw.randrange(10**9)), "key": draw.randbytes(24).hex()}),
    "pem": _pem,
}  # fmt: skip

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda value: value,
    "json": lambda value: json.dumps(value)[1:-1],
    "url": lambda value: quote(value, ""),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "basic": lambda value: base64.b64encode(f"shop:{value}".encode()).decode(),
}
_TURNS = ("plain", "json", "plain", "url", "plain", "base64", "plain", "basic")

_SOURCES = {
    "plain": ("py", 'PASSWORD = "{}"'),
    "json": ("json", '{{"password": "{}"}}'),
    "url": ("sh", "curl 'https://api.internal/login?password={}'"),
    "base64": ("yaml", "  password: {}"),
    "basic": ("http", "Authorization: Basic {}"),
}
_LOG = "2026-11-26T10:00:00Z INFO worker request "

AREAS = {"files": 100, "history": 150, "logs": 150, "archives": 100}
"""The plants in files of the last commit, in the rest of the history, in logs and in archives."""


def _decoys(draw: random.Random) -> list[str]:
    """Return lines that look like secrets which no store has."""
    digest = base64.b64encode(draw.randbytes(64)).decode()
    return [
        f"commit = '{draw.randbytes(20).hex()}'",
        f'"integrity": "sha512-{digest}",',
        f"request_id={uuid.UUID(bytes=draw.randbytes(16))}",
        "password = os.environ['DB_PASSWORD']",
        f"api_key = '<your key, for example {_text(draw, 'x', 12)}>'",
        "aws_access_key_id = " + "AKIA" + "IOSFODNN7EXAMPLE",
        "password: changeme",
        f'token = "{_text(draw, string.ascii_letters + string.digits, 32)}"  # of a test, valid nowhere',
        f"<img src='data:image/png;base64,{base64.b64encode(draw.randbytes(90)).decode()}'>",
        f"postgresql://user:password@db-{draw.randrange(999)}.example/app",
    ]


class Corpus:
    """Writes the corpus into a folder: `repository`, `logs` and `archives`, and the store's `secrets.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._draw = random.Random(20261126)
        self.plants: list[Plant] = []
        for area, count in AREAS.items():
            (folder / area).mkdir(parents=True, exist_ok=True)
            getattr(self, f"_write_{area}")([self._plant(area, number) for number in range(count)])
        # The parts of an address are in every configuration, the decoys too.
        by_path = {"database/connection": {"host": "db.internal", "user": "user", "password": "no-plant-of-ours"}}
        for plant in self.plants:
            by_path.setdefault(f"app/{plant.area}", {})[plant.key] = plant.value
        (folder / "secrets.json").write_text(json.dumps(by_path))

    def _plant(self, area: str, number: int) -> tuple[str, str]:
        """Make one secret and return its file and the file's content."""
        draw = self._draw
        kind = [*KINDS][number % len(KINDS)]
        form = _TURNS[(number // len(KINDS) + number) % len(_TURNS)]
        value = KINDS[kind](draw)
        ending, template = _SOURCES[form]
        if area == "logs":
            ending, template = "log", _LOG + template
        shown = template.format(FORMS[form](value))
        before, after = self._some_decoys(), self._some_decoys()
        first = len(before) + 1
        name = f"{area}-{number:03}-{kind}.{ending}"
        self.plants.append(Plant(area, name, range(first, first + len(shown.splitlines())), f"key-{number}", value))
        return name, "\n".join((*before, shown, *after)) + "\n"

    def _some_decoys(self) -> list[str]:
        return self._draw.sample(_decoys(self._draw), 2)

    def git(self, *arguments: str) -> None:
        """Run git in the repository, without the user's settings."""
        who = {f"GIT_{role}_{part}": "x@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        when = {f"GIT_{role}_DATE": "2026-11-26T10:00:00Z" for role in ("AUTHOR", "COMMITTER")}
        none = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        call = ["git", "-C", str(self.folder / "repository"), *arguments]
        environment = {**os.environ, **who, **when, **none}
        subprocess.run(call, check=True, capture_output=True, text=True, env=environment)

    def _write(self, area: str, files: Files) -> None:
        for name, content in files:
            (self.folder / area / name).write_text(content)

    def _commit(self, message: str, files: Files = (), remove: Files = ()) -> None:
        self._write("repository", files)
        for name, _ in remove:
            (self.folder / "repository" / name).unlink()
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def _write_files(self, files: list[tuple[str, str]]) -> None:
        (self.folder / "repository").mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")
        self._commit("Start", files)

    def _write_history(self, files: list[tuple[str, str]]) -> None:
        """Deleted and changed files, a branch, an undone commit, a stash, and a branch that was deleted."""
        deleted, changed, branch, undone, stashed, dropped = (files[start : start + 25] for start in range(0, 150, 25))
        self._commit("Add", [*deleted, *changed])
        self._commit("Remove", [(name, "nothing\n") for name, _ in changed], remove=deleted)
        self.git("switch", "--quiet", "-c", "feature")
        self._commit("Try", branch)
        self.git("switch", "--quiet", "main")
        self._commit("Oops", undone)
        self.git("reset", "--quiet", "--hard", "HEAD~")
        self._write("repository", stashed)
        self.git("stash", "--include-untracked")
        self.git("switch", "--quiet", "-c", "dropped")
        self._commit("Try again", dropped)
        self.git("switch", "--quiet", "main")
        self.git("branch", "--quiet", "-D", "dropped")

    def _write_logs(self, files: list[tuple[str, str]]) -> None:
        plain, rotated, windows = files[:80], files[80:125], files[125:]
        self._write("logs", plain)
        for name, content in rotated:
            (self.folder / "logs" / f"{name}.1.gz").write_bytes(gzip.compress(content.encode(), mtime=0))
        for name, content in windows:
            (self.folder / "logs" / name).write_text(content, encoding="utf-16")

    def _write_archives(self, files: list[tuple[str, str]]) -> None:
        folder = self.folder / "archives"
        with zipfile.ZipFile(folder / "release.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files[:30]:
                archive.writestr(name, content)
        _write_tar(folder / "backup.tar.gz", "w:gz", {name: content.encode() for name, content in files[30:65]})
        layer = io.BytesIO()
        with zipfile.ZipFile(layer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files[65:]:
                archive.writestr(name, content)
        _write_tar(folder / "image.tar", "w", {"layer/app.jar": layer.getvalue()})


def _write_tar(file: Path, mode: str, members: dict[str, bytes]) -> None:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
