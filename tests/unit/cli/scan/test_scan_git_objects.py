"""`strongroom scan --git`: objects that git cannot read, large ones, and what git keeps beside its objects."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from strongroom._cli.scan import allowance
from strongroom._cli.scan.allowance import Allowance
from support.programs import require

pytestmark = pytest.mark.long

require("git")

VALUE = "canary-real-value-77"
TOP = Path("tree")


def git(*arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "x@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    call = ["git", "-C", str(TOP), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env={**os.environ, **who, **plain})
    return done.stdout.strip()


def commit(name: str, content: str) -> None:
    file = TOP / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content, "utf-8")
    git("add", ".")
    git("commit", "--quiet", "-m", name.partition("/")[0])


@pytest.fixture(autouse=True)
def repository():
    """A repository of three commits."""
    Path("strongroom.toml").write_text(
        f'chain = ["memory"]\n[stores.memory.secrets."db/main"]\npassword = "{VALUE}"\n', "utf-8"
    )
    TOP.mkdir()
    git("init", "--quiet")
    commit("a/one", "nothing")
    commit("b/two", f"two {VALUE}")
    commit("c/three", "nothing either")


def scanned(command) -> tuple[int, list[str], list[str]]:
    """Return the exit code, where the value is found, without commits, and what is not searched to its end."""
    done = command("scan", "--json", "--git", "tree")
    assert VALUE not in done.out.decode() + done.err
    document = json.loads(done.out)
    folder = f"{TOP.absolute()}/"
    places = sorted({leak["place"].partition(" (")[0].removeprefix(folder) for leak in document["leaks"]})
    return done.code, places, [place.removeprefix(folder) for place in document["unread"]]


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "gone"])
@pytest.mark.parametrize("spec", ["HEAD:a/one", "HEAD:a", "HEAD~2", "HEAD:b/two"])
def test_an_object_that_git_cannot_read_is_named_and_the_others_are_searched(command, damage, spec):
    """A blob, a tree and a commit; also one that is lost, except in a partial clone."""
    name = git("rev-parse", spec)
    file = TOP / ".git/objects" / name[:2] / name[2:]
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes({"cut": content[:12], "empty": b"", "garbage": b"garbage"}[damage])
    code, places, unread = scanned(command)
    assert any(name[:12] in place for place in unread)
    if spec == "HEAD:b/two":
        assert (code, places) == (8, [])
    else:
        assert (code, len(places)) == (10, 1)


def test_a_large_object_is_expanded_up_to_the_bound(command, monkeypatch):
    monkeypatch.setattr(allowance, "_BYTES", 10_000)
    (TOP / "bomb").write_bytes(b"\0" * 6_000_000)
    git("add", "bomb")
    size, take = [], Allowance.take

    def taken(*arguments) -> bytes:
        size.append(len(content := take(*arguments)))
        return content

    monkeypatch.setattr(Allowance, "take", taken)
    code, places, unread = scanned(command)
    assert (code, places, unread) == (10, ["b/two"], ["bomb"])
    assert sum(size) < 6_000_000
    assert max(size) <= 1 << 16


def test_what_git_keeps_beside_its_objects_is_searched(command):
    """Addresses with credentials, names of branches and tags, and of files."""
    own = TOP / ".git"
    git("remote", "add", "origin", f"https://user:{VALUE}@example.com/x")
    git("branch", f"team/{VALUE}")
    git("pack-refs", "--all")
    git("tag", f"t-{VALUE}")
    commit(f"a/{VALUE}.txt", "nothing")
    with (own / "logs/HEAD").open("a") as log:
        log.write(f"{'0' * 40} {'1' * 40} x <x> 1 +0000\tpull https://user:{VALUE}@example.com/x\n")
    for name in ("FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD"):
        (own / name).write_text(f"x {VALUE}", "utf-8")
    code, places, unread = scanned(command)
    assert (code, unread) == (10, [])
    assert places == [
        *(f".git/{name}" for name in ("FETCH_HEAD", "MERGE_HEAD", "ORIG_HEAD", "config", "logs/HEAD", "packed-refs")),
        *("b/two", "name of a/[redacted].txt", "names of files in a", "names of references"),
    ]


def test_the_header_of_a_commit_is_searched(command):
    git("-c", f"user.name={VALUE}", "commit", "--quiet", "--allow-empty", "-m", "x", f"--author=x <{VALUE}@x>")
    assert any(place.startswith("header of commit") for place in scanned(command)[1])


@pytest.mark.parametrize("name", ["config", "index", "packed-refs", "refs/heads/x", "logs/x", "FETCH_HEAD", "shallow"])
def test_a_named_pipe_is_named_and_not_waited_for(command, name):
    pipe = TOP / ".git" / name
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    assert scanned(command) == (10, ["b/two"], [f".git/{name}"])


def test_a_named_pipe_among_the_objects_stops_the_scan(command):
    """Git looks for them by their names, so that it cannot leave one out."""
    os.mkfifo(TOP / ".git/objects/x")
    done = command("scan", "--git", "tree")
    assert done.code == 7
    assert "objects/x is not a file, and git would wait for it" in done.err
