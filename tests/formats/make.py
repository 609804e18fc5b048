"""Write the files of a release with its own commands: `python tests/formats/make.py STRONGROOM FOLDER`.

STRONGROOM is the command in an environment with that release. FOLDER is a new folder beside this file: its name is the
next number and the change of a format, such as `03-plan-version-2`. All values are canaries. The commands work in
`/tmp/strongroom-formats`, since some of the files name it. The cache on disk is bound to the user root, who runs this.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

WORK = Path("/tmp/strongroom-formats")  # a fixed path, which trust in a file is bound to
_PLUGIN = Path("/tmp/strongroom-formats-plugin")  # installed for these commands only
_SOURCE = Path(__file__).with_name("shelf.py")

MACHINE = "canary-machine"
"""The machine ID that the cache on disk is bound to, beside the user ID 0."""

ENTRY_POINTS = {"shelf": "shelf:open_shelf", "plain-shelf": "shelf:open_plain_shelf"}

_STORES = {
    "vaulted": ("shelf", "rotations.jsonl"),
    "old": ("shelf", "source.jsonl"),
    "reviewed": ("plain-shelf", "reviewed.jsonl"),
    "interrupted": ("plain-shelf", "interrupted.jsonl"),
    "finished": ("plain-shelf", "finished.jsonl"),
}
_HEAD = """
chain = ["vaulted"]

[cache]
disk = true
folder = "cache"
ttl = "1h"
"""
_AUDIT = """
[audit]
file = "audit.jsonl"
key_file = "audit.key"
"""
_ROTATION = """
[rotation."{path}"]
rotator = "command"
create = ["echo", '{{"password": "canary-new"}}']
apply = {apply}
prove = {prove}
revoke = ["true"]
grace = "{grace}"
"""
_OK = '["true"]'
_KILL = '["sh", "-c", "kill -9 $PPID"]'

ROTATIONS = {
    "rotated/created": (_KILL, _OK, "0s"),
    "rotated/applied": (_OK, _KILL, "0s"),
    "rotated/proved": (_OK, _OK, "0s"),
    "rotated/promoted": (_OK, _OK, "1h"),
    "rotated/done": (_OK, _OK, "0s"),
    "rotated/undoing": (_OK, _KILL, "0s"),
    "rotated/undone": (_OK, _KILL, "0s"),
    "rotated/back": (_OK, _OK, "0s"),
}
"""For each rotation the programs of `apply` and `prove`, and the grace. A program can kill the command that runs it."""

_THEN = {
    "rotated/undoing": (_OK, _KILL, "0s"),
    "rotated/undone": (_OK, _OK, "0s"),
    "rotated/back": (_OK, _KILL, "0s"),
}
"""The same for the `undo` of the rotation afterwards."""

SECRETS = {
    "old": ["app/one", "app/two", "app/three"],
    "reviewed": ["app/two"],
    "interrupted": ["app/two"],
    "finished": ["app/two"],
    "vaulted": ["app/cached", *ROTATIONS],
}


def _configuration(rotations: Mapping[str, tuple[str, str, str]], audit: str = "") -> str:
    stores = (f'\n[stores.{name}]\nplugin = "{plugin}"\nfile = "{file}"\n' for name, (plugin, file) in _STORES.items())
    tables = (
        _ROTATION.format(path=path, apply=apply, prove=prove, grace=grace)
        for path, (apply, prove, grace) in rotations.items()
    )
    return "".join([_HEAD, audit, *stores, *tables])


def install(site: Path) -> None:
    """Install the stores of `shelf.py` in a folder of the search path."""
    info = site / "shelf-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    points = (f"{name} = {target}\n" for name, target in ENTRY_POINTS.items())
    (info / "entry_points.txt").write_text("".join(["[strongroom.stores]\n", *points]))
    shutil.copy(_SOURCE, site)


class _Release:
    def __init__(self, program: str) -> None:
        self._program = Path(program).absolute()  # not resolved: a link in an environment's folder finds its packages
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(WORK / "home"),
            "PYTHONPATH": str(_PLUGIN),
            "SHELF_MACHINE": MACHINE,
            "XDG_STATE_HOME": str(WORK / "state"),
        }

    def __call__(self, *arguments: str, code: int = 0, kill: str = "") -> str:
        """Run a command, which must end with this exit code, and return its output.

        Args:
            kill: the path whose write kills the command.
        """
        done = subprocess.run(  # a command of ours
            [self._program, *arguments],
            cwd=WORK,
            env={**self._environment, "SHELF_KILL": kill},
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode != code:
            raise SystemExit(f"{arguments}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def configure(self, rotations: Mapping[str, tuple[str, str, str]], audit: str = "") -> None:
        (WORK / "strongroom.toml").write_text(_configuration(rotations, audit))
        self("trust", "strongroom.toml")


@contextmanager
def _folders() -> Iterator[None]:
    for folder in (WORK, _PLUGIN):
        shutil.rmtree(folder, ignore_errors=True)
    install(_PLUGIN)
    (WORK / "home").mkdir(parents=True, mode=0o700)
    yield
    for folder in (WORK, _PLUGIN):
        shutil.rmtree(folder)


def make(program: str) -> None:
    """Write the files of the release into `WORK`."""
    release = _Release(program)
    release.configure(ROTATIONS)
    for store, paths in SECRETS.items():
        data = ({"path": path, "data": {"password": f"canary-{store}"}} for path in paths)
        (WORK / _STORES[store][1]).write_text("".join(f"{json.dumps(record)}\n" for record in data))
    migration = ("--from", "old", "--on-conflict", "overwrite")
    release("migrate", "plan", *migration, "--to", "reviewed", "-o", "plan.json", code=10)
    release("migrate", *migration, "--to", "interrupted", "--yes", kill="app/two", code=-9)
    release("migrate", *migration, "--to", "finished", "--yes")
    killed = {"rotated/created", "rotated/applied", "rotated/undoing", "rotated/undone", "rotated/proved"}
    for path in ROTATIONS:
        kill = path if path == "rotated/proved" else ""
        release("rotate", path, kill=kill, code=-9 if path in killed else 0)
    release.configure({**ROTATIONS, **_THEN})
    for path in _THEN:
        release("rotate", "undo", path, "--take-over", "--yes", code=0 if path == "rotated/undone" else -9)
    release.configure(dict.fromkeys(ROTATIONS, (_OK, _OK, "0s")), _AUDIT)
    release("get", "app/cached", "password")
    release("get", "app/absent", "password", code=3)
    (WORK / "head").write_text(release("audit", "head"))


def main() -> None:
    program, name = sys.argv[1:]
    with _folders():
        make(program)
        folder = Path(__file__).parent / name
        shutil.rmtree(WORK / "state" / "strongroom" / "migrations" / "locks", ignore_errors=True)
        shutil.copytree(WORK, folder, ignore=shutil.ignore_patterns("home", "*.lock"))


if __name__ == "__main__":
    main()
