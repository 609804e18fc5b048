"""`as_path` of `[secrets]`: the variable holds the path of a private file with the value."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom import ConfigurationError, SecretsManager
from strongroom._manager.secret_files import SecretFiles
from support.clock import LONG
from support.scenarios.commands import started
from support.scenarios.load import wait_until

CANARY = "canary-7f3a"
VALUE = f"{CANARY}-ž\n"
CONFIGURATION = """
chain = [{ store = "json", watch_interval = "50ms", on_missing_key = "fail" }]
stores.json.file = "secrets.json"

[secrets]
TLS_KEY = { at = "tls#key", as_path = true }
ACCOUNT = { at = "tls#document", extract = "/account", as_path = true, required = false }
USER = "tls#user"
"""
SHOWS = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a handler misses a signal that arrives just before `pause`
while True:
    os.write(1, open(os.environ["TLS_KEY"], "rb").read())
    signal.sigwait({signal.SIGHUP})
"""


def write(**data: object) -> None:
    """Replace the file of the store as another program does."""
    Path("secrets.new").write_text(json.dumps({"tls": {"user": "app", **data}}), "utf-8")
    Path("secrets.new").chmod(0o600)
    Path("secrets.new").replace("secrets.json")


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch) -> Path:
    """The folder for the folders of files."""
    folder = tmp_path / "runtime"
    folder.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    write(key=VALUE, document=json.dumps({"account": {"id": 1}}))
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- run --------------------------------------------------------------------------------------------------------------

LOOK = """
import json, os, stat
found = {}
for name in ("TLS_KEY", "ACCOUNT"):
    path = os.environ[name]
    modes = [stat.S_IMODE(os.lstat(one).st_mode) for one in (path, os.path.dirname(path))]
    found[name] = [path, open(path).read(), modes]
print(json.dumps([found, [name for name, value in os.environ.items() if "canary" in value]]))
raise SystemExit(3)
"""


def test_the_command_has_the_path_of_a_private_file_that_is_removed_at_its_end(script, runtime):
    done = subprocess.run(
        [script, "run", "--", sys.executable, "-c", LOOK], capture_output=True, text=True, check=False, timeout=LONG
    )
    assert (done.returncode, done.stderr) == (3, "")
    found, exposed = json.loads(done.stdout)
    (folder,) = {Path(path).parent for path, _, _ in found.values()}
    assert folder.parent == runtime
    assert {name: (Path(path).name, *rest) for name, (path, *rest) in found.items()} == {
        "TLS_KEY": ("TLS_KEY", VALUE, [0o600, 0o700]),
        "ACCOUNT": ("ACCOUNT", '{"id":1}', [0o600, 0o700]),
    }
    assert exposed == []
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_the_file_is_removed_after_a_signal(script, runtime, number):
    with started(script, "run", "sh", "-c", "echo on; exec sleep 1000") as run:
        assert run.stdout.readline() == "on\n"
        assert len(list(runtime.glob("strongroom-*/TLS_KEY"))) == 1
        run.send_signal(number)
        run.wait(LONG)
        assert list(runtime.iterdir()) == []


def test_no_file_is_left_if_the_command_does_not_start(script, runtime):
    done = subprocess.run([script, "run", "no-such-command"], capture_output=True, check=False, timeout=LONG)
    assert done.returncode == 127
    assert list(runtime.iterdir()) == []


def test_a_change_replaces_the_file_before_the_signal(script, runtime):
    with started(script, "run", "--on-change", "signal:HUP", sys.executable, "-c", SHOWS) as run:
        assert run.stdout.readline() == VALUE
        (file,) = runtime.glob("strongroom-*/TLS_KEY")
        with file.open(encoding="utf-8") as before:
            for n in (2, 3):
                write(key=f"{CANARY}-{n}\n")
                assert run.stdout.readline() == f"{CANARY}-{n}\n"
            assert before.read() == VALUE  # a reader of the old file has all of it
        assert mode(file) == 0o600
        run.terminate()
        run.wait(LONG)
        assert CANARY not in run.stderr.read()
    assert list(runtime.iterdir()) == []


def test_a_change_restarts_the_command_with_the_new_file(script):
    with started(script, "run", "--on-change", "restart", sys.executable, "-c", SHOWS) as run:
        assert run.stdout.readline() == VALUE
        write(key=f"{CANARY}-2\n")
        assert run.stdout.readline() == f"{CANARY}-2\n"


@pytest.mark.long
def test_no_signal_is_sent_while_a_value_is_missing(script):
    with started(script, "run", "--on-change", "signal:HUP", sys.executable, "-c", SHOWS) as run:
        assert run.stdout.readline() == VALUE
        write()
        assert run.stderr.readline().endswith("keeps running with the old values: TLS_KEY did not resolve\n")
        write(key=f"{CANARY}-2\n")
        assert run.stdout.readline() == f"{CANARY}-2\n"


def test_an_application_below_run_reads_the_value_by_its_path_and_key(script):
    program = (
        "import sys; from pathlib import Path; from strongroom import SecretsManager\n"
        "with SecretsManager(chain=['env']) as secrets:\n"
        "    text, file = secrets.get_secret('tls', 'key'), secrets.get_secret('tls', 'key', as_=Path)\n"
        "    sys.stdout.write(text.reveal() + file.read_text())"
    )
    done = subprocess.run(
        [script, "run", "--", sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=LONG
    )
    assert (done.stdout, done.stderr) == (VALUE * 2, "")


def test_the_output_of_a_command_that_shows_its_file_is_masked(script):
    done = subprocess.run(
        [script, "run", "--redact", "--", "sh", "-c", 'cat "$TLS_KEY"'], capture_output=True, check=False, timeout=LONG
    )
    assert done.returncode == 0
    assert CANARY.encode() not in done.stdout


# --- export -----------------------------------------------------------------------------------------------------------


def test_export_writes_the_files_into_a_private_folder_that_stays(command, tmp_path):
    folder = tmp_path / "files"
    done = command("export", "--format", "json", "--folder", str(folder))
    assert json.loads(done.out) == {
        "TLS_KEY": str(folder / "TLS_KEY"),
        "ACCOUNT": str(folder / "ACCOUNT"),
        "USER": "app",
    }
    assert (folder / "TLS_KEY").read_text("utf-8") == VALUE
    assert (mode(folder), mode(folder / "TLS_KEY")) == (0o700, 0o600)


def test_export_refuses_files_without_a_folder_and_a_folder_of_everybody(command, tmp_path):
    done = command("export", "--format", "json")
    assert (done.code, done.out) == (2, b"")
    assert "TLS_KEY, ACCOUNT: as_path needs --folder" in done.err
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    done = command("export", "--format", "json", "--folder", str(folder))
    assert (done.code, done.out) == (7, b"")
    assert "other users have access to it" in done.err
    assert list(folder.iterdir()) == []


def test_github_masks_the_value_and_sets_the_path(command, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ENV", str(tmp_path / "env"))
    (tmp_path / "env").touch()
    done = command("export", "--format", "github", "--folder", str(tmp_path / "files"))
    assert f"::add-mask::{CANARY}-ž%0A\n" in done.out.decode()
    variables = (tmp_path / "env").read_text("utf-8")
    assert str(tmp_path / "files" / "TLS_KEY") in variables
    assert CANARY not in variables


def test_a_watching_export_replaces_the_file_and_removes_its_own_folder(script, runtime):
    with started(script, "export", "--format", "dotenv", "--output", "out.env", "--watch") as export:
        wait_until(Path("out.env").exists)
        (file,) = runtime.glob("strongroom-*/TLS_KEY")
        assert f"TLS_KEY={file}" in Path("out.env").read_text("utf-8").replace("'", "")
        write(key=f"{CANARY}-2")
        wait_until(lambda: file.read_text("utf-8") == f"{CANARY}-2")
        export.terminate()
        assert export.wait(LONG) == 0
        assert CANARY not in export.stderr.read()
    assert list(runtime.iterdir()) == []


# --- library ----------------------------------------------------------------------------------------------------------


def test_get_secret_returns_the_path_of_a_private_file_until_close(runtime):
    with SecretsManager() as secrets:
        file = secrets.get_secret("tls", "key", as_=Path)
        assert file == secrets.get_secret("tls", "key", as_=Path)
        assert (file.parent.parent, file.read_text("utf-8")) == (runtime, VALUE)
        assert (mode(file), mode(file.parent)) == (0o600, 0o700)
        assert secrets.get_secret("tls", "key") == VALUE
        assert secrets.get_secret("tls", "user", as_=Path) == Path("app")
        write(key="new")
        assert secrets.get_secret("tls", "key", as_=Path, fresh=True).read_text("utf-8") == "new"
    assert list(runtime.iterdir()) == []


def test_several_accepted_values_have_no_file():
    """The file has one of them, and the last would replace the current one."""
    with SecretsManager() as secrets, pytest.raises(TypeError, match="one file"):
        secrets.get_accepted("tls", "key", grace="1h", as_=Path)


def test_a_task_gets_the_path_too():
    async def read() -> None:
        async with SecretsManager() as secrets:
            file = await secrets.aget_secret("tls", "key", as_=Path)
            assert file.read_text("utf-8") == VALUE
            write()
            assert await secrets.aget_secret("tls", "key", as_=Path, default=None, fresh=True) is None

    asyncio.run(read())


def test_a_watch_replaces_the_file_before_its_callback():
    seen = []
    with SecretsManager() as secrets:
        file = secrets.get_secret("tls", "key", as_=Path)
        with secrets.watch(["tls"], lambda _: seen.append(file.read_text("utf-8"))):
            write(key="new")
            wait_until(lambda: seen)
    assert seen == ["new"]


def test_the_file_of_a_process_is_removed_at_its_end_and_the_child_of_a_fork_has_its_own(runtime):
    program = (
        "import os, pathlib; from strongroom import get_secret\n"
        "file = get_secret('tls', 'key', as_=pathlib.Path)\n"
        "if os.fork() == 0:\n"
        "    assert get_secret('tls', 'key', as_=pathlib.Path) != file\n"
        "    raise SystemExit\n"
        "os.wait()\n"
        "print(file.exists(), file)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=LONG)
    assert (done.stdout.split()[:1], done.stderr) == (["True"], "")
    assert list(runtime.iterdir()) == []


def test_a_runtime_folder_of_others_is_not_used(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    files = SecretFiles()
    file = files.write("NAME", b"\0\xff")
    assert not file.is_relative_to(shared)
    assert (mode(file), mode(file.parent), file.read_bytes()) == (0o600, 0o700, b"\0\xff")
    files.close()
    assert not file.parent.exists()


def test_a_file_that_others_may_read_is_replaced(tmp_path):
    files = SecretFiles(tmp_path / "files")
    file = files.write("NAME", b"x")
    file.chmod(0o644)
    assert mode(files.write("NAME", b"x")) == 0o600
    files.close()
    assert file.exists()


def test_a_composed_row_cannot_have_the_path():
    content = {"secrets": {"A": {"at": "a#b", "as_path": True}, "B": {"at": "a#c", "compose": "x{A}"}}}
    with pytest.raises(ConfigurationError, match="is the path of a file"):
        SecretsManager.from_config(content)


def test_types_declares_a_path(command):
    assert b"def tls_key() -> Path:" in command("types").out
