"""Run the code blocks of a page of the documentation as its reader would: in order, in one folder."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from sybil import Document, Example, Sybil
from sybil.example import NotEvaluated
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

import strongroom
from strongroom._cli import app
from strongroom_vault.dev.server import free_port
from support import command_line
from support.scenarios.redaction import forget_values

if TYPE_CHECKING:
    from strongroom_vault.testing import TestVault
    from support.vault.fresh_vault import FreshVault

CALL = re.compile(r"(?:\w+=[\w./:-]* )*strongroom (?!run |dev|ui|check --wait)[^|&;<>(){}$`\\\\*?~]+")
"""One call of `strongroom` in a shell, but for the commands that need a process."""

PIPE = re.compile(r" \| (?=(?:[^']*'[^']*')*[^']*$)")
"""A `|` between two commands, outside of quotes."""

FILE = re.compile(r"# (\.?\w[\w./-]*\.\w+|\.env|Dockerfile)\n")
"""The first line of a block that is a file of the reader's."""


def save(name: str, text: str) -> Path:
    """Write a file of the reader's."""
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o644)  # as an editor makes it
    file.write_text(text, "utf-8")
    return file


def write_file(example: Example) -> None:
    """Write a block that begins with the name of a file to that file; leave others to their own evaluators."""
    if not isinstance(example.parsed, str) or (named := FILE.match(example.parsed)) is None:
        raise NotEvaluated
    file = save(named[1], example.parsed)
    if example.region.evaluator is refuse:
        _settings.append(file.absolute())
        os.utime(file, (0, file.stat().st_mtime))  # a read sets the first of the two anew


def refuse(example: Example) -> str:
    """Fail: nothing would read a configuration without the name of its file."""
    return "the block must begin with the name of its file, as in `# strongroom.toml`"


def keep(example: Example) -> None:
    """Do nothing with a file for another program: a separate test checks it against that program's schema."""


def run_in_shell(example: Example) -> str | None:
    """Run each line after `$` in a shell, and compare its output with the lines below; `…` there matches anything.

    All lines of a page run in one shell. Our own command runs in this process, also between two programs of a pipeline:
    to start it takes longer than the command.
    """
    return check_sessions(example.parsed, _run_pipeline)


def check_sessions(text: str, run: Callable[[str], subprocess.CompletedProcess[str]]) -> str | None:
    """Run each line after `$`, and return the first difference between the outputs and the text."""
    for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, expected = session.partition("\n")
        done = run(line)
        printed = "\n".join(part.strip("\n") for part in (done.stdout, done.stderr) if part.strip())
        pattern = ".*".join(map(re.escape, expected.strip("\n").split("…")))
        failed = done.returncode != 0 and expected.strip() in {"", "…"}  # a page shows the output of a failure
        if failed or not re.fullmatch(pattern, printed, re.DOTALL):
            return f"$ {line}\nshould print:\n{expected}\nand printed, with exit code {done.returncode}:\n{printed}"
    return None


def _run_pipeline(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line: a call of `strongroom` in this process, and the commands before and after it in a shell."""
    before, between, after = line, "", ""
    commands = PIPE.split(line)
    for position, command in enumerate(commands):
        if CALL.fullmatch(command) and not any(";" in source or "&" in source for source in commands[:position]):
            before, between, after = " | ".join(commands[:position]), command, " | ".join(commands[position + 1 :])
            break
    done = run_line(before) if before else subprocess.CompletedProcess(line, 0, "", "")
    for run, part in ((_call, between), (run_line, after)):
        if part:
            complained = done.stderr
            done = run(part, done.stdout)
            done.stderr = complained + done.stderr
    return done


def _call(command: str, piped: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    start = words.index("strongroom")
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as complained:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(complained),
            pytest.MonkeyPatch.context() as patched,
        ):
            for variable in words[:start]:
                patched.setenv(*variable.split("=", 1))
            code = command_line.call_piped(words[start + 1 :], piped)
        for stream in (printed, complained):
            stream.seek(0)
        return subprocess.CompletedProcess(command, code, printed.read(), complained.read())


class _Shell:
    """The one shell of a page: a folder, a variable, a file mode mask that a line sets is there for the lines after it.

    A job in the background keeps running until the page ends.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._variables = {**os.environ}
        reports, self._reports = os.pipe()
        self._read = os.fdopen(reports, "rb")
        self._process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, text=True, start_new_session=True, pass_fds=(self._reports,)
        )
        os.close(self._reports)

    def run(self, line: str, piped: str) -> subprocess.CompletedProcess[str]:
        """Run a line with this text as its input, and set this process's folder and variables as the line did."""
        line_file, given, printed, complained = (
            Path(self._folder.name, name) for name in ("line", "given", "printed", "complained")
        )
        line_file.write_text(line, "utf-8")
        given.write_text(piped, "utf-8")
        # A file for each stream: a pipe would stay open as long as a job in the background.
        source, stdin, stdout, stderr = (shlex.quote(str(file)) for file in (line_file, given, printed, complained))
        self._process.stdin.write(
            f". {source} <{stdin} >{stdout} 2>{stderr} {self._reports}>&-\n"
            f"printf '%s\\0' $? \"$PWD\" >&{self._reports}; env -0 >&{self._reports}; disown -a\n"
            f"printf '\\0' >&{self._reports}\n"
        )
        self._process.stdin.flush()
        code, folder, *entries = self._report()
        os.chdir(folder)
        variables = dict(entry.partition("=")[::2] for entry in entries)
        for name in self._variables.keys() - variables.keys():
            os.environ.pop(name, None)
        for name, value in variables.items():
            if name != "_" and self._variables.get(name) != value:
                os.environ[name] = value
        self._variables = variables
        return subprocess.CompletedProcess(line, int(code), printed.read_text("utf-8"), complained.read_text("utf-8"))

    def _report(self) -> list[str]:
        report = b""
        while not report.endswith(b"\0\0"):
            byte = self._read.read(1)
            assert byte, "the line has ended the shell of the page"
            report += byte
        return report.decode().split("\0")[:-2]

    def close(self) -> None:
        """End the shell, its jobs, and the server that `strongroom dev --detach` has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if server := self._variables.get("DEV_SERVER_PID"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(server), signal.SIGTERM)
        self._process.stdin.close()
        self._process.wait()
        self._read.close()
        self._folder.cleanup()


def run_line(line: str, piped: str = "") -> subprocess.CompletedProcess[str]:
    if not _shells:
        _shells.append(_Shell())
    return _shells[0].run(line, piped)


_settings: list[Path] = []
"""The files of settings that the page has written."""

_shells: list[_Shell] = []
_held_ports: list[socket.socket] = []
"""The shell of the page, if a line of it has run."""


BLOCKS = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("console", run_in_shell),
        *(CodeBlockParser(language, refuse) for language in ("toml", "ini", "hcl")),
        *(CodeBlockParser(language, keep) for language in ("yaml", "dockerfile", "sh", "text")),
    ]
)


@contextlib.contextmanager
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A reader's process: our command on PATH, a wide terminal, and nothing left over from another page."""
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)  # the end of the test then restores all variables
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")  # a reader trusts files as the page says
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    if (manager := strongroom.set_default_manager(None)) is not None:
        manager.close()
    # The state that a page leaves in the process would slow later tests.
    forget_values()
    structlog.reset_defaults()


@contextlib.contextmanager
def servers_of(page: Path, openbao: FreshVault | TestVault, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the variables of a reader who has started this server, and a PostgreSQL if the page names PGPORT."""
    from support.services.postgres import running_postgres  # the environment of Airflow lacks its driver

    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    with running_postgres() if "PGPORT" in page.read_text("utf-8") else contextlib.nullcontext() as postgres:
        if postgres is not None:
            monkeypatch.setenv("PGHOST", "127.0.0.1")
            monkeypatch.setenv("PGPORT", str(postgres.port))
            monkeypatch.setenv("PGPASSWORD", postgres.password)
        yield


def _check_settings(file: Path, page: str) -> None:
    """Fail if a file of settings is wrong that no later block of its page has read.

    Airflow reads its own in `nox -s airflow`, tests/docs/test_example_plugin.py installs the plugin `sqlite`, and
    tests/docs/test_how_to.py checks configurations of several environments.
    """
    text = file.read_text("utf-8")
    if file.name == "pyproject.toml":
        for group, names in tomllib.loads(text)["project"]["entry-points"].items():
            assert group.removeprefix("strongroom.") in {"stores", "importers", "exporters", "rotators", "commands"}
            assert all(f"\ndef {target.partition(':')[2]}(" in page for target in names.values()), text
    elif file.suffix != ".cfg" and "[stores.sqlite]" not in text and "[environments." not in text:
        assert app.run(["--config", str(file), "config", "check"]) == 0, text


def run_page(page: Path) -> None:
    """Run the blocks of a page, then end its commands and close its managers and its engines of SQLAlchemy.

    Later tests would count the threads of open managers, and fail for connections that nobody closed.
    """
    document: Document = BLOCKS.parse(page)
    document.push_evaluator(write_file)
    _settings.clear()
    try:
        for example in document.examples():
            example.evaluate()
        for file in _settings:
            if file.exists() and file.stat().st_atime == 0:
                _check_settings(file, document.text)
    finally:
        for value in document.namespace.values():
            if isinstance(value, strongroom.SecretsManager):
                value.close()
            elif hasattr(value, "dispose"):  # an engine of SQLAlchemy, which not every environment of these tests has
                value.dispose()
        end_commands()


def end_commands() -> None:
    """End the shell of a page, and the commands that its lines have left running. Its ports are free again."""
    while _shells:
        _shells.pop().close()
    while _held_ports:
        _held_ports.pop().close()


def with_free_ports(page: Path, folder: Path) -> Path:
    """Return a copy of the page in which each port on 127.0.0.1 is a free one, so that pages run side by side.

    A socket that does not listen holds each port until the end of the page: `free_port` takes it for used, and the
    servers of the page, which set SO_REUSEADDR as nearly all servers do, can listen on it.
    """
    ports: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in ports:
            ports[match[1]] = str(port := free_port())
            holder = socket.socket()
            _held_ports.append(holder)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", port))
        return match[0].removesuffix(match[1]) + ports[match[1]]

    copy = folder / page.name
    copy.write_text(re.sub(r"(?:127\.0\.0\.1:|--port |PGPORT=)(\d{4,5})\b", replaced, page.read_text("utf-8")), "utf-8")
    return copy
