"""`strongroom scan`: the real values of the chain in files, archives, streams and git."""

import base64
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from strongroom._cli.scan import allowance, search
from strongroom._cli.scan.allowance import Allowance
from strongroom._redaction.fingerprints import Fingerprints
from support.programs import require

VALUE = "canary-real-value-77"
CONFIGURATION = f"""
chain = ["memory", "env"]

[secrets]
SENTRY_DSN = {{ at = "monitoring/sentry#dsn", required = false }}

[stores.memory.secrets]
"database/connection" = {{ password = "{VALUE}", port = 5432 }}
"auth/jwt" = {{ secret = "other-value-0815" }}
"""


@pytest.fixture(autouse=True)
def configured():
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    Path("tree").mkdir()


def found(command, *arguments: str) -> list[tuple[str, int, str, str]]:
    done = command("scan", "--json", *arguments)
    assert VALUE not in done.out.decode() + done.err
    document = json.loads(done.out)
    leaked = [tuple(leak.values()) for leak in document["leaks"]]
    assert done.code == (10 if leaked else 0)
    return leaked


def test_a_value_is_found_with_its_line_its_secret_and_its_form(command):
    encoded = base64.b64encode(f"app:{VALUE}".encode()).decode()
    Path("tree/app.log").write_text(f"one\n\nx {VALUE} y\nBasic {encoded}\n", "utf-8")
    Path("tree/clean.log").write_text("port 5432\n", "utf-8")
    assert found(command, "tree") == [
        ("tree/app.log", 3, "database/connection#password", "plain"),
        ("tree/app.log", 4, "database/connection#password", "base64"),
    ]
    assert found(command, "tree/clean.log") == []


def test_piped_output_has_a_line_of_fields_for_each_leak(command):
    Path("tree/app.log").write_text(VALUE, "utf-8")
    done = command("scan", "tree")
    assert done.out.decode() == "tree/app.log:1\tdatabase/connection#password\tplain\n"
    assert "Found 1 leak of 2 secrets" in done.err


def test_numbers_are_found_too_but_not_short_ones(command):
    """A port stands in every configuration."""
    Path("strongroom.toml").write_text(
        'chain = ["memory"]\n[stores.memory.secrets."card/main"]\npin = 847261\nport = 5432\n', "utf-8"
    )
    Path("tree/x.json").write_text('{"port": 5432,\n"pin": 847261}\n', "utf-8")
    assert found(command, "tree") == [("tree/x.json", 2, "card/main#pin", "plain")]


def test_archives_and_compressed_files_are_searched(command):
    content = f"x\n{VALUE}".encode()
    with zipfile.ZipFile("tree/a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/one.txt", content)
    with tarfile.open("tree/b.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("two.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    Path("tree/c.gz").write_bytes(gzip.compress(content))
    Path("tree/d.zip").write_bytes(b"not a zip")
    assert [leak[0] for leak in found(command, "tree")] == [
        "tree/a.zip!in/one.txt",
        "tree/b.tar.gz!two.txt",
        "tree/c.gz!",
    ]


def test_a_value_of_a_row_is_found_even_if_its_store_lists_nothing(command, monkeypatch):
    monkeypatch.setenv("SENTRY_DSN", "https://canary-of-a-row")
    Path("tree/x").write_text("https://canary-of-a-row", "utf-8")
    assert found(command, "tree") == [("tree/x", 1, "monitoring/sentry#dsn", "plain")]


def test_stdin_is_searched(script):
    done = subprocess.run(
        [script, "scan", "--stdin"], input=f"a\n{VALUE}\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (10, "stdin:2\tdatabase/connection#password\tplain\n")


def test_the_history_of_git_is_searched(command):
    require("git")

    def git(*arguments: str) -> str:
        identity = {f"GIT_{role}_{what}": "x@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        call = ["git", "-C", "tree", *arguments]
        return subprocess.run(call, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    git("init", "--quiet")
    Path("tree/settings.py").write_text(f"PASSWORD = '{VALUE}'\n", "utf-8")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    first = git("rev-parse", "HEAD")[:12]
    Path("tree/settings.py").write_text("PASSWORD = get_secret()\n", "utf-8")
    git("commit", "--quiet", "-am", "two")
    assert found(command, "tree") == []
    assert found(command, "--git", "tree") == [
        (f"settings.py (commit {first})", 1, "database/connection#password", "plain")
    ]


def test_messages_staged_files_and_large_files_of_git_are_searched(command):
    """What no version of a file in a commit holds: git commits, tags, its index, and the folder of git-lfs."""
    require("git")
    oid = hashlib.sha256(VALUE.encode()).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(VALUE)}\n"
    git = ("git", "-C", "tree", "-c", "user.name=x", "-c", "user.email=x@x")
    steps = [
        ("init", "--quiet"),
        ("commit", "--quiet", "--allow-empty", "-m", f"Use {VALUE}"),
        ("tag", "-a", "v1", "-m", f"with {VALUE}"),
        ("add", "staged", "large.bin"),
    ]
    Path("tree/staged").write_text(VALUE, "utf-8")
    Path("tree/large.bin").write_text(pointer, "utf-8")
    for step in steps:
        subprocess.run([*git, *step], check=True, capture_output=True)
    media = Path("tree/.git/lfs/objects", oid[:2], oid[2:4])
    media.mkdir(parents=True)
    (media / oid).write_text(VALUE, "utf-8")
    places = sorted(re.sub(r"[0-9a-f]{12}", "ID", place) for place, *_ in found(command, "--git", "tree"))
    assert places == ["large.bin (in no commit)", "message of commit ID", "message of tag ID", "staged (in no commit)"]


def test_nested_archives_are_searched_whatever_their_names(command):
    """A container image is an archive of archives, and a backup may have any name."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.conf", f"x\n{VALUE}")
    with tarfile.open("tree/backup.1", "w:gz") as archive:
        member = tarfile.TarInfo("layer/app.jar")
        member.size = len(inner.getvalue())
        archive.addfile(member, io.BytesIO(inner.getvalue()))
    assert found(command, "tree") == [
        ("tree/backup.1!layer/app.jar!app.conf", 2, "database/connection#password", "plain")
    ]


def test_text_in_utf_16_is_searched(command):
    """PowerShell writes it."""
    Path("tree/out.txt").write_text(f"one\n{VALUE}\n", "utf-16")
    assert found(command, "tree") == [("tree/out.txt", 2, "database/connection#password", "plain")]


def test_the_address_of_a_connection_is_no_leak(command):
    """The name of a user or a host stands in every configuration."""
    Path("strongroom.toml").write_text(
        'chain = ["memory", "env"]\n[secrets]\nA_HOST = "db/a#host"\nA_PASSWORD = "db/a#password"\n'
        '[stores.memory.secrets."db/a"]\nuser = "postgres"\npassword = "canary-1"\n'
        '[stores.memory.secrets."db/b"]\nuser = "no-connection"\n',
        "utf-8",
    )
    Path("tree/x").write_text("postgres canary-1 no-connection", "utf-8")
    assert [leak[2] for leak in found(command, "tree")] == ["db/a#password", "db/b#user"]


@pytest.mark.parametrize("arguments", [(), ("--stdin", "tree"), ("--stdin", "--git"), ("missing",)])
def test_a_wrong_call_is_a_mistake(command, arguments):
    assert command("scan", *arguments).code == 2


def test_a_folder_that_is_no_repository_is_an_error(command):
    done = command("scan", "--git", "tree")
    assert done.code == 7
    assert "Cannot scan the history of tree" in done.err


def test_nothing_to_look_for_is_an_error(command):
    """It would look like success."""
    Path("strongroom.toml").write_text('chain = ["env"]\n', "utf-8")
    assert command("scan", "tree").code == 7


def test_a_store_that_cannot_be_read_fails_the_scan(command):
    Path("strongroom.toml").write_text('chain = ["files"]\n[stores.files]\nroot = "nowhere"\n', "utf-8")
    assert command("scan", "tree").code not in {0, 10}


def test_a_value_across_two_blocks_is_found_once_on_its_line(monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 64)
    monkeypatch.setattr(search, "OVERLAP", 32)
    known = Fingerprints(binary=True)
    known.add(VALUE, "a#b")
    for offset in range(130):
        content = io.BytesIO(b"\n" * offset + VALUE.encode() + b"\n" * 40 + VALUE.encode())
        lines = [leak.line for leak in search.search(known, content, "x")]
        assert lines == [offset + 1, offset + 41]


def test_damage_anywhere_in_an_archive_ends_no_scan():
    """`zipfile` raises ValueError and UnicodeDecodeError too."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("é.txt", "nothing")
    content = zipped.getvalue()

    def found(damaged: bytes) -> list[search.Leak]:
        return list(search.search_input(Fingerprints(), io.BufferedReader(io.BytesIO(damaged)), "a.zip", Allowance()))

    for position in range(len(content)):
        for byte in (0x00, 0xC3, 0xFF):
            damaged = content[:position] + bytes([byte]) + content[position + 1 :]
            assert found(damaged) == []
    for length in range(len(content)):
        assert found(content[:length]) == []


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_a_bomb_is_named_and_searched_to_the_bound(command, monkeypatch):
    """The files beside it are searched as ever."""
    monkeypatch.setattr(allowance, "_BYTES", 10_000)
    Path("tree/a.gz").write_bytes(gzip.compress(b"\0" * 3_000_000))
    Path("tree/b.gz").write_bytes(gzip.compress(f"x\n{VALUE}".encode()))
    done = command("scan", "--json", "tree/a.gz")
    assert (done.code, json.loads(done.out)["unread"]) == (8, ["tree/a.gz"])
    assert "Not searched to the end: tree/a.gz. It expands to over 100 times" in done.err
    done = command("scan", "tree")
    assert (done.code, done.out.decode().split("\t")[0]) == (10, "tree/b.gz!:2")
    assert "Not searched to the end: tree/a.gz. It" in done.err
    assert "Not searched" not in command("scan", "tree/b.gz").err


@pytest.mark.parametrize("beyond", [False, True])
def test_a_value_up_to_the_bound_is_found(monkeypatch, beyond):
    known = Fingerprints(binary=True)
    known.add(VALUE, "a#b")
    content = b"\0" * 500_000 + VALUE.encode()
    packed = gzip.compress(content)
    monkeypatch.setattr(allowance, "_BYTES", len(content) - 100 * len(packed) - beyond)
    allowed = Allowance()
    leaks = list(search.search_input(known, io.BufferedReader(io.BytesIO(packed)), "x.gz", allowed))
    assert (len(leaks), allowed.unread) == ((0, ["x.gz"]) if beyond else (1, []))


def test_archives_within_archives_share_one_bound(monkeypatch):
    monkeypatch.setattr(allowance, "_BYTES", 1_000_000)
    layer = zipped(a=b"\0" * 5_000_000)
    for _ in range(2):
        layer = zipped(**{f"m{number}": layer for number in range(9)})
    read = []
    monkeypatch.setattr(Allowance, "take", counted(Allowance.take, read))
    allowed = Allowance()
    assert list(search.search_input(Fingerprints(), io.BufferedReader(io.BytesIO(layer)), "x.zip", allowed)) == []
    assert allowed.unread == ["x.zip"]
    assert sum(read) == 1_000_000 + 100 * len(layer)


def counted(take, read: list[int]):
    def counting(*arguments) -> bytes:
        found = take(*arguments)
        read.append(len(found))
        return found

    return counting


def test_an_archive_of_many_members_ends_at_the_bound_of_seconds(ticking):
    """Opening each takes time, and expands to nothing."""
    packed = zipped(**{f"m{number}": b"" for number in range(1_000)})
    allowed = Allowance(clock=ticking)
    assert list(search.search_input(Fingerprints(), io.BufferedReader(io.BytesIO(packed)), "x.zip", allowed)) == []
    assert allowed.unread == ["x.zip"]
    assert ticking() < 30


@pytest.fixture
def ticking():
    """A clock that shows a tenth of a second more at each look."""
    ticks = itertools.count()
    return lambda: next(ticks) / 10


def test_a_plain_file_has_no_bound(command, monkeypatch):
    monkeypatch.setattr(allowance, "_BYTES", 0)
    monkeypatch.setattr(allowance, "_SECONDS", 0)
    Path("tree/x").write_bytes(b"\0" * 100_000 + VALUE.encode())
    assert [leak[0] for leak in found(command, "tree")] == ["tree/x"]


def test_a_pipe_is_searched(command):
    """As of the shell's `<(...)`."""
    reader, writer = os.pipe()
    os.write(writer, VALUE.encode())
    os.close(writer)
    try:
        assert len(found(command, f"/dev/fd/{reader}")) == 1
    finally:
        os.close(reader)
