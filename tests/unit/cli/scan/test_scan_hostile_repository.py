"""`strongroom scan --git` in repositories that name programs, and what git is given."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from strongroom._cli.scan import git_repository
from support.programs import require, write_python

pytestmark = pytest.mark.long

require("git")

VALUE = "canary-real-value-77"
CONFIGURATION = f"""
chain = ["memory"]
[stores.memory.secrets."database/connection"]
password = "{VALUE}"
"""

GIVEN = {
    *("PATH", "LC_ALL", "GIT_DIR", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL"),
    *("GIT_NO_REPLACE_OBJECTS", "GIT_NO_LAZY_FETCH", "GIT_ALLOW_PROTOCOL"),
}
"""The names of all variables in the environment of git."""

HOOKS = (
    *("applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit", "prepare-commit-msg"),
    *("commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge", "pre-push", "pre-receive", "update"),
    *("proc-receive", "post-receive", "post-update", "reference-transaction", "push-to-checkout", "pre-auto-gc"),
    *("post-rewrite", "sendemail-validate", "fsmonitor-watchman", "post-index-change"),
)

ATTACKS: dict[str, dict[str, str]] = {
    "fsmonitor": {"core.fsmonitor": "{program}"},
    "fsmonitor-1": {"core.fsmonitor": "{program}", "core.fsmonitorHookVersion": "1"},
    "hooks-path": {"core.hooksPath": "{hooks}"},
    "textconv": {"diff.evil.textconv": "{program}", "diff.evil.cachetextconv": "true"},
    "diff-command": {"diff.evil.command": "{program}"},
    "diff-external": {"diff.external": "{program}"},
    "diff-filter": {"interactive.diffFilter": "{program}"},
    "filter": {"filter.evil.clean": "{program}", "filter.evil.smudge": "{program}", "filter.evil.required": "true"},
    "filter-process": {"filter.evil.process": "{program}", "filter.evil.required": "true"},
    "merge-driver": {"merge.evil.driver": "{program}"},
    "alternates": {"core.alternateRefsCommand": "{program}", "core.alternateRefsPrefixes": "refs/heads"},
    "gpg": {"log.showSignature": "true", "gpg.program": "{program}"},
    "gpg-openpgp": {"log.showSignature": "true", "gpg.openpgp.program": "{program}"},
    "gpg-ssh": {"log.showSignature": "true", "gpg.format": "ssh", "gpg.ssh.program": "{program}"},
    "gpg-x509": {"log.showSignature": "true", "gpg.format": "x509", "gpg.x509.program": "{program}"},
    "ssh": {"remote.origin.url": "ssh://x/y", "core.sshCommand": "{program}"},
    "ext": {"remote.origin.url": "ext::{program}", "protocol.ext.allow": "always"},
    "git-proxy": {"remote.origin.url": "git://x/y", "core.gitProxy": "{program}"},
    "upload-pack": {"remote.origin.url": "{folder}", "remote.origin.uploadpack": "{program}"},
    "pack-objects": {"remote.origin.url": "{folder}", "uploadpack.packObjectsHook": "{program}"},
    "remote-helper": {"remote.origin.url": "x", "remote.origin.vcs": "ext"},
    "credentials": {"remote.origin.url": "http://127.0.0.1:9/x", "credential.helper": "!{program}"},
    "ask-pass": {"remote.origin.url": "http://127.0.0.1:9/x", "core.askPass": "{program}"},
    "pager": {"core.pager": "{program}", "pager.log": "{program}", "pager.rev-list": "{program}"},
    "editor": {"core.editor": "{program}", "sequence.editor": "{program}"},
    "alias": {f"alias.{name}": "!{program}" for name in ("log", "rev-list", "cat-file", "rev-parse", "config")},
    "include": {"include.path": "{included}"},
    "include-if": {"includeIf.gitdir:**.path": "{included}"},
    "worktree-config": {"extensions.worktreeConfig": "true"},
    "trace": {"trace2.eventTarget": "{program}"},
    "none": {},
}
"""Settings that name a program, by a name for the test. Each repository is also a partial clone, has hooks, and
attributes that name drivers."""


def git(folder: Path, *arguments: str, given: str = "", **variables: str) -> str:
    """Run git without the configuration of the machine."""
    who = {f"GIT_{role}_{what}": "x@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **variables},
    )
    return done.stdout.strip()


def section(name: str, value: str) -> str:
    """Return a setting as the text of a configuration."""
    first, _, rest = name.partition(".")
    below, _, key = rest.rpartition(".")
    title = f'{first} "{below}"' if below else first
    return f'[{title}]\n{key} = "{value}"\n'


@pytest.fixture(autouse=True)
def configured():
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")


@pytest.fixture(scope="module")
def partial_clone(tmp_path_factory) -> Path:
    """A partial clone with a signed commit, a staged file, a linked worktree, and a blob that it lacks."""
    top = tmp_path_factory.mktemp("partial") / "tree"
    top.mkdir()
    git(top, "init", "--quiet")
    (top / "app.py").write_text(VALUE, "utf-8")
    (top / "other.py").write_text("nothing", "utf-8")
    (top / ".gitattributes").write_text("* diff=evil filter=evil merge=evil\n", "utf-8")
    git(top, "add", ".")
    who = "n <n@example.com> 1 +0000"
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    commit = f"tree {git(top, 'write-tree')}\nauthor {who}\ncommitter {who}\n{signature}\n\nm\n"
    git(top, "update-ref", "HEAD", git(top, "hash-object", "-t", "commit", "-w", "--stdin", given=commit))
    git(top, "worktree", "add", "--quiet", "--detach", "linked")
    lacking = git(top, "rev-parse", "HEAD:other.py")
    objects = [line[:40] for line in git(top, "rev-list", "--objects", "--all").splitlines()]
    packed = git(top, "pack-objects", "--quiet", ".git/objects/pack/pack", given="\n".join(objects) + "\n")
    git(top, "prune-packed")
    pack = top / ".git/objects/pack" / f"pack-{packed}"
    content = [name for name in objects if name != lacking]
    small = git(top, "pack-objects", "--quiet", ".git/objects/pack/pack", given="\n".join(content) + "\n")
    for file in pack.parent.glob(f"{pack.name}.*"):
        file.unlink()
    (pack.parent / f"pack-{small}.promisor").touch()
    (top / "staged.py").write_text(f"staged {VALUE}", "utf-8")
    git(top, "-c", "core.attributesFile=/dev/null", "add", "staged.py")
    return top


def planted(partial_clone: Path, folder: Path, settings: dict[str, str]) -> tuple[Path, Path]:
    """Return a copy of the repository with hostile settings, and the file that the named program writes."""
    ran, program, hooks, included = (folder / name for name in ("ran", "program", "hooks", "included"))
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> "{ran}"\nexit 1\n', "utf-8")
    program.chmod(0o755)
    hooks.mkdir()
    top = folder / "tree"
    shutil.copytree(partial_clone, top)
    own = top / ".git"
    for below in (hooks, own / "hooks"):
        below.mkdir(exist_ok=True)
        for hook in HOOKS:
            (below / hook).unlink(missing_ok=True)
            (below / hook).symlink_to(program)
    included.write_text(section("core.fsmonitor", str(program)), "utf-8")
    (own / "config.worktree").write_text(section("core.fsmonitor", str(program)), "utf-8")
    (own / "info").mkdir(exist_ok=True)
    (own / "info/attributes").write_text("* diff=evil filter=evil merge=evil\n", "utf-8")
    (own / "worktrees/linked/gitdir").write_text(f"{top}/linked/.git\n")
    (top / "linked/.git").write_text(f"gitdir: {own}/worktrees/linked\n")
    shutil.copy(own / "config.worktree", own / "worktrees/linked/config.worktree")
    partial = {
        "core.repositoryFormatVersion": "1",
        "core.worktree": str(top),
        "remote.origin.promisor": "true",
    }
    text = "".join(section(name, value) for name, value in {**partial, **settings}.items())
    for name, value in (("{program}", program), ("{hooks}", hooks), ("{included}", included), ("{folder}", own)):
        text = text.replace(name, str(value))
    (own / "config").write_text(text, "utf-8")
    return top, ran


def places(command, *arguments: str) -> list[str]:
    """Return where the scan finds the value, without the commits."""
    done = command("scan", "--json", "--git", *arguments)
    assert VALUE not in done.out.decode() + done.err
    assert done.code == 10, done.err
    return sorted(leak["place"].partition(" (")[0] for leak in json.loads(done.out)["leaks"])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({name: value for settings in ATTACKS.values() for name, value in settings.items()}, id="all"),
        *(pytest.param(settings, id=name, marks=pytest.mark.long) for name, settings in ATTACKS.items()),
    ],
)
def test_no_program_that_a_repository_names_runs(command, tmp_path, partial_clone, settings):
    """In the repository, in a linked worktree, and in a bare repository that a clone brings as ordinary files."""
    top, ran = planted(partial_clone, tmp_path, settings)
    outer = around(tmp_path)
    found = [places(command, str(top)), places(command, str(top / "linked"))]
    (top / ".git").rename(outer / "sub/bare")
    found.append(places(command, str(outer / "sub/bare")))
    assert not ran.exists(), ran.read_text("utf-8")
    assert found == [["app.py", "staged.py"], ["app.py", "staged.py"], ["app.py", "settings.py", "staged.py"]]


FETCHES = {name: settings for name, settings in ATTACKS.items() if "remote.origin.url" in settings}


@pytest.mark.parametrize("settings", FETCHES.values(), ids=FETCHES)
def test_no_object_that_a_partial_clone_lacks_is_fetched(command, tmp_path, partial_clone, settings):
    """Here a tree, which git needs to name the commit of a leak."""
    lacking = tmp_path / "lacking"
    shutil.copytree(partial_clone, lacking)
    tree = git(lacking, "mktree", given=f"100644 blob {git(lacking, 'rev-parse', 'HEAD:app.py')}\tother\n")
    commit = git(lacking, "commit-tree", "-m", "m", tree)
    (lacking / ".git/refs/heads/lacking").write_text(f"{commit}\n")
    pack = git(lacking, "pack-objects", "--quiet", ".git/objects/pack/pack", given=f"{commit}\n")
    (lacking / f".git/objects/pack/pack-{pack}.promisor").touch()
    (lacking / ".git/objects" / tree[:2] / tree[2:]).unlink()
    top, ran = planted(lacking, tmp_path, settings)
    done = command("scan", "--git", str(top))
    assert not ran.exists(), ran.read_text("utf-8")
    assert done.code in {7, 10}
    assert VALUE not in done.out.decode() + done.err


def around(folder: Path) -> Path:
    """Return a repository with a folder for another one in it."""
    outer = folder / "outer"
    (outer / "sub").mkdir(parents=True)
    git(outer, "init", "--quiet")
    (outer / "settings.py").write_text(VALUE, "utf-8")
    git(outer, "add", ".")
    return outer


def test_a_bare_repository_of_plain_files_does_not_hide_the_repository_around_it(command, tmp_path, partial_clone):
    top, _ = planted(partial_clone, tmp_path, {})
    outer = around(tmp_path)
    (top / ".git").rename(outer / "sub/bare")
    assert places(command, str(outer)) == ["settings.py"]
    assert places(command, str(outer / "sub")) == ["settings.py"]
    assert places(command, str(outer / "sub/bare/refs")) == ["settings.py"]
    assert places(command, str(outer / "sub/bare")) == ["app.py", "settings.py", "staged.py"]


def test_a_bare_repository_that_is_named_is_scanned(command, tmp_path, partial_clone, monkeypatch):
    top, _ = planted(partial_clone, tmp_path, {})
    bare = (top / ".git").rename(tmp_path / "named.git")
    assert places(command, str(bare)) == ["app.py", "staged.py"]
    assert command("scan", "--git", str(bare / "refs")).code == 7
    shutil.copy("strongroom.toml", bare)
    monkeypatch.chdir(bare)
    assert places(command) == ["app.py", "staged.py"]


def test_git_gets_no_variable_beyond_a_short_list(command, tmp_path, partial_clone, monkeypatch):
    """Neither a credential, nor a variable that names another repository or a program."""
    record = tmp_path / "record"
    program = tmp_path / "path/git"
    program.parent.mkdir()
    write_python(
        program,
        f"import os, sys\nopen({str(record)!r}, 'a').write('\\n'.join(os.environ) + '\\n')\n"
        f"os.execv({shutil.which('git')!r}, sys.argv)\n",
        "-IS",
    )
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("VAULT_TOKEN", "BAO_TOKEN", "AWS_SECRET_ACCESS_KEY", "SOME_PASSWORD", "GIT_EXTERNAL_DIFF", "GIT_DIR"):
        monkeypatch.setenv(name, "canary")
    top, _ = planted(partial_clone, tmp_path, {})
    assert places(command, str(top)) == ["app.py", "staged.py"]
    of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}  # that starts the program
    assert set(record.read_text("utf-8").split()) - of_the_shell == GIVEN


def test_a_git_of_the_working_directory_does_not_run(command, tmp_path, partial_clone, monkeypatch):
    """The variable PATH may have an entry that is relative."""
    top, ran = planted(partial_clone, tmp_path, {})
    (top / "git").symlink_to(tmp_path / "program")
    shutil.copy("strongroom.toml", top)
    monkeypatch.chdir(top)
    monkeypatch.setenv("PATH", os.pathsep.join((".", "", os.environ["PATH"])))
    assert places(command) == ["app.py", "staged.py"]
    assert not ran.exists()


def test_the_index_that_git_names_for_a_hook_is_searched(command, monkeypatch):
    """`git commit -a` runs the hook `pre-commit` with an index of its own."""
    top = Path("tree").absolute()
    top.mkdir()
    git(top, "init", "--quiet")
    git(top, "commit", "--quiet", "--allow-empty", "-m", "m")
    (top / "staged.py").write_text(VALUE, "utf-8")
    git(top, "add", ".", GIT_INDEX_FILE=str(top / ".git/next-index-1.lock"))
    assert command("scan", "--git", "tree").code == 0
    monkeypatch.setenv("GIT_INDEX_FILE", str(top / ".git/next-index-1.lock"))
    assert places(command, "tree") == ["staged.py"]


def test_a_replaced_object_is_searched(command):
    """Git would show the replacement in its place."""
    top = Path("tree")
    top.mkdir()
    git(top, "init", "--quiet")
    (top / "app.py").write_text(VALUE, "utf-8")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "m")
    git(top, "replace", git(top, "rev-parse", "HEAD:app.py"), git(top, "hash-object", "-w", "--stdin", given="clean"))
    assert places(command, "tree") == ["app.py"]


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
@pytest.mark.parametrize("references", ["files", "reftable"])
def test_git_reads_all_that_it_reads_in_the_repository_itself(kind, references):
    top = Path("tree").absolute()
    top.mkdir()
    try:
        git(top, "init", "--quiet", f"--object-format={kind}", f"--ref-format={references}")
    except subprocess.CalledProcessError:
        pytest.skip("this git does not have the format")

    def commit(name: str, folder: Path = top, *arguments: str) -> None:
        (folder / name).write_text(name, "utf-8")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", name, *arguments)

    commit("packed")
    git(top, "branch", "packed")
    git(top, "pack-refs", "--all")
    commit("loose")
    git(top, "tag", "-a", "-m", "message", "annotated")
    git(top, "notes", "add", "-m", "note")
    for name in ("stash-1", "stash-2"):
        (top / name).write_text(name, "utf-8")
        git(top, "stash", "push", "--quiet", "--include-untracked")
    commit("before")
    commit("amended", top, "--amend")
    git(top, "switch", "--quiet", "-c", "deleted/below")
    commit("deleted")
    git(top, "switch", "--quiet", "-")
    git(top, "branch", "-D", "deleted/below")
    linked = top.parent / "linked"
    git(top, "worktree", "add", "--quiet", "--detach", str(linked))
    commit("detached", linked)
    commit("detached-amended", linked, "--amend")
    for folder in (top, linked):
        (folder / f"staged-{folder.name}").write_text(folder.name, "utf-8")
        git(folder, "add", ".")
    listing = ("rev-list", "--objects", "--all", "--reflog", "--indexed-objects")
    expected = {line.rstrip() for line in git(top, *listing).splitlines()}
    assert len(expected) > 30
    for folder in (top, linked):
        (opened_folder,) = git_repository.find_folders(folder)
        with git_repository.opened(opened_folder) as repository:
            assert {line.rstrip() for line in repository.run(*listing).decode().splitlines()} == expected


def test_a_split_index_an_alternate_and_clones_that_lack_objects_are_read(command, tmp_path):
    origin, top = tmp_path / "origin", Path("tree").absolute()
    origin.mkdir()
    git(origin, "init", "--quiet")
    for content in (VALUE, f"new {VALUE}"):
        (origin / "app.py").write_text(content, "utf-8")
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "-m", "m")
    git(origin, "clone", "--quiet", "--depth=1", f"file://{origin}", str(tmp_path / "shallow"))
    assert places(command, str(tmp_path / "shallow")) == ["app.py"]
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(origin, "clone", "--quiet", "--filter=blob:none", f"file://{origin}", str(tmp_path / "partial"))
    assert places(command, str(tmp_path / "partial")) == ["app.py"]
    git(origin, "clone", "--quiet", "--shared", str(origin), str(top))
    (top / "staged.py").write_text(f"staged {VALUE}", "utf-8")
    git(top, "add", ".")
    git(top, "update-index", "--split-index")
    assert places(command, "tree") == ["app.py", "app.py", "staged.py"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extensions.unknown", "1"),
        ("extensions.objectFormat", "sha1\n[core]\nfsmonitor = x"),
        ("extensions.refStorage", "x"),
        ("core.repositoryFormatVersion", "9"),
    ],
)
def test_an_unknown_format_is_an_error(command, name, value):
    """The scan could miss objects."""
    top = Path("tree")
    top.mkdir()
    git(top, "init", "--quiet")
    git(top, "config", name, value)
    done = command("scan", "--git", "tree")
    assert done.code == 7
    assert "Cannot scan the history of tree: it is not a git repository, or git refuses it" in done.err


def test_a_broken_link_to_a_repository_is_an_error(command):
    """The repository around a submodule is another one."""
    below = Path("tree/module")
    below.mkdir(parents=True)
    git(Path("tree"), "init", "--quiet")
    (below / ".git").write_text("gitdir: ../.git/modules/module\n", "utf-8")
    assert command("scan", "--git", "tree/module").code == 7
    assert command("scan", "--git", "tree").code == 0
